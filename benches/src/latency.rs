//! How long a write takes through a line of eight, from `put` at one end to the watcher at the other, per hop.

use std::time::Instant;

use futures_util::StreamExt;

use crate::clock;
use crate::document::{self, Order};
use crate::group::{Topology, connected, quiet};
use crate::report::{Figure, percentile};

const REPLICAS: usize = 8;
const WRITES: usize = 300;

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let hops_us = clock::real(async |clock| {
        let (_network, replicas, rooms) = connected(&clock, REPLICAS, Topology::Line).await?;
        quiet(&rooms).await;
        let mut changes = replicas[REPLICAS - 1].orders.watch();
        let mut hops_us = Vec::new();
        for number in 0..WRITES {
            let order = Order::numbered(number);
            let started = Instant::now();
            replicas[0].orders.put(document::id(number), &order).await?;
            let change = changes.next().await.expect("the collection stays open")?;
            assert_eq!(change.id, document::id(number));
            hops_us.push(started.elapsed().as_secs_f64() * 1e6 / (REPLICAS - 1) as f64);
        }
        Ok(hops_us)
    })?;
    let figure = |percent| {
        let what = format!("line of eight, one core, per hop, {percent} of 100 writes within");
        Figure::new(what, percentile(hops_us.clone(), percent), "µs")
    };
    Ok(vec![figure(50), figure(95)])
}
