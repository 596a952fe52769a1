//! What fjall adds to the contract: its journal, its damage, and the stories of every adapter on disk.

use std::fs;
use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions};
use peerloom_core::{DocumentId, Sequence, StorageError};

use stories::{ALL, batch, database, directory, open, refusal, sequences};

/// What the stories are told of.
mod adapter {
    use std::path::Path;

    pub(crate) use peerloom_fjall::Durability;
    use peerloom_fjall::{Fjall, Options};
    use peerloom_on_disk::Layout;

    pub(crate) const LAYOUT: Layout = Layout { magic: "peerloom-fjall", format: 1, suffix: "fjall" };

    /// Room for the files of an empty database, twice over.
    pub(crate) const FULL_DISK_BYTES: usize = 4 << 20;

    pub(crate) fn at(path: impl AsRef<Path>) -> Fjall {
        Fjall::at(path.as_ref())
    }

    pub(crate) fn with_durability(path: impl AsRef<Path>, durability: Durability) -> Fjall {
        at(path).options(Options { durability, ..Options::default() })
    }

    pub(crate) fn another_programs(path: &Path) {
        drop(fjall::Database::builder(path).open().expect("opened"));
    }
}

#[path = "../../on-disk/stories.rs"]
mod stories;

fn newest_journal(path: &Path) -> PathBuf {
    let names =
        fs::read_dir(database(path)).expect("a database").map(|entry| entry.expect("an entry").path());
    let journals = names.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.max().expect("a journal")
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
