//! What a store holds, in three maps.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound;

use bytes::Bytes;
use peerloom_core::{Batch, DocumentId, IdRange, PageLimits, Put, Record, Sequence};

/// Documents by id, their places in the feed, and metadata.
#[derive(Debug, Default)]
pub struct Contents {
    documents: BTreeMap<DocumentId, Record>,
    feed: BTreeMap<Sequence, DocumentId>,
    metadata: BTreeMap<Bytes, Bytes>,
}

impl Contents {
    /// Applies a batch.
    pub fn apply(&mut self, batch: Batch) {
        for Put { record, replaces } in batch.records {
            // Removed first: the new place may be the old one.
            if let Some(replaced) = replaces {
                self.feed.remove(&replaced);
            }
            self.feed.insert(record.sequence, record.id.clone());
            self.documents.insert(record.id.clone(), record);
        }
        for (key, value) in batch.metadata {
            match value {
                Some(value) => self.metadata.insert(key, value),
                None => self.metadata.remove(&key),
            };
        }
    }

    /// One document.
    pub fn read(&self, id: &DocumentId) -> Option<Record> {
        self.documents.get(id).cloned()
    }

    /// A page of the feed.
    pub fn changes(&self, after: Sequence, limits: PageLimits) -> Vec<Record> {
        let places = self.feed.range((Bound::Excluded(after), Bound::Unbounded));
        page(places.map(|(_, id)| &self.documents[id]), limits)
    }

    /// A page of documents by id.
    pub fn list(&self, range: &IdRange, limits: PageLimits) -> Vec<Record> {
        // A map panics at a range that ends before it begins.
        if range.is_empty() {
            return Vec::new();
        }
        let bounds = (range.start.as_ref(), range.end.as_ref());
        page(self.documents.range::<DocumentId, _>(bounds).map(|(_, record)| record), limits)
    }

    /// Entries of metadata by prefix.
    pub fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Vec<(Bytes, Bytes)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let from_start = self.metadata.range::<[u8], _>((start, Bound::Unbounded));
        from_start
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(entries_max.get() as usize)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// As many records as the limits allow, and one at least.
fn page<'a>(records: impl Iterator<Item = &'a Record>, limits: PageLimits) -> Vec<Record> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for record in records.take(limits.documents_max.get() as usize) {
        bytes += record.bytes();
        if !page.is_empty() && bytes > limits.bytes_max.get() as usize {
            break;
        }
        page.push(record.clone());
    }
    page
}
