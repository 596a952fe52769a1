//! Collections: what is written is read, listed, watched and settled, and what cannot be is refused with a reason.

mod cluster;

use std::collections::BTreeMap;

use bytes::Bytes;
use cluster::{Cluster, Concatenate, Topology};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use peerloom::{
    Binary, Collection, Content, ContentError, DocumentId, Error, IdRange, InProcess, InvalidName, Memory,
    Network, Node, OpenError, ReplicaLimits, RoomError, WriteError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Todo {
    title: String,
    done: bool,
}

fn todo(title: &str) -> Todo {
    Todo { title: title.to_owned(), done: false }
}

async fn node() -> Node {
    Node::open(Memory::new()).await.expect("the node opens")
}

async fn open<T: Content>(node: &Node, name: &str) -> Collection<T> {
    node.collection(name).open().await.expect("the collection opens")
}

async fn words() -> Collection<String> {
    open(&node().await, "words").await
}

async fn put(words: &Collection<String>, id: &str, word: &str) {
    words.put(id, &word.to_owned()).await.expect("the write is taken");
}

/// Two versions of one document: one from a draft, one written after it was read.
async fn conflict(words: &Collection<String>, id: &str) {
    put(words, id, "first").await;
    let mut draft = words.read(id).await.expect("it reads").expect("it is there");
    put(words, id, "second").await;
    "third".clone_into(&mut draft);
    words.save(draft).await.expect("the draft is saved");
}

async fn versions(words: &Collection<String>, id: &str) -> Vec<Option<String>> {
    let page = words.conflicts(None, 100).await.expect("conflicts are listed");
    let found = page.conflicts.into_iter().find(|conflict| conflict.id.as_str() == id);
    let versions = found.map(|conflict| conflict.versions).unwrap_or_default();
    versions.into_iter().map(|version| version.value.expect("it is a word")).collect()
}

async fn reads_back<T: Content + PartialEq + std::fmt::Debug>(name: &str, value: T) {
    let collection = open::<T>(&node().await, name).await;
    collection.put("it", &value).await.expect("the write is taken");
    assert_eq!(collection.get("it").await.expect("it reads"), Some(value));
    assert_eq!(collection.get("other").await.expect("it reads"), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_put_is_read_back_whatever_the_content() {
    reads_back("typed", todo("milk")).await;
    reads_back("values", json!({ "large": u64::MAX, "small": i64::MIN, "null": null, "half": 0.5 })).await;
    reads_back("binary", Binary(Bytes::from_static(&[0, 255, 128]))).await;
    reads_back("empty", Binary::default()).await;
    reads_back("names", BTreeMap::from([("ü".to_owned(), vec![Some(1), None])])).await;
}

#[tokio::test(start_paused = true)]
async fn an_id_of_no_byte_or_too_many_is_refused_by_every_call() {
    let words = words().await;
    let value = "word".to_owned();
    for (id, bytes) in [(String::new(), 0), ("x".repeat(1025), 1025)] {
        let answers = [
            words.put(&id, &value).await,
            words.insert(&id, &value).await,
            words.put_many([("fine", &value), (id.as_str(), &value)]).await,
            words.remove(&id).await.map(drop),
            words.get(&id).await.map(drop),
            words.read(&id).await.map(drop),
        ];
        for answer in answers {
            let refused = matches!(&answer, Err(Error::Name(InvalidName::DocumentId { bytes: found })) if *found == bytes);
            assert!(refused, "{answer:?}");
        }
    }
    assert_eq!(words.get("fine").await.expect("it reads"), None);
    put(&words, &"x".repeat(1024), "fits").await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_json_cannot_hold_is_refused() {
    let node = node().await;
    let unwritable = |answer: Result<(), Error>| match answer {
        Err(Error::Content { id, source: ContentError::Unwritable { .. } }) => assert_eq!(id, "it"),
        other => panic!("{other:?}"),
    };
    let keyed = open::<BTreeMap<(u8, u8), u8>>(&node, "keyed").await;
    unwritable(keyed.put("it", &BTreeMap::from([((1, 2), 3)])).await);
    let large = open::<u128>(&node, "large").await;
    unwritable(large.put("it", &u128::MAX).await);
    unwritable(large.put_many([("other", &1), ("it", &u128::MAX)]).await);
    assert_eq!(large.get("other").await.expect("it reads"), None);
}

#[tokio::test(start_paused = true)]
async fn a_document_of_another_type_is_an_error_that_names_it() {
    let node = node().await;
    let values = open::<Value>(&node, "things").await;
    values.put("odd", &json!([1, 2])).await.expect("the write is taken");
    values.put("fine", &json!({ "title": "milk", "done": false })).await.expect("the write is taken");
    let todos = open::<Todo>(&node, "things").await;
    let error = todos.get("odd").await.expect_err("it is no todo");
    assert!(
        matches!(&error, Error::Content { id, source: ContentError::Unreadable { .. } } if id == "odd"),
        "{error:?}"
    );
    let page = todos.list(IdRange::ALL, 10).await.expect("the others are listed all the same");
    let listed: Vec<bool> = page.entries.iter().map(|entry| entry.value.is_ok()).collect();
    assert_eq!(listed, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_write_beyond_a_limit_is_refused_with_the_limit() {
    let limits = ReplicaLimits {
        body_bytes_max: 10,
        heads_max: 2,
        document_bytes_max: 1 << 20,
        ..ReplicaLimits::default()
    };
    let node = Node::builder(Memory::new()).limits(limits).open().await.expect("the node opens");
    let words = open::<String>(&node, "words").await;
    let large = words.put("large", &"x".repeat(9)).await;
    assert!(
        matches!(large, Err(Error::Write(WriteError::BodyTooLarge { bytes: 11, bytes_max: 10, .. }))),
        "{large:?}"
    );
    put(&words, "it", "old").await;
    let draft = words.read("it").await.expect("it reads").expect("it is there");
    put(&words, "it", "new").await;
    words.save(draft.clone()).await.expect("a second version is allowed");
    let third = words.save(draft).await;
    assert!(
        matches!(third, Err(Error::Write(WriteError::TooManyHeads { heads: 2, heads_max: 2, .. }))),
        "{third:?}"
    );
    assert_eq!(versions(&words, "it").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_are_put_all_or_none() {
    let limits = ReplicaLimits { body_bytes_max: 10, ..ReplicaLimits::default() };
    let node = Node::builder(Memory::new()).limits(limits).open().await.expect("the node opens");
    let words = open::<String>(&node, "words").await;
    let (fits, large) = ("fits".to_owned(), "x".repeat(20));
    words.put_many([("a", &large), ("b", &fits)]).await.expect_err("one is too large");
    words.put_many([("b", &fits), ("a", &large)]).await.expect_err("one is too large");
    assert_eq!(words.list(IdRange::ALL, 10).await.expect("it lists").entries.len(), 0);
    words.put_many([("a", &fits), ("b", &fits), ("a", &fits)]).await.expect("the same one twice is fine");
    words.put_many(Vec::<(&str, &String)>::new()).await.expect("none at all is fine");
    assert_eq!(words.list(IdRange::ALL, 10).await.expect("it lists").entries.len(), 2);
    assert_eq!(versions(&words, "a").await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_inserted_only_after_it_is_removed() {
    let words = words().await;
    let word = "word".to_owned();
    assert!(!words.remove("it").await.expect("nothing to remove is fine"));
    words.insert("it", &word).await.expect("it is not there");
    let again = words.insert("it", &word).await;
    assert!(matches!(again, Err(Error::Write(WriteError::Exists { .. }))), "{again:?}");
    assert!(words.remove("it").await.expect("it is there"));
    assert!(!words.remove("it").await.expect("it is gone"));
    assert_eq!(words.get("it").await.expect("it reads"), None);
    words.insert("it", &word).await.expect("it is gone");
    assert_eq!(words.get("it").await.expect("it reads"), Some(word));
}

#[tokio::test(start_paused = true)]
async fn a_draft_saved_after_a_concurrent_change_stands_beside_it() {
    let words = words().await;
    conflict(&words, "it").await;
    assert_eq!(versions(&words, "it").await, [Some("second".to_owned()), Some("third".to_owned())]);

    put(&words, "gone", "first").await;
    let draft = words.read("gone").await.expect("it reads").expect("it is there");
    words.remove("gone").await.expect("it is there");
    words.save(draft).await.expect("the draft is saved");
    assert_eq!(versions(&words, "gone").await, [None, Some("first".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_draft_of_a_conflict_supersedes_all_its_versions() {
    let words = words().await;
    conflict(&words, "it").await;
    let draft = words.read("it").await.expect("it reads").expect("it is there");
    words.save(draft).await.expect("the draft is saved");
    assert_eq!(versions(&words, "it").await.len(), 0);
    assert_eq!(words.get("it").await.expect("it reads").as_deref(), Some("third"));
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_listing_hold_each_living_document_once_in_order() {
    let words = words().await;
    let ids: Vec<String> = (0..25).map(|number| format!("in/{number:02}")).collect();
    for id in ids.iter().map(String::as_str).chain(["im/z", "in", "in0", "io"]) {
        put(&words, id, id).await;
    }
    for removed in &ids[5..15] {
        words.remove(removed).await.expect("it is there");
    }
    for documents_max in [0, 1, 3, 10, 1000] {
        let (mut listed, mut range) = (Vec::new(), Some(IdRange::prefix("in/")));
        while let Some(within) = range {
            let page = words.list(within, documents_max).await.expect("it lists");
            assert!(page.entries.len() <= documents_max.max(1) as usize);
            listed.extend(page.entries.into_iter().map(|entry| entry.value.expect("it is a word")));
            range = page.next;
        }
        assert_eq!(listed, [&ids[..5], &ids[15..]].concat(), "in pages of {documents_max}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_conflicts_hold_each_once_until_it_is_settled() {
    let words = words().await;
    let ids = ["a", "b", "c", "d", "e"];
    for id in ids {
        conflict(&words, id).await;
    }
    put(&words, "peaceful", "word").await;
    for documents_max in [1, 2, 5, 100] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = words.conflicts(after.as_ref(), documents_max).await.expect("conflicts are listed");
            listed.extend(page.conflicts.into_iter().map(|conflict| conflict.id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(listed, ids, "in pages of {documents_max}");
    }
    let mut conflicts = words.conflicts(None, 2).await.expect("conflicts are listed").conflicts;
    words.settle_by_removing(conflicts.remove(1)).await.expect("it is settled");
    words.settle(conflicts.remove(0), &"peace".to_owned()).await.expect("it is settled");
    let left = words.conflicts(None, 100).await.expect("conflicts are listed").conflicts;
    assert_eq!(left.iter().map(|conflict| conflict.id.as_str()).collect::<Vec<_>>(), ["c", "d", "e"]);
    assert_eq!(words.get("a").await.expect("it reads").as_deref(), Some("peace"));
    assert_eq!(words.get("b").await.expect("it reads"), None);
}

#[tokio::test(start_paused = true)]
async fn settling_stands_beside_what_came_since_the_conflict_was_listed() {
    let words = words().await;
    conflict(&words, "it").await;
    let listed = words.conflicts(None, 1).await.expect("conflicts are listed").conflicts.remove(0);
    put(&words, "it", "later").await;
    words.settle(listed, &"settled".to_owned()).await.expect("it is settled");
    assert_eq!(versions(&words, "it").await, [Some("later".to_owned()), Some("settled".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_what_changes_from_now_on_and_nothing_before() {
    let words = words().await;
    put(&words, "old", "word").await;
    let mut changes = words.watch();
    assert!(changes.next().now_or_never().is_none());
    put(&words, "new", "word").await;
    words.remove("old").await.expect("it is there");
    for (id, value) in [("new", Some("word")), ("old", None)] {
        let change = changes.next().await.expect("it goes on").expect("it reads");
        assert_eq!((change.id.as_str(), change.value.expect("a word").as_deref()), (id, value));
    }
    assert!(changes.next().now_or_never().is_none());
    conflict(&words, "both").await;
    let change = changes.next().await.expect("it goes on").expect("it reads");
    assert!(change.in_conflict, "three commits nobody looked at are seen once, at their latest");
    assert!(changes.next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_from_its_checkpoint_across_a_restart() {
    let disk = Memory::new();
    let node = Node::open(disk.clone()).await.expect("the node opens");
    let words = open::<String>(&node, "words").await;
    for id in ["a", "b", "c"] {
        put(&words, id, id).await;
    }
    let backup = disk.fork();
    let mut changes = words.watch_from(None);
    let first = changes.next().await.expect("it goes on").expect("it reads");
    let second = changes.next().await.expect("it goes on").expect("it reads");
    assert_eq!((first.id.as_str(), second.id.as_str()), ("a", "b"));
    node.close().await.expect("it closes");

    let node = Node::open(disk).await.expect("the node opens again");
    let words = open::<String>(&node, "words").await;
    put(&words, "d", "d").await;
    assert_eq!(ids_after(&words, &second).await, ["c", "d"]);
    put(&words, "b", "again").await;
    let change = ids_after(&words, &second).await;
    assert_eq!(change, ["c", "d", "b"]);

    let node = Node::open(backup).await.expect("the backup opens");
    let words = open::<String>(&node, "words").await;
    put(&words, "e", "e").await;
    assert_eq!(ids_after(&words, &second).await, ["c", "e"], "the backup has what the checkpoint stands for");
}

async fn ids_after(words: &Collection<String>, change: &peerloom::Change<String>) -> Vec<String> {
    let (mut changes, mut ids) = (words.watch_from(Some(change.checkpoint)), Vec::new());
    while let Some(change) = changes.next().now_or_never() {
        ids.push(change.expect("it goes on").expect("it reads").id.to_string());
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_checkpoint_that_was_rolled_back_starts_over() {
    let disk = Memory::new();
    let node = Node::open(disk.clone()).await.expect("the node opens");
    let words = open::<String>(&node, "words").await;
    put(&words, "a", "a").await;
    let backup = disk.fork();
    put(&words, "b", "b").await;
    let last = words.watch_from(None).skip(1).next().await.expect("two changes").expect("it reads");
    let restored = Node::open(backup).await.expect("the backup opens");
    let words = open::<String>(&restored, "words").await;
    put(&words, "c", "c").await;
    assert_eq!(ids_after(&words, &last).await, ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_collection_opened_twice_is_the_same() {
    let node = node().await;
    let first = open::<String>(&node, "words").await;
    let second = open::<String>(&node, "words").await;
    put(&first, "it", "word").await;
    assert_eq!(second.get("it").await.expect("it reads").as_deref(), Some("word"));
    let versioned = node.collection::<String>("words").schema_version(1).open().await;
    assert!(matches!(versioned, Err(OpenError::OpenDifferently(_))), "{versioned:?}");
    let handled = node.collection::<String>("words").handler(Concatenate).open().await;
    assert!(matches!(handled, Err(OpenError::OpenDifferently(_))), "{handled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_used_opens_no_collection() {
    let node = node().await;
    for name in ["", "_node", "-", "a/b", &"x".repeat(65)] {
        let opened = node.collection::<String>(name).open().await;
        assert!(
            matches!(opened, Err(OpenError::Name(InvalidName::Collection { .. }))),
            "{name:?}: {opened:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_collection_that_was_dropped_opens_again_with_another_handler_and_other_views() {
    let node = node().await;
    let words = open::<String>(&node, "words").await;
    conflict(&words, "it").await;
    conflict(&words, "other").await;
    assert_eq!(words.get("it").await.expect("it reads").as_deref(), Some("third"));
    let watching = words.watch();
    drop(words);
    let words = node.collection::<String>("words").handler(Concatenate).open().await.expect("it opens again");
    for id in ["it", "other"] {
        assert_eq!(words.get(id).await.expect("it reads").as_deref(), Some("second+third"));
        assert_eq!(versions(&words, id).await.len(), 2);
    }
    assert_eq!(watching.count().await, 0, "the stream of the closed collection has ended");
}

#[tokio::test(start_paused = true)]
async fn closing_that_was_broken_off_goes_on_when_it_is_called_again() {
    let node = Node::open(Memory::new()).await.expect("it opens");
    let first = node.collection::<String>("first").open().await.expect("it opens");
    let second = node.collection::<String>("second").open().await.expect("it opens");
    assert!(node.close().now_or_never().is_none(), "there is something to wait for");
    node.close().await.expect("it closes");
    for collection in [first, second] {
        let put = collection.put("it", &"word".to_owned()).await;
        assert!(matches!(put, Err(Error::Closed)), "{put:?}");
    }
    let joined = node.room("room").join(InProcess::new(&Network::new())).await;
    assert!(matches!(joined, Err(RoomError::Closed)), "{joined:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_node_answers_every_call_and_ends_its_streams() {
    let disk = Memory::new();
    let node = Node::open(disk.clone()).await.expect("the node opens");
    let words = open::<String>(&node, "words").await;
    put(&words, "it", "word").await;
    let draft = words.read("it").await.expect("it reads").expect("it is there");
    let (idle, behind) = (words.watch(), words.watch_from(None));
    node.close().await.expect("it closes");
    node.close().await.expect("closing twice is fine");
    assert!(matches!(words.put("it", &String::new()).await, Err(Error::Closed)));
    assert!(matches!(words.save(draft).await, Err(Error::Closed)));
    assert!(matches!(words.remove("it").await, Err(Error::Closed)));
    assert!(matches!(words.get("it").await, Err(Error::Closed)));
    assert!(matches!(words.list(IdRange::ALL, 1).await, Err(Error::Closed)));
    assert!(matches!(words.conflicts(None, 1).await, Err(Error::Closed)));
    assert!(matches!(node.collection::<String>("words").open().await, Err(OpenError::Closed)));
    assert_eq!((idle.count().await, behind.count().await), (0, 0));
    Node::open(disk).await.expect("the storage is free");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_future_is_dropped_is_there_whole_or_not_at_all() {
    let words = words().await;
    let value = "word".to_owned();
    for round in 0..50 {
        let ids: Vec<String> = (0..5).map(|part| format!("{round:02}/{part}")).collect();
        let mut writing = Box::pin(words.put_many(ids.iter().map(|id| (id, &value))));
        for _ in 0..round % 5 {
            if writing.as_mut().now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(writing);
    }
    // A write that is acknowledged comes after all that were handed over before.
    put(&words, "last", "word").await;
    let mut parts = BTreeMap::<String, usize>::new();
    for entry in words.list(IdRange::ALL, 1000).await.expect("it lists").entries {
        *parts.entry(entry.id.as_str()[..2].to_owned()).or_default() += 1;
    }
    assert_eq!(parts.remove("la"), Some(1));
    assert!(parts.values().all(|parts| *parts == 5), "{parts:?}");
    assert!(
        !parts.is_empty() && parts.len() < 50,
        "some were dropped before and some after: {}",
        parts.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_many_tasks_are_all_there_and_ordered_by_somebody() {
    let words = words().await;
    let tasks = (0..16).map(|task| {
        let words = words.clone();
        tokio::spawn(async move {
            for number in 0..50 {
                put(&words, &format!("{task}/{number}"), "mine").await;
                put(&words, "everybody's", &format!("{task}/{number}")).await;
            }
        })
    });
    for task in join_all(tasks).await {
        task.expect("no task panicked");
    }
    let page = words.list(IdRange::ALL, 10_000).await.expect("it lists");
    assert_eq!(page.entries.len(), 16 * 50 + 1);
    assert_eq!(versions(&words, "everybody's").await.len(), 0, "a put has seen what was there");
    let last = words.get("everybody's").await.expect("it reads").expect("it is there");
    assert!(last.ends_with("/49"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_saved_by_many_tasks_at_once_all_stand_beside_each_other() {
    let words = words().await;
    put(&words, "it", "old").await;
    let draft = words.read("it").await.expect("it reads").expect("it is there");
    let tasks = (0..20).map(|task| {
        let (words, mut draft) = (words.clone(), draft.clone());
        tokio::spawn(async move {
            *draft = format!("{task:02}");
            words.save(draft).await.expect("the draft is saved");
        })
    });
    for task in join_all(tasks).await {
        task.expect("no task panicked");
    }
    let mut found: Vec<String> = versions(&words, "it").await.into_iter().flatten().collect();
    found.sort();
    assert_eq!(found, (0..20).map(|task| format!("{task:02}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_what_peers_write() {
    let cluster = Cluster::of(2, Topology::Mesh).await;
    let mut changes = cluster.notes(1).watch();
    cluster.put(0, "it", "word").await;
    let change = changes.next().await.expect("it goes on").expect("it reads");
    assert_eq!(change.id, DocumentId::new("it").expect("an id"));
    assert_eq!(change.value.expect("a word").as_deref(), Some("word"));
}
