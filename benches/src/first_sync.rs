//! The first sync of 100,000 documents from memory to memory, on one core.

use std::time::Instant;

use peerloom::{Memory, Network};

use crate::clock::{self, Clock};
use crate::group::{Replica, Traffic};
use crate::report::{Figure, Target, median, per_second};

const DOCUMENTS: usize = 100_000;
const ROUNDS: usize = 5;

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let rounds = clock::real(async |clock| {
        let disk = Memory::new();
        let source = Replica::open(disk.clone(), &clock).await?;
        source.write_many(0..DOCUMENTS).await?;
        source.node.close().await?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(sync(&disk, &clock).await?);
        }
        Ok(rounds)
    })?;
    let (rates, bytes): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
    Ok(vec![
        Figure::new("100,000 documents, median of 5", median(rates), "documents/s")
            .target(Target::AtLeast(300_000.0)),
        Figure::new("sent by both", median(bytes), "bytes/document"),
    ])
}

/// Copies everything to an empty replica: documents per second, and bytes per document.
async fn sync(disk: &Memory, clock: &Clock) -> anyhow::Result<(f64, f64)> {
    let source = Replica::open(disk.fork(), clock).await?;
    let sink = Replica::open(Memory::new(), clock).await?;
    let network = Network::new();
    let serving = source.join(&network, "source").await?;
    let started = Instant::now();
    let pulling = sink.join(&network, "sink").await?;
    pulling.caught_up().await?;
    let time = started.elapsed();
    sink.has(DOCUMENTS).await?;
    let traffic = Traffic::of([&serving, &pulling]);
    assert_eq!(traffic.documents, DOCUMENTS as u64, "each document is sent once");
    for replica in [source, sink] {
        replica.node.close().await?;
    }
    Ok((per_second(DOCUMENTS, time), traffic.bytes as f64 / DOCUMENTS as f64))
}
