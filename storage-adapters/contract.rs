//! What every adapter promises, told through the public traits alone.
//!
//! Included by the tests of each adapter, beside a `Place`: somewhere that storage can be opened again and again.

use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use peerloom_core::{
    Batch, CollectionName, CommitError, DocumentId, Dot, Head, IdRange, Incarnation, PageLimits, Put, Record,
    Sequence, Stamp, State, Storage, StorageError, Store, StoreName,
};

use super::Place;

const ALL: PageLimits = PageLimits { documents_max: NonZeroU32::MAX, bytes_max: NonZeroU32::MAX };

fn at_most(documents_max: u32, bytes_max: u32) -> PageLimits {
    let limit = |number| NonZeroU32::new(number).expect("a page holds something");
    PageLimits { documents_max: limit(documents_max), bytes_max: limit(bytes_max) }
}

fn record(id: &str, sequence: u64, body: impl Into<Bytes>) -> Record {
    let stamp = Stamp::new(sequence).expect("a small stamp");
    let state = State { deleted: false, body: body.into(), annotations: Bytes::new() };
    Record {
        id: DocumentId::new(id).expect("a valid id"),
        sequence: Sequence::new(sequence),
        document: Head { dot: Dot { incarnation: Incarnation::new(7), stamp }, state }.into(),
        resolved: None,
    }
}

fn new(record: Record) -> Put {
    Put { record, replaces: None }
}

fn replacing(sequence: u64, record: Record) -> Put {
    Put { record, replaces: Some(Sequence::new(sequence)) }
}

fn records(records: impl IntoIterator<Item = Put>) -> Batch {
    Batch { records: records.into_iter().collect(), metadata: Vec::new() }
}

fn metadata(entries: &[(&'static str, Option<&'static str>)]) -> Batch {
    let entries = entries.iter().map(|(key, value)| (Bytes::from(*key), value.map(Bytes::from)));
    Batch { records: Vec::new(), metadata: entries.collect() }
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

fn name(text: &str) -> StoreName {
    CollectionName::new(text).expect("a valid name").store().clone()
}

async fn open(storage: &dyn Storage) -> Arc<dyn Store> {
    storage.open(&StoreName::node()).await.expect("the store opens")
}

async fn store(place: &Place) -> Arc<dyn Store> {
    open(&place.storage()).await
}

async fn feed(store: &dyn Store) -> Vec<Record> {
    store.changes(Sequence::ZERO, ALL).await.expect("the feed is readable")
}

async fn found(store: &dyn Store, prefix: &str, after: Option<&str>, entries_max: u32) -> Vec<String> {
    let entries_max = NonZeroU32::new(entries_max).expect("at least one");
    let entries = store.metadata(prefix.as_bytes(), after.map(str::as_bytes), entries_max).await;
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text went in");
    entries
        .expect("metadata is readable")
        .into_iter()
        .map(|(key, value)| text(key) + "=" + &text(value))
        .collect()
}

#[tokio::test]
async fn a_commit_shows_all_that_is_in_it() {
    let place = Place::new();
    let store = store(&place).await;
    let (one, two) = (record("one", 1, "1"), record("two", 2, "2"));
    let entries = vec![("key".into(), Some("value".into()))];
    let batch = Batch { records: vec![new(one.clone()), new(two.clone())], metadata: entries };
    store.commit(batch).await.expect("the batch is fine");

    let asked = [two.id.clone(), DocumentId::new("three").expect("valid"), one.id.clone(), two.id.clone()];
    let read = store.read(&asked).await.expect("documents are readable");
    assert_eq!(read, [Some(two.clone()), None, Some(one.clone()), Some(two.clone())]);
    assert_eq!(feed(&*store).await, [one.clone(), two.clone()]);
    assert_eq!(store.list(IdRange::ALL, ALL).await.expect("documents are listed"), [one, two]);
    assert_eq!(found(&*store, "", None, 9).await, ["key=value"]);
}

#[tokio::test]
async fn an_empty_batch_changes_nothing() {
    let place = Place::new();
    let store = store(&place).await;
    store.commit(Batch::default()).await.expect("an empty batch is fine");
    assert_eq!(feed(&*store).await, []);
    assert_eq!(store.read(&[]).await.expect("nothing can be read"), []);
}

#[tokio::test]
async fn a_commit_whose_future_is_dropped_lands_whole_before_later_operations_or_not_at_all() {
    let place = Place::new();
    let store = store(&place).await;
    for round in 0..50_u64 {
        let dropped =
            (0..10).map(|index| new(record(&format!("{round}-{index}"), 1 + 20 * round + index, "x")));
        let mut commit = store.commit(records(dropped));
        std::future::poll_fn(|context| {
            let _ = commit.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
        drop(commit);

        let last = format!("{round}-last");
        store.commit(records([new(record(&last, 20 * round + 20, "y"))])).await.expect("the batch is fine");
        let page = store.changes(Sequence::new(20 * round), ALL).await.expect("the feed is readable");
        assert!(page.len() == 11 || page.len() == 1, "{} of 11 documents are there", page.len());
        assert_eq!(page.last().expect("at least one").id.as_str(), last);
    }
}

#[tokio::test]
async fn operations_take_effect_in_the_order_of_their_calls() {
    let place = Place::new();
    let store = store(&place).await;
    let id = [DocumentId::new("a").expect("valid")];
    let first = store.commit(records([new(record("a", 1, "first"))]));
    let second = store.commit(records([replacing(1, record("a", 2, "second"))]));
    let (first, second, read) = tokio::join!(first, second, store.read(&id));
    first.expect("the batch is fine");
    second.expect("the batch is fine");
    assert_eq!(read.expect("documents are readable"), [Some(record("a", 2, "second"))]);
}

#[tokio::test]
async fn a_document_is_in_the_feed_once_at_its_latest_commit() {
    let place = Place::new();
    let store = store(&place).await;
    let first = ["a", "b", "c"].into_iter().zip(1..).map(|(id, sequence)| new(record(id, sequence, "old")));
    store.commit(records(first)).await.expect("the batch is fine");
    let second = [replacing(2, record("b", 4, "new")), replacing(1, record("a", 5, "new"))];
    store.commit(records(second)).await.expect("the batch is fine");

    assert_eq!(feed(&*store).await, [record("c", 3, "old"), record("b", 4, "new"), record("a", 5, "new")]);
    let rest = store.changes(Sequence::new(4), ALL).await.expect("the feed is readable");
    assert_eq!(ids(&rest), ["a"]);
    let beyond = store.changes(Sequence::new(u64::MAX), ALL).await.expect("the feed is readable");
    assert_eq!(ids(&beyond), [""; 0]);
}

#[tokio::test]
async fn a_record_may_keep_the_sequence_it_replaces() {
    let place = Place::new();
    let store = store(&place).await;
    store
        .commit(records([new(record("a", 1, "")), new(record("b", 2, ""))]))
        .await
        .expect("the batch is fine");
    let mut remade = record("a", 1, "");
    remade.resolved = Some(State { deleted: true, body: "view".into(), annotations: "mine".into() });
    let batch = records([replacing(1, remade.clone()), new(record("c", 3, ""))]);
    store.commit(batch).await.expect("the batch is fine");
    assert_eq!(feed(&*store).await, [remade, record("b", 2, ""), record("c", 3, "")]);
}

#[tokio::test]
async fn a_page_ends_before_the_record_that_would_exceed_a_limit() {
    let place = Place::new();
    let store = store(&place).await;
    let puts = (1..=5).map(|sequence| record(&format!("{sequence}"), sequence, vec![0; 100]));
    let bytes = puts.clone().next().expect("five records").bytes() as u32;
    store.commit(records(puts.map(new))).await.expect("the batch is fine");

    let cases = [
        (at_most(3, u32::MAX), 3),
        (at_most(9, u32::MAX), 5),
        (at_most(9, 2 * bytes), 2),
        (at_most(9, 2 * bytes + 1), 2),
        (at_most(9, 3 * bytes - 1), 2),
        (at_most(9, 1), 1),
        (at_most(1, 1), 1),
    ];
    for (limits, expected) in cases {
        let changes = store.changes(Sequence::ZERO, limits).await.expect("the feed is readable");
        let listed = store.list(IdRange::ALL, limits).await.expect("documents are listed");
        assert_eq!((changes.len(), listed.len()), (expected, expected), "{limits:?}");
    }
}

#[tokio::test]
async fn a_list_holds_the_ids_in_its_range_in_the_order_of_their_bytes() {
    use Bound::{Excluded, Included, Unbounded};
    let place = Place::new();
    let store = store(&place).await;
    let unordered = ["b", "é", "a", "Z", "ab"].into_iter().zip(1..);
    let puts = unordered.map(|(id, sequence)| new(record(id, sequence, "")));
    store.commit(records(puts)).await.expect("the batch is fine");

    let id = |text| DocumentId::new(text).expect("valid");
    let cases: [(Bound<DocumentId>, Bound<DocumentId>, &[&str]); 9] = [
        (Unbounded, Unbounded, &["Z", "a", "ab", "b", "é"]),
        (Included(id("a")), Included(id("b")), &["a", "ab", "b"]),
        (Excluded(id("a")), Excluded(id("b")), &["ab"]),
        (Excluded(id("a")), Unbounded, &["ab", "b", "é"]),
        (Unbounded, Excluded(id("a")), &["Z"]),
        (Included(id("b")), Included(id("b")), &["b"]),
        (Included(id("b")), Included(id("a")), &[]),
        (Excluded(id("b")), Excluded(id("b")), &[]),
        (Included(id("zz")), Unbounded, &["é"]),
    ];
    for (start, end, expected) in cases {
        let range = IdRange { start, end };
        let listed = store.list(range.clone(), ALL).await.expect("documents are listed");
        assert_eq!(ids(&listed), expected, "{range:?}");
    }
}

#[tokio::test]
async fn metadata_is_found_by_prefix_after_a_key_up_to_a_limit() {
    let place = Place::new();
    let store = store(&place).await;
    let keys = ["a", "b", "b/1", "b/2", "b/3", "b0", "c"];
    let entries = keys.map(|key| (key, Some("v")));
    store.commit(metadata(&entries)).await.expect("the batch is fine");

    let cases: [(&str, Option<&str>, u32, &[&str]); 9] = [
        ("", None, 9, &["a", "b", "b/1", "b/2", "b/3", "b0", "c"]),
        ("b/", None, 9, &["b/1", "b/2", "b/3"]),
        ("b/", None, 2, &["b/1", "b/2"]),
        ("b/", Some("b/1"), 9, &["b/2", "b/3"]),
        ("b/", Some("b/11"), 1, &["b/2"]),
        ("b/", Some("a"), 9, &["b/1", "b/2", "b/3"]),
        ("b/", Some("b/3"), 9, &[]),
        ("b/", Some("c"), 9, &[]),
        ("d", None, 9, &[]),
    ];
    for (prefix, after, entries_max, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|key| format!("{key}=v")).collect();
        assert_eq!(found(&*store, prefix, after, entries_max).await, expected, "{prefix} after {after:?}");
    }
}

#[tokio::test]
async fn metadata_keys_that_end_in_the_highest_byte_are_found() {
    let place = Place::new();
    let store = store(&place).await;
    let keys: [&[u8]; 4] = [&[0xff], &[0xff, 0xff], &[0xff, 0xff, 0], &[0xff; 2048]];
    let entries = keys.map(|key| (Bytes::from_static(key), Some(Bytes::new())));
    store.commit(Batch { records: Vec::new(), metadata: entries.to_vec() }).await.expect("the batch is fine");
    let found = store.metadata(&[0xff, 0xff], None, NonZeroU32::MAX).await.expect("metadata is readable");
    assert_eq!(
        found,
        keys[1..].iter().map(|key| (Bytes::from_static(key), Bytes::new())).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn metadata_is_overwritten_and_removed() {
    let place = Place::new();
    let store = store(&place).await;
    store.commit(metadata(&[("a", Some("1")), ("b", Some("1"))])).await.expect("the batch is fine");
    let batch = metadata(&[("a", None), ("b", Some("2")), ("never there", None), ("c", Some(""))]);
    store.commit(batch).await.expect("the batch is fine");
    assert_eq!(found(&*store, "", None, 9).await, ["b=2", "c="]);
}

#[tokio::test]
async fn large_and_empty_bodies_come_back_as_they_went_in() {
    let place = Place::new();
    let store = store(&place).await;
    let large: Vec<u8> = (0..5_000_000_u32).map(|index| (index % 251) as u8).collect();
    let written = [record("empty", 1, ""), record("large", 2, large), record("zeros", 3, vec![0; 100_000])];
    store.commit(records(written.clone().map(new))).await.expect("the batch is fine");
    store.close().await.expect("the store closes");
    let store = open(&place.storage()).await;
    assert_eq!(feed(&*store).await, written);
}

#[tokio::test]
async fn any_valid_id_is_only_an_id() {
    let place = Place::new();
    let store = store(&place).await;
    let longest = "x".repeat(1024);
    let longest_wide = "🧵".repeat(256);
    let mut hostile = vec![
        "\0",
        "\0\0",
        "a/b",
        "../../etc/passwd",
        "a\0b",
        "ä",
        "日本",
        " ",
        "\u{10ffff}",
        "C:\\nul",
        "%2e",
    ];
    hostile.extend([longest.as_str(), longest_wide.as_str()]);
    let written: Vec<Record> =
        hostile.iter().zip(1..).map(|(id, sequence)| record(id, sequence, id.to_string())).collect();
    store.commit(records(written.iter().cloned().map(new))).await.expect("the batch is fine");

    assert_eq!(feed(&*store).await, written);
    let asked: Vec<DocumentId> = written.iter().map(|record| record.id.clone()).collect();
    let read = store.read(&asked).await.expect("documents are readable");
    assert_eq!(read, written.iter().cloned().map(Some).collect::<Vec<_>>());
    let listed = store.list(IdRange::ALL, ALL).await.expect("documents are listed");
    hostile.sort_unstable();
    assert_eq!(ids(&listed), hostile);
}

#[tokio::test]
async fn reopening_finds_everything_committed() {
    let place = Place::new();
    let batch = Batch {
        records: (1..=100).map(|sequence| new(record(&format!("{sequence}"), sequence, "body"))).collect(),
        metadata: vec![("key".into(), Some("value".into()))],
    };
    let first = store(&place).await;
    first.commit(batch).await.expect("the batch is fine");
    let before = feed(&*first).await;
    first.close().await.expect("the store closes");

    let second = store(&place).await;
    assert_eq!(feed(&*second).await, before);
    assert_eq!(found(&*second, "", None, 9).await, ["key=value"]);
    second.commit(records([new(record("after", 101, ""))])).await.expect("the batch is fine");
    drop(second);

    assert_eq!(feed(&*store(&place).await).await.len(), 101);
}

#[tokio::test]
async fn stores_of_different_names_share_nothing() {
    let place = Place::new();
    let storage = place.storage();
    let names = ["a", "A", "a.b", "a-b", "a_b", "node", "nul", "0."].map(name);
    for (name, sequence) in names.iter().zip(1..) {
        let store = storage.open(name).await.expect("the store opens");
        assert_eq!(feed(&*store).await, [], "{name}");
        store.commit(records([new(record(name.as_str(), sequence, ""))])).await.expect("the batch is fine");
    }
    for (name, sequence) in names.iter().zip(1..) {
        let store = storage.open(name).await.expect("the store opens");
        assert_eq!(feed(&*store).await, [record(name.as_str(), sequence, "")]);
    }
}

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_handle_is_closed() {
    let place = Place::new();
    let first = store(&place).await;
    assert!(matches!(place.storage().open(&StoreName::node()).await, Err(StorageError::Locked { .. })));
    first.close().await.expect("the store closes");
    let second = store(&place).await;
    first.close().await.expect("closing twice is fine");
    assert!(matches!(place.storage().open(&StoreName::node()).await, Err(StorageError::Locked { .. })));
    drop(first);
    assert!(matches!(place.storage().open(&StoreName::node()).await, Err(StorageError::Locked { .. })));
    assert_eq!(feed(&*second).await, []);
}

#[tokio::test]
async fn dropping_the_last_handle_lets_go_at_once() {
    let place = Place::new();
    for sequence in 1..=10 {
        let store = store(&place).await;
        let other = Arc::clone(&store);
        drop(store);
        let batch = records([new(record(&format!("{sequence}"), sequence, ""))]);
        other.commit(batch).await.expect("the batch is fine");
    }
    assert_eq!(feed(&*store(&place).await).await.len(), 10);
}

#[tokio::test]
async fn a_closed_store_answers_everything_with_closed() {
    let place = Place::new();
    let store = store(&place).await;
    store.close().await.expect("the store closes");
    store.close().await.expect("closing twice is fine");
    assert!(matches!(store.read(&[]).await, Err(StorageError::Closed)));
    assert!(matches!(store.changes(Sequence::ZERO, ALL).await, Err(StorageError::Closed)));
    assert!(matches!(store.list(IdRange::ALL, ALL).await, Err(StorageError::Closed)));
    assert!(matches!(store.metadata(b"", None, NonZeroU32::MIN).await, Err(StorageError::Closed)));
    let commit = store.commit(records([new(record("a", 1, ""))])).await;
    assert!(matches!(commit, Err(CommitError::NotApplied(StorageError::Closed))));
    assert_eq!(feed(&*self::store(&place).await).await, []);
}

#[tokio::test]
async fn a_deleted_store_is_empty_when_opened_again() {
    let place = Place::new();
    let storage = place.storage();
    storage.delete(&StoreName::node()).await.expect("what is not there is deleted already");
    let first = open(&storage).await;
    let other = storage.open(&name("other")).await.expect("the store opens");
    for store in [&first, &other] {
        let mut batch = metadata(&[("key", Some("value"))]);
        batch.records = vec![new(record("a", 1, ""))];
        store.commit(batch).await.expect("the batch is fine");
    }
    assert!(matches!(storage.delete(&StoreName::node()).await, Err(StorageError::Locked { .. })));
    assert_eq!(feed(&*first).await.len(), 1);
    drop(first);

    storage.delete(&StoreName::node()).await.expect("a closed store can be deleted");
    let second = open(&storage).await;
    assert_eq!(feed(&*second).await, []);
    assert_eq!(found(&*second, "", None, 9).await, [""; 0]);
    assert_eq!(feed(&*other).await.len(), 1);
}
