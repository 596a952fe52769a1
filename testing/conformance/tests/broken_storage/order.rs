//! Faults of commits, and of the order of operations.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Record, Sequence, StorageError, Store,
};
use tokio::task::yield_now;

use super::{Fault, at_once, failed};

fn halves(mut batch: Batch) -> [Batch; 2] {
    let second = batch.records.split_off(batch.records.len() / 2);
    let second = Batch { records: second, metadata: std::mem::take(&mut batch.metadata) };
    [batch, second]
}

#[derive(Default)]
pub(crate) struct LosesTheLastRecord;

#[async_trait]
impl Fault for LosesTheLastRecord {
    async fn commit(&self, store: &Arc<dyn Store>, mut batch: Batch) -> Result<(), CommitError> {
        if batch.records.len() > 1 {
            batch.records.pop();
        }
        store.commit(batch).await
    }
}

#[derive(Default)]
pub(crate) struct LosesMetadataBesideRecords;

#[async_trait]
impl Fault for LosesMetadataBesideRecords {
    async fn commit(&self, store: &Arc<dyn Store>, mut batch: Batch) -> Result<(), CommitError> {
        if !batch.records.is_empty() {
            batch.metadata.clear();
        }
        store.commit(batch).await
    }
}

#[derive(Default)]
pub(crate) struct RefusesAnEmptyBatch;

#[async_trait]
impl Fault for RefusesAnEmptyBatch {
    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        match batch.is_empty() {
            true => Err(CommitError::NotApplied(failed("nothing to do"))),
            false => store.commit(batch).await,
        }
    }
}

/// Readers on other threads have the time to look in between.
#[derive(Default)]
pub(crate) struct AppliesOneRecordAfterTheOther;

#[async_trait]
impl Fault for AppliesOneRecordAfterTheOther {
    fn reads_during_commits(&self) -> bool {
        true
    }

    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        for half in halves(batch) {
            at_once(store.commit(half))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Applies half of a batch when it is dropped with the future that it belongs to.
struct HalfOnDrop<'a> {
    store: &'a dyn Store,
    batch: Option<Batch>,
}

impl Drop for HalfOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            let [half, _] = halves(batch);
            at_once(self.store.commit(half)).expect("the batch is fine");
        }
    }
}

#[derive(Default)]
pub(crate) struct AppliesHalfOfADroppedCommit;

#[async_trait]
impl Fault for AppliesHalfOfADroppedCommit {
    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        let mut applying = HalfOnDrop { store: &**store, batch: Some(batch) };
        yield_now().await;
        let batch = applying.batch.take().expect("it was not dropped");
        store.commit(batch).await
    }
}

#[derive(Default)]
pub(crate) struct AppliesADroppedCommitLate {
    begun: Mutex<Option<Batch>>,
}

#[async_trait]
impl Fault for AppliesADroppedCommitLate {
    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        *self.begun.lock().expect("no panic") = Some(batch);
        yield_now().await;
        let batch = self.begun.lock().expect("no panic").take().expect("commits take turns");
        store.commit(batch).await
    }

    /// A commit that is still begun in the turn of a read was dropped.
    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let page = store.changes(after, limits).await;
        if let Some(batch) = self.begun.lock().expect("no panic").take() {
            at_once(store.commit(batch)).expect("the batch is fine");
        }
        page
    }
}

#[derive(Default)]
pub(crate) struct CommitsOutOfTurn;

#[async_trait]
impl Fault for CommitsOutOfTurn {
    async fn before_commit(&self) {
        yield_now().await;
    }
}

#[derive(Default)]
pub(crate) struct ReadsOutOfTurn;

#[async_trait]
impl Fault for ReadsOutOfTurn {
    async fn before_read(&self) {
        yield_now().await;
    }
}

/// Renewed only by new documents.
#[derive(Default)]
pub(crate) struct ListsFromACache {
    lists: Mutex<Vec<(IdRange, PageLimits, Vec<Record>)>>,
}

#[async_trait]
impl Fault for ListsFromACache {
    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        if batch.records.iter().any(|put| put.replaces.is_none()) {
            self.lists.lock().expect("no panic").clear();
        }
        store.commit(batch).await
    }

    async fn list(
        &self,
        store: &dyn Store,
        range: IdRange,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let mut lists = self.lists.lock().expect("no panic");
        let known = lists.iter().find(|known| (&known.0, known.1) == (&range, limits));
        if let Some((_, _, list)) = known {
            return Ok(list.clone());
        }
        let list = at_once(store.list(range.clone(), limits))?;
        lists.push((range, limits, list.clone()));
        Ok(list)
    }
}

#[derive(Default)]
pub(crate) struct StaysBusyAfterADroppedRead {
    busy: AtomicBool,
}

#[async_trait]
impl Fault for StaysBusyAfterADroppedRead {
    async fn read(&self, store: &dyn Store, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.busy.store(true, Ordering::Release);
        yield_now().await;
        self.busy.store(false, Ordering::Release);
        store.read(ids).await
    }

    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        match self.busy.load(Ordering::Acquire) {
            true => Err(CommitError::NotApplied(failed("busy with a read"))),
            false => store.commit(batch).await,
        }
    }
}

#[derive(Default)]
pub(crate) struct RefusesManyCallers {
    callers: AtomicU32,
}

#[async_trait]
impl Fault for RefusesManyCallers {
    async fn before_read(&self) {
        self.callers.fetch_add(1, Ordering::AcqRel);
    }

    async fn read(&self, store: &dyn Store, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        // Lets others call meanwhile.
        yield_now().await;
        match self.callers.fetch_sub(1, Ordering::AcqRel) > 50 {
            true => Err(failed("too many callers")),
            false => store.read(ids).await,
        }
    }
}

/// What was replaced stays in the feed.
#[derive(Default)]
pub(crate) struct KeepsTheOldFeedEntry {
    old: Mutex<BTreeMap<Sequence, Record>>,
}

#[async_trait]
impl Fault for KeepsTheOldFeedEntry {
    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        for put in &batch.records {
            if put.replaces.is_some_and(|replaced| replaced != put.record.sequence) {
                let old = at_once(store.read(std::slice::from_ref(&put.record.id)));
                let old = old.map_err(CommitError::NotApplied)?.remove(0).expect("it is replaced");
                self.old.lock().expect("no panic").insert(old.sequence, old);
            }
        }
        store.commit(batch).await
    }

    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let mut page = store.changes(after, limits).await?;
        let old = self.old.lock().expect("no panic");
        page.extend(old.values().filter(|record| record.sequence > after).cloned());
        page.sort_by_key(|record| record.sequence);
        Ok(page)
    }
}

#[derive(Default)]
pub(crate) struct AppliesHalfWhenClosed {
    opened: Mutex<Vec<peerloom_memory::Memory>>,
}

#[async_trait]
impl Fault for AppliesHalfWhenClosed {
    async fn open(
        &self,
        disk: &peerloom_memory::Memory,
        name: &peerloom_core::StoreName,
    ) -> Result<Arc<dyn Store>, StorageError> {
        self.opened.lock().expect("no panic").push(disk.clone());
        peerloom_core::Storage::open(disk, name).await
    }

    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        let refused = store.commit(batch.clone()).await;
        if refused.is_err() {
            let disk = self.opened.lock().expect("no panic")[0].clone();
            let name = peerloom_core::CollectionName::new("documents").expect("valid");
            let again = at_once(peerloom_core::Storage::open(&disk, name.store()));
            let [half, _] = halves(batch);
            at_once(again.map_err(CommitError::NotApplied)?.commit(half))?;
        }
        refused
    }
}
