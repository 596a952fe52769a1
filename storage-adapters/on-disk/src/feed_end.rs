//! Where the feed of an open database ends, and whether that is known.

use peerloom_core::{Batch, CommitError, Put, Sequence, StorageError};

/// The highest sequence in the feed, as the commits of this handle leave it.
#[derive(Debug)]
pub struct FeedEnd {
    sequence: Sequence,
    /// A write failed: nobody knows what the log holds before it is read again.
    failed: bool,
}

impl FeedEnd {
    /// As it was found when the database was opened.
    pub fn found(sequence: Sequence) -> Self {
        Self { sequence, failed: false }
    }

    /// Where the feed ends once this batch is written. Does not check that `replaces` is the sequence that is stored, which would take a read for
    /// each record.
    ///
    /// # Errors
    ///
    /// `NotApplied` after a failed write: the store must be reopened.
    ///
    /// # Panics
    ///
    /// If a record is neither above the end nor at the sequence that it replaces.
    pub fn after(&self, batch: &Batch) -> Result<Sequence, CommitError> {
        if self.failed {
            let detail = "an earlier commit failed; the store must be reopened".into();
            return Err(CommitError::NotApplied(StorageError::Io { detail }));
        }
        let mut end = self.sequence;
        for Put { record, replaces } in &batch.records {
            assert!(
                record.sequence > end || *replaces == Some(record.sequence),
                "{:?} is neither above the end of the feed, {end:?}, nor the sequence it replaces",
                record.sequence
            );
            end = end.max(record.sequence);
        }
        Ok(end)
    }

    /// What a commit answers whose batch would leave the feed with this end. Where in the log a write failed is not told, and the
    /// batch may yet be found there when it is read again.
    ///
    /// # Errors
    ///
    /// `Unknown` with the error of the write. Every later [`after`](Self::after) fails then.
    pub fn written(&mut self, end: Sequence, written: Result<(), StorageError>) -> Result<(), CommitError> {
        match written {
            Ok(()) => {
                self.sequence = end;
                Ok(())
            }
            Err(error) => {
                self.failed = true;
                Err(CommitError::Unknown(error))
            }
        }
    }

    /// Whether a write has failed.
    pub fn is_unknown(&self) -> bool {
        self.failed
    }
}
