//! One database: its column families, and every operation on them as a plain call that blocks.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `feed` | sequence, 8 bytes big-endian | length of the id in 2 bytes big-endian, id, `Record::encode` |
//! | `documents` | id | sequence, 8 bytes big-endian |
//! | `metadata` | key | value |
//!
//! Records lie in the feed, for the reasons that `peerloom_on_disk` gives: what is written with ascending keys is moved down the levels
//! without being merged, and a peer that catches up is served by one walk.
//!
//! A commit is one `WriteBatch`, written to the log with `fdatasync` unless the options say otherwise. A scan reads from one snapshot.

use std::num::NonZeroU32;
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Put, Record, Sequence, StorageError,
};
use peerloom_on_disk::{FeedEnd, Page, Tables, decode_entry, encode_entry, metadata_page, sequence_of_key};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    Direction, IteratorMode, ReadOptions, WriteBatch, WriteOptions,
};

use crate::{Durability, Options, failure};

const FEED: &str = "feed";
const DOCUMENTS: &str = "documents";
const METADATA: &str = "metadata";

/// How many bytes of fresh metadata are collected in memory. It is small beside the records.
const METADATA_MEMTABLE_BYTES: usize = 4 << 20;

/// What the sequences of fresh records, by id, may take in memory: one part in so many of what the records themselves may. As with records of
/// 250 bytes, so that both are written out about as often.
const RECORDS_PER_IDS: usize = 4;

/// RocksDB writes a log of what it does; two files of this size are kept.
const INFO_LOG_BYTES_MAX: usize = 1 << 20;

/// One writes out what was collected, the other merges what was written out, and neither waits for the other.
const BACKGROUND_JOBS: i32 = 2;

/// Bits per key of the filters that tell that an id is not there: one wrong answer in a hundred.
const FILTER_BITS: f64 = 10.0;

/// The share of the memory for fresh ids that goes to a filter of them: some 30 bits for an id of 16 bytes. Most ids that a peer sends
/// are not there, and a search for the place where they would be takes several times as long.
const FRESH_FILTER_SHARE: f64 = 0.05;

/// What an entry of the feed and one by id take in a batch besides id and bodies, as a rule at most.
const ENTRY_BYTES_SPARE: usize = 96;

/// A key and its value.
type Entry = (Box<[u8]>, Box<[u8]>);

/// An open database.
pub(crate) struct Database {
    database: DB,
    read: ReadOptions,
    write: WriteOptions,
    end: FeedEnd,
}

impl Database {
    /// Opens a database, and creates it if there is none.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, StorageError> {
        let cache = Cache::new_lru_cache(options.cache_bytes_max);
        let families = [
            (FEED, options.memtable_bytes_max),
            (DOCUMENTS, options.memtable_bytes_max / RECORDS_PER_IDS),
            (METADATA, METADATA_MEMTABLE_BYTES),
        ];
        let families = families.map(|(name, memtable_bytes)| {
            let mut family = family_options(memtable_bytes, &cache);
            if name == DOCUMENTS {
                family.set_memtable_whole_key_filtering(true);
                family.set_memtable_prefix_bloom_ratio(FRESH_FILTER_SHARE);
            }
            ColumnFamilyDescriptor::new(name, family)
        });
        let database = DB::open_cf_descriptors(&database_options(options), path, families)
            .map_err(|error| failure::of_opening(&error, path))?;
        let mut write = WriteOptions::default();
        write.set_sync(options.durability == Durability::Synced);
        let read = ReadOptions::default();
        let end = FeedEnd::found(last_sequence(&database)?);
        Ok(Self { database, read, write, end })
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        family(&self.database, name)
    }

    fn record_at(&self, key: &[u8], id: &[u8]) -> Result<Record, StorageError> {
        let value = self.database.get_pinned_cf_opt(self.family(FEED), key, &self.read);
        let value = value.map_err(|error| failure::of_rocksdb(&error))?;
        match value.map(|value| decode_entry(key, &value)).transpose()? {
            Some(record) if record.id.as_bytes() == id => Ok(record),
            Some(_) => Err(corrupt("a document names the sequence of another")),
            None => Err(corrupt("a document names a sequence that is not in the feed")),
        }
    }

    /// The entries of a column family from a key on, as they are at this instant.
    fn entries(
        &self,
        family: &str,
        start: Bound<&[u8]>,
    ) -> impl Iterator<Item = Result<Entry, StorageError>> {
        let from = match start {
            Bound::Included(key) | Bound::Excluded(key) => IteratorMode::From(key, Direction::Forward),
            Bound::Unbounded => IteratorMode::Start,
        };
        let excluded = match start {
            Bound::Excluded(key) => Some(Box::<[u8]>::from(key)),
            _ => None,
        };
        self.database
            .iterator_cf_opt(self.family(family), scan_options(), from)
            .map(|entry| entry.map_err(|error| failure::of_rocksdb(&error)))
            .filter(move |entry| !entry.as_ref().is_ok_and(|(key, _)| Some(key) == excluded.as_ref()))
    }
}

impl Tables for Database {
    fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        // Together, since most of a page are not there, and a call for each takes as long again as the search.
        let keys = self.database.batched_multi_get_cf_opt(
            self.family(DOCUMENTS),
            ids.iter().map(DocumentId::as_bytes),
            ids.is_sorted(),
            &self.read,
        );
        // Records are large, and a vector of them that grows is copied from place to place.
        let mut records = Vec::with_capacity(ids.len());
        for (id, key) in ids.iter().zip(keys) {
            let key = key.map_err(|error| failure::of_rocksdb(&error))?;
            records.push(key.map(|key| self.record_at(&key, id.as_bytes())).transpose()?);
        }
        Ok(records)
    }

    fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        let mut page = Page::new(limits);
        let after = after.number().to_be_bytes();
        // Not as `entries` does it, which copies every key and value before they are decoded.
        let mut entries = self.database.raw_iterator_cf_opt(self.family(FEED), scan_options());
        entries.seek(after);
        if entries.key() == Some(&after) {
            entries.next();
        }
        while page.is_open()
            && let Some((key, value)) = entries.item()
        {
            page.add(decode_entry(key, value)?);
            entries.next();
        }
        entries.status().map_err(|error| failure::of_rocksdb(&error))?;
        Ok(page.into_records())
    }

    fn list(&self, range: &IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        let mut page = Page::new(limits);
        let before_end = |id: &[u8]| match &range.end {
            Bound::Included(end) => id <= end.as_bytes(),
            Bound::Excluded(end) => id < end.as_bytes(),
            Bound::Unbounded => true,
        };
        let mut entries = self.entries(DOCUMENTS, range.start.as_ref().map(DocumentId::as_bytes));
        while page.is_open()
            && let Some(entry) = entries.next()
        {
            let (id, key) = entry?;
            if !before_end(&id) {
                break;
            }
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
            let entries = self.entries(METADATA, start);
            entries.map(|entry| entry.map(|(key, value)| (Bytes::from(key), Bytes::from(value))))
        })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let end = self.end.after(batch)?;
        let (feed, documents, metadata) = (self.family(FEED), self.family(DOCUMENTS), self.family(METADATA));
        let records_bytes = |batch: &Batch| {
            let bytes =
                |put: &Put| put.record.bytes() + 2 * put.record.id.as_bytes().len() + ENTRY_BYTES_SPARE;
            batch.records.iter().map(bytes).sum()
        };
        let mut write = WriteBatch::with_capacity_bytes(records_bytes(batch));
        let mut entry = Vec::new();
        for Put { record, replaces } in &batch.records {
            let key = record.sequence.number().to_be_bytes();
            if let Some(replaced) = replaces.filter(|replaced| *replaced != record.sequence) {
                write.delete_cf(feed, replaced.number().to_be_bytes());
            }
            encode_entry(record, &mut entry);
            write.put_cf(feed, key, &entry);
            write.put_cf(documents, record.id.as_bytes(), key);
        }
        for (key, value) in &batch.metadata {
            match value {
                Some(value) => write.put_cf(metadata, key, value),
                None => write.delete_cf(metadata, key),
            }
        }
        let written = self.database.write_opt(write, &self.write);
        self.end.written(end, written.map_err(|error| failure::of_rocksdb(&error)))
    }

    fn close(self) {
        self.database.cancel_all_background_work(true);
    }
}

fn family<'a>(database: &'a DB, name: &str) -> &'a ColumnFamily {
    database.cf_handle(name).expect("the database was opened with all its column families")
}

fn last_sequence(database: &DB) -> Result<Sequence, StorageError> {
    let mut entries = database.iterator_cf(family(database, FEED), IteratorMode::End);
    let Some(last) = entries.next() else { return Ok(Sequence::ZERO) };
    let (key, _) = last.map_err(|error| failure::of_rocksdb(&error))?;
    sequence_of_key(&key).ok_or_else(|| corrupt("a key of the feed is not a sequence"))
}

fn scan_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    // What a scan passes is hardly read again soon, and would drive out what is.
    options.fill_cache(false);
    options
}

fn database_options(options: &Options) -> rocksdb::Options {
    let mut database = rocksdb::Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.set_max_total_wal_size(options.log_bytes_max);
    database.set_max_open_files(options.files_max.into());
    database.set_max_background_jobs(BACKGROUND_JOBS);
    database.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    database.set_keep_log_file_num(2);
    // A torn end of the log is what a crash leaves. A broken middle is damage, and must not pass for an earlier end.
    database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    database
}

fn family_options(memtable_bytes: usize, cache: &Cache) -> rocksdb::Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(FILTER_BITS, false);
    // Indexes and filters count towards the cache, so that its limit is the limit.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut family = rocksdb::Options::default();
    family.set_block_based_table_factory(&blocks);
    family.set_write_buffer_size(memtable_bytes);
    family.set_max_write_buffer_number(2);
    family.set_compression_type(DBCompressionType::Lz4);
    family
}

fn corrupt(detail: &str) -> StorageError {
    StorageError::Corrupt { detail: detail.into() }
}
