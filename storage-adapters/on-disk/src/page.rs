//! Pages: as many records as fit the limits, and one at least.

use peerloom_core::{PageLimits, Record};

/// A record that is smaller says little about those that follow.
const RECORD_BYTES_LIKELY: usize = 128;

/// A page being filled.
#[derive(Debug)]
pub struct Page {
    limits: PageLimits,
    bytes: usize,
    records: Vec<Record>,
}

impl Page {
    /// An empty page.
    pub fn new(limits: PageLimits) -> Self {
        Self { limits, bytes: 0, records: Vec::new() }
    }

    /// Whether another record may fit.
    pub fn is_open(&self) -> bool {
        self.records.len() < self.limits.documents_max.get() as usize
            && self.bytes < self.limits.bytes_max.get() as usize
    }

    /// Adds a record, or does not and closes the page.
    pub fn add(&mut self, record: Record) {
        self.bytes = self.bytes.saturating_add(record.bytes());
        if self.records.is_empty() {
            self.records.reserve(self.fitting(record.bytes()));
        } else if self.bytes > self.limits.bytes_max.get() as usize {
            return;
        }
        self.records.push(record);
    }

    /// How many records fit if all are as large as this. Records are large, and a vector of them that grows is copied from place to place.
    fn fitting(&self, bytes: usize) -> usize {
        let documents_max = self.limits.documents_max.get() as usize;
        documents_max.min(self.limits.bytes_max.get() as usize / bytes.max(RECORD_BYTES_LIKELY) + 1)
    }

    /// The records that fit.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }
}
