//! A crash or a refusal at every commit of whatever takes more than one, and of what takes one.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use peerloom_core::{PageLimits, Put, Record, Sequence, Storage, Store};
use peerloom_encrypted::{Encrypted, EncryptionError, Secret};
use peerloom_memory::Memory;

use crate::disk::{commit, entry, exchanges, feed, metadata, name, open, opened, puts, record, secret};
use crate::faulty::{Fault, Faulty};

const STORES: [&str; 3] = ["alpha", "beta", "gamma"];

/// What is in every store.
type Everything = BTreeMap<&'static str, (Vec<Record>, Vec<(Bytes, Bytes)>)>;

/// Three stores, with and without documents and metadata.
async fn written() -> Memory {
    let disk = Memory::new();
    let storage = opened(&disk).await;
    for (store, documents) in STORES.into_iter().zip([5, 3, 0]) {
        let store = open(&storage, store).await;
        for number in 1..=documents {
            commit(&*store, puts([record(&format!("{number}"), number, format!("body {number}"))])).await;
            commit(&*store, entry(format!("key {number}"), format!("value {number}"))).await;
        }
    }
    drop(open(&storage, "deleted").await);
    storage.delete(&name("deleted")).await.expect("it is closed");
    disk
}

async fn everything(storage: &impl Storage) -> Everything {
    let mut everything = Everything::new();
    for store in STORES {
        let opened = open(storage, store).await;
        everything.insert(store, (feed(&*opened).await, metadata(&*opened).await));
    }
    everything
}

async fn with_small_pages<S: Storage>(storage: S) -> Encrypted<S> {
    let two = NonZeroU32::new(2).expect("a literal above zero");
    let page = PageLimits { documents_max: two, bytes_max: NonZeroU32::MAX };
    Encrypted::builder(storage).rotation_page(page).open(&secret()).await.expect("the storage opens")
}

/// Tells a story for a fault at its first commit, its second, and so on, until it ends without one. Returns how often.
async fn at_every_commit(fault: Fault, mut story: impl AsyncFnMut(Faulty, Memory)) -> u64 {
    let written = written().await;
    for commit in 1.. {
        let disk = written.fork();
        let faulty = Faulty::new(&disk, commit, fault);
        story(faulty.clone(), disk).await;
        if !faulty.has_struck() {
            return commit;
        }
    }
    unreachable!("a story has an end")
}

#[tokio::test]
async fn a_rotation_goes_on_after_a_fault_at_any_commit() {
    let expected = everything(&opened(&written().await).await).await;
    for (fault, stores_are_open) in Fault::ALL.into_iter().flat_map(|fault| [(fault, false), (fault, true)]) {
        let told = at_every_commit(fault, async |faulty, disk| {
            let storage = with_small_pages(faulty.clone()).await;
            let mut held = Vec::new();
            for store in STORES.into_iter().filter(|_| stores_are_open) {
                held.push(open(&storage, store).await);
            }
            let rotated = storage.rotate().await;
            assert_eq!(rotated.is_err(), faulty.has_struck(), "{rotated:?}");
            if fault == Fault::Refused && faulty.has_struck() {
                // The same storage goes on.
                storage.rotate().await.expect("nothing goes wrong any more");
                assert!(!storage.rotation_is_unfinished().await);
            }
            drop((storage, held));

            let storage = with_small_pages(disk.clone()).await;
            assert_eq!(everything(&storage).await, expected, "before it goes on");
            storage.rotate().await.expect("nothing goes wrong any more");
            assert!(!storage.rotation_is_unfinished().await);
            drop(storage);
            // What only the old key opens would not be readable now.
            assert_eq!(everything(&with_small_pages(disk).await).await, expected, "after it went on");
        })
        .await;
        assert!(told > 20, "{told} commits");
    }
}

#[tokio::test]
async fn what_is_written_between_a_crash_and_the_rest_of_a_rotation_is_sealed_anew_as_well() {
    for fault in [Fault::PowerBefore, Fault::PowerAfter] {
        at_every_commit(fault, async |faulty, disk| {
            let rotated = with_small_pages(faulty).await.rotate().await;
            let storage = opened(&disk).await;
            let store = open(&storage, "alpha").await;
            let moved = Put { record: record("2", 6, "moved"), replaces: Some(Sequence::new(2)) };
            commit(&*store, peerloom_core::Batch { records: vec![moved], metadata: Vec::new() }).await;
            commit(&*store, exchanges([record("1", 1, "remade")])).await;
            commit(&*store, entry("key 1", "another")).await;
            commit(&*open(&storage, "fresh").await, puts([record("x", 1, "new")])).await;
            drop((store, storage));
            if rotated.is_err() {
                with_small_pages(disk.clone()).await.rotate().await.expect("it goes on");
            }
            let storage = opened(&disk).await;
            assert!(!storage.rotation_is_unfinished().await);
            let store = open(&storage, "alpha").await;
            let found = feed(&*store).await;
            assert_eq!(found.len(), 5);
            assert_eq!((&found[0], &found[4]), (&record("1", 1, "remade"), &record("2", 6, "moved")));
            assert_eq!(metadata(&*store).await[0], ("key 1".into(), "another".into()));
            assert_eq!(feed(&*open(&storage, "fresh").await).await, [record("x", 1, "new")]);
        })
        .await;
    }
}

#[tokio::test]
async fn one_of_both_passwords_opens_after_a_fault_while_it_is_changed() {
    let new = || Secret::key([8; 32]);
    let expected = everything(&opened(&written().await).await).await;
    for fault in Fault::ALL {
        at_every_commit(fault, async |faulty, disk| {
            let storage = Encrypted::open(faulty.clone(), &secret()).await.expect("the storage opens");
            let changed = storage.change_secret(&new()).await;
            assert_eq!(changed.is_err(), faulty.has_struck());
            let new_opens = changed.is_ok() || fault == Fault::PowerAfter;
            if fault == Fault::Refused && faulty.has_struck() {
                storage.change_secret(&if new_opens { new() } else { secret() }).await.expect("fine again");
            }
            drop(storage);
            let (opens, refused) = if new_opens { (new(), secret()) } else { (secret(), new()) };
            let wrong = Encrypted::open(disk.clone(), &refused).await;
            assert!(matches!(wrong, Err(EncryptionError::WrongSecret)));
            let storage = Encrypted::open(disk, &opens).await.expect("it opens");
            assert_eq!(everything(&storage).await, expected);
        })
        .await;
    }
}

#[tokio::test]
async fn a_storage_is_created_whole_or_not_at_all() {
    for fault in Fault::ALL {
        let disk = Memory::new();
        let faulty = Faulty::new(&disk, 1, fault);
        assert!(Encrypted::create(faulty, &secret()).await.is_err());
        let created = fault == Fault::PowerAfter;
        let opened = Encrypted::open(disk.clone(), &secret()).await;
        match created {
            true => drop(opened.expect("it was created")),
            false => assert!(matches!(opened, Err(EncryptionError::NotEncrypted))),
        }
        let again = Encrypted::create(disk, &secret()).await;
        assert_eq!(matches!(again, Err(EncryptionError::AlreadyEncrypted)), created);
        assert_eq!(again.is_ok(), !created);
    }
}

#[tokio::test]
async fn a_store_can_be_opened_after_a_fault_while_it_is_made_or_deleted() {
    for fault in Fault::ALL {
        let told = at_every_commit(fault, async |faulty, disk| {
            let storage = Encrypted::open(faulty.clone(), &secret()).await.expect("the storage opens");
            let made = async {
                let store = storage.open(&name("fresh")).await?;
                store.close().await?;
                storage.delete(&name("fresh")).await
            };
            assert_eq!(made.await.is_err(), faulty.has_struck());
            drop(storage);
            for _ in 0..2 {
                let storage = opened(&disk).await;
                let store = open(&storage, "fresh").await;
                assert_eq!(feed(&*store).await, []);
                drop(store);
                storage.rotate().await.expect("every store is found");
            }
            let store = open(&opened(&disk).await, "fresh").await;
            commit(&*store, puts([record("a", 1, "body")])).await;
            drop(store);
            opened(&disk).await.rotate().await.expect("every store is found");
            assert_eq!(feed(&*open(&opened(&disk).await, "fresh").await).await.len(), 1);
        })
        .await;
        assert_eq!(told, 4, "the header, the marker and the header once more");
    }
}

#[tokio::test]
async fn a_dropped_rotation_is_as_a_crash() {
    let written = written().await;
    let expected = everything(&opened(&written).await).await;
    for polls in 0.. {
        let disk = written.fork();
        let slow = Faulty::new(&disk, u64::MAX, Fault::Refused);
        let storage = with_small_pages(slow).await;
        let held = open(&storage, "alpha").await;
        let mut rotation = Box::pin(storage.rotate());
        let mut done = false;
        for _ in 0..polls {
            let polled = |context: &mut Context<'_>| Poll::Ready(rotation.as_mut().poll(context).is_ready());
            done = done || poll_fn(polled).await;
        }
        drop(rotation);
        commit(&*held, entry("between", "a drop and the next call")).await;
        storage.rotate().await.expect("it goes on");
        drop((held, storage));
        let mut found = everything(&opened(&disk).await).await;
        let entries = &mut found.get_mut("alpha").expect("it is there").1;
        assert_eq!(entries.remove(0).0, "between");
        assert_eq!(found, expected);
        if done {
            assert!(polls > 20, "{polls} polls");
            return;
        }
    }
}

/// Rewrites documents, moves them and remakes them in their place, while a rotation goes on.
async fn write_on(store: Arc<dyn Store>) -> Vec<Record> {
    let mut expected = feed(&*store).await;
    for round in 1..=60 {
        let last = expected[expected.len() - 1].sequence.number();
        let index = (round * 7) as usize % expected.len();
        let old = expected.remove(index);
        let moves = round % 3 > 0;
        let sequence = if moves { last + round } else { old.sequence.number() };
        let new = record(old.id.as_str(), sequence, format!("round {round}"));
        let put = Put { record: new.clone(), replaces: Some(old.sequence) };
        expected.insert(if moves { expected.len() } else { index }, new);
        let metadata = vec![(Bytes::from("round"), Some(Bytes::from(format!("{round}"))))];
        commit(&*store, peerloom_core::Batch { records: vec![put], metadata }).await;
        assert_eq!(feed(&*store).await, expected, "round {round}");
    }
    expected
}

#[tokio::test]
async fn a_rotation_loses_nothing_that_is_written_meanwhile() {
    let disk = written().await;
    let storage = with_small_pages(Faulty::new(&disk, u64::MAX, Fault::Refused)).await;
    let store = open(&storage, "alpha").await;
    let (rotations, other) = (storage.clone(), storage.clone());
    let ((), expected, ()) = tokio::join!(
        async {
            for _ in 0..5 {
                rotations.rotate().await.expect("nothing goes wrong");
            }
        },
        write_on(store.clone()),
        async {
            // Opened, closed and dropped under the rotation's hands.
            for round in 0..20 {
                let store = open(&other, "beta").await;
                assert_eq!(feed(&*store).await.len(), 3);
                if round % 2 == 0 {
                    store.close().await.expect("closed");
                }
            }
        },
    );
    drop((storage, store, rotations, other));
    let storage = opened(&disk).await;
    assert!(!storage.rotation_is_unfinished().await);
    let store = open(&storage, "alpha").await;
    assert_eq!(feed(&*store).await, expected);
    assert!(metadata(&*store).await.contains(&("round".into(), "60".into())));
}

#[tokio::test]
async fn a_rotation_seals_everything_anew() {
    let disk = written().await;
    let before = disk.fork();
    let rotated = opened(&disk).await.rotate().await.expect("nothing goes wrong");
    assert_eq!((rotated.documents, rotated.entries), (8, 8));
    for store in STORES {
        let (old, new) = (open(&before, store).await, open(&disk, store).await);
        let old = (feed(&*old).await, metadata(&*old).await);
        let new = (feed(&*new).await, metadata(&*new).await);
        assert_eq!(old.0.len(), new.0.len());
        assert!(old.0.iter().zip(&new.0).all(|(old, new)| old.view().body != new.view().body));
        assert!(old.1.iter().zip(&new.1).all(|(old, new)| old.0 == new.0 && old.1 != new.1));
    }
    // The old key is gone: what was sealed with it is not opened any more, old records among new ones neither.
    let old = feed(&*open(&before, "beta").await).await;
    commit(&*open(&disk, "beta").await, exchanges([old[1].clone()])).await;
    let store = open(&opened(&disk).await, "beta").await;
    store.changes(Sequence::ZERO, crate::disk::ALL).await.expect_err("an old record");
}

#[tokio::test]
async fn a_store_that_is_open_elsewhere_is_not_missed() {
    let disk = written().await;
    let expected = everything(&opened(&disk).await).await;
    let (left, right) = (opened(&disk).await, opened(&disk).await);
    let held = open(&left, "beta").await;
    let locked = right.rotate().await.expect_err("a store is open elsewhere");
    let storage = matches!(locked, EncryptionError::Storage(peerloom_core::StorageError::Locked { .. }));
    assert!(storage, "{locked}");
    assert!(right.rotation_is_unfinished().await);
    commit(&*held, entry("written", "with the old key")).await;
    drop(held);
    right.rotate().await.expect("all are closed");
    let mut found = everything(&left).await;
    found.get_mut("beta").expect("it is there").1.pop();
    assert_eq!(found, expected);
}
