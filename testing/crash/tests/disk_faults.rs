//! Disks that are full, read-only, cut short or in use: typed errors, and nothing that was acknowledged is lost.
//!
//! On fjall, plain and encrypted, as an application meets it. What each adapter makes of the same is told in its own tests.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use peerloom::core::{Store, StoreName};
use peerloom::encrypted::Secret;
use peerloom::{
    Binary, Collection, CommitError, Encrypted, Error, Fjall, IdRange, Node, OpenError, Storage, StorageError,
};

use small_disk::SmallDisk;

#[path = "../../../storage-adapters/on-disk/small_disk.rs"]
mod small_disk;

const DISK_BYTES: usize = 32 << 20;

/// How many documents of how many bytes are in one commit.
const PAGE: usize = 20;
const BODY_BYTES: usize = 3000;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Encrypted,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Plain, Self::Encrypted];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "fjall",
            Self::Encrypted => "encrypted-fjall",
        }
    }

    async fn open(self, path: &Path) -> Result<(Node, Collection<Binary>), OpenError> {
        let storage: Arc<dyn Storage> = match self {
            Self::Plain => Arc::new(Fjall::at(path)),
            Self::Encrypted => {
                // The key that the program under kills uses.
                match Encrypted::open_or_create(Fjall::at(path), &Secret::key([7; 32])).await {
                    Ok(storage) => Arc::new(storage),
                    Err(peerloom::encrypted::EncryptionError::Storage(error)) => return Err(error.into()),
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let node = Node::open(Shared(storage)).await?;
        let pages = node.collection("pages").open().await?;
        Ok((node, pages))
    }
}

struct Shared(Arc<dyn Storage>);

#[async_trait::async_trait]
impl Storage for Shared {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        self.0.open(name).await
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        self.0.delete(name).await
    }
}

async fn write_page(pages: &Collection<Binary>, page: usize) -> Result<(), Error> {
    let body = Binary(Bytes::from(vec![page as u8; BODY_BYTES]));
    pages.put_many((0..PAGE).map(|of| (format!("{page:05}/{of:02}"), &body))).await
}

/// How many pages there are, each of them whole, and none behind one that is missing.
async fn whole_pages(pages: &Collection<Binary>) -> usize {
    let (mut found, mut range) = (Vec::new(), Some(IdRange::ALL));
    while let Some(within) = range {
        let page = pages.list(within, 1000).await.expect("documents are listed");
        found.extend(page.entries);
        range = page.next;
    }
    for (index, entry) in found.iter().enumerate() {
        let (page, of) = (index / PAGE, index % PAGE);
        assert_eq!(entry.id.as_str(), format!("{page:05}/{of:02}"));
        let body = &entry.value.as_ref().expect("it is readable").0;
        assert_eq!(**body, *vec![page as u8; BODY_BYTES]);
    }
    assert_eq!(found.len() % PAGE, 0, "a page is there in part");
    found.len() / PAGE
}

#[tokio::test]
async fn a_full_disk_is_told_and_takes_no_acknowledged_write_with_it() {
    for kind in Kind::ALL {
        let Some(disk) = SmallDisk::mount(DISK_BYTES) else { return };
        let ballast = disk.path().join("ballast");
        fs::write(&ballast, vec![1; DISK_BYTES / 2]).expect("written");
        let (node, pages) =
            kind.open(&disk.path().join("data")).await.expect("there is room for an empty storage");
        let mut acknowledged = 0;
        let failure = loop {
            match write_page(&pages, acknowledged).await {
                Ok(()) => acknowledged += 1,
                Err(failure) => break failure,
            }
        };
        assert!(matches!(failure, Error::Commit(CommitError::Unknown(StorageError::Full))), "{failure:?}");
        let again = write_page(&pages, acknowledged + 1).await;
        assert!(matches!(again, Err(Error::MustReopen)), "{again:?}");
        assert!(acknowledged > 10, "{acknowledged}");
        // What a failed store gives on closing is not what this is about.
        let _ = node.close().await;
        drop((node, pages));

        fs::remove_file(&ballast).expect("removed");
        let (node, pages) = kind.open(&disk.path().join("data")).await.expect("there is space again");
        let found = whole_pages(&pages).await;
        assert!(found == acknowledged || found == acknowledged + 1, "{found} of {acknowledged}");
        write_page(&pages, found).await.expect("there is space again");
        assert_eq!(whole_pages(&pages).await, found + 1);
        node.close().await.expect("it closes");
    }
}

#[tokio::test]
async fn a_read_only_disk_is_told_and_keeps_what_is_on_it() {
    for kind in Kind::ALL {
        let Some(disk) = SmallDisk::mount(DISK_BYTES) else { return };
        let (node, pages) = kind.open(&disk.path().join("data")).await.expect("it opens");
        write_page(&pages, 0).await.expect("it is written");
        node.close().await.expect("it closes");
        drop((node, pages));

        disk.remount("ro");
        let refused = kind.open(&disk.path().join("data")).await.map(drop);
        assert!(matches!(refused, Err(OpenError::Storage(StorageError::Io { .. }))), "{refused:?}");

        disk.remount("rw");
        let (node, pages) = kind.open(&disk.path().join("data")).await.expect("it opens again");
        assert_eq!(whole_pages(&pages).await, 1);
        write_page(&pages, 1).await.expect("it is written");
        node.close().await.expect("it closes");
    }
}

#[tokio::test]
async fn a_storage_in_use_by_another_process_is_locked_until_that_is_killed() {
    for kind in Kind::ALL {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (node, pages) = kind.open(directory.path()).await.expect("it opens");
        write_page(&pages, 0).await.expect("it is written");
        node.close().await.expect("it closes");
        drop((node, pages));

        let mut other = Command::new(env!("CARGO_BIN_EXE_peerloom-crash"))
            .args(["write", "--storage", kind.name(), "--side=left", "--seed=1", "--from=0", "--alone=0"])
            .arg("--directory")
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(other.stdout.take().expect("its output is a pipe")).lines();
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line == "open"), "it opens the storage");
        let refused = kind.open(directory.path()).await.map(drop);
        assert!(matches!(refused, Err(OpenError::Storage(StorageError::Locked { .. }))), "{refused:?}");

        other.kill().expect("it is killed");
        other.wait().expect("it has ended");
        let (node, pages) = kind.open(directory.path()).await.expect("nobody holds it any more");
        assert_eq!(whole_pages(&pages).await, 1);
        node.close().await.expect("it closes");
    }
}

/// Every file of the databases below a directory.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_file_cut_short_is_told_or_costs_the_latest_commits_whole() {
    const WRITTEN: usize = 5;
    for kind in Kind::ALL {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        let (node, pages) = kind.open(path).await.expect("it opens");
        for page in 0..WRITTEN {
            write_page(&pages, page).await.expect("it is written");
        }
        node.close().await.expect("it closes");
        drop((node, pages));

        let whole: Vec<_> =
            files(path).into_iter().map(|file| (fs::read(&file).expect("a file"), file)).collect();
        let (mut told, mut shorter) = (0, 0);
        for (content, cut) in whole.iter().filter(|(content, _)| !content.is_empty()) {
            fs::write(cut, &content[..content.len() / 2]).expect("written");
            match kind.open(path).await {
                Err(OpenError::Storage(StorageError::Corrupt { .. } | StorageError::Foreign { .. })) => {
                    told += 1;
                }
                Err(error) => panic!("{}: {error:?}", cut.display()),
                Ok((node, pages)) => {
                    let found = whole_pages(&pages).await;
                    assert!(found <= WRITTEN, "{}", cut.display());
                    shorter += usize::from(found < WRITTEN);
                    node.close().await.expect("it closes");
                }
            }
            fs::remove_dir_all(path).expect("removed");
            for (content, file) in &whole {
                fs::create_dir_all(file.parent().expect("a file lies in a directory")).expect("created");
                fs::write(file, content).expect("written");
            }
        }
        println!("{kind:?}: of {} files, {told} are told and {shorter} cost commits", whole.len());
        assert!(told > 0 && shorter > 0, "{kind:?}: {told} told, {shorter} cost commits");
    }
}
