//! What RocksDB adds to the contract: its log, its damage, and the stories of every adapter on disk.

use std::fs;
use std::path::{Path, PathBuf};

use peerloom_core::{DocumentId, Sequence, StorageError};
use rocksdb::DB;

use stories::{ALL, batch, database, directory, open, refusal, sequences};

/// What the stories are told of.
mod adapter {
    use std::path::Path;

    use peerloom_on_disk::Layout;
    pub(crate) use peerloom_rocksdb::Durability;
    use peerloom_rocksdb::{Options, RocksDb};

    pub(crate) const LAYOUT: Layout = Layout { magic: "peerloom-rocksdb", format: 1, suffix: "rocksdb" };

    /// Room for the files of an empty database, several times over: RocksDB writes out what it holds when it is opened again.
    pub(crate) const FULL_DISK_BYTES: usize = 16 << 20;

    pub(crate) fn at(path: impl AsRef<Path>) -> RocksDb {
        RocksDb::at(path.as_ref())
    }

    pub(crate) fn with_durability(path: impl AsRef<Path>, durability: Durability) -> RocksDb {
        at(path).options(Options { durability, ..Options::default() })
    }

    pub(crate) fn another_programs(path: &Path) {
        drop(rocksdb::DB::open_default(path).expect("opened"));
    }
}

#[path = "../../on-disk/stories.rs"]
mod stories;

fn newest(path: &Path, extension: &str) -> PathBuf {
    let entries =
        fs::read_dir(database(path)).expect("a database").map(|entry| entry.expect("an entry").path());
    let found = entries.filter(|path| path.extension().is_some_and(|found| found == extension));
    found.max().expect("a file of that kind")
}

/// Commits batches of ten documents, and leaves them in the log only, as a kill would.
async fn in_the_log(path: &Path, batches: u64) -> Vec<u8> {
    let store = open(path).await;
    for first in 0..batches {
        store.commit(batch(10 * first + 1..=10 * first + 10, 100)).await.expect("the batch is fine");
    }
    let log = fs::read(newest(path, "log")).expect("a log");
    store.close().await.expect("the store closes");
    log
}

#[tokio::test]
async fn a_commit_cut_short_in_the_log_is_not_there_in_part() {
    for cut in [1, 20, 500, 1000] {
        let directory = directory();
        let log = in_the_log(directory.path(), 2).await;
        fs::write(newest(directory.path(), "log"), &log[..log.len() - cut]).expect("written");
        let store = open(directory.path()).await;
        assert_eq!(sequences(&*store).await, (1..=10).collect::<Vec<_>>(), "{cut} bytes less");
        let documents = store.list(peerloom_core::IdRange::ALL, ALL).await.expect("documents are listed");
        assert_eq!(documents.len(), 10, "{cut} bytes less");
    }
}

#[tokio::test]
async fn a_broken_middle_of_the_log_is_told_and_not_taken_for_its_end() {
    let directory = directory();
    let mut log = in_the_log(directory.path(), 3).await;
    let middle = log.len() / 2;
    log[middle] ^= 0xff;
    fs::write(newest(directory.path(), "log"), log).expect("written");
    let refusal = refusal(directory.path()).await;
    assert!(matches!(refusal, StorageError::Corrupt { .. }), "{refusal}");
}

#[tokio::test]
async fn damage_is_told_and_harms_no_other_document() {
    let directory = directory();
    open(directory.path()).await.commit(batch(1..=3, 10)).await.expect("the batch is fine");
    let families = ["default", "feed", "documents", "metadata"];
    let options = rocksdb::Options::default();
    let damaged = DB::open_cf(&options, database(directory.path()), families).expect("a database");
    let feed = damaged.cf_handle("feed").expect("a feed");
    damaged.put_cf(feed, 2_u64.to_be_bytes(), "not a record").expect("put");
    drop(damaged);

    let store = open(directory.path()).await;
    let id = |text: &str| [DocumentId::new(text).expect("a valid id")];
    assert!(matches!(store.read(&id("2")).await, Err(StorageError::Corrupt { .. })));
    assert!(matches!(store.changes(Sequence::ZERO, ALL).await, Err(StorageError::Corrupt { .. })));
    assert!(store.read(&id("1")).await.expect("documents are readable")[0].is_some());
    assert_eq!(store.changes(Sequence::new(2), ALL).await.expect("the feed is readable").len(), 1);
}

#[tokio::test]
async fn a_file_that_is_missing_is_told_as_damage() {
    let directory = directory();
    open(directory.path()).await.close().await.expect("the store closes");
    fs::remove_file(newest_manifest(directory.path())).expect("removed");
    let refusal = refusal(directory.path()).await;
    assert!(matches!(refusal, StorageError::Corrupt { .. }), "{refusal}");
}

fn newest_manifest(path: &Path) -> PathBuf {
    let entries =
        fs::read_dir(database(path)).expect("a database").map(|entry| entry.expect("an entry").path());
    let manifest =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST"));
    entries.filter(manifest).max().expect("a manifest")
}
