//! What a document costs as its context grows by one entry per opening that wrote it.

use std::hint::black_box;
use std::time::Instant;

use peerloom::core::{Document, Merged, Record, Sequence};
use peerloom::{Dot, Memory, Network};

use crate::clock::{self, Clock};
use crate::document::{self, Order};
use crate::group::{Replica, Traffic};
use crate::report::{Figure, median};
use crate::synthetic;

const ENTRIES: [usize; 5] = [1, 10, 100, 1_000, 5_000];
const ROUNDS: usize = 5;

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for entries in ENTRIES {
        // As many documents as keep a round well above the resolution of the clock, and the longest within seconds.
        let documents = (500_000 / entries).clamp(100, 20_000);
        let (sync_us, bytes, put_us) =
            clock::real(async |clock| replicate(&clock, documents, entries).await)?;
        let what = |what: &str| format!("{entries:>5} entries: {what}");
        figures.extend([
            Figure::new(what("first sync"), sync_us, "µs/document"),
            Figure::new(what("first sync"), bytes, "bytes/document"),
            Figure::new(what("put over it"), put_us, "µs/document"),
            Figure::new(what("merge of two copies"), merge_us(entries), "µs/document"),
            Figure::new(what("to and from the disk's encoding"), encode_us(entries), "µs/document"),
        ]);
    }
    Ok(figures)
}

/// Time and bytes per document to copy all to an empty replica, and time per document to write over them.
async fn replicate(clock: &Clock, documents: usize, entries: usize) -> anyhow::Result<(f64, f64, f64)> {
    let written = (0..documents).map(|number| (document::id(number), synthetic::document(number, entries)));
    let disk = synthetic::store(written).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (source, sink) =
            (Replica::open(disk.fork(), clock).await?, Replica::open(Memory::new(), clock).await?);
        let network = Network::new();
        let serving = source.join(&network, "source").await?;
        let started = Instant::now();
        let pulling = sink.join(&network, "sink").await?;
        pulling.caught_up().await?;
        let sync_us = started.elapsed().as_secs_f64() * 1e6 / documents as f64;
        let bytes = Traffic::of([&serving, &pulling]).bytes as f64 / documents as f64;
        for room in [serving, pulling] {
            room.leave().await;
        }
        let started = Instant::now();
        let over = documents.min(100);
        for number in 0..over {
            sink.orders.put(document::id(number), &Order::numbered(number)).await?;
        }
        let put_us = started.elapsed().as_secs_f64() * 1e6 / over as f64;
        rounds.push((sync_us, bytes, put_us));
    }
    let median = |part: fn(&(f64, f64, f64)) -> f64| median(rounds.iter().map(part));
    Ok((median(|round| round.0), median(|round| round.1), median(|round| round.2)))
}

/// Merges two copies that were written over concurrently.
fn merge_us(entries: usize) -> f64 {
    let common = synthetic::document(0, entries);
    let written = |writer: usize| {
        let dot =
            Dot { incarnation: synthetic::incarnation(entries + writer), stamp: synthetic::stamp(1 << 20) };
        Document::write(Some(&common), dot, document::state(0), common.context())
    };
    let (left, right) = (written(0), written(1));
    each_us(entries, || assert!(matches!(black_box(&left).merge(black_box(&right)), Merged::Changed(_))))
}

fn encode_us(entries: usize) -> f64 {
    let document = synthetic::document(0, entries);
    let record = Record { id: document::id(0), sequence: Sequence::ZERO.next(), document, resolved: None };
    each_us(entries, || {
        let encoded = black_box(&record).encode();
        black_box(Record::decode(record.id.clone(), &encoded).expect("encoded just now"));
    })
}

/// The microseconds that one call takes, as a median of several runs of many.
fn each_us(entries: usize, mut call: impl FnMut()) -> f64 {
    let calls = (1_000_000 / entries).clamp(200, 100_000);
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        (0..calls).for_each(|_| call());
        started.elapsed().as_secs_f64() * 1e6 / calls as f64
    });
    median(rounds)
}
