//! What a disk adds to the contract, for every adapter on disk: whose a directory is, crashes, and a disk that is full.
//!
//! Included by the adapters' tests, beside what they call `adapter`: a function that makes a storage at a path, its
//! `LAYOUT`, and another program's use of the same library.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use peerloom_core::{
    Batch, CommitError, DocumentId, Dot, Head, Incarnation, PageLimits, Put, Record, Sequence, Stamp, State,
    Storage, StorageError, Store, StoreName,
};
use tempfile::TempDir;

use super::adapter::{self, Durability, LAYOUT};
use small_disk::SmallDisk;

mod small_disk;

pub(crate) const ALL: PageLimits = PageLimits { documents_max: NonZeroU32::MAX, bytes_max: NonZeroU32::MAX };

/// Set in a child process that is to write there and die.
const CRASH_DIRECTORY: &str = "PEERLOOM_CRASH_DIRECTORY";

pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub(crate) fn new(sequence: u64, body_bytes: usize) -> Put {
    let state = State { body: vec![sequence as u8; body_bytes].into(), ..State::default() };
    let stamp = Stamp::new(sequence).expect("a small stamp");
    let record = Record {
        id: DocumentId::new(format!("{sequence}")).expect("a valid id"),
        sequence: Sequence::new(sequence),
        document: Head { dot: Dot { incarnation: Incarnation::new(7), stamp }, state }.into(),
        resolved: None,
    };
    Put { record, replaces: None }
}

pub(crate) fn batch(sequences: impl IntoIterator<Item = u64>, body_bytes: usize) -> Batch {
    let records = sequences.into_iter().map(|sequence| new(sequence, body_bytes)).collect();
    Batch { records, metadata: Vec::new() }
}

pub(crate) async fn open(path: &Path) -> Arc<dyn Store> {
    adapter::at(path).open(&StoreName::node()).await.expect("the store opens")
}

pub(crate) async fn refusal(path: &Path) -> StorageError {
    match adapter::at(path).open(&StoreName::node()).await {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

pub(crate) async fn sequences(store: &dyn Store) -> Vec<u64> {
    let page = store.changes(Sequence::ZERO, ALL).await.expect("the feed is readable");
    page.iter().map(|record| record.sequence.number()).collect()
}

/// Every file below a directory, with its content.
fn content(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(content(&path));
        } else {
            found.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

pub(crate) fn database(path: &Path) -> PathBuf {
    path.join(format!("store-_node.{}", LAYOUT.suffix))
}

#[tokio::test]
async fn a_directory_that_is_not_ours_is_refused_and_not_touched() {
    for story in ["a file", "a directory", "another program's database", "a marker with other words"] {
        let directory = directory();
        let path = |name| directory.path().join(name);
        match story {
            "a file" => fs::write(path("thesis.txt"), "words").expect("written"),
            "a directory" => fs::create_dir(path("photos")).expect("created"),
            "another program's database" => adapter::another_programs(directory.path()),
            _ => fs::write(path("peerloom-format"), "hello").expect("written"),
        }
        let before = content(directory.path());
        let refusal = refusal(directory.path()).await;
        assert!(matches!(refusal, StorageError::Foreign { .. }), "{story}: {refusal}");
        let deletion = adapter::at(directory.path()).delete(&StoreName::node()).await;
        assert!(matches!(deletion, Err(StorageError::Foreign { .. })), "{story}");
        assert_eq!(content(directory.path()), before, "{story}");
    }
}

#[tokio::test]
async fn a_file_in_place_of_the_directory_is_refused() {
    let directory = directory();
    let path = directory.path().join("file");
    fs::write(&path, "words").expect("written");
    assert!(matches!(refusal(&path).await, StorageError::Foreign { .. }));
    assert_eq!(fs::read(&path).expect("a file"), b"words");
}

#[tokio::test]
async fn a_later_format_is_refused_and_not_touched() {
    let cases = [("2 record 1\n", 2, 1), ("1 record 9\n", 9, Record::FORMAT), ("3 of another shape\n", 3, 1)];
    for (versions, expected, newest) in cases {
        let marker = format!("{} {versions}", LAYOUT.magic);
        let directory = directory();
        open(directory.path()).await.close().await.expect("the store closes");
        fs::write(directory.path().join("peerloom-format"), &marker).expect("written");
        let before = content(directory.path());
        match refusal(directory.path()).await {
            StorageError::Newer { found, supported } => assert_eq!((found, supported), (expected, newest)),
            error => panic!("{marker}: {error}"),
        }
        assert_eq!(content(directory.path()), before);
    }
}

#[tokio::test]
async fn a_marker_cut_short_by_a_crash_is_completed() {
    let directory = directory();
    let whole = format!("{} 1 record 1\n", LAYOUT.magic);
    for cut in ["", "peerloom", whole.trim_end()] {
        fs::write(directory.path().join("peerloom-format"), cut).expect("written");
        open(directory.path()).await.close().await.expect("the store closes");
        let marker = fs::read_to_string(directory.path().join("peerloom-format")).expect("a marker");
        assert_eq!(marker, whole);
    }
}

#[tokio::test]
async fn a_creation_or_deletion_cut_short_leaves_no_trace() {
    let directory = directory();
    open(directory.path()).await.commit(batch(1..=3, 10)).await.expect("the batch is fine");
    let place = |suffix| directory.path().join(format!("store-_node.{suffix}"));
    fs::create_dir(place("new")).expect("created");
    fs::write(place("new").join("file"), "half").expect("written");
    fs::rename(database(directory.path()), place("old")).expect("renamed");

    assert_eq!(sequences(&*open(directory.path()).await).await, [0; 0]);
    assert!(!place("new").exists() && !place("old").exists());
}

#[tokio::test]
async fn dropping_the_future_of_an_opening_lets_go_of_the_store() {
    let directory = directory();
    for _ in 0..5 {
        let storage = adapter::at(directory.path());
        let node = StoreName::node();
        let mut opening = storage.open(&node);
        std::future::poll_fn(|context| {
            let _ = opening.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
        drop(opening);
        open(directory.path()).await;
    }
}

#[tokio::test]
async fn stores_are_opened_at_once_in_a_fresh_directory() {
    let directory = directory();
    let path = directory.path().join("fresh");
    let openings = (0..4).map(|index| {
        let storage = adapter::at(&path);
        tokio::spawn(async move {
            let name = peerloom_core::CollectionName::new(&format!("{index}")).expect("a valid name");
            storage.open(name.store()).await.map(drop)
        })
    });
    for opening in openings.collect::<Vec<_>>() {
        opening.await.expect("no panic").expect("the store opens");
    }
}

#[tokio::test]
async fn a_commit_survives_the_process() {
    if let Some(path) = std::env::var_os(CRASH_DIRECTORY) {
        let durability = match path.to_string_lossy().ends_with("buffered") {
            true => Durability::Buffered,
            false => Durability::Synced,
        };
        let storage = adapter::with_durability(path, durability);
        let store = storage.open(&StoreName::node()).await.expect("the store opens");
        for first in [1, 101, 201] {
            store.commit(batch(first..first + 100, 50)).await.expect("the batch is fine");
        }
        std::process::abort();
    }
    let directory = directory();
    for durability in ["synced", "buffered"] {
        let path = directory.path().join(durability);
        let test = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "stories::a_commit_survives_the_process"])
            .env(CRASH_DIRECTORY, &path)
            .output()
            .expect("the test runs itself");
        assert!(!test.status.success(), "it died");
        assert_eq!(sequences(&*open(&path).await).await, (1..=300).collect::<Vec<_>>(), "{durability}");
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing_that_was_committed() {
    let Some(disk) = SmallDisk::mount(adapter::FULL_DISK_BYTES) else { return };
    let path = disk.path().join("data");
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; adapter::FULL_DISK_BYTES / 2]).expect("written");

    let store = open(&path).await;
    let (each, mut written) = (20, 0);
    let failure = loop {
        if let Err(failure) = store.commit(batch(written + 1..=written + each, 3000)).await {
            break failure;
        }
        written += each;
        assert!(written < 5000, "the disk is larger than it should be");
    };
    assert!(matches!(failure, CommitError::Unknown(StorageError::Full)), "{failure:?}");
    let again = store.commit(batch([written + 1], 10)).await;
    assert!(matches!(again, Err(CommitError::NotApplied(StorageError::Io { .. }))), "{again:?}");
    assert_eq!(sequences(&*store).await.len() as u64, written);
    drop(store);

    fs::remove_file(&ballast).expect("removed");
    let store = open(&path).await;
    let found = sequences(&*store).await.len() as u64;
    assert!(written > 0 && (found == written || found == written + each), "{found} of {written}");
    let next = found + 1;
    store.commit(batch([next], 10)).await.expect("there is space again");
    assert_eq!(sequences(&*store).await, (1..=next).collect::<Vec<_>>());
    store.close().await.expect("the store closes");
}
