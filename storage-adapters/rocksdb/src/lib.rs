//! Storage on RocksDB, for programs that have it already, or that need what it is known for: large stores under
//! steady load.
//!
//! [`RocksDb`] is a directory. Each store in it is a RocksDB database of its own, so that a failed write, damage or a lock in one
//! never touches another, and deleting one is a rename. Every open store has one thread, through which all of its operations
//! pass.
//!
//! Needs a C++ compiler and libclang to build. Keeps no secrets: what is on the disk is in the clear.

mod failure;
mod tables;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use peerloom_core::{Storage, StorageError, Store, StoreName};
#[doc(inline)]
pub use peerloom_on_disk::Durability;
use peerloom_on_disk::{Directory, Layout, OnDisk};

use crate::tables::Database;

/// How the directory says that it is ours.
const LAYOUT: Layout = Layout { magic: "peerloom-rocksdb", format: 1, suffix: "rocksdb" };

/// A directory of stores. Nothing is touched before the first store is opened.
///
/// Cheap to make, and any number of them may be made for one directory: what is open is known from locks on its files,
/// across processes.
///
/// Dropping the last handle to a store, or the future of an `open`, waits until the thread of the store has ended, so
/// that the store can be opened again at once; [`Store::close`] waits without blocking. An operation that was called
/// before its handle was dropped still takes effect.
///
/// ```
/// use peerloom_core::{Batch, Storage, StoreName};
/// use peerloom_rocksdb::RocksDb;
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let storage = RocksDb::at(directory);
/// let store = storage.open(&StoreName::node()).await?;
/// let metadata = vec![("greeting".into(), Some("hello".into()))];
/// store.commit(Batch { metadata, ..Batch::default() }).await?;
/// store.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RocksDb {
    directory: Directory,
    options: Options,
}

impl RocksDb {
    /// Stores in this directory, which is created by the first `open`, and must be absent, empty or made by this
    /// adapter then.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Directory::at(directory.into(), LAYOUT), options: Options::default() }
    }

    /// Replaces the defaults.
    ///
    /// ```
    /// use peerloom_rocksdb::{Durability, Options, RocksDb};
    /// let options = Options { durability: Durability::Buffered, ..Options::default() };
    /// let storage = RocksDb::at("data").options(options);
    /// ```
    ///
    /// # Panics
    ///
    /// If a limit is outside the range that its documentation gives.
    #[must_use]
    pub fn options(self, options: Options) -> Self {
        options.assert_in_range();
        Self { options, ..self }
    }
}

#[async_trait]
impl Storage for RocksDb {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let options = self.options.clone();
        let open = move |path: &Path| Database::open(path, &options);
        Ok(Arc::new(OnDisk::open(&self.directory, name, self.options.operations_max, open).await?))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        self.directory.delete(name).await
    }
}

/// How safe a store is, and how much it may take. Each limit is for one open store.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Options {
    /// What a commit has survived when it returns.
    pub durability: Durability,
    /// How many bytes of blocks read from the disk are kept in memory, from 1 MiB. The default is 32 MiB.
    pub cache_bytes_max: usize,
    /// How many bytes of fresh documents are collected in memory before they are written out in order, from 1 MiB; where they
    /// lie by id takes up to a quarter more. Up to twice as much is held while the disk is slower than the writer. The default is 64 MiB, as it is
    /// in RocksDB.
    pub memtable_bytes_max: usize,
    /// How many bytes of write-ahead log may lie on the disk before the documents in its oldest part are written out, from 1 MiB: opening
    /// reads the whole log, so less is better. The default is 64 MiB.
    pub log_bytes_max: u64,
    /// How many files RocksDB may hold open, from 16. The default is 256: more than a store of ten gigabytes has.
    pub files_max: u16,
    /// How many operations may wait for the thread of the store, from 1. A caller waits its turn beyond that. The
    /// default is 64: far more than the sessions of a node have in flight.
    pub operations_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            cache_bytes_max: 32 << 20,
            memtable_bytes_max: 64 << 20,
            log_bytes_max: 64 << 20,
            files_max: 256,
            operations_max: 64,
        }
    }
}

impl Options {
    fn assert_in_range(&self) {
        assert!(self.cache_bytes_max >= 1 << 20, "cache_bytes_max is 1 MiB or more");
        assert!(self.memtable_bytes_max >= 1 << 20, "memtable_bytes_max is 1 MiB or more");
        assert!(self.log_bytes_max >= 1 << 20, "log_bytes_max is 1 MiB or more");
        assert!(self.files_max >= 16, "files_max is 16 or more");
        assert!(self.operations_max >= 1, "operations_max is 1 or more");
    }
}
