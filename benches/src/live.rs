//! Live replication from memory to memory on one core: from the first write until the other side has the last one.

use std::time::Instant;

use crate::clock::{self, Clock};
use crate::document::{self, Order};
use crate::group::{Topology, Traffic, connected};
use crate::report::{Figure, median, per_second};

const ROUNDS: usize = 5;
const PUT_DOCUMENTS: usize = 20_000;
const PUT_MANY_DOCUMENTS: usize = 100_000;

/// How documents are written.
#[derive(Clone, Copy, Debug)]
enum Writing {
    OneByOne,
    ByTheThousand,
}

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (writing, what) in
        [(Writing::OneByOne, "put, one by one"), (Writing::ByTheThousand, "put_many of 1,000")]
    {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(clock::real(async |clock| replicate(&clock, writing).await)?);
        }
        let (rates, bytes): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
        figures.push(Figure::new(
            format!("{what}, until caught up, median of 5"),
            median(rates),
            "documents/s",
        ));
        figures.push(Figure::new(format!("{what}, sent by both"), median(bytes), "bytes/document"));
    }
    Ok(figures)
}

async fn replicate(clock: &Clock, writing: Writing) -> anyhow::Result<(f64, f64)> {
    let (_network, replicas, rooms) = connected(clock, 2, Topology::Mesh).await?;
    rooms[0].caught_up().await?;
    let before = Traffic::of(&rooms);
    let started = Instant::now();
    let documents = match writing {
        Writing::OneByOne => {
            for number in 0..PUT_DOCUMENTS {
                replicas[0].orders.put(document::id(number), &Order::numbered(number)).await?;
            }
            PUT_DOCUMENTS
        }
        Writing::ByTheThousand => {
            replicas[0].write_many(0..PUT_MANY_DOCUMENTS).await?;
            PUT_MANY_DOCUMENTS
        }
    };
    rooms[0].caught_up().await?;
    let rate = per_second(documents, started.elapsed());
    let bytes = (Traffic::of(&rooms) - before).bytes as f64 / documents as f64;
    replicas[1].has(documents).await?;
    Ok((rate, bytes))
}
