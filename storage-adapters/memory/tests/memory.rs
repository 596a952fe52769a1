//! What memory adds to the contract: forks, bytes of its own, and assertions on its callers.

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use peerloom_core::{
    Batch, Document, DocumentId, Dot, Head, Incarnation, PageLimits, Put, Record, Sequence, Stamp, State,
    Storage, Store, StoreName,
};
use peerloom_memory::Memory;

const ALL: PageLimits = PageLimits { documents_max: NonZeroU32::MAX, bytes_max: NonZeroU32::MAX };

fn put(id: &str, sequence: u64, replaces: Option<u64>, body: Bytes) -> Put {
    let stamp = Stamp::new(sequence.max(1)).expect("a small stamp");
    let state = State { deleted: false, annotations: body.clone(), body };
    let head = Head { dot: Dot { incarnation: Incarnation::new(7), stamp }, state: state.clone() };
    let record = Record {
        id: DocumentId::new(id).expect("a valid id"),
        sequence: Sequence::new(sequence),
        document: Document::from(head),
        resolved: Some(state),
    };
    Put { record, replaces: replaces.map(Sequence::new) }
}

fn batch(records: impl IntoIterator<Item = Put>) -> Batch {
    Batch { records: records.into_iter().collect(), metadata: Vec::new() }
}

async fn open(disk: &Memory) -> Arc<dyn Store> {
    disk.open(&StoreName::node()).await.expect("the store opens")
}

async fn count(store: &dyn Store) -> usize {
    store.changes(Sequence::ZERO, ALL).await.expect("the feed is readable").len()
}

#[tokio::test]
async fn a_fork_and_its_original_go_separate_ways() {
    let disk = Memory::new();
    let original = open(&disk).await;
    original.commit(batch([put("a", 1, None, "a".into())])).await.expect("the batch is fine");

    let fork = open(&disk.fork()).await;
    assert_eq!(count(&*fork).await, 1);
    let more = [put("b", 2, None, "b".into()), put("c", 3, None, "c".into())];
    fork.commit(batch(more)).await.expect("the batch is fine");
    original.commit(batch([put("a", 2, Some(1), "z".into())])).await.expect("the batch is fine");

    assert_eq!((count(&*original).await, count(&*fork).await), (1, 3));
    let a = [DocumentId::new("a").expect("a valid id")];
    let body = |read: Vec<Option<Record>>| read[0].as_ref().expect("it is there").view().body.clone();
    assert_eq!(body(original.read(&a).await.expect("documents are readable")), "z");
    assert_eq!(body(fork.read(&a).await.expect("documents are readable")), "a");
}

#[tokio::test]
async fn a_stored_document_does_not_keep_the_buffer_it_came_in() {
    let buffer = Bytes::from(vec![1; 1000]);
    let store = open(&Memory::new()).await;
    let mut batch = batch([put("a", 1, None, buffer.slice(10..20)), put("b", 2, None, buffer.slice(5..5))]);
    batch.metadata = vec![(buffer.slice(0..3), Some(buffer.slice(3..9)))];
    store.commit(batch).await.expect("the batch is fine");
    assert!(buffer.is_unique());
    assert_eq!(count(&*store).await, 2);
}

#[tokio::test]
async fn a_batch_that_breaks_the_contract_panics() {
    let empty = Bytes::new;
    let key = |bytes| Batch { metadata: vec![(vec![0; bytes].into(), None)], ..Batch::default() };
    let cases = [
        ("descending", batch([put("x", 9, None, empty()), put("y", 8, None, empty())])),
        ("the same sequence twice", batch([put("x", 9, None, empty()), put("y", 9, None, empty())])),
        ("below the end", batch([put("x", 4, None, empty())])),
        ("at the end", batch([put("x", 5, None, empty())])),
        ("sequence zero", batch([put("x", 0, None, empty())])),
        ("moved below the end", batch([put("a", 4, Some(3), empty())])),
        ("replaces what is not there", batch([put("x", 9, Some(3), empty())])),
        ("replaces another sequence", batch([put("a", 9, Some(5), empty())])),
        ("does not say that it replaces", batch([put("a", 9, None, empty())])),
        ("an id twice", batch([put("x", 9, None, empty()), put("x", 10, Some(9), empty())])),
        ("an empty key", key(0)),
        ("a key too long", key(2049)),
    ];
    for (story, broken) in cases {
        let store = open(&Memory::new()).await;
        let fine = batch([put("a", 3, None, empty()), put("b", 5, None, empty())]);
        store.commit(fine).await.expect("the batch is fine");
        let outcome = AssertUnwindSafe(store.commit(broken)).catch_unwind().await;
        assert!(outcome.is_err(), "{story}");
    }
}
