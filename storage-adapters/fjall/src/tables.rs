//! One database: its keyspaces, and every operation on them as a plain call that blocks.
//!
//! Knows nothing of threads. Its owner calls one operation at a time, which is why reads need no snapshot. What the tables hold is
//! told in `peerloom_on_disk`.

use std::fs;
use std::io::{self, ErrorKind};
use std::num::NonZeroU32;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fjall::{Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Put, Record, Sequence, StorageError,
};
use peerloom_on_disk::{
    FeedEnd, Page, Tables, decode_entry, encode_entry, metadata_page, of_system, sequence_of_key,
};

use crate::{Durability, Options, failure};

/// How many bytes of fresh metadata, or of sequences by id, are collected in memory. Both are small beside the records.
const MEMTABLE_SMALL_BYTES: u64 = 4 << 20;

/// How long a store is kept locked after a failed write and the end of the database. A thread of fjall may hold the journal
/// for an instant longer, and then writes what the failure left in a buffer, which must not fall into a journal that
/// somebody else has opened meanwhile. Far longer than a thread takes to end.
const SETTLE_AFTER_FAILURE_MS: u64 = 100;

/// One writes out what was collected, the other merges what was written out, and neither waits for the other.
const WORKER_THREADS: usize = 2;

/// An open database.
///
/// The keyspaces come before the database, because the database lets go of its files when it is dropped last.
pub(crate) struct Database {
    documents: Keyspace,
    feed: Keyspace,
    metadata: Keyspace,
    database: fjall::Database,
    persist: PersistMode,
    end: FeedEnd,
}

impl Database {
    /// Opens a database, and creates it if there is none.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, StorageError> {
        refuse_strange_keyspaces(&path.join("keyspaces"))?;
        Self::open_or_fail(path, options).map_err(|error| match error {
            fjall::Error::Locked => StorageError::Locked { place: path.display().to_string() },
            error => failure::of_fjall(&error),
        })
    }

    fn open_or_fail(path: &Path, options: &Options) -> Result<Self, fjall::Error> {
        let database = fjall::Database::builder(path)
            .cache_size(options.cache_bytes_max)
            .max_journaling_size(options.journal_bytes_max)
            .worker_threads(WORKER_THREADS)
            .open()?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_SMALL_BYTES);
        let documents = database.keyspace("documents", small)?;
        // Only what is there is looked up in the feed, and filters help to find that something is not.
        let feed = database.keyspace("feed", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(options.memtable_bytes_max)
                .expect_point_read_hits(true)
        })?;
        let metadata = database.keyspace("metadata", small)?;
        let end = FeedEnd::found(match feed.last_key_value() {
            Some(last) => sequence_of_key(&last.key()?).ok_or(fjall::Error::Unrecoverable)?,
            None => Sequence::ZERO,
        });
        let persist = match options.durability {
            Durability::Synced => PersistMode::SyncData,
            Durability::Buffered => PersistMode::Buffer,
        };
        Ok(Self { documents, feed, metadata, database, persist, end })
    }

    fn record_at(&self, key: &[u8], id: &[u8]) -> Result<Record, StorageError> {
        let value = self.feed.get(key).map_err(|error| failure::of_fjall(&error))?;
        match value.map(|value| decode_entry(key, &value)).transpose()? {
            Some(record) if record.id.as_bytes() == id => Ok(record),
            Some(_) => Err(corrupt("a document names the sequence of another")),
            None => Err(corrupt("a document names a sequence that is not in the feed")),
        }
    }
}

impl Tables for Database {
    fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        // Records are large, and a vector of them that grows is copied from place to place.
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            let key = self.documents.get(id.as_bytes()).map_err(|error| failure::of_fjall(&error))?;
            records.push(key.map(|key| self.record_at(&key, id.as_bytes())).transpose()?);
        }
        Ok(records)
    }

    fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        let mut page = Page::new(limits);
        let start = after.number().to_be_bytes();
        let mut entries = self.feed.range((Bound::Excluded(start), Bound::Unbounded));
        while page.is_open()
            && let Some(entry) = entries.next()
        {
            let (key, value) = entry.into_inner().map_err(|error| failure::of_fjall(&error))?;
            page.add(decode_entry(&key, &value)?);
        }
        Ok(page.into_records())
    }

    fn list(&self, range: &IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        let mut page = Page::new(limits);
        if range.is_empty() {
            return Ok(page.into_records());
        }
        let bounds =
            (range.start.as_ref().map(DocumentId::as_bytes), range.end.as_ref().map(DocumentId::as_bytes));
        let mut entries = self.documents.range::<&[u8], _>(bounds);
        while page.is_open()
            && let Some(entry) = entries.next()
        {
            let (id, key) = entry.into_inner().map_err(|error| failure::of_fjall(&error))?;
            page.add(self.record_at(&key, &id)?);
        }
        Ok(page.into_records())
    }

    fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        metadata_page(prefix, after, entries_max, |start| {
            self.metadata.range::<&[u8], _>((start, Bound::Unbounded)).map(|entry| {
                let (key, value) = entry.into_inner().map_err(|error| failure::of_fjall(&error))?;
                Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
            })
        })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let end = self.end.after(batch)?;
        // Two for each record, and seldom a third.
        let items = 2 * batch.records.len() + batch.metadata.len();
        let mut write =
            OwnedWriteBatch::with_capacity(self.database.clone(), items).durability(Some(self.persist));
        let mut entry = Vec::new();
        for Put { record, replaces } in &batch.records {
            let key = record.sequence.number().to_be_bytes();
            if let Some(replaced) = replaces.filter(|replaced| *replaced != record.sequence) {
                write.remove(&self.feed, replaced.number().to_be_bytes());
            }
            encode_entry(record, &mut entry);
            write.insert(&self.feed, key, &*entry);
            write.insert(&self.documents, record.id.as_bytes(), key);
        }
        for (key, value) in &batch.metadata {
            match value {
                Some(value) => write.insert(&self.metadata, &**key, &**value),
                None => write.remove(&self.metadata, &**key),
            }
        }
        // If only an earlier write in the background failed, then the batch was not applied, but the store must be
        // reopened all the same, and only this answer says so.
        self.end.written(end, write.commit().map_err(|error| failure::of_fjall(&error)))
    }

    fn close(self) {
        let failed = self.end.is_unknown();
        drop(self);
        if failed {
            thread::sleep(Duration::from_millis(SETTLE_AFTER_FAILURE_MS));
        }
    }
}

/// Looks for what fjall 3.1 answers with two panics, of which the second aborts the process: a directory
/// among its keyspaces whose name is not a number.
fn refuse_strange_keyspaces(path: &Path) -> Result<(), StorageError> {
    match strange_keyspace(path) {
        Ok(None) => Ok(()),
        Ok(Some(strange)) => Err(corrupt(&format!("{} is not of a database", strange.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(of_system(&error)),
    }
}

fn strange_keyspace(path: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_number = entry.file_name().to_str().is_some_and(|name| name.parse::<u64>().is_ok());
        if !is_number && !entry.file_type()?.is_file() {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn corrupt(detail: &str) -> StorageError {
    StorageError::Corrupt { detail: detail.into() }
}
