//! What the traits cannot test: files that a crash cut short, and files that are not ours.

use std::fs;
use std::path::PathBuf;

use custom_storage::LogFiles;
use peerloom_core::{Batch, Storage, StorageError, StoreName};
use tempfile::TempDir;

/// A directory, the storage in it, and the file of its node's store.
fn place() -> (TempDir, LogFiles, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let storage = LogFiles::at(directory.path());
    let path = storage.path(&StoreName::node());
    (directory, storage, path)
}

async fn write(storage: &LogFiles, keys: &[&'static str]) {
    let store = storage.open(&StoreName::node()).await.expect("the store opens");
    for key in keys {
        let metadata = vec![((*key).into(), Some("value".into()))];
        store.commit(Batch { metadata, ..Batch::default() }).await.expect("the batch is fine");
    }
}

async fn keys(storage: &LogFiles) -> Vec<String> {
    let store = storage.open(&StoreName::node()).await.expect("the store opens");
    let found = store.metadata(b"", None, std::num::NonZeroU32::MAX).await.expect("metadata is readable");
    found.into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect()
}

#[tokio::test]
async fn a_log_cut_anywhere_holds_the_commits_before_the_cut_and_takes_new_ones() {
    let (_directory, storage, path) = place();
    write(&storage, &["a"]).await;
    let whole = fs::read(&path).expect("a log").len();
    write(&storage, &["b"]).await;
    let content = fs::read(&path).expect("a log");
    for cut in 0..content.len() {
        fs::write(&path, &content[..cut]).expect("written");
        let expected: &[&str] = if cut < whole { &[] } else { &["a"] };
        assert_eq!(keys(&storage).await, expected, "cut after {cut} bytes");
        write(&storage, &["c"]).await;
        assert_eq!(keys(&storage).await, [expected, &["c"]].concat(), "cut after {cut} bytes");
    }
}

#[tokio::test]
async fn a_changed_byte_costs_no_commit_before_it() {
    let (_directory, storage, path) = place();
    write(&storage, &["a"]).await;
    let whole = fs::read(&path).expect("a log").len();
    write(&storage, &["b"]).await;
    let content = fs::read(&path).expect("a log");
    for position in whole..content.len() {
        let mut changed = content.clone();
        changed[position] ^= 1;
        fs::write(&path, &changed).expect("written");
        assert_eq!(keys(&storage).await, ["a"], "byte {position}");
    }
}

#[tokio::test]
async fn what_is_not_ours_is_refused_and_not_touched() {
    let (_directory, storage, path) = place();
    for (content, expected) in [("a thesis", "foreign"), ("peerloom example log 2\n", "newer")] {
        fs::write(&path, content).expect("written");
        let found = match storage.open(&StoreName::node()).await.err() {
            Some(StorageError::Foreign { .. }) => "foreign",
            Some(StorageError::Newer { found: 2, supported: 1 }) => "newer",
            other => panic!("{content}: {other:?}"),
        };
        assert_eq!(found, expected);
        assert_eq!(fs::read_to_string(&path).expect("a file"), content);
    }
}
