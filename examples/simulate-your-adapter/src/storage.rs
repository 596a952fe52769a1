//! The adapter: a log and its contents behind one lock, as in the `custom-storage` example, on any [`Files`].

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use custom_storage::contents::Contents;
use custom_storage::storage::file_name;
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Put, Record, Sequence, Storage, StorageError, Store,
    StoreName,
};

use crate::files::Files;
use crate::log::{self, Log};

/// A mistake that costs one line, and users what they had saved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// The compacted log is renamed over the old one, and the directory is not synced.
    ForgetsTheName,
    /// The compacted log is renamed over the old one before it is synced itself.
    RenamesBeforeSync,
    /// A commit returns when its bytes are written, and not when they are synced.
    AcknowledgesEarly,
    /// Opening reads up to the entry that a crash has torn, and does not cut that off.
    LeavesTornEnd,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ForgetsTheName, Self::RenamesBeforeSync, Self::AcknowledgesEarly, Self::LeavesTornEnd];

    /// What is wrong, and the line that makes it right.
    pub fn explained(self) -> (&'static str, &'static str) {
        match self {
            Self::ForgetsTheName => {
                ("renames the compacted log, and does not sync the directory", "self.files.sync_names()?;")
            }
            Self::RenamesBeforeSync => ("renames the compacted log before it is synced", "new.sync()?;"),
            Self::AcknowledgesEarly => {
                ("returns from a commit that is written and not synced", "self.file.sync()?;")
            }
            Self::LeavesTornEnd => {
                ("appends behind the entry that a crash has torn", "file.truncate(bytes)?; file.sync()?;")
            }
        }
    }
}

/// One log for each store, in one directory.
#[derive(Clone, Debug)]
pub struct LogStorage<F: Files> {
    /// The directory.
    pub files: F,
    /// A log with fewer bytes is not compacted.
    pub compact_bytes_min: u64,
    /// What this version gets wrong.
    pub flaw: Option<Flaw>,
}

impl<F: Files> LogStorage<F> {
    /// Stores in this directory, with nothing wrong that is known.
    pub fn on(files: F) -> Self {
        Self { files, compact_bytes_min: 1 << 20, flaw: None }
    }
}

#[async_trait]
impl<F: Files> Storage for LogStorage<F> {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let mut contents = Contents::default();
        let log = Log::open(self.files.clone(), file_name(name), self.flaw, |batch| contents.apply(batch))?;
        let open = Mutex::new(Some(Open { log, contents }));
        Ok(Arc::new(LogStore { compact_bytes_min: self.compact_bytes_min, open }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        log::delete(&self.files, &file_name(name))
    }
}

struct LogStore<F: Files> {
    compact_bytes_min: u64,
    /// `None` once it is closed, which lets go of the file and of its lock.
    open: Mutex<Option<Open<F>>>,
}

struct Open<F: Files> {
    log: Log<F>,
    contents: Contents,
}

impl<F: Files> LogStore<F> {
    fn lock(&self) -> MutexGuard<'_, Option<Open<F>>> {
        // Nothing panics between the log and the contents, so what a panic leaves is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, look: impl FnOnce(&Contents) -> T) -> Result<T, StorageError> {
        self.lock().as_ref().map(|open| look(&open.contents)).ok_or(StorageError::Closed)
    }
}

/// One batch that makes these contents.
fn everything(contents: &Contents) -> Batch {
    const ALL: NonZeroU32 = NonZeroU32::MAX;
    let limits = PageLimits { documents_max: ALL, bytes_max: ALL };
    let mut batch = Batch::default();
    loop {
        let after = batch.records.last().map_or(Sequence::default(), |put: &Put| put.record.sequence);
        let page = contents.changes(after, limits);
        if page.is_empty() {
            break;
        }
        batch.records.extend(page.into_iter().map(|record| Put { record, replaces: None }));
    }
    let metadata = contents.metadata(b"", None, ALL);
    batch.metadata = metadata.into_iter().map(|(key, value)| (key, Some(value))).collect();
    batch
}

#[async_trait]
impl<F: Files> Store for LogStore<F> {
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
        let Open { log, contents } = open.as_mut().ok_or(CommitError::NotApplied(StorageError::Closed))?;
        if batch.is_empty() {
            return Ok(());
        }
        // The disk first: what is seen is durable.
        log.append(&batch)?;
        contents.apply(batch);
        if log.is_long(self.compact_bytes_min) {
            log.compact(&everything(contents))?;
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), StorageError> {
        *self.lock() = None;
        Ok(())
    }
}
