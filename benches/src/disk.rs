//! The first sync of 100,000 documents from disk to disk, beside a loop that writes the same keys and bytes with the same
//! database, in the same batches and as durably, and does nothing else.
//!
//! On the runtime that applications have: with one thread for all tasks, what is decoded next holds up what is to be committed, and the
//! sink's disk waits for both.

use std::path::Path;
use std::time::Instant;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use peerloom::core::{Document, DocumentId, Dot, Head, Incarnation, Record, Sequence, Stamp, Storage};
use peerloom::{Fjall, Network, RocksDb};
use peerloom_on_disk::encode_entry;
use rocksdb::{ColumnFamilyDescriptor, DB, WriteBatch, WriteOptions};

use crate::clock::{self, Clock};
use crate::document;
use crate::group::Replica;
use crate::report::{Figure, Target, median, per_second};

const DOCUMENTS: usize = 100_000;
const ROUNDS: usize = 15;

/// As many as a sink commits at a time: two pages of a session of as many as fit.
const BATCH_DOCUMENTS: usize = 1700;

/// A storage adapter on disk, and the database beneath it.
pub(crate) trait Adapter {
    const NAME: &'static str;

    fn storage(place: &Path) -> impl Storage;

    /// Writes the entries of both tables in synced batches. Returns documents per second.
    fn loop_alone(place: &Path, entries: &[Entry]) -> anyhow::Result<f64>;
}

/// What an adapter writes of one document: an entry of the feed, and one by id.
pub(crate) struct Entry {
    sequence: [u8; 8],
    id: DocumentId,
    record: Vec<u8>,
}

pub(crate) struct OnFjall;

impl Adapter for OnFjall {
    const NAME: &'static str = "fjall";

    fn storage(place: &Path) -> impl Storage {
        Fjall::at(place)
    }

    fn loop_alone(place: &Path, entries: &[Entry]) -> anyhow::Result<f64> {
        let database = Database::builder(place).open()?;
        let feed = database.keyspace("feed", KeyspaceCreateOptions::default)?;
        let documents = database.keyspace("documents", KeyspaceCreateOptions::default)?;
        let started = Instant::now();
        for entries in entries.chunks(BATCH_DOCUMENTS) {
            let mut batch = database.batch().durability(Some(PersistMode::SyncData));
            for entry in entries {
                batch.insert(&feed, entry.sequence, &*entry.record);
                batch.insert(&documents, entry.id.as_bytes(), entry.sequence);
            }
            batch.commit()?;
        }
        Ok(per_second(DOCUMENTS, started.elapsed()))
    }
}

pub(crate) struct OnRocksDb;

impl Adapter for OnRocksDb {
    const NAME: &'static str = "RocksDB";

    fn storage(place: &Path) -> impl Storage {
        RocksDb::at(place)
    }

    fn loop_alone(place: &Path, entries: &[Entry]) -> anyhow::Result<f64> {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let families =
            ["feed", "documents"].map(|name| ColumnFamilyDescriptor::new(name, rocksdb::Options::default()));
        let database = DB::open_cf_descriptors(&options, place, families)?;
        let family = |name| database.cf_handle(name).expect("the database was opened with it");
        let (feed, documents) = (family("feed"), family("documents"));
        let mut durably = WriteOptions::default();
        durably.set_sync(true);
        let started = Instant::now();
        for entries in entries.chunks(BATCH_DOCUMENTS) {
            let mut batch = WriteBatch::default();
            for entry in entries {
                batch.put_cf(feed, entry.sequence, &entry.record);
                batch.put_cf(documents, entry.id.as_bytes(), entry.sequence);
            }
            database.write_opt(batch, &durably)?;
        }
        Ok(per_second(DOCUMENTS, started.elapsed()))
    }
}

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let mut figures = measure::<OnFjall>()?;
    figures.extend(measure::<OnRocksDb>()?);
    Ok(figures)
}

fn measure<A: Adapter>() -> anyhow::Result<Vec<Figure>> {
    let (synced, bare): (Vec<f64>, Vec<f64>) = clock::real_on_all_cores(async |clock| {
        let directory = tempfile::tempdir()?;
        let source = Replica::open(A::storage(&directory.path().join("source")), &clock).await?;
        source.write_many(0..DOCUMENTS).await?;
        let entries = entries();
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let place = |what: &str| directory.path().join(format!("{what}-{round}"));
            let synced = sync::<A>(&source, &place("sink"), &clock).await?;
            rounds.push((synced, A::loop_alone(&place("bare"), &entries)?));
        }
        source.node.close().await?;
        Ok(rounds)
    })?
    .into_iter()
    .unzip();
    let (synced, bare, name) = (median(synced), median(bare), A::NAME);
    Ok(vec![
        Figure::new(
            format!("{name} to {name}, 100,000 documents, median of {ROUNDS}"),
            synced,
            "documents/s",
        ),
        Figure::new(format!("{name} alone: same keys, bytes and batches, synced"), bare, "documents/s"),
        Figure::new("the first against the second", synced / bare, "×").target(Target::AtLeast(0.5)),
    ])
}

async fn sync<A: Adapter>(source: &Replica, place: &Path, clock: &Clock) -> anyhow::Result<f64> {
    let sink = Replica::open(A::storage(place), clock).await?;
    let network = Network::new();
    let serving = source.join(&network, "source").await?;
    let started = Instant::now();
    let pulling = sink.join(&network, "sink").await?;
    pulling.caught_up().await?;
    let rate = per_second(DOCUMENTS, started.elapsed());
    sink.has(DOCUMENTS).await?;
    for room in [pulling, serving] {
        room.leave().await;
    }
    sink.node.close().await?;
    Ok(rate)
}

/// The entries of documents that one replica wrote, each once.
fn entries() -> Vec<Entry> {
    let entry = |number: usize| {
        let sequence = Sequence::new(number as u64 + 1);
        let stamp = Stamp::new(1_800_000_000_000 << 16 | number as u64).expect("below 2^63");
        let dot = Dot { incarnation: Incarnation::new(0x0123_4567_89ab_cdef), stamp };
        let (id, head) = (document::id(number), Head { dot, state: document::state(number) });
        let record = Record { id: id.clone(), sequence, document: Document::from(head), resolved: None };
        let mut encoded = Vec::new();
        encode_entry(&record, &mut encoded);
        Entry { sequence: sequence.number().to_be_bytes(), id, record: encoded }
    };
    (0..DOCUMENTS).map(entry).collect()
}
