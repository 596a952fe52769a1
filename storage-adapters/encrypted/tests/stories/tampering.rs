//! What is exchanged, altered or cut short beneath the encryption is told, and never served.

use bytes::Bytes;
use peerloom_core::{
    Document, Head, IdRange, Incarnation, Record, Sequence, Stamp, State, Storage, StorageError,
};
use peerloom_memory::Memory;

use crate::disk::{
    ALL, commit, entry, exchanges, feed, head, id, metadata, name, open, opened, puts, record,
};

fn with_heads(record: &Record, heads: Vec<Head>) -> Record {
    let document = Document::new(record.document.context().clone(), heads).expect("the heads fit");
    Record { document, ..record.clone() }
}

fn with_body(record: &Record, body: impl Into<Bytes>) -> Record {
    let mut heads = record.document.heads().to_vec();
    heads[0].state.body = body.into();
    with_heads(record, heads)
}

fn body(record: &Record) -> Bytes {
    record.document.heads()[0].state.body.clone()
}

/// A document of everything: two heads and a view, each with a body and annotations.
fn conflict() -> Record {
    let heads = vec![head(2, "one", "by one"), head(5, "two", "by two")];
    let context = [(Incarnation::new(7), Stamp::new(9).expect("small"))].into_iter().collect();
    Record {
        id: id("conflict"),
        sequence: Sequence::new(3),
        document: Document::new(context, heads).expect("the heads fit"),
        resolved: Some(State { deleted: false, body: "both".into(), annotations: "merged".into() }),
    }
}

/// A disk with three documents and two entries in each of two stores, and what is sealed in the first.
async fn written() -> (Memory, Vec<Record>) {
    let disk = Memory::new();
    let storage = opened(&disk).await;
    for store in ["notes", "other"] {
        let store = open(&storage, store).await;
        commit(&*store, puts([record("a", 1, "alpha"), record("b", 2, "omega"), conflict()])).await;
        commit(&*store, entry("left", "1")).await;
        commit(&*store, entry("right", "2")).await;
    }
    let sealed = feed(&*open(&disk, "notes").await).await;
    (disk, sealed)
}

fn assert_corrupt<T: std::fmt::Debug>(read: &Result<T, StorageError>, how: &str) {
    assert!(matches!(read, Err(StorageError::Corrupt { .. })), "{how}: {read:?}");
}

/// Puts these in the place of what is there, on a copy of the disk, and reads in every way.
async fn assert_told(disk: &Memory, put: impl IntoIterator<Item = Record>, told: &str, how: &str) {
    let disk = disk.fork();
    commit(&*open(&disk, "notes").await, exchanges(put)).await;
    let store = open(&opened(&disk).await, "notes").await;
    assert_corrupt(&store.read(&[id(told)]).await, how);
    assert_corrupt(&store.changes(Sequence::ZERO, ALL).await, how);
    assert_corrupt(&store.list(IdRange::ALL, ALL).await, how);
    let unharmed = id(if told == "a" { "conflict" } else { "a" });
    let read = store.read(&[unharmed]).await.expect("another document is unharmed");
    assert!(read[0].is_some());
}

#[tokio::test]
async fn nothing_of_a_documents_content_is_in_the_clear() {
    let (disk, _) = written().await;
    let store = open(&disk, "notes").await;
    let mut bytes: Vec<u8> = feed(&*store).await.iter().flat_map(Record::encode).collect();
    bytes.extend(metadata(&*store).await.into_iter().flat_map(|(_, value)| value));
    for secret in ["alpha", "omega", "one", "by one", "two", "by two", "both", "merged"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
    let (sealed, clear) = (feed(&*store).await, [record("a", 1, ""), record("b", 2, ""), conflict()]);
    for (sealed, clear) in sealed.iter().zip(&clear) {
        assert_eq!((&sealed.id, sealed.sequence), (&clear.id, clear.sequence));
        assert_eq!(sealed.document.context(), clear.document.context());
        assert_eq!(sealed.resolved.is_some(), clear.resolved.is_some());
    }
}

#[tokio::test]
async fn the_same_content_never_looks_the_same_twice() {
    let (disk, sealed) = written().await;
    let storage = opened(&disk).await;
    let store = open(&storage, "notes").await;
    commit(&*store, exchanges([record("a", 1, "alpha")])).await;
    drop(store);
    assert_ne!(body(&feed(&*open(&disk, "notes").await).await[0]), body(&sealed[0]));
    assert_ne!(feed(&*open(&disk, "other").await).await, feed(&*open(&disk, "notes").await).await);
}

#[tokio::test]
async fn an_altered_bit_is_told_wherever_it_is() {
    let (disk, sealed) = written().await;
    let whole = body(&sealed[0]);
    for position in 0..whole.len() {
        let mut altered = whole.to_vec();
        altered[position] ^= 1 << (position % 8);
        assert_told(&disk, [with_body(&sealed[0], altered)], "a", &format!("byte {position}")).await;
    }
}

#[tokio::test]
async fn content_that_is_cut_short_or_drawn_out_is_told() {
    let (disk, sealed) = written().await;
    let whole = body(&sealed[0]);
    for bytes in 0..whole.len() {
        assert_told(&disk, [with_body(&sealed[0], whole.slice(..bytes))], "a", &format!("{bytes} bytes"))
            .await;
    }
    assert_told(&disk, [with_body(&sealed[0], [&whole[..], b"x"].concat())], "a", "longer").await;
    assert_told(&disk, [with_body(&sealed[0], "alpha")], "a", "in the clear").await;
}

#[tokio::test]
async fn content_of_another_document_or_store_is_told() {
    let (disk, sealed) = written().await;
    let swapped = [with_body(&sealed[0], body(&sealed[1])), with_body(&sealed[1], body(&sealed[0]))];
    assert_told(&disk, swapped, "a", "swapped").await;
    let other = feed(&*open(&disk, "other").await).await;
    assert_told(&disk, [other[0].clone()], "a", "of another store").await;
    // Sealed for "a", at the same sequence and with the same dot, on another disk with the same password.
    let (another_disk, _) = written().await;
    let another = feed(&*open(&another_disk, "notes").await).await;
    assert_told(&disk, [another[0].clone()], "a", "of another disk").await;
}

#[tokio::test]
async fn everything_in_the_clear_is_bound_to_the_content() {
    let (disk, sealed) = written().await;
    let at = |sequence, record: &Record| Record { sequence: Sequence::new(sequence), ..record.clone() };
    // Documents that change places in the feed, contents and all.
    assert_told(&disk, [at(2, &Record { id: id("b"), ..sealed[0].clone() })], "b", "another id").await;

    let conflict = &sealed[2];
    let heads = conflict.document.heads();
    let altered = |alter: &dyn Fn(&mut Vec<Head>)| {
        let mut heads = heads.to_vec();
        alter(&mut heads);
        with_heads(conflict, heads)
    };
    let wider = [(7, 9), (8, 1)]
        .map(|(incarnation, stamp)| (Incarnation::new(incarnation), Stamp::new(stamp).expect("small")));
    let wider = Document::new(wider.into_iter().collect(), heads.to_vec()).expect("the heads fit");
    let other_view = |alter: &dyn Fn(&mut State)| {
        let mut altered = conflict.clone();
        alter(altered.resolved.as_mut().expect("there is a view"));
        altered
    };
    let cases = [
        ("a wider context", Record { document: wider, ..conflict.clone() }),
        ("another dot", altered(&|heads| heads[1].dot.stamp = Stamp::new(6).expect("small"))),
        ("a head less", altered(&|heads| drop(heads.pop()))),
        ("deleted", altered(&|heads| heads[1].state.deleted = true)),
        (
            "the annotations as body",
            altered(&|heads| {
                let state = &mut heads[1].state;
                state.body = [&state.body[..], &state.annotations].concat().into();
                state.annotations = Bytes::new();
            }),
        ),
        (
            "the states exchanged",
            altered(&|heads| {
                let annotations = heads[0].state.annotations.clone();
                heads[0].state.annotations = std::mem::replace(&mut heads[1].state.annotations, annotations);
            }),
        ),
        ("no view", Record { resolved: None, ..conflict.clone() }),
        ("a deleted view", other_view(&|view| view.deleted = true)),
        ("the head as the view", other_view(&|view| view.body = heads[1].state.body.clone())),
    ];
    for (how, altered) in cases {
        assert_told(&disk, [altered], "conflict", how).await;
    }
}

#[tokio::test]
async fn an_earlier_version_is_told_in_the_place_of_a_later_one() {
    let (disk, sealed) = written().await;
    let store = open(&opened(&disk).await, "notes").await;
    commit(&*store, exchanges([record("a", 1, "later")])).await;
    let moved = peerloom_core::Put { record: record("b", 9, "later"), replaces: Some(Sequence::new(2)) };
    commit(&*store, peerloom_core::Batch { records: vec![moved], metadata: Vec::new() }).await;
    drop(store);
    let later = feed(&*open(&disk, "notes").await).await.remove(2);
    assert_told(&disk, [with_body(&later, body(&sealed[1]))], "b", "an earlier body").await;
    let earlier = Record { sequence: later.sequence, ..sealed[1].clone() };
    assert_told(&disk, [earlier], "b", "an earlier record at the later sequence").await;
}

#[tokio::test]
async fn metadata_that_was_exchanged_or_altered_is_told() {
    let (disk, _) = written().await;
    let sealed = metadata(&*open(&disk, "notes").await).await;
    let find = |key: &str| sealed.iter().find(|entry| entry.0 == key).expect("it was written").1.clone();
    let (left, right) = (find("left"), find("right"));
    let other = metadata(&*open(&disk, "other").await).await;
    let other = other.into_iter().find(|entry| entry.0 == "left").expect("it was written").1;
    let mut altered: Vec<Bytes> = (0..left.len()).map(|bytes| left.slice(..bytes)).collect();
    for position in 0..left.len() {
        let mut bytes = left.to_vec();
        bytes[position] ^= 1 << (position % 8);
        altered.push(bytes.into());
    }
    altered.extend([right, other, "1".into()]);
    for value in altered {
        let disk = disk.fork();
        commit(&*open(&disk, "notes").await, entry("left", value)).await;
        let store = open(&opened(&disk).await, "notes").await;
        assert_corrupt(&store.metadata(b"", None, 9.try_into().expect("nine")).await, "all");
        assert_corrupt(&store.metadata(b"left", None, 1.try_into().expect("one")).await, "one");
        store.metadata(b"right", None, 1.try_into().expect("one")).await.expect("the other is unharmed");
    }
}

#[tokio::test]
async fn a_marker_that_was_exchanged_or_altered_is_told() {
    let (disk, _) = written().await;
    let (key, marker) = metadata(&*open(&disk, "notes").await).await.remove(0);
    let (_, other) = metadata(&*open(&disk, "other").await).await.remove(0);
    let mut altered: Vec<Bytes> = (0..marker.len()).map(|bytes| marker.slice(..bytes)).collect();
    for position in 0..marker.len() {
        let mut bytes = marker.to_vec();
        bytes[position] ^= 1 << (position % 8);
        altered.push(bytes.into());
    }
    altered.push(other);
    for marker in altered {
        let disk = disk.fork();
        commit(&*open(&disk, "notes").await, entry(key.clone(), marker)).await;
        let refused = opened(&disk).await.open(&name("notes")).await.err().expect("it is not its marker");
        let told = matches!(
            refused,
            StorageError::Corrupt { .. } | StorageError::Newer { .. } | StorageError::OtherKeys { .. }
        );
        assert!(told, "{refused}");
    }
}

#[tokio::test]
async fn a_whole_earlier_state_is_not_told_from_the_present_one() {
    let (disk, _) = written().await;
    let earlier = disk.fork();
    let storage = opened(&disk).await;
    commit(&*open(&storage, "notes").await, puts([record("c", 4, "later")])).await;
    assert_eq!(feed(&*open(&opened(&earlier).await, "notes").await).await.len(), 3);
}
