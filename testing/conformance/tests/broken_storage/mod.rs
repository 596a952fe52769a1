//! Storage in memory with one fault.

mod contents;
mod lifetime;
mod order;
mod pages;

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_conformance::StorageFixture;
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Record, Sequence, Storage, StorageError, Store,
    StoreName,
};
use peerloom_memory::Memory;
use tokio::sync::Mutex;

pub(crate) use contents::*;
pub(crate) use lifetime::*;
pub(crate) use order::*;
pub(crate) use pages::*;

/// What an adapter does wrong. Every method does as it should; a fault replaces one or two.
#[async_trait]
pub(crate) trait Fault: Send + Sync + 'static {
    async fn open(&self, disk: &Memory, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        disk.open(name).await
    }

    async fn delete(&self, disk: &Memory, name: &StoreName) -> Result<(), StorageError> {
        disk.delete(name).await
    }

    /// What is done before an operation gets its turn.
    async fn before_commit(&self) {}

    async fn before_read(&self) {}

    /// Whether a read may go on while a commit does.
    fn reads_during_commits(&self) -> bool {
        false
    }

    async fn read(&self, store: &dyn Store, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        store.read(ids).await
    }

    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        store.changes(after, limits).await
    }

    async fn list(
        &self,
        store: &dyn Store,
        range: IdRange,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        store.list(range, limits).await
    }

    async fn metadata(
        &self,
        store: &dyn Store,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        store.metadata(prefix, after, entries_max).await
    }

    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        store.commit(batch).await
    }

    async fn close(&self, store: &Arc<dyn Store>) -> Result<(), StorageError> {
        store.close().await
    }

    /// The handle is dropped, with what it holds.
    fn dropped(&self, _store: &Arc<dyn Store>) {}
}

/// No fault at all.
#[derive(Default)]
pub(crate) struct Nothing;

impl Fault for Nothing {}

/// The fault that fresh disks get. Not a type parameter, because that would compile every promise once for
/// each fault.
static MAKE: std::sync::Mutex<fn() -> Arc<dyn Fault>> = std::sync::Mutex::new(make::<Nothing>);

fn make<T: Fault + Default>() -> Arc<dyn Fault> {
    Arc::new(T::default())
}

/// Gives fresh disks this fault from now on.
pub(crate) fn break_with<T: Fault + Default>() {
    *MAKE.lock().expect("no panic") = make::<T>;
}

/// A disk with a fault. As an adapter, and as the place where it is tested.
pub(crate) struct Broken {
    disk: Memory,
    fault: Arc<dyn Fault>,
}

impl StorageFixture for Broken {
    type Adapter = Self;

    fn fresh() -> Self {
        let make = *MAKE.lock().expect("no panic");
        Self { disk: Memory::new(), fault: make() }
    }

    fn storage(&self) -> Self {
        Self { disk: self.disk.clone(), fault: Arc::clone(&self.fault) }
    }
}

#[async_trait]
impl Storage for Broken {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let store = self.fault.open(&self.disk, name).await?;
        Ok(Arc::new(BrokenStore { store, fault: Arc::clone(&self.fault), turn: Mutex::new(()) }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        self.fault.delete(&self.disk, name).await
    }
}

struct BrokenStore {
    store: Arc<dyn Store>,
    fault: Arc<dyn Fault>,
    /// Given in the order of calls, so that a fault may wait within an operation and break no other promise.
    turn: Mutex<()>,
}

impl BrokenStore {
    async fn turn_to_read(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        match self.fault.reads_during_commits() {
            true => None,
            false => Some(self.turn().await),
        }
    }

    async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        // A task that has used up its budget would not get in line at the first poll.
        tokio::task::unconstrained(self.turn.lock()).await
    }
}

#[async_trait]
impl Store for BrokenStore {
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.fault.before_read().await;
        let _turn = self.turn_to_read().await;
        self.fault.read(&*self.store, ids).await
    }

    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        let _turn = self.turn_to_read().await;
        self.fault.changes(&*self.store, after, limits).await
    }

    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        let _turn = self.turn_to_read().await;
        self.fault.list(&*self.store, range, limits).await
    }

    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let _turn = self.turn_to_read().await;
        self.fault.metadata(&*self.store, prefix, after, entries_max).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.fault.before_commit().await;
        let _turn = self.turn().await;
        self.fault.commit(&self.store, batch).await
    }

    async fn close(&self) -> Result<(), StorageError> {
        let _turn = self.turn().await;
        self.fault.close(&self.store).await
    }
}

impl Drop for BrokenStore {
    fn drop(&mut self) {
        self.fault.dropped(&self.store);
    }
}

fn failed(detail: &str) -> StorageError {
    StorageError::Io { detail: detail.into() }
}

/// Runs what memory does at once.
fn at_once<O>(future: impl Future<Output = O>) -> O {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("memory does not wait"),
    }
}
