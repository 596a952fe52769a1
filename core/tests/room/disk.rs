//! A store in memory that checks what a replica promises its stores.

use std::collections::BTreeMap;

use bytes::Bytes;
use peerloom_core::*;

#[derive(Clone, Debug, Default)]
pub struct Disk {
    records: BTreeMap<DocumentId, Record>,
    feed: BTreeMap<Sequence, DocumentId>,
    metadata: BTreeMap<Bytes, Bytes>,
    /// The highest sequence ever committed.
    end: Sequence,
    /// All that was ever committed, superseded copies too.
    log: Vec<(Sequence, DocumentId, Context)>,
}

impl Disk {
    pub fn read(&self, id: &DocumentId) -> Option<Record> {
        self.records.get(id).cloned()
    }

    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    pub fn log(&self) -> &[(Sequence, DocumentId, Context)] {
        &self.log
    }

    pub fn changes(&self, after: Sequence, limits: PageLimits) -> Vec<Record> {
        let mut bytes = 0;
        let following = self.feed.range(after.next()..).map(|(_, id)| &self.records[id]);
        let fitting =
            following.take(limits.documents_max.get() as usize).enumerate().take_while(|(n, record)| {
                bytes += record.bytes();
                *n == 0 || bytes <= limits.bytes_max.get() as usize
            });
        fitting.map(|(_, record)| record.clone()).collect()
    }

    pub fn metadata(&self) -> Vec<(Bytes, Bytes)> {
        self.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub fn entry(&self, key: &[u8]) -> Option<Bytes> {
        self.metadata.get(key).cloned()
    }

    pub fn commit(&mut self, batch: &Batch) {
        let ascending = batch.records.is_sorted_by(|a, b| a.record.sequence < b.record.sequence);
        assert!(ascending, "records come in ascending order of their sequences");
        for Put { record, replaces } in &batch.records {
            let old = self.records.get(&record.id);
            assert_eq!(*replaces, old.map(|old| old.sequence), "the record that is replaced is named");
            if *replaces != Some(record.sequence) {
                assert!(record.sequence > self.end, "sequences only grow");
                if let Some(old) = old {
                    let (was, is) = (old.document.context(), record.document.context());
                    assert!(is.covers(was), "a context never shrinks");
                    assert!(!was.covers(is), "no commit for a covered context");
                }
                self.log.push((record.sequence, record.id.clone(), record.document.context().clone()));
            } else {
                let same = old.is_some_and(|old| old.document == record.document);
                assert!(same, "remaking a view does not touch the document");
            }
            assert_eq!(record.resolved.is_some(), record.document.in_conflict(), "views are for conflicts");
            if let Some(replaces) = replaces {
                self.feed.remove(replaces);
            }
            self.feed.insert(record.sequence, record.id.clone());
            self.end = self.end.max(record.sequence);
            self.records.insert(record.id.clone(), record.clone());
        }
        assert_eq!(self.feed.len(), self.records.len(), "one feed entry per document");
        for (key, value) in &batch.metadata {
            assert!((1..=2048).contains(&key.len()), "keys are bounded");
            match value {
                Some(value) => self.metadata.insert(key.clone(), value.clone()),
                None => self.metadata.remove(key),
            };
        }
        self.assert_conflicts_are_listed();
    }

    fn assert_conflicts_are_listed(&self) {
        let listed = self.metadata.keys().filter(|key| key.starts_with(CONFLICT_PREFIX)).map(|key| &key[1..]);
        let conflicts = self.records.values().filter(|record| record.document.in_conflict());
        assert!(listed.eq(conflicts.map(|record| record.id.as_bytes())), "the list of conflicts is right");
    }
}
