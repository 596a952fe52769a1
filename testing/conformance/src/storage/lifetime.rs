//! Opening, closing, dropping and deleting stores.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use peerloom_core::{CommitError, IdRange, Sequence, Storage, StorageError, Store, StoreName};

use super::StorageFixture;
use super::sample::{
    ALL, batch, close, feed, id, metadata, name, new, open, open_named, put_each, put_keys, record, records,
};
use crate::poll::{join_all, poll_once};

/// How long a store may stay open after the future that was opening it is dropped.
const LET_GO_MAX: Duration = Duration::from_secs(10);

fn documents() -> StoreName {
    name("documents")
}

async fn assert_locked(fixture: &impl StorageFixture) {
    match fixture.storage().open(&documents()).await {
        Ok(_) => panic!("the store was opened twice"),
        Err(error) => assert!(matches!(error, StorageError::Locked { .. }), "{error}"),
    }
}

/// Names that differ in little, such as the case of a letter, open at the same time and hold their own.
pub async fn stores_of_different_names_share_nothing<F: StorageFixture>() {
    let fixture = F::fresh();
    let long = "x".repeat(63);
    let (longest, other_longest) = (format!("{long}y"), format!("{long}z"));
    let names = ["a", "A", "a.b", "a-b", "a_b", "node", "nul", "0.", &longest, &other_longest].map(name);
    let names: Vec<StoreName> = names.into_iter().chain([StoreName::node()]).collect();
    let mut stores = Vec::new();
    for (name, sequence) in names.iter().zip(1..) {
        let store = open_named(&fixture, name).await;
        assert_eq!(feed(&*store).await, [], "{name}");
        put_each(&*store, &[record(name.as_str(), sequence, "")]).await;
        put_keys(&*store, &[name.as_str().as_bytes()]).await;
        stores.push(store);
    }
    for ((name, store), sequence) in names.iter().zip(&stores).zip(1..) {
        assert_eq!(feed(&**store).await, [record(name.as_str(), sequence, "")]);
        assert_eq!(metadata(&**store).await.len(), 1, "{name}");
    }
    drop(stores);
    for (name, sequence) in names.iter().zip(1..) {
        assert_eq!(feed(&*open_named(&fixture, name).await).await, [record(name.as_str(), sequence, "")]);
    }
}

/// Neither the same adapter nor another one on the same place opens what is open. The first handle is not
/// harmed.
pub async fn a_second_opening_is_refused_while_a_handle_is_open<F: StorageFixture>() {
    let fixture = F::fresh();
    let storage = fixture.storage();
    let store = storage.open(&documents()).await.expect("the store opens");
    assert!(matches!(storage.open(&documents()).await, Err(StorageError::Locked { .. })));
    assert_locked(&fixture).await;
    put_each(&*store, &records(&["a"])).await;
    assert_eq!(feed(&*store).await, records(&["a"]));
}

/// When closing returns, opening succeeds, also while the old handle is still held.
pub async fn a_closed_store_can_be_opened_again<F: StorageFixture>() {
    let fixture = F::fresh();
    let mut closed = Vec::new();
    for round in 1..=10 {
        let store = open(&fixture).await;
        put_each(&*store, &[record(&format!("{round}"), round, "")]).await;
        close(&*store).await;
        closed.push(store);
    }
    assert_eq!(feed(&*open(&fixture).await).await.len(), 10);
}

/// Closing twice is fine, and neither that nor dropping a closed handle closes what was opened meanwhile.
pub async fn closing_again_closes_no_later_opening<F: StorageFixture>() {
    let fixture = F::fresh();
    let first = open(&fixture).await;
    close(&*first).await;
    close(&*first).await;
    let second = open(&fixture).await;
    close(&*first).await;
    assert_eq!(feed(&*second).await, []);
    drop(first);
    put_each(&*second, &records(&["a"])).await;
    assert_eq!(feed(&*second).await, records(&["a"]));
}

/// The last of several handles keeps the store open. Once it is dropped, opening succeeds at once.
pub async fn dropping_the_last_handle_closes_the_store<F: StorageFixture>() {
    let fixture = F::fresh();
    for round in 1..=10 {
        let store = open(&fixture).await;
        let last = Arc::clone(&store);
        drop(store);
        put_each(&*last, &[record(&format!("{round}"), round, "")]).await;
    }
    assert_eq!(feed(&*open(&fixture).await).await.len(), 10);
}

/// Openings that are polled once and dropped, on a store that is there and on one that is not. The store can
/// be opened soon after, and is whole.
pub async fn a_dropped_opening_lets_go_of_the_store<F: StorageFixture>() {
    let fixture = F::fresh();
    for expected in [records(&[]), records(&["a"])] {
        for _ in 0..5 {
            let storage = fixture.storage();
            let name = documents();
            let _ = poll_once(&mut storage.open(&name)).await;
            let store = open_soon(&fixture).await;
            assert_eq!(feed(&*store).await, expected);
        }
        if expected.is_empty() {
            put_each(&*open(&fixture).await, &records(&["a"])).await;
        }
    }
}

async fn open_soon(fixture: &impl StorageFixture) -> Arc<dyn Store> {
    let opening = async {
        loop {
            match fixture.storage().open(&documents()).await {
                Ok(store) => return store,
                Err(StorageError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(LET_GO_MAX, opening).await.expect("the dropped opening lets go")
}

/// A close that is polled once and dropped, and then called again.
pub async fn a_dropped_close_can_be_made_good<F: StorageFixture>() {
    let fixture = F::fresh();
    for round in 1..=5 {
        let store = open(&fixture).await;
        put_each(&*store, &[record(&format!("{round}"), round, "")]).await;
        let _ = poll_once(&mut store.close()).await;
        close(&*store).await;
        assert_eq!(feed(&*open(&fixture).await).await.len() as u64, round);
    }
}

/// Commits that were called and had not returned when the store was closed.
pub async fn what_is_called_before_closing_takes_effect<F: StorageFixture>() {
    const COMMITS: u64 = 20;
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let commit = |n: u64| store.commit(batch([new(record(&format!("{n}"), n, ""))]));
    let mut calls: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
    for n in 1..=COMMITS {
        let committing = commit(n);
        calls.push(Box::pin(async { committing.await.expect("it was called before") }));
    }
    calls.push(Box::pin(close(&*store)));
    join_all(calls).await;
    assert_eq!(feed(&*open(&fixture).await).await.len() as u64, COMMITS);
}

/// Every operation on a closed store says that it is closed, and a commit says truly that it was not applied.
pub async fn a_closed_store_refuses_everything<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    close(&*store).await;
    assert!(matches!(store.read(&[id("a")]).await, Err(StorageError::Closed)));
    assert!(matches!(store.changes(Sequence::ZERO, ALL).await, Err(StorageError::Closed)));
    assert!(matches!(store.list(IdRange::ALL, ALL).await, Err(StorageError::Closed)));
    assert!(matches!(store.metadata(b"", None, NonZeroU32::MIN).await, Err(StorageError::Closed)));
    let refused = store.commit(batch(records(&["a", "b"]).into_iter().map(new))).await;
    assert!(matches!(refused, Err(CommitError::NotApplied(StorageError::Closed))), "{refused:?}");
    assert_eq!(feed(&*open(&fixture).await).await, []);
}

/// Nothing of a deleted store comes back: no document, no place in the feed, no metadata.
pub async fn a_deleted_store_is_empty_when_opened_again<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &records(&["a", "b"])).await;
    put_keys(&*store, &[b"key"]).await;
    close(&*store).await;
    fixture.storage().delete(&documents()).await.expect("a closed store can be deleted");
    let store = open(&fixture).await;
    assert_eq!(feed(&*store).await, []);
    assert_eq!(store.read(&[id("a")]).await.expect("documents are readable"), [None]);
    assert_eq!(metadata(&*store).await, []);
    put_each(&*store, &records(&["c"])).await;
    assert_eq!(feed(&*store).await, records(&["c"]));
}

/// Deleting is refused while a handle is open, and then nothing is lost.
pub async fn an_open_store_is_not_deleted<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &records(&["a"])).await;
    let refused = fixture.storage().delete(&documents()).await;
    assert!(matches!(refused, Err(StorageError::Locked { .. })), "{refused:?}");
    assert_eq!(feed(&*store).await, records(&["a"]));
    drop(store);
    assert_eq!(feed(&*open(&fixture).await).await, records(&["a"]));
}

/// A store that never was, and one that is deleted twice.
pub async fn deleting_what_is_not_there_is_fine<F: StorageFixture>() {
    let fixture = F::fresh();
    fixture.storage().delete(&documents()).await.expect("it never was");
    close(&*open(&fixture).await).await;
    fixture.storage().delete(&documents()).await.expect("it is closed");
    fixture.storage().delete(&documents()).await.expect("it is deleted");
}

/// Stores with other names, open and closed, even if their names begin alike.
pub async fn deleting_a_store_leaves_the_others<F: StorageFixture>() {
    let fixture = F::fresh();
    let names = ["documents", "documents2", "documents.old", "doc"].map(name);
    for name in &names {
        put_each(&*open_named(&fixture, name).await, &records(&["a"])).await;
    }
    let held = open_named(&fixture, &names[1]).await;
    fixture.storage().delete(&names[0]).await.expect("it is closed");
    assert_eq!(feed(&*held).await, records(&["a"]));
    drop(held);
    for name in &names[1..] {
        assert_eq!(feed(&*open_named(&fixture, name).await).await, records(&["a"]), "{name}");
    }
}
