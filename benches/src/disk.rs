//! The first sync of 100,000 documents from disk to disk, beside a loop that writes the same bodies with the same database
//! and nothing else.

use std::path::Path;
use std::time::Instant;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use peerloom::{Fjall, Network};

use crate::clock::{self, Clock};
use crate::document::{self, Order};
use crate::group::Replica;
use crate::report::{Figure, median, per_second};

const DOCUMENTS: usize = 100_000;
const ROUNDS: usize = 3;

/// As many as fit a page of a session.
const BATCH_DOCUMENTS: usize = 850;

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let (synced, bare): (Vec<f64>, Vec<f64>) = clock::real(async |clock| {
        let directory = tempfile::tempdir()?;
        let source = Replica::open(Fjall::at(directory.path().join("source")), &clock).await?;
        source.write_many(0..DOCUMENTS).await?;
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let place = |what: &str| directory.path().join(format!("{what}-{round}"));
            rounds.push((sync(&source, &place("sink"), &clock).await?, loop_alone(&place("bare"))?));
        }
        source.node.close().await?;
        Ok(rounds)
    })?
    .into_iter()
    .unzip();
    let (synced, bare) = (median(synced), median(bare));
    Ok(vec![
        Figure::new("fjall to fjall, 100,000 documents, median of 3", synced, "documents/s"),
        Figure::new("batches of fjall alone, same size, synced", bare, "documents/s"),
        Figure::new("the first against the second", synced / bare, "×"),
    ])
}

async fn sync(source: &Replica, place: &Path, clock: &Clock) -> anyhow::Result<f64> {
    let sink = Replica::open(Fjall::at(place), clock).await?;
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

fn loop_alone(place: &Path) -> anyhow::Result<f64> {
    let database = Database::builder(place).open()?;
    let documents = database.keyspace("documents", KeyspaceCreateOptions::default)?;
    let bodies: Vec<_> = (0..DOCUMENTS).map(|number| Order::numbered(number).body()).collect();
    let started = Instant::now();
    let mut numbers = 0..DOCUMENTS;
    while !numbers.is_empty() {
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        for number in numbers.by_ref().take(BATCH_DOCUMENTS) {
            batch.insert(&documents, document::id(number).as_bytes(), &*bodies[number]);
        }
        batch.commit()?;
    }
    Ok(per_second(DOCUMENTS, started.elapsed()))
}
