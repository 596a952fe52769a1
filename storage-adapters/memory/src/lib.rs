//! Storage in memory: the executable specification of the storage contract.
//!
//! Ordered maps behind one lock, and nothing else: every promise of [`Storage`] and [`Store`] can be read off the
//! code. What the contract asks of its callers is asserted here, so that a replica tested on [`Memory`] keeps to it
//! on any other adapter. Nothing survives the process.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{
    Batch, CommitError, Document, DocumentId, Head, IdRange, PageLimits, Put, Record, Sequence, State,
    Storage, StorageError, Store, StoreName,
};

/// The most bytes a metadata key may have, by the contract.
const METADATA_KEY_BYTES_MAX: usize = 2048;

/// A disk that is not there: stores by name, kept for as long as one clone of this lives.
///
/// Clones are the same disk. Drop a node, open another one on a clone, and it finds what the first one committed.
/// [`Memory::fork`] makes a disk of its own.
///
/// ```
/// use peerloom_core::{Batch, Storage, StoreName};
/// use peerloom_memory::Memory;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let disk = Memory::new();
/// let store = disk.open(&StoreName::node()).await?;
/// let metadata = vec![("greeting".into(), Some("hello".into()))];
/// store.commit(Batch { metadata, ..Batch::default() }).await?;
/// drop(store);
///
/// let store = disk.clone().open(&StoreName::node()).await?;
/// let found = store.metadata(b"greet", None, 1.try_into()?).await?;
/// assert_eq!(found, [("greeting".into(), "hello".into())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    disk: Arc<Mutex<Disk>>,
}

impl Memory {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent copy of everything committed so far: a backup, or the disk of a cloned device.
    ///
    /// Works while stores are open. In the copy none is.
    pub fn fork(&self) -> Self {
        let stores = lock(&self.disk).stores.clone();
        Self { disk: Arc::new(Mutex::new(Disk { stores, ..Disk::default() })) }
    }
}

#[async_trait]
impl Storage for Memory {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let mut disk = lock(&self.disk);
        disk.ensure_unlocked(name)?;
        disk.openings += 1;
        let opening = disk.openings;
        disk.open.insert(name.clone(), opening);
        disk.stores.entry(name.clone()).or_default();
        Ok(Arc::new(MemoryStore { disk: Arc::clone(&self.disk), name: name.clone(), opening }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        let mut disk = lock(&self.disk);
        disk.ensure_unlocked(name)?;
        disk.stores.remove(name);
        Ok(())
    }
}

/// A handle to one store. It is open while the disk names its opening as the one that holds the store.
#[derive(Debug)]
struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
    name: StoreName,
    opening: u64,
}

impl MemoryStore {
    fn with<T>(&self, operate: impl FnOnce(&mut Contents) -> T) -> Result<T, StorageError> {
        let mut disk = lock(&self.disk);
        if disk.open.get(&self.name) != Some(&self.opening) {
            return Err(StorageError::Closed);
        }
        Ok(operate(disk.stores.get_mut(&self.name).expect("an open store is not deleted")))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.with(|contents| ids.iter().map(|id| contents.documents.get(id).map(copy)).collect())
    }

    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.with(|contents| {
            let range = (Bound::Excluded(after), Bound::Unbounded);
            page(contents.feed.range(range).map(|(_, record)| record), limits)
        })
    }

    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.with(|contents| {
            // A map refuses a range that ends before it begins.
            if range.is_empty() {
                return Vec::new();
            }
            let range = (range.start.as_ref(), range.end.as_ref());
            page(contents.documents.range::<DocumentId, _>(range).map(|(_, record)| record), limits)
        })
    }

    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: std::num::NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.with(|contents| {
            let start = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            let entries = contents.metadata.range::<[u8], _>((start, Bound::Unbounded));
            entries
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(entries_max.get() as usize)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        })
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.with(|contents| contents.apply(batch)).map_err(CommitError::NotApplied)
    }

    async fn close(&self) -> Result<(), StorageError> {
        lock(&self.disk).close(&self.name, self.opening);
        Ok(())
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        // A panic while the lock was held is on its way up already; a second one would abort the process.
        if let Ok(mut disk) = self.disk.lock() {
            disk.close(&self.name, self.opening);
        }
    }
}

#[derive(Debug, Default)]
struct Disk {
    stores: BTreeMap<StoreName, Contents>,
    /// Which opening holds each open store.
    open: BTreeMap<StoreName, u64>,
    /// How often a store was opened: the number of the latest opening.
    openings: u64,
}

impl Disk {
    fn ensure_unlocked(&self, name: &StoreName) -> Result<(), StorageError> {
        match self.open.contains_key(name) {
            true => Err(StorageError::Locked { place: format!("{name} in memory") }),
            false => Ok(()),
        }
    }

    fn close(&mut self, name: &StoreName, opening: u64) {
        if self.open.get(name) == Some(&opening) {
            self.open.remove(name);
        }
    }
}

/// What one store holds. Both maps share each record, so that a page of changes is one walk without look-ups.
#[derive(Clone, Debug, Default)]
struct Contents {
    documents: BTreeMap<DocumentId, Arc<Record>>,
    feed: BTreeMap<Sequence, Arc<Record>>,
    metadata: BTreeMap<Bytes, Bytes>,
}

impl Contents {
    /// Applies a batch, or panics at what the caller should not have asked for.
    ///
    /// A panic leaves the batch in part and the lock poisoned, so that nobody ever sees that part.
    fn apply(&mut self, batch: Batch) {
        let end = self.feed.last_key_value().map_or(Sequence::ZERO, |(end, _)| *end);
        let mut previous = Sequence::ZERO;
        for put in batch.records {
            let sequence = put.record.sequence;
            assert!(
                sequence > previous,
                "the records of a batch ascend from {previous:?}, not to {sequence:?}"
            );
            assert!(
                sequence > end || put.replaces == Some(sequence),
                "{sequence:?} is neither above the end of the feed, {end:?}, nor the sequence it replaces"
            );
            previous = sequence;
            self.put(put, end);
        }
        for (key, value) in batch.metadata {
            assert!(
                (1..=METADATA_KEY_BYTES_MAX).contains(&key.len()),
                "a metadata key of {} bytes",
                key.len()
            );
            match value {
                Some(value) => self.metadata.insert(detached(&key), detached(&value)),
                None => self.metadata.remove(&key),
            };
        }
    }

    fn put(&mut self, Put { record, replaces }: Put, end: Sequence) {
        let record = Arc::new(detached_record(record));
        let stored = match self.documents.entry(record.id.clone()) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(Arc::clone(&record));
                None
            }
            btree_map::Entry::Occupied(mut entry) => Some(entry.insert(Arc::clone(&record)).sequence),
        };
        assert_eq!(replaces, stored, "{} replaces another record than the one stored", record.id);
        assert!(stored.is_none_or(|stored| stored <= end), "{} is in one batch twice", record.id);
        if let Some(stored) = stored {
            self.feed.remove(&stored);
        }
        self.feed.insert(record.sequence, record);
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().expect("no batch broke the contract")
}

fn copy(record: &Arc<Record>) -> Record {
    Record::clone(record)
}

/// The first records within the limits, and one at least if there is one.
fn page<'a>(records: impl Iterator<Item = &'a Arc<Record>>, limits: PageLimits) -> Vec<Record> {
    let mut bytes = 0;
    let within_limits = |(index, record): &(usize, &'a Arc<Record>)| {
        bytes += record.bytes();
        *index == 0 || bytes <= limits.bytes_max.get() as usize
    };
    let records = records.take(limits.documents_max.get() as usize).enumerate().take_while(within_limits);
    records.map(|(_, record)| copy(record)).collect()
}

/// The record with bytes of its own. Bodies come in as slices of large network buffers, and one small document would
/// keep the whole buffer alive.
fn detached_record(record: Record) -> Record {
    let heads = record.document.heads().iter();
    let heads = heads.map(|head| Head { dot: head.dot, state: detached_state(&head.state) }).collect();
    let document = Document::new(record.document.context().clone(), heads)
        .expect("the heads of a document belong to its context");
    let resolved = record.resolved.as_ref().map(detached_state);
    Record { document, resolved, ..record }
}

fn detached_state(state: &State) -> State {
    State { deleted: state.deleted, body: detached(&state.body), annotations: detached(&state.annotations) }
}

fn detached(bytes: &Bytes) -> Bytes {
    match bytes.is_empty() {
        // An empty slice of a buffer pins it as well, and the empty one needs no allocation.
        true => Bytes::new(),
        false => Bytes::copy_from_slice(bytes),
    }
}
