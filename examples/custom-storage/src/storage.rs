//! The adapter: stores by name, and the order of their operations.
//!
//! A store is a log and its contents behind one lock, and an operation does all of its work in the first poll
//! of its future. So the order of calls is the order in which the lock is taken, and no future is ever
//! dropped half way. The price is that a commit blocks its thread while it waits for the disk; a store for
//! more than an example would hand its work to a thread of its own.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Record, Sequence, Storage, StorageError, Store,
    StoreName,
};

use crate::contents::Contents;
use crate::log::{self, Log};

/// A directory with one log file for each store.
#[derive(Clone, Debug)]
pub struct LogFiles {
    directory: PathBuf,
}

impl LogFiles {
    /// Stores in this directory, which is created when the first one is opened.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The file of a store.
    pub fn path(&self, name: &StoreName) -> PathBuf {
        self.directory.join(file_name(name))
    }
}

/// The name of the file of a store. Some file systems take `A` and `a` for the same, so capitals are marked.
pub fn file_name(name: &StoreName) -> String {
    let mark = |character: char| match character.is_ascii_uppercase() {
        true => format!("+{}", character.to_ascii_lowercase()),
        false => character.to_string(),
    };
    let name: String = name.as_str().chars().map(mark).collect();
    // The prefix keeps clear of names that some systems reserve, such as `nul`.
    format!("store-{name}.log")
}

#[async_trait]
impl Storage for LogFiles {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        fs::create_dir_all(&self.directory).map_err(|error| log::failure(&error))?;
        Ok(Arc::new(LogStore { open: Mutex::new(Some(Open::at(&self.path(name))?)) }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        log::delete(&self.path(name))
    }
}

struct LogStore {
    /// `None` once it is closed, which lets go of the file and of its lock.
    open: Mutex<Option<Open>>,
}

struct Open {
    log: Log,
    contents: Contents,
}

impl Open {
    fn at(path: &Path) -> Result<Self, StorageError> {
        let mut contents = Contents::default();
        let log = Log::open(path, |batch| contents.apply(batch))?;
        Ok(Self { log, contents })
    }
}

impl LogStore {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // Nothing panics between the log and the contents, so what a panic leaves is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, look: impl FnOnce(&Contents) -> T) -> Result<T, StorageError> {
        self.lock().as_ref().map(|open| look(&open.contents)).ok_or(StorageError::Closed)
    }
}

#[async_trait]
impl Store for LogStore {
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.look(|contents| ids.iter().map(|id| contents.read(id)).collect())
    }

    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.look(|contents| contents.changes(after, limits))
    }

    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.look(|contents| contents.list(&range, limits))
    }

    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.look(|contents| contents.metadata(prefix, after, entries_max))
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let mut open = self.lock();
        let open = open.as_mut().ok_or(CommitError::NotApplied(StorageError::Closed))?;
        if batch.is_empty() {
            return Ok(());
        }
        // The disk first: what is seen is durable.
        open.log.append(&batch)?;
        open.contents.apply(batch);
        Ok(())
    }

    async fn close(&self) -> Result<(), StorageError> {
        *self.lock() = None;
        Ok(())
    }
}
