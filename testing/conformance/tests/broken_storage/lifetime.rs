//! Faults of opening, closing, dropping and deleting.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{Batch, CollectionName, Storage, StorageError, Store, StoreName};
use peerloom_memory::Memory;
use tokio::task::yield_now;

use super::{Fault, at_once, failed};

fn all_metadata(store: &dyn Store) -> Vec<(Bytes, Bytes)> {
    at_once(store.metadata(b"", None, NonZeroU32::MAX)).unwrap_or_default()
}

fn put_metadata(store: &dyn Store, entries: Vec<(Bytes, Option<Bytes>)>) {
    // A store that is closed already has nothing to forget.
    let _ = at_once(store.commit(Batch { records: Vec::new(), metadata: entries }));
}

fn forget_metadata(store: &dyn Store) {
    put_metadata(store, all_metadata(store).into_iter().map(|(key, _)| (key, None)).collect());
}

#[derive(Default)]
pub(crate) struct ForgetsMetadataOnClosing;

#[async_trait]
impl Fault for ForgetsMetadataOnClosing {
    async fn close(&self, store: &Arc<dyn Store>) -> Result<(), StorageError> {
        forget_metadata(&**store);
        store.close().await
    }
}

#[derive(Default)]
pub(crate) struct ForgetsMetadataOnDropping;

impl Fault for ForgetsMetadataOnDropping {
    fn dropped(&self, store: &Arc<dyn Store>) {
        forget_metadata(&**store);
    }
}

fn lower_case(name: &StoreName) -> StoreName {
    match CollectionName::new(&name.as_str().to_lowercase()) {
        Ok(name) => name.store().clone(),
        // The node's own store.
        Err(_) => name.clone(),
    }
}

#[derive(Default)]
pub(crate) struct IgnoresCaseInNames;

#[async_trait]
impl Fault for IgnoresCaseInNames {
    async fn open(&self, disk: &Memory, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        disk.open(&lower_case(name)).await
    }
}

#[derive(Default)]
pub(crate) struct OpensTwice {
    open: Mutex<BTreeMap<StoreName, std::sync::Weak<dyn Store>>>,
}

#[async_trait]
impl Fault for OpensTwice {
    async fn open(&self, disk: &Memory, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let opened = at_once(disk.open(name));
        let mut open = self.open.lock().expect("no panic");
        match (opened, open.get(name).and_then(std::sync::Weak::upgrade)) {
            (Err(StorageError::Locked { .. }), Some(store)) => Ok(store),
            (opened, _) => {
                let store = opened?;
                open.insert(name.clone(), Arc::downgrade(&store));
                Ok(store)
            }
        }
    }
}

/// Closing is remembered, and nothing else.
#[derive(Default)]
pub(crate) struct StaysLockedUntilDropped {
    closed: Mutex<Vec<Arc<dyn Store>>>,
}

#[async_trait]
impl Fault for StaysLockedUntilDropped {
    async fn close(&self, store: &Arc<dyn Store>) -> Result<(), StorageError> {
        self.closed.lock().expect("no panic").push(Arc::clone(store));
        Ok(())
    }

    fn dropped(&self, store: &Arc<dyn Store>) {
        self.closed.lock().expect("no panic").retain(|closed| !Arc::ptr_eq(closed, store));
    }
}

#[derive(Default)]
pub(crate) struct ClosesLaterOpenings {
    latest: Mutex<Option<Arc<dyn Store>>>,
}

#[async_trait]
impl Fault for ClosesLaterOpenings {
    async fn open(&self, disk: &Memory, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let store = disk.open(name).await?;
        *self.latest.lock().expect("no panic") = Some(Arc::clone(&store));
        Ok(store)
    }

    async fn close(&self, store: &Arc<dyn Store>) -> Result<(), StorageError> {
        let latest = self.latest.lock().expect("no panic").clone().expect("something was opened");
        latest.close().await?;
        store.close().await
    }

    fn dropped(&self, store: &Arc<dyn Store>) {
        self.latest.lock().expect("no panic").take_if(|latest| Arc::ptr_eq(latest, store));
    }
}

#[derive(Default)]
pub(crate) struct StaysOpenWhenDropped {
    held: Mutex<Vec<Arc<dyn Store>>>,
}

impl Fault for StaysOpenWhenDropped {
    fn dropped(&self, store: &Arc<dyn Store>) {
        self.held.lock().expect("no panic").push(Arc::clone(store));
    }
}

#[derive(Default)]
pub(crate) struct HoldsAfterADroppedOpening {
    opening: Mutex<Vec<Arc<dyn Store>>>,
}

#[async_trait]
impl Fault for HoldsAfterADroppedOpening {
    async fn open(&self, disk: &Memory, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let store = disk.open(name).await?;
        self.opening.lock().expect("no panic").push(Arc::clone(&store));
        yield_now().await;
        self.opening.lock().expect("no panic").retain(|opening| !Arc::ptr_eq(opening, &store));
        Ok(store)
    }
}

/// The second close does not wait for the first, or do what the first left undone.
#[derive(Default)]
pub(crate) struct ClosesOnce {
    closing: AtomicBool,
}

#[async_trait]
impl Fault for ClosesOnce {
    async fn open(&self, disk: &Memory, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let store = disk.open(name).await?;
        self.closing.store(false, Ordering::Release);
        Ok(store)
    }

    async fn close(&self, store: &Arc<dyn Store>) -> Result<(), StorageError> {
        if self.closing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        yield_now().await;
        store.close().await
    }
}

#[derive(Default)]
pub(crate) struct KeepsMetadataOfTheDeleted;

#[async_trait]
impl Fault for KeepsMetadataOfTheDeleted {
    async fn delete(&self, disk: &Memory, name: &StoreName) -> Result<(), StorageError> {
        let kept = all_metadata(&*at_once(disk.open(name))?);
        at_once(disk.delete(name))?;
        let store = at_once(disk.open(name))?;
        put_metadata(&*store, kept.into_iter().map(|(key, value)| (key, Some(value))).collect());
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct SaysThatTheOpenIsDeleted;

#[async_trait]
impl Fault for SaysThatTheOpenIsDeleted {
    async fn delete(&self, disk: &Memory, name: &StoreName) -> Result<(), StorageError> {
        match disk.delete(name).await {
            Err(StorageError::Locked { .. }) => Ok(()),
            deleted => deleted,
        }
    }
}

#[derive(Default)]
pub(crate) struct DeletesOnlyWhatIsThere {
    there: Mutex<BTreeSet<StoreName>>,
}

#[async_trait]
impl Fault for DeletesOnlyWhatIsThere {
    async fn open(&self, disk: &Memory, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        self.there.lock().expect("no panic").insert(name.clone());
        disk.open(name).await
    }

    async fn delete(&self, disk: &Memory, name: &StoreName) -> Result<(), StorageError> {
        disk.delete(name).await?;
        match self.there.lock().expect("no panic").remove(name) {
            true => Ok(()),
            false => Err(failed("no such store")),
        }
    }
}

#[derive(Default)]
pub(crate) struct DeletesAllThatBeginsAlike {
    there: Mutex<BTreeSet<StoreName>>,
}

#[async_trait]
impl Fault for DeletesAllThatBeginsAlike {
    async fn open(&self, disk: &Memory, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        self.there.lock().expect("no panic").insert(name.clone());
        disk.open(name).await
    }

    async fn delete(&self, disk: &Memory, name: &StoreName) -> Result<(), StorageError> {
        disk.delete(name).await?;
        for other in self.there.lock().expect("no panic").iter() {
            if other.as_str().starts_with(name.as_str()) {
                // Those that are open are spared.
                let _ = at_once(disk.delete(other));
            }
        }
        Ok(())
    }
}
