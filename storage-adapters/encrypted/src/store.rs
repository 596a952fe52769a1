//! One open store: seals what goes in, opens what comes out, and keeps the order of calls.
//!
//! Sealing takes time, and on another thread if it is much. So that calls reach the store beneath in the order in
//! which they were made here, each takes its turn at its first poll, and hands it on when its call has been made below.

use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Put, Record, Sequence, StorageError, Store,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::error::{EncryptionError, corrupt};
use crate::marker::{self, Marker, Progress};
use crate::offload::offload;
use crate::randomness::Randomness;
use crate::seal::{Epoch, OVERHEAD_BYTES, StoreKeys, epoch_of, epoch_of_record};

/// The least that [`Record::bytes`] counts: an id of one byte, a context of one entry, one head.
const RECORD_BYTES_MIN: u32 = 1 + 16 + 24;

/// The most bytes a metadata key may have, by the contract.
const METADATA_KEY_BYTES_MAX: usize = 2048;

pub(crate) struct EncryptedStore {
    inner: Arc<dyn Store>,
    keys: RwLock<Arc<StoreKeys>>,
    randomness: Randomness,
    closed: AtomicBool,
    /// Held from the first poll of an operation until it has been called below, and by rotation for a whole page.
    turn: Mutex<Marker>,
}

/// What one step of a rotation did.
pub(crate) enum Step {
    /// So many documents and entries were sealed anew, and there may be more.
    Resealed { documents: u64, entries: u64 },
    /// Everything in the store is sealed with the new key.
    Whole,
}

impl EncryptedStore {
    pub(crate) fn new(
        inner: Arc<dyn Store>,
        keys: StoreKeys,
        marker: Marker,
        randomness: Randomness,
    ) -> Self {
        let (keys, turn) = (RwLock::new(Arc::new(keys)), Mutex::new(marker));
        Self { inner, keys, randomness, closed: AtomicBool::new(false), turn }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Seals one page anew that is sealed with an older key than `epoch`, and keeps everybody else out meanwhile: what is
    /// read must not be rewritten before it is put back. The first step makes the store write with the new key; each step
    /// notes in the same commit how far it came.
    pub(crate) async fn reseal_page(
        &self,
        epoch: Epoch,
        keys: StoreKeys,
        limits: PageLimits,
    ) -> Result<Step, EncryptionError> {
        let mut marker = self.take_turn().await;
        let keys = Arc::new(keys);
        // Before anything is sealed with a new key, so that whoever reads it finds the key.
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keys);
        let (mut batch, next) = if marker.epoch != epoch {
            (Batch::default(), Progress::Records(Sequence::ZERO))
        } else {
            match &marker.progress {
                Progress::Whole => return Ok(Step::Whole),
                Progress::Records(after) => self.old_records(*after, epoch, &keys, limits).await?,
                Progress::Metadata(after) => self.old_metadata(after, epoch, &keys, limits).await?,
            }
        };
        let step =
            Step::Resealed { documents: batch.records.len() as u64, entries: batch.metadata.len() as u64 };
        let next = Marker { epoch, progress: next };
        batch = self.sealed(&keys, epoch, batch).await?;
        batch.metadata.push(next.seal(&keys, &self.randomness.nonce()));
        self.inner.commit(batch).await?;
        *marker = next;
        Ok(step)
    }

    /// The next page's records that are sealed with an older key, opened, and how far that is.
    async fn old_records(
        &self,
        after: Sequence,
        epoch: Epoch,
        keys: &Arc<StoreKeys>,
        limits: PageLimits,
    ) -> Result<(Batch, Progress), StorageError> {
        let page = self.inner.changes(after, limits).await?;
        let Some(last) = page.last() else {
            return Ok((Batch::default(), Progress::Metadata(Bytes::new())));
        };
        let next = Progress::Records(last.sequence);
        let old = page.into_iter().filter(|record| epoch_of_record(record) != Some(epoch)).collect();
        let put = |record: Record| Put { replaces: Some(record.sequence), record };
        let records = opened(keys, old).await?.into_iter().map(put).collect();
        Ok((Batch { records, metadata: Vec::new() }, next))
    }

    /// The next page's entries of metadata that are sealed with an older key, opened, and how far that is.
    async fn old_metadata(
        &self,
        after: &Bytes,
        epoch: Epoch,
        keys: &Arc<StoreKeys>,
        limits: PageLimits,
    ) -> Result<(Batch, Progress), StorageError> {
        let after = (!after.is_empty()).then_some(&after[..]);
        let page = self.inner.metadata(b"", after, limits.documents_max).await?;
        let Some((last, _)) = page.last() else { return Ok((Batch::default(), Progress::Whole)) };
        let next = Progress::Metadata(last.clone());
        let is_old = |(key, value): &(Bytes, Bytes)| {
            marker::outer_key(key).is_some() && epoch_of(value) != Some(epoch)
        };
        let entries = opened_values(keys, page.into_iter().filter(is_old).collect()).await?;
        let metadata = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
        Ok((Batch { records: Vec::new(), metadata }, next))
    }

    async fn sealed(&self, keys: &Arc<StoreKeys>, epoch: Epoch, batch: Batch) -> Result<Batch, StorageError> {
        let things = batch.records.len() + batch.metadata.len();
        let records = batch.records.iter().map(|put| put.record.bytes());
        let values =
            batch.metadata.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len));
        let bytes = records.chain(values).sum();
        let (keys, nonces) = (Arc::clone(keys), self.randomness.nonces(things));
        offload(things, bytes, move || keys.seal_batch(epoch, &nonces, batch)).await
    }

    fn keys(&self) -> Arc<StoreKeys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place in the queue at the first poll. A task that has used up its budget would not get to that, and be
    /// overtaken by later calls of others.
    async fn take_turn(&self) -> MutexGuard<'_, Marker> {
        tokio::task::unconstrained(self.turn.lock()).await
    }

    /// Calls an operation of the store beneath when it is its turn.
    async fn in_turn<T>(&self, operation: impl Future<Output = T>) -> T {
        let turn = self.take_turn().await;
        call(turn, operation).await
    }

    /// The part of a page that fits the limits, opened.
    async fn page(&self, sealed: Vec<Record>, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        let mut bytes = 0;
        let fits = |(index, record): &(usize, Record)| {
            bytes += record.bytes().saturating_sub(OVERHEAD_BYTES);
            *index == 0 || bytes <= limits.bytes_max.get() as usize
        };
        let page = sealed.into_iter().enumerate().take_while(fits).map(|(_, record)| record).collect();
        opened(&self.keys(), page).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for EncryptedStore {
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        let found = self.in_turn(self.inner.read(ids)).await?;
        let is_another = |(id, record): (&DocumentId, &Option<Record>)| {
            record.as_ref().is_some_and(|record| record.id != *id)
        };
        if found.len() != ids.len() || ids.iter().zip(&found).any(is_another) {
            return Err(corrupt("the store answers with another document than the one asked for"));
        }
        let is_there: Vec<bool> = found.iter().map(Option::is_some).collect();
        let mut opened = opened(&self.keys(), found.into_iter().flatten().collect()).await?.into_iter();
        Ok(is_there.into_iter().map(|is_there| is_there.then(|| opened.next()).flatten()).collect())
    }

    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        let page = self.in_turn(self.inner.changes(after, sealed_limits(limits))).await?;
        if !page.is_sorted_by(|left, right| left.sequence < right.sequence)
            || page.first().is_some_and(|first| first.sequence <= after)
        {
            return Err(corrupt("the changefeed is not in order"));
        }
        self.page(page, limits).await
    }

    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        let page = self.in_turn(self.inner.list(range.clone(), sealed_limits(limits))).await?;
        if !page.is_sorted_by(|left, right| left.id < right.id)
            || !page.iter().all(|record| range.contains(&record.id))
        {
            return Err(corrupt("a list of documents is not in order"));
        }
        self.page(page, limits).await
    }

    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let (prefix, after) = (marker::inner_key(prefix), after.map(marker::inner_key));
        // One more, as the marker may be among them.
        let (asked, wanted) = (entries_max.saturating_add(1), entries_max.get() as usize);
        let mut found = self.in_turn(self.inner.metadata(&prefix, after.as_deref(), asked)).await?;
        found.retain(|(key, _)| marker::outer_key(key).is_some());
        found.truncate(wanted);
        let opened = opened_values(&self.keys(), found).await?;
        let renamed = |(key, value)| marker::outer_key(&key).map(|key| (key, value));
        Ok(opened.into_iter().filter_map(renamed).collect())
    }

    async fn commit(&self, mut batch: Batch) -> Result<(), CommitError> {
        for (key, _) in &mut batch.metadata {
            assert!(!key.is_empty(), "a metadata key of 0 bytes");
            *key = moved(key);
            assert!(
                key.len() <= METADATA_KEY_BYTES_MAX,
                "a metadata key of {} bytes, as it is stored",
                key.len()
            );
        }
        let turn = self.take_turn().await;
        let batch = self.sealed(&self.keys(), turn.epoch, batch).await.map_err(CommitError::NotApplied)?;
        call(turn, self.inner.commit(batch)).await
    }

    async fn close(&self) -> Result<(), StorageError> {
        let turn = self.take_turn().await;
        self.closed.store(true, Ordering::Release);
        call(turn, self.inner.close()).await
    }
}

/// Calls an operation, which is to poll it once, and hands on the turn. Then awaits it.
async fn call<T>(turn: MutexGuard<'_, Marker>, operation: impl Future<Output = T>) -> T {
    let (mut operation, mut turn) = (pin!(operation), Some(turn));
    poll_fn(|context| {
        let polled = operation.as_mut().poll(context);
        turn.take();
        polled
    })
    .await
}

fn moved(key: &Bytes) -> Bytes {
    match marker::inner_key(key) {
        std::borrow::Cow::Borrowed(_) => key.clone(),
        std::borrow::Cow::Owned(key) => key.into(),
    }
}

/// Limits within which a page of sealed records holds all that a page of opened ones may: each is larger by a constant, and there
/// are no more of them than their least size allows.
fn sealed_limits(limits: PageLimits) -> PageLimits {
    let records_max = limits.documents_max.get().min(limits.bytes_max.get() / RECORD_BYTES_MIN + 1);
    let overhead = (OVERHEAD_BYTES as u32).saturating_mul(records_max);
    PageLimits { bytes_max: limits.bytes_max.saturating_add(overhead), ..limits }
}

async fn opened(keys: &Arc<StoreKeys>, sealed: Vec<Record>) -> Result<Vec<Record>, StorageError> {
    let (keys, bytes) = (Arc::clone(keys), sealed.iter().map(Record::bytes).sum());
    offload(sealed.len(), bytes, move || sealed.iter().map(|record| keys.open_record(record)).collect())
        .await?
}

async fn opened_values(
    keys: &Arc<StoreKeys>,
    sealed: Vec<(Bytes, Bytes)>,
) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let (keys, bytes) = (Arc::clone(keys), sealed.iter().map(|(_, value)| value.len()).sum());
    let open = move |(key, value): (Bytes, Bytes)| {
        let value = keys.open_value(&key, &value)?;
        Ok((key, value))
    };
    offload(sealed.len(), bytes, move || sealed.into_iter().map(open).collect()).await?
}
