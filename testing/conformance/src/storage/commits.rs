//! Commits: whole, visible and lasting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use peerloom_core::{Batch, DocumentId, IdRange, Store};
use tokio::task::JoinHandle;

use super::StorageFixture;
use super::sample::{
    ALL, batch, body, close, commit, entries, feed, id, list, metadata, new, open, put_each, read, record,
    records, replacing, sequences,
};
use crate::poll::poll_once;

/// Every record of a batch is there when the commit returns, for every kind of read.
pub async fn a_commit_shows_every_record_in_it<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let written = records(&["one", "two", "three"]);
    commit(&*store, batch(written.iter().cloned().map(new))).await;

    assert_eq!(feed(&*store).await, written);
    assert_eq!(list(&*store, IdRange::ALL, ALL).await.len(), 3);
    let ids: Vec<DocumentId> = written.iter().map(|record| record.id.clone()).collect();
    assert_eq!(read(&*store, &ids).await, written.into_iter().map(Some).collect::<Vec<_>>());
}

/// Every entry of metadata is there when the commit returns, next to the records that came with it.
pub async fn a_commit_shows_all_metadata_in_it<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let mut both = entries(&[(b"a", Some(b"1")), (b"b", Some(b"2"))]);
    both.records = vec![new(record("one", 1, ""))];
    commit(&*store, both).await;

    assert_eq!(metadata(&*store).await, [("a".into(), "1".into()), ("b".into(), "2".into())]);
    assert_eq!(feed(&*store).await, [record("one", 1, "")]);
}

/// An empty batch is fine, on an empty store and on another.
pub async fn an_empty_batch_changes_nothing<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    commit(&*store, Batch::default()).await;
    assert_eq!(feed(&*store).await, []);
    put_each(&*store, &records(&["one"])).await;
    commit(&*store, Batch::default()).await;
    assert_eq!(feed(&*store).await, records(&["one"]));
}

/// What was committed is there when the store was closed and is opened again.
pub async fn a_commit_survives_closing<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    write_a_little(&*store).await;
    close(&*store).await;
    drop(store);
    assert_a_little(&*open(&fixture).await).await;
}

/// What was committed is there when the store was dropped without closing it, and is opened again.
pub async fn a_commit_survives_dropping_the_store<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    write_a_little(&*store).await;
    drop(store);
    assert_a_little(&*open(&fixture).await).await;
}

/// A document that stays, one that moves, metadata that stays and metadata that goes.
async fn write_a_little(store: &dyn Store) {
    put_each(store, &[record("moves", 1, "old"), record("stays", 2, "old")]).await;
    commit(store, entries(&[(b"stays", Some(b"here"))])).await;
    commit(store, entries(&[(b"goes", Some(b"away"))])).await;
    commit(store, batch([replacing(1, record("moves", 3, "new"))])).await;
    commit(store, entries(&[(b"goes", None)])).await;
}

async fn assert_a_little(store: &dyn Store) {
    let expected = [record("stays", 2, "old"), record("moves", 3, "new")];
    assert_eq!(feed(store).await, expected);
    let [stays, moves] = expected;
    assert_eq!(list(store, IdRange::ALL, ALL).await, [moves.clone(), stays.clone()]);
    assert_eq!(read(store, &[id("stays"), id("moves")]).await, [Some(stays), Some(moves)]);
    assert_eq!(metadata(store).await, [("stays".into(), "here".into())]);
}

/// Commits that rewrite two documents and two entries, seen by readers on other threads: both are always
/// alike.
pub async fn a_reader_sees_a_commit_whole_or_not_at_all<F: StorageFixture>() {
    const ROUNDS_MIN: u64 = 50;
    const LOOKS_MIN: u64 = 100;
    const READERS: usize = 2;
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let round_of_both = |round: u64| {
        let text = format!("{round}");
        let (left, right) = (2 * round + 1, 2 * round + 2);
        let mut both = entries(&[(b"left", Some(text.as_bytes())), (b"right", Some(text.as_bytes()))]);
        let (left, right) = (record("left", left, text.clone()), record("right", right, text));
        both.records = match round.checked_sub(1) {
            None => vec![new(left), new(right)],
            Some(last) => vec![replacing(2 * last + 1, left), replacing(2 * last + 2, right)],
        };
        both
    };
    commit(&*store, round_of_both(0)).await;
    let (done, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (store, done, looks) = (Arc::clone(&store), Arc::clone(&done), Arc::clone(&looks));
            tokio::spawn(async move {
                while !done.load(Ordering::Acquire) {
                    assert_both_alike(&*store).await;
                    looks.fetch_add(1, Ordering::AcqRel);
                    // Others must get to run, even if the adapter never waits.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut rounds = 1..;
    // A reader that has finished has seen a commit in part.
    while !readers.iter().any(JoinHandle::is_finished)
        && let Some(round) = rounds.next()
        && (round <= ROUNDS_MIN || looks.load(Ordering::Acquire) < LOOKS_MIN)
    {
        commit(&*store, round_of_both(round)).await;
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.await.expect("the reader sees whole commits");
    }
}

async fn assert_both_alike(store: &dyn Store) {
    let found = read(store, &[id("left"), id("right")]).await;
    let found: Vec<_> = found.into_iter().map(|answer| answer.expect("never removed")).collect();
    assert_eq!(body(&found[0]), body(&found[1]), "a read between");
    for found in [feed(store).await, list(store, IdRange::ALL, ALL).await] {
        assert_eq!(found.len(), 2, "each document once: {:?}", sequences(&found));
        assert_eq!(body(&found[0]), body(&found[1]), "a page between");
    }
    let found = metadata(store).await;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].1, found[1].1, "metadata between");
}

/// Commits whose futures are polled once and dropped. Of each, all is there or nothing, and nothing comes
/// later.
pub async fn a_dropped_commit_is_applied_whole_before_later_operations_or_not_at_all<F: StorageFixture>() {
    const ROUNDS: u64 = 12;
    const RECORDS: u64 = 10;
    let fixture = F::fresh();
    let store = open(&fixture).await;
    for round in 0..ROUNDS {
        let before = 2 * RECORDS * round;
        let key = format!("{round}");
        let mut dropped = entries(&[(key.as_bytes(), Some(b"v"))]);
        dropped.records =
            (1..=RECORDS).map(|n| new(record(&format!("{round}-{n}"), before + n, "x"))).collect();
        let mut committing = store.commit(dropped);
        let _ = poll_once(&mut committing).await;
        drop(committing);

        let last = record(&format!("{round}-last"), before + RECORDS + 1, "y");
        let mut found = super::sample::changes(&*store, before, ALL).await;
        let applied = !found.is_empty();
        put_each(&*store, std::slice::from_ref(&last)).await;
        for moment in ["at once", "after a commit", "later"] {
            if moment != "at once" {
                found = super::sample::changes(&*store, before, ALL).await;
                assert_eq!(found.pop().as_ref(), Some(&last), "{moment}");
            }
            let whole = if applied { RECORDS as usize } else { 0 };
            assert_eq!(found.len(), whole, "{moment}, records of a dropped commit of {RECORDS}");
            let entries = super::sample::keys(&*store, key.as_bytes(), None, 9).await;
            assert_eq!(entries.iter().any(|found| *found == key), applied, "{moment}, its metadata");
            tokio::task::yield_now().await;
        }
    }
}
