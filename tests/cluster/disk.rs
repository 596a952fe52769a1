//! A storage that a test looks into, and that fails when the test says so.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom::core::{Batch, DocumentId, Record, Sequence, Store, StoreName};
use peerloom::{CollectionName, CommitError, IdRange, PageLimits, Storage, StorageError};

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    NotApplied,
    /// Reported as unknown, and landed.
    UnknownButApplied,
    /// Reported as unknown, and lost.
    UnknownAndLost,
}

/// Another storage with a window in it.
#[derive(Clone)]
pub struct Disk {
    inner: Arc<dyn Storage>,
    plan: Arc<Plan>,
    ledger: Option<Ledger>,
}

/// What became of a document in one commit.
#[derive(Clone)]
pub struct Step {
    pub before: Option<Record>,
    pub after: Record,
}

/// Every commit to collections, on all disks that keep it.
pub type Ledger = Arc<Mutex<Vec<Step>>>;

#[derive(Default)]
struct Plan {
    stores: Mutex<BTreeMap<StoreName, Weak<dyn Store>>>,
    /// How many more commits succeed, and what then becomes of one.
    fate: Mutex<Option<(usize, Fate)>>,
    reads_until_failure: Mutex<Option<usize>>,
    documents_failed: AtomicUsize,
    commit_yields: AtomicUsize,
}

impl Disk {
    pub fn new(inner: impl Storage) -> Self {
        Self { inner: Arc::new(inner), plan: Arc::default(), ledger: None }
    }

    /// Notes every commit in a ledger.
    pub fn keeping(self, ledger: &Ledger) -> Self {
        Self { ledger: Some(ledger.clone()), ..self }
    }

    /// Lets so many commits of collections succeed, and gives the next one this fate.
    pub fn fail_commit_after(&self, commits: usize, fate: Fate) {
        *self.plan.fate.lock().expect("no panic") = Some((commits, fate));
    }

    /// Lets so many reads of collections succeed, and fails the next one.
    pub fn fail_read_after(&self, reads: usize) {
        *self.plan.reads_until_failure.lock().expect("no panic") = Some(reads);
    }

    /// How many documents were in the commit that failed.
    pub fn documents_failed(&self) -> usize {
        self.plan.documents_failed.load(Ordering::Relaxed)
    }

    /// Lets other tasks run so often between a commit's being applied, or failed, and its return.
    pub fn yield_after_commits(&self, times: usize) {
        self.plan.commit_yields.store(times, Ordering::Relaxed);
    }

    /// Whether every failure that was planned has happened.
    pub fn has_failed(&self) -> bool {
        self.plan.fate.lock().expect("no panic").is_none()
            && self.plan.reads_until_failure.lock().expect("no panic").is_none()
    }

    /// Everything in an open collection.
    pub async fn records(&self, collection: &str) -> Vec<Record> {
        let name = CollectionName::new(collection).expect("a name");
        let store = self.plan.stores.lock().expect("no panic").get(name.store()).and_then(Weak::upgrade);
        let store = store.expect("the collection is open");
        let limits = PageLimits { documents_max: NonZeroU32::MAX, bytes_max: NonZeroU32::MAX };
        store.list(IdRange::ALL, limits).await.expect("it lists")
    }
}

#[async_trait]
impl Storage for Disk {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let inner = self.inner.open(name).await?;
        self.plan.stores.lock().expect("no panic").insert(name.clone(), Arc::downgrade(&inner));
        if *name == StoreName::node() {
            return Ok(inner);
        }
        Ok(Arc::new(Watched {
            inner,
            plan: self.plan.clone(),
            ledger: self.ledger.clone(),
            failed: Mutex::new(false),
        }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        self.inner.delete(name).await
    }
}

struct Watched {
    inner: Arc<dyn Store>,
    plan: Arc<Plan>,
    ledger: Option<Ledger>,
    failed: Mutex<bool>,
}

impl Watched {
    fn fate(&self) -> Option<Fate> {
        let mut plan = self.plan.fate.lock().expect("no panic");
        match *plan {
            Some((0, fate)) => {
                *plan = None;
                Some(fate)
            }
            Some((commits, fate)) => {
                *plan = Some((commits - 1, fate));
                None
            }
            None => None,
        }
    }

    async fn dawdle(&self) {
        for _ in 0..self.plan.commit_yields.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }

    fn read_fails(&self) -> Result<(), StorageError> {
        let mut plan = self.plan.reads_until_failure.lock().expect("no panic");
        let left = plan.take();
        if left == Some(0) {
            return Err(failure());
        }
        *plan = left.map(|reads| reads - 1);
        Ok(())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Watched {
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        if !ids.is_empty() {
            self.read_fails()?;
        }
        self.inner.read(ids).await
    }

    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.read_fails()?;
        self.inner.changes(after, limits).await
    }

    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.inner.list(range, limits).await
    }

    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.inner.metadata(prefix, after, entries_max).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        if *self.failed.lock().expect("no panic") {
            return Err(CommitError::NotApplied(failure()));
        }
        match self.fate() {
            None => {
                let ids: Vec<DocumentId> = batch.records.iter().map(|put| put.record.id.clone()).collect();
                let before = self.inner.read(&ids).await.map_err(CommitError::NotApplied)?;
                let after: Vec<Record> = batch.records.iter().map(|put| put.record.clone()).collect();
                self.inner.commit(batch).await?;
                self.dawdle().await;
                if let Some(ledger) = &self.ledger {
                    let steps = before.into_iter().zip(after).map(|(before, after)| Step { before, after });
                    ledger.lock().expect("no panic").extend(steps);
                }
                Ok(())
            }
            Some(Fate::NotApplied) => {
                self.plan.documents_failed.store(batch.records.len(), Ordering::Relaxed);
                self.dawdle().await;
                Err(CommitError::NotApplied(failure()))
            }
            Some(fate) => {
                *self.failed.lock().expect("no panic") = true;
                if fate == Fate::UnknownButApplied {
                    self.inner.commit(batch).await?;
                }
                Err(CommitError::Unknown(failure()))
            }
        }
    }

    async fn close(&self) -> Result<(), StorageError> {
        self.inner.close().await
    }
}

fn failure() -> StorageError {
    StorageError::Io { detail: "as the test wants it".to_owned() }
}
