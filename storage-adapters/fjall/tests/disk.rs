//! What the disk adds to the contract: whose a directory is, crashes, damage, and a disk that is full.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fjall::{Database, KeyspaceCreateOptions};
use peerloom_core::{
    Batch, CommitError, DocumentId, Dot, Head, Incarnation, PageLimits, Put, Record, Sequence, Stamp, State,
    Storage, StorageError, Store, StoreName,
};
use peerloom_fjall::{Durability, Fjall, Options};
use tempfile::TempDir;

const ALL: PageLimits = PageLimits { documents_max: NonZeroU32::MAX, bytes_max: NonZeroU32::MAX };

/// Set in a child process that is to write there and die.
const CRASH_DIRECTORY: &str = "PEERLOOM_CRASH_DIRECTORY";

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn new(sequence: u64, body_bytes: usize) -> Put {
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

fn batch(sequences: impl IntoIterator<Item = u64>, body_bytes: usize) -> Batch {
    let records = sequences.into_iter().map(|sequence| new(sequence, body_bytes)).collect();
    Batch { records, metadata: Vec::new() }
}

async fn open(path: &Path) -> Arc<dyn Store> {
    Fjall::at(path).open(&StoreName::node()).await.expect("the store opens")
}

async fn refusal(path: &Path) -> StorageError {
    match Fjall::at(path).open(&StoreName::node()).await {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

async fn sequences(store: &dyn Store) -> Vec<u64> {
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

fn database(path: &Path) -> PathBuf {
    path.join("store-_node.fjall")
}

fn newest_journal(path: &Path) -> PathBuf {
    let names =
        fs::read_dir(database(path)).expect("a database").map(|entry| entry.expect("an entry").path());
    let journals = names.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.max().expect("a journal")
}

#[tokio::test]
async fn a_directory_that_is_not_ours_is_refused_and_not_touched() {
    for story in ["a file", "a directory", "another program's fjall", "a marker with other words"] {
        let directory = directory();
        let path = |name| directory.path().join(name);
        match story {
            "a file" => fs::write(path("thesis.txt"), "words").expect("written"),
            "a directory" => fs::create_dir(path("photos")).expect("created"),
            "another program's fjall" => drop(Database::builder(directory.path()).open().expect("opened")),
            _ => fs::write(path("peerloom-format"), "hello").expect("written"),
        }
        let before = content(directory.path());
        let refusal = refusal(directory.path()).await;
        assert!(matches!(refusal, StorageError::Foreign { .. }), "{story}: {refusal}");
        let deletion = Fjall::at(directory.path()).delete(&StoreName::node()).await;
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
    let cases = [
        ("peerloom-fjall 2 record 1\n", 2, 1),
        ("peerloom-fjall 1 record 9\n", 9, Record::FORMAT),
        ("peerloom-fjall 3 of another shape\n", 3, 1),
    ];
    for (marker, expected, newest) in cases {
        let directory = directory();
        open(directory.path()).await.close().await.expect("the store closes");
        fs::write(directory.path().join("peerloom-format"), marker).expect("written");
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
    for cut in ["", "peerloom", "peerloom-fjall 1 record 1"] {
        fs::write(directory.path().join("peerloom-format"), cut).expect("written");
        open(directory.path()).await.close().await.expect("the store closes");
        let marker = fs::read_to_string(directory.path().join("peerloom-format")).expect("a marker");
        assert_eq!(marker, "peerloom-fjall 1 record 1\n");
    }
}

#[tokio::test]
async fn a_creation_or_deletion_cut_short_leaves_no_trace() {
    let directory = directory();
    open(directory.path()).await.commit(batch(1..=3, 10)).await.expect("the batch is fine");
    let place = |suffix| directory.path().join(format!("store-_node.{suffix}"));
    fs::create_dir(place("new")).expect("created");
    fs::write(place("new").join("0.jnl"), "half").expect("written");
    fs::rename(database(directory.path()), place("old")).expect("renamed");

    assert_eq!(sequences(&*open(directory.path()).await).await, [0; 0]);
    assert!(!place("new").exists() && !place("old").exists());
}

#[tokio::test]
async fn dropping_the_future_of_an_opening_lets_go_of_the_store() {
    let directory = directory();
    for _ in 0..5 {
        let storage = Fjall::at(directory.path());
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
        let storage = Fjall::at(&path);
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
        let storage = Fjall::at(path).options(Options { durability, ..Options::default() });
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
            .args(["--exact", "a_commit_survives_the_process"])
            .env(CRASH_DIRECTORY, &path)
            .output()
            .expect("the test runs itself");
        assert!(!test.status.success(), "it died");
        assert_eq!(sequences(&*open(&path).await).await, (1..=300).collect::<Vec<_>>(), "{durability}");
    }
}

#[tokio::test]
async fn a_commit_cut_short_in_the_journal_is_not_there_in_part() {
    let directory = directory();
    let path = directory.path();
    open(path).await.commit(batch(1..=10, 100)).await.expect("the batch is fine");
    // Reopening cuts the journal to what is used of it, so that its end is the end of the next commit.
    open(path).await.close().await.expect("the store closes");
    let whole = fs::metadata(newest_journal(path)).expect("a journal").len();
    open(path).await.commit(batch(11..=20, 100)).await.expect("the batch is fine");
    let journal = fs::read(newest_journal(path)).expect("a journal");
    assert!(journal.len() as u64 > whole + 1000, "the second commit is in the journal");

    for cut in [1, 20, 500, 1000, journal.len() - whole as usize - 1] {
        fs::write(newest_journal(path), &journal[..journal.len() - cut]).expect("written");
        let store = open(path).await;
        assert_eq!(sequences(&*store).await, (1..=10).collect::<Vec<_>>(), "{cut} bytes less");
        let documents = store.list(peerloom_core::IdRange::ALL, ALL).await.expect("documents are listed");
        assert_eq!(documents.len(), 10, "{cut} bytes less");
    }
}

#[tokio::test]
async fn damage_is_told_and_harms_no_other_document() {
    let directory = directory();
    open(directory.path()).await.commit(batch(1..=3, 10)).await.expect("the batch is fine");
    let damaged = Database::builder(database(directory.path())).open().expect("a database");
    let feed = damaged.keyspace("feed", KeyspaceCreateOptions::default).expect("a feed");
    feed.insert(2_u64.to_be_bytes(), "not a record").expect("inserted");
    drop((feed, damaged));

    let store = open(directory.path()).await;
    let id = |text: &str| [DocumentId::new(text).expect("a valid id")];
    assert!(matches!(store.read(&id("2")).await, Err(StorageError::Corrupt { .. })));
    assert!(matches!(store.changes(Sequence::ZERO, ALL).await, Err(StorageError::Corrupt { .. })));
    assert!(store.read(&id("1")).await.expect("documents are readable")[0].is_some());
    assert_eq!(store.changes(Sequence::new(2), ALL).await.expect("the feed is readable").len(), 1);
}

#[tokio::test]
async fn files_that_fjall_never_makes_are_told_as_damage() {
    let directory = directory();
    open(directory.path()).await.close().await.expect("the store closes");
    fs::create_dir(database(directory.path()).join("keyspaces/x")).expect("created");
    assert!(matches!(refusal(directory.path()).await, StorageError::Corrupt { .. }));
}

/// A file system of its own, or none if the tests may not mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = directory();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(directory.path())
            .output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = Command::new("umount").arg(self.0.path()).status();
        assert!(
            unmount.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "the disk is unmounted"
        );
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing_that_was_committed() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting needs more rights");
        return;
    };
    let path = disk.0.path().join("data");
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 2 << 20]).expect("written");

    let store = open(&path).await;
    // Bodies too small for fjall to compress them.
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
