//! What encryption at rest costs: the same documents written to a storage and read back, plain and encrypted.
//!
//! In memory it is nearly all sealing and opening, on fjall and RocksDB it stands beside a disk. Without peers, which would hide it behind
//! their own work.

use std::time::Instant;

use peerloom::core::{Batch, CollectionName, PageLimits, Put, Record, Sequence, Storage};
use peerloom::encrypted::{PasswordCost, Secret};
use peerloom::{Dot, Encrypted, Fjall, Head, Incarnation, Memory, RocksDb, Stamp};
use tokio::runtime::Runtime;

use crate::document;
use crate::report::{Figure, median, per_second};

const DOCUMENTS: usize = 100_000;
const ROUNDS: usize = 5;

/// As many as fit a page of a session.
const PAGE: PageLimits = PageLimits {
    documents_max: std::num::NonZeroU32::new(850).expect("a literal above zero"),
    bytes_max: std::num::NonZeroU32::MAX,
};

/// Documents per second, written and read.
#[derive(Clone, Copy)]
struct Rates {
    written: f64,
    read: f64,
}

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime = Runtime::new()?;
    let records: Vec<Record> = (1..=DOCUMENTS).map(record).collect();
    let bytes = records.iter().map(Record::bytes).sum::<usize>() / DOCUMENTS;
    let mut rounds = Vec::new();
    let mut openings = Vec::new();
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir()?;
        let place = |what: &str| directory.path().join(what);
        let (fjall, rocksdb) = (|what| Fjall::at(place(what)), |what| RocksDb::at(place(what)));
        let secret = Secret::key([7; 32]);
        rounds.push(runtime.block_on(async {
            anyhow::Ok([
                measure(Memory::new(), &records).await?,
                measure(Encrypted::create(Memory::new(), &secret).await?, &records).await?,
                measure(fjall("plain fjall"), &records).await?,
                measure(Encrypted::create(fjall("fjall"), &secret).await?, &records).await?,
                measure(rocksdb("plain RocksDB"), &records).await?,
                measure(Encrypted::create(rocksdb("RocksDB"), &secret).await?, &records).await?,
            ])
        })?);
        openings.push(runtime.block_on(opening_by_password())?);
    }
    let mut figures = Vec::new();
    for (name, plain) in [("memory", 0), ("fjall", 2), ("RocksDB", 4)] {
        for (how, rate) in [
            ("written", (|rates: Rates| rates.written) as fn(Rates) -> f64),
            ("read", |rates: Rates| rates.read),
        ] {
            let rate_of = |index: usize| median(rounds.iter().map(|rates| rate(rates[index])));
            let (plain, encrypted) = (rate_of(plain), rate_of(plain + 1));
            let what =
                |kind: &str| format!("{kind} {name}, documents of {bytes} bytes {how} in pages of 850");
            figures.push(Figure::new(what("plain"), plain, "documents/s"));
            figures.push(Figure::new(what("encrypted"), encrypted, "documents/s"));
            figures.push(Figure::new("the second against the first", encrypted / plain, "×"));
        }
    }
    let PasswordCost { memory_kib, passes, lanes } = PasswordCost::default();
    let what = format!("opening by a password: {} MiB, {passes} passes, {lanes} lanes", memory_kib >> 10);
    figures.push(Figure::new(what, median(openings), "ms"));
    Ok(figures)
}

async fn measure(storage: impl Storage, records: &[Record]) -> anyhow::Result<Rates> {
    let store = storage.open(CollectionName::new("orders")?.store()).await?;
    let mut writing = std::time::Duration::ZERO;
    for page in records.chunks(PAGE.documents_max.get() as usize) {
        let put = |record: &Record| Put { record: record.clone(), replaces: None };
        let batch = Batch { records: page.iter().map(put).collect(), metadata: Vec::new() };
        let started = Instant::now();
        store.commit(batch).await?;
        writing += started.elapsed();
    }
    let (mut read, mut after, started) = (0, Sequence::ZERO, Instant::now());
    while let page = store.changes(after, PAGE).await?
        && let Some(last) = page.last()
    {
        (read, after) = (read + page.len(), last.sequence);
    }
    let reading = started.elapsed();
    anyhow::ensure!(read == DOCUMENTS, "{read} documents are read of {DOCUMENTS}");
    store.close().await?;
    Ok(Rates { written: per_second(DOCUMENTS, writing), read: per_second(DOCUMENTS, reading) })
}

/// In milliseconds.
async fn opening_by_password() -> anyhow::Result<f64> {
    let (disk, secret) = (Memory::new(), Secret::password("correct horse battery staple"));
    Encrypted::create(disk.clone(), &secret).await?;
    let started = Instant::now();
    Encrypted::open(disk, &secret).await?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

fn record(number: usize) -> Record {
    let stamp = Stamp::new(1_800_000_000_000 << 16 | number as u64).expect("below 2^63");
    let dot = Dot { incarnation: Incarnation::new(0x0123_4567_89ab_cdef), stamp };
    let document = Head { dot, state: document::state(number) }.into();
    Record { id: document::id(number), sequence: Sequence::new(number as u64), document, resolved: None }
}
