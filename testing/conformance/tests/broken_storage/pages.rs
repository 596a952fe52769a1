//! Faults of the feed, of pages and of lists.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Record, Sequence, StorageError, Store,
};

use super::Fault;

/// The usual mistake of a put that first inserts and then removes.
#[derive(Default)]
pub(crate) struct RemovesTheReplacedEntryLast {
    removed: Mutex<BTreeSet<Sequence>>,
}

#[async_trait]
impl Fault for RemovesTheReplacedEntryLast {
    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        self.removed.lock().expect("no panic").extend(batch.records.iter().filter_map(|put| put.replaces));
        store.commit(batch).await
    }

    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let mut page = store.changes(after, limits).await?;
        page.retain(|record| !self.removed.lock().expect("no panic").contains(&record.sequence));
        Ok(page)
    }
}

#[derive(Default)]
pub(crate) struct BeginsAtTheSequence;

#[async_trait]
impl Fault for BeginsAtTheSequence {
    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        store.changes(after.previous(), limits).await
    }
}

#[derive(Default)]
pub(crate) struct OrdersSequencesAsLittleEndian;

#[async_trait]
impl Fault for OrdersSequencesAsLittleEndian {
    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let mut page = store.changes(after, limits).await?;
        page.sort_by_key(|record| record.sequence.number().to_le_bytes());
        Ok(page)
    }
}

#[derive(Default)]
pub(crate) struct IgnoresDocumentsMax;

#[async_trait]
impl Fault for IgnoresDocumentsMax {
    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        store.changes(after, PageLimits { documents_max: NonZeroU32::MAX, ..limits }).await
    }
}

#[derive(Default)]
pub(crate) struct IgnoresBytesMax;

#[async_trait]
impl Fault for IgnoresBytesMax {
    async fn list(
        &self,
        store: &dyn Store,
        range: IdRange,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        store.list(range, PageLimits { bytes_max: NonZeroU32::MAX, ..limits }).await
    }
}

#[derive(Default)]
pub(crate) struct HoldsNoLargeRecord;

#[async_trait]
impl Fault for HoldsNoLargeRecord {
    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let mut page = store.changes(after, limits).await?;
        page.retain(|record| record.bytes() <= limits.bytes_max.get() as usize);
        Ok(page)
    }
}

/// Fills the page with smaller ones that come later.
#[derive(Default)]
pub(crate) struct SkipsTheRecordThatDoesNotFit;

#[async_trait]
impl Fault for SkipsTheRecordThatDoesNotFit {
    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let mut bytes = 0;
        let mut all = store.changes(after, PageLimits { bytes_max: NonZeroU32::MAX, ..limits }).await?;
        let first = all.first().map(|record| record.sequence);
        all.retain(|record| {
            let fits = bytes + record.bytes() <= limits.bytes_max.get() as usize;
            if fits {
                bytes += record.bytes();
            }
            fits || Some(record.sequence) == first
        });
        Ok(all)
    }
}

#[derive(Default)]
pub(crate) struct AnswersEachIdOnce;

#[async_trait]
impl Fault for AnswersEachIdOnce {
    async fn read(&self, store: &dyn Store, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        let mut seen = BTreeSet::new();
        let ids: Vec<_> = ids.iter().filter(|id| seen.insert(*id)).cloned().collect();
        store.read(&ids).await
    }
}

#[derive(Default)]
pub(crate) struct OrdersIdsAsUtf16;

#[async_trait]
impl Fault for OrdersIdsAsUtf16 {
    async fn list(
        &self,
        store: &dyn Store,
        range: IdRange,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let mut page = store.list(range, limits).await?;
        page.sort_by_key(|record| record.id.as_str().encode_utf16().collect::<Vec<_>>());
        Ok(page)
    }
}

#[derive(Default)]
pub(crate) struct IncludesAnExcludedEnd;

#[async_trait]
impl Fault for IncludesAnExcludedEnd {
    async fn list(
        &self,
        store: &dyn Store,
        range: IdRange,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let end = match range.end {
            Bound::Excluded(end) => Bound::Included(end),
            end => end,
        };
        store.list(IdRange { end, ..range }, limits).await
    }
}

/// To what fits the column of a database.
#[derive(Default)]
pub(crate) struct TruncatesBounds;

#[async_trait]
impl Fault for TruncatesBounds {
    async fn list(
        &self,
        store: &dyn Store,
        range: IdRange,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let truncated = |id: DocumentId| {
            let end = id.as_str().floor_char_boundary(255);
            DocumentId::new(&id.as_str()[..end]).expect("a shorter id")
        };
        let range = IdRange { start: range.start.map(truncated), end: range.end.map(truncated) };
        store.list(range, limits).await
    }
}
