//! A store that checks what a replica promises its stores.

use std::collections::BTreeMap;

use bytes::Bytes;
use peerloom_core::{Batch, DocumentId, PageLimits, Put, Record, Sequence};

/// What is durable.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Store {
    records: BTreeMap<DocumentId, Record>,
    feed: BTreeMap<Sequence, DocumentId>,
    metadata: BTreeMap<Bytes, Bytes>,
}

impl Store {
    pub(crate) fn read(&self, id: &DocumentId) -> Option<&Record> {
        self.records.get(id)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    pub(crate) fn end(&self) -> Sequence {
        self.feed.last_key_value().map(|last| *last.0).unwrap_or_default()
    }

    pub(crate) fn changes(&self, after: Sequence, limits: PageLimits) -> Vec<Record> {
        let following = self.feed.range(after.next()..).map(|(_, id)| self.records[id].clone());
        following.take(limits.documents_max.get() as usize).collect()
    }

    pub(crate) fn metadata(&self) -> impl Iterator<Item = (Bytes, Bytes)> + '_ {
        self.metadata.iter().map(|(key, value)| (key.clone(), value.clone()))
    }

    pub(crate) fn entry(&self, key: &[u8]) -> Option<&Bytes> {
        self.metadata.get(key)
    }

    pub(crate) fn commit(&mut self, batch: Batch) {
        for Put { record, replaces } in batch.records {
            let old = self.records.get(&record.id);
            assert_eq!(replaces, old.map(|old| old.sequence), "the record that is replaced is named");
            assert!(record.sequence > self.end(), "sequences only grow");
            assert_eq!(record.resolved.is_some(), record.document.in_conflict(), "views are for conflicts");
            if let Some(old) = old {
                let (was, is) = (old.document.context(), record.document.context());
                assert!(is.covers(was), "a context never shrinks");
                assert!(!was.covers(is), "no commit for a covered context");
                self.feed.remove(&old.sequence);
            }
            self.feed.insert(record.sequence, record.id.clone());
            self.records.insert(record.id.clone(), record);
        }
        for (key, value) in batch.metadata {
            match value {
                Some(value) => self.metadata.insert(key, value),
                None => self.metadata.remove(&key),
            };
        }
    }
}
