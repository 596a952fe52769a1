//! How many bytes several replicas send, against the ideal: each document once to each replica that lacks it.
//!
//! What is counted begins when all are connected and quiet, and ends when they are quiet again.

use std::time::Duration;

use futures_util::future;
use peerloom::Memory;

use crate::clock::{self, Clock};
use crate::document::{self, Order};
use crate::group::{Replica, Topology, Traffic, connected, quiet};
use crate::report::{Figure, Target};

const REPLICAS: usize = 8;
const DOCUMENTS_EACH: usize = 100;
const NEWCOMER_DOCUMENTS: usize = 10_000;

/// How long each replica pauses between two writes: not at all, like a sensor, like a person.
const PAUSES: [(Duration, &str); 3] = [
    (Duration::ZERO, "without pause"),
    (Duration::from_millis(20), "20 ms pause"),
    (Duration::from_secs(1), "1 s pause"),
];

pub(crate) fn mesh() -> anyhow::Result<Vec<Figure>> {
    let mut figures = compare(Topology::Mesh, "mesh of eight", Target::AtMost(1.5))?;
    let measured = clock::real(async |clock| measure(&clock, Topology::Mesh, Duration::ZERO).await)?;
    figures.extend(measured.figures("mesh of eight, without pause, real clock", Target::AtMost(1.5)));
    Ok(figures)
}

pub(crate) fn line() -> anyhow::Result<Vec<Figure>> {
    let mut figures = compare(Topology::Line, "line of eight", Target::AtMost(1.2))?;
    figures.extend(compare(Topology::Ring, "ring of eight", Target::None)?);
    figures.extend(compare(Topology::Star, "star of eight", Target::None)?);
    Ok(figures)
}

pub(crate) fn newcomer() -> anyhow::Result<Vec<Figure>> {
    let measured = clock::simulated(async |clock| {
        let (network, replicas, mut rooms) = connected(&clock, REPLICAS - 1, Topology::Mesh).await?;
        let share = NEWCOMER_DOCUMENTS.div_ceil(replicas.len());
        let writing = replicas.iter().enumerate().map(|(number, replica)| {
            replica.write_many(number * share..NEWCOMER_DOCUMENTS.min((number + 1) * share))
        });
        future::try_join_all(writing).await?;
        future::try_join_all(replicas.iter().map(|replica| replica.has(NEWCOMER_DOCUMENTS))).await?;
        let before = quiet(&rooms).await;
        let newcomer = Replica::open(Memory::new(), &clock).await?;
        rooms.push(newcomer.join(&network, "7").await?);
        newcomer.has(NEWCOMER_DOCUMENTS).await?;
        let traffic = quiet(&rooms).await - before;
        Ok(Measured { traffic, copies: 1, documents: NEWCOMER_DOCUMENTS })
    })?;
    Ok(measured.figures("newcomer to a mesh of seven with 10,000 documents", Target::None).to_vec())
}

/// Writes as fast as possible, and with pauses.
fn compare(topology: Topology, what: &str, target: Target) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (pause, how) in PAUSES {
        let measured = clock::simulated(async |clock| measure(&clock, topology, pause).await)?;
        figures.extend(measured.figures(&format!("{what}, {how}"), target));
    }
    Ok(figures)
}

/// What was sent so that `documents` reached `copies` more replicas each.
struct Measured {
    traffic: Traffic,
    documents: usize,
    copies: usize,
}

impl Measured {
    fn figures(&self, what: &str, target: Target) -> [Figure; 3] {
        let Self { traffic, documents, copies } = self;
        let times = |bytes: fn(usize) -> usize| {
            traffic.bytes as f64 / (copies * (0..*documents).map(bytes).sum::<usize>()) as f64
        };
        [
            Figure::new(format!("{what}: bytes"), times(document::ideal_bytes), "× ideal").target(target),
            Figure::new(format!("{what}: bytes"), times(document::bare_bytes), "× id and body"),
            Figure::new(format!("{what}: duplicates"), traffic.duplicates as f64, "documents"),
        ]
    }
}

/// Every replica writes a hundred documents, one by one, all at the same time.
async fn measure(clock: &Clock, topology: Topology, pause: Duration) -> anyhow::Result<Measured> {
    let (_network, replicas, rooms) = connected(clock, REPLICAS, topology).await?;
    let before = quiet(&rooms).await;
    let documents = REPLICAS * DOCUMENTS_EACH;
    let writing = replicas.iter().enumerate().map(|(number, replica)| write(replica, number, pause));
    future::try_join_all(writing).await?;
    future::try_join_all(replicas.iter().map(|replica| replica.has(documents))).await?;
    Ok(Measured { traffic: quiet(&rooms).await - before, documents, copies: REPLICAS - 1 })
}

async fn write(replica: &Replica, number: usize, pause: Duration) -> anyhow::Result<()> {
    // Not all at the same instant, which would fill the pages of those that relay.
    tokio::time::sleep(pause * number as u32 / REPLICAS as u32).await;
    for number in number * DOCUMENTS_EACH..(number + 1) * DOCUMENTS_EACH {
        replica.orders.put(document::id(number), &Order::numbered(number)).await?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}
