//! The order of operations, and what becomes of it when futures are dropped or callers are many.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;

use peerloom_core::{IdRange, Record, Sequence, Store};

use super::StorageFixture;
use super::sample::{
    ALL, at_most, batch, changes, commit, entries, feed, id, list, metadata, open, put_each, read_one,
    record, replacing,
};
use crate::poll::{join_all, poll_once};

/// Commits and reads take effect in the order in which their futures were first polled, whatever the order in
/// which they were made and go on.
pub async fn operations_take_effect_in_the_order_of_their_calls<F: StorageFixture>() {
    const ROUNDS: u64 = 20;
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &[record("a", 1, "0")]).await;
    let ids = [id("a")];
    let mut calls: Vec<Pin<Box<dyn Future<Output = Option<Record>> + '_>>> = Vec::new();
    // Made from the last to the first.
    for round in (1..=ROUNDS).rev() {
        let next = replacing(round, record("a", round + 1, format!("{round}")));
        let (committing, reading) = (store.commit(batch([next])), store.read(&ids));
        calls.push(Box::pin(async { reading.await.expect("documents are readable").remove(0) }));
        calls.push(Box::pin(async {
            committing.await.expect("the batch is fine");
            None
        }));
    }
    calls.reverse();
    let found: Vec<Record> = join_all(calls).await.into_iter().flatten().collect();
    let expected: Vec<Record> =
        (1..=ROUNDS).map(|round| record("a", round + 1, format!("{round}"))).collect();
    assert_eq!(found, expected, "each read sees the commit called before it");
    assert_eq!(feed(&*store).await, expected[expected.len() - 1..]);
}

/// Each kind of read, right after each of many commits to the same document and entry, when others have read
/// before.
pub async fn a_read_sees_every_commit_that_returned_before_it<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    for round in 1..=20_u64 {
        let text = format!("{round}");
        let written = record("a", round, text.clone());
        let replaces = (round > 1).then(|| Sequence::new(round - 1));
        commit(&*store, batch([peerloom_core::Put { record: written.clone(), replaces }])).await;
        commit(&*store, entries(&[(b"a", Some(text.as_bytes()))])).await;
        // Twice, because the first may fill a cache.
        for _ in 0..2 {
            assert_eq!(read_one(&*store, &written.id).await.as_ref(), Some(&written), "a read");
            assert_eq!(feed(&*store).await, std::slice::from_ref(&written), "the feed");
            assert_eq!(list(&*store, IdRange::ALL, ALL).await, std::slice::from_ref(&written), "a list");
            assert_eq!(metadata(&*store).await, [("a".into(), text.clone().into())], "metadata");
        }
    }
}

/// Reads that are called, and wait if they have to while a commit is called after them.
pub async fn a_read_sees_no_commit_that_was_called_after_it<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &[record("a", 1, "0")]).await;
    let ids = [id("a")];
    for round in 1..=20_u64 {
        let before = record("a", round, format!("{}", round - 1));
        let next = replacing(round, record("a", round + 1, format!("{round}")));
        let (read, scanned, committed) = tokio::join!(
            biased;
            store.read(&ids),
            store.changes(Sequence::ZERO, ALL),
            store.commit(batch([next])),
        );
        committed.expect("the batch is fine");
        assert_eq!(read.expect("documents are readable"), [Some(before.clone())]);
        assert_eq!(scanned.expect("the feed is readable"), [before]);
    }
}

/// Reads of every kind that are polled once and dropped. What is called later is served, and in order.
pub async fn dropping_a_read_harms_nothing<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let ids = [id("a")];
    for round in 1..=20_u64 {
        let _ = poll_once(&mut store.read(&ids)).await;
        let _ = poll_once(&mut store.changes(Sequence::ZERO, ALL)).await;
        let _ = poll_once(&mut store.list(IdRange::ALL, ALL)).await;
        let _ = poll_once(&mut store.metadata(b"", None, NonZeroU32::MIN)).await;
        let written = record(&format!("{round}"), round, "");
        put_each(&*store, std::slice::from_ref(&written)).await;
        assert_eq!(changes(&*store, round - 1, ALL).await, [written]);
    }
}

/// More callers at once than any queue has places, on several threads: each gets its answer.
pub async fn many_callers_are_served_at_once<F: StorageFixture>() {
    const CALLERS: usize = 500;
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let written: Vec<Record> = (1..=10).map(|n| record(&format!("{n}"), n, format!("{n}"))).collect();
    put_each(&*store, &written).await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (store, written) = (Arc::clone(&store), written[caller % written.len()].clone());
            tokio::spawn(async move { serve(&*store, written).await })
        })
        .collect();
    for caller in callers {
        caller.await.expect("the caller is served");
    }
}

async fn serve(store: &dyn Store, written: Record) {
    let found = changes(store, written.sequence.previous().number(), at_most(1, 9999)).await;
    assert_eq!(found, std::slice::from_ref(&written));
    assert_eq!(read_one(store, &written.id).await, Some(written));
}
