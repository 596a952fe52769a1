//! Large batches are sealed on another thread, and pages of them opened there; the order of calls stays.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use peerloom_core::{Batch, CommitError, Put, Record, Sequence, Storage, StorageError};
use peerloom_memory::Memory;

use crate::disk::{commit, exchanges, feed, id, name, open, opened, puts, record};

/// Far more than is sealed at once.
const LARGE_BYTES: usize = 1 << 20;

fn large(byte: u8) -> Record {
    record("a", 1, vec![byte; LARGE_BYTES])
}

fn moved(sequence: u64, replaces: u64) -> Batch {
    let put = Put { record: record("a", sequence, "small"), replaces: Some(Sequence::new(replaces)) };
    Batch { records: vec![put], metadata: Vec::new() }
}

#[tokio::test]
async fn nothing_overtakes_a_large_commit() {
    let store = open(&opened(&Memory::new()).await, "notes").await;
    let ids = [id("a")];
    let (written, first, rewritten, second, small, third) = tokio::join!(
        biased;
        store.commit(puts([large(1)])),
        store.read(&ids),
        store.commit(exchanges([large(2)])),
        store.read(&ids),
        store.commit(moved(2, 1)),
        store.read(&ids),
    );
    written.and(rewritten).and(small).expect("the batches are fine");
    let found = [first, second, third].map(|read| read.expect("documents are readable").remove(0));
    assert!(found == [Some(large(1)), Some(large(2)), Some(record("a", 2, "small"))]);
}

#[tokio::test]
async fn a_large_commit_that_is_dropped_while_it_is_sealed_harms_nothing() {
    let storage = opened(&Memory::new()).await;
    let store = open(&storage, "notes").await;
    commit(&*store, puts([large(1)])).await;
    {
        let mut dropped = pin!(store.commit(exchanges([large(2)])));
        poll_fn(|context| Poll::Ready(dropped.as_mut().poll(context).is_ready())).await;
    }
    commit(&*store, moved(2, 1)).await;
    assert_eq!(feed(&*store).await, [record("a", 2, "small")]);
}

#[tokio::test]
async fn a_large_commit_takes_effect_before_the_store_closes() {
    let storage = opened(&Memory::new()).await;
    let store = open(&storage, "notes").await;
    let (before, closed, after) = tokio::join!(
        biased;
        store.commit(puts([large(1)])),
        store.close(),
        store.commit(exchanges([large(2)])),
    );
    before.expect("it was called before");
    closed.expect("the store closes");
    assert!(matches!(after, Err(CommitError::NotApplied(StorageError::Closed))), "{after:?}");
    let again = storage.open(&name("notes")).await.expect("it is closed");
    assert!(feed(&*again).await == [large(1)]);
}
