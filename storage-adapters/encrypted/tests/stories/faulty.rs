//! A disk on which one commit goes wrong.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Record, Sequence, Storage, StorageError, Store,
    StoreName,
};
use peerloom_memory::Memory;

/// What becomes of the commit that goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The power goes before it is on the disk.
    PowerBefore,
    /// The power goes when it is on the disk, and before anybody hears of it.
    PowerAfter,
    /// It is refused, and all others are fine.
    Refused,
}

impl Fault {
    pub(crate) const ALL: [Self; 3] = [Self::PowerBefore, Self::PowerAfter, Self::Refused];
}

/// A disk in memory whose n-th commit goes wrong. Nothing works after the power is gone.
#[derive(Clone)]
pub(crate) struct Faulty {
    disk: Memory,
    state: Arc<Faults>,
}

struct Faults {
    fault: Fault,
    commit: u64,
    /// How many commits were called.
    commits: AtomicU64,
    dead: AtomicBool,
}

impl Faulty {
    /// The commits are counted from 1.
    pub(crate) fn new(disk: &Memory, commit: u64, fault: Fault) -> Self {
        let (commits, dead) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { disk: disk.clone(), state: Arc::new(Faults { fault, commit, commits, dead }) }
    }

    /// Whether it came to the commit that goes wrong.
    pub(crate) fn has_struck(&self) -> bool {
        self.state.commits.load(Ordering::Acquire) >= self.state.commit
    }
}

impl Faults {
    fn alive(&self) -> Result<(), StorageError> {
        match self.dead.load(Ordering::Acquire) {
            true => Err(failure()),
            false => Ok(()),
        }
    }
}

fn failure() -> StorageError {
    StorageError::Io { detail: "as the story wants it".into() }
}

#[async_trait]
impl Storage for Faulty {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        self.state.alive()?;
        let store = self.disk.open(name).await?;
        Ok(Arc::new(FaultyStore { store, state: self.state.clone() }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        self.state.alive()?;
        self.disk.delete(name).await
    }
}

struct FaultyStore {
    store: Arc<dyn Store>,
    state: Arc<Faults>,
}

/// Every operation is done when it is called, and lets others run before it returns.
#[async_trait]
impl Store for FaultyStore {
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.state.alive()?;
        let found = self.store.read(ids).await;
        tokio::task::yield_now().await;
        found
    }

    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.state.alive()?;
        let found = self.store.changes(after, limits).await;
        tokio::task::yield_now().await;
        found
    }

    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.state.alive()?;
        self.store.list(range, limits).await
    }

    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.state.alive()?;
        let found = self.store.metadata(prefix, after, entries_max).await;
        tokio::task::yield_now().await;
        found
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let Faults { fault, commit, commits, dead } = &*self.state;
        self.state.alive().map_err(CommitError::NotApplied)?;
        if commits.fetch_add(1, Ordering::AcqRel) + 1 != *commit {
            let committed = self.store.commit(batch).await;
            tokio::task::yield_now().await;
            return committed;
        }
        match fault {
            Fault::Refused => return Err(CommitError::NotApplied(StorageError::Full)),
            Fault::PowerBefore => {}
            Fault::PowerAfter => self.store.commit(batch).await?,
        }
        dead.store(true, Ordering::Release);
        Err(CommitError::Unknown(failure()))
    }

    async fn close(&self) -> Result<(), StorageError> {
        self.store.close().await
    }
}
