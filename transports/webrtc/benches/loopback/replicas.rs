//! Peerloom nodes on memory, over any transport.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use peerloom::core::Transport;
use peerloom::{Binary, Collection, Memory, Node, Room};
use serde::{Deserialize, Serialize};

use crate::processor::{Clock, Span};

const COMMIT_DOCUMENTS: usize = 1000;

/// About 250 bytes as JSON.
#[derive(Clone, Deserialize, Serialize)]
struct Order {
    amount_cents: u64,
    customer: String,
    note: String,
    ordered_at: u64,
    reference: String,
}

impl Order {
    fn numbered(number: usize) -> Self {
        let scattered = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            amount_cents: scattered % 100_000,
            customer: format!(
                "customer-{:06}@example.org, article-{:05}",
                scattered % 500_000,
                scattered % 20_000
            ),
            note: "Leave it with the neighbours if nobody answers the door. Thank you very much.".to_owned(),
            ordered_at: 1_767_225_600_000 + number as u64,
            reference: format!("{scattered:016x}"),
        }
    }
}

fn id(number: usize) -> String {
    format!("order/{number:08}")
}

/// A store that holds so many documents.
pub(crate) async fn filled(documents: usize) -> anyhow::Result<Memory> {
    let memory = Memory::new();
    let (node, orders) = open(&memory).await?;
    for first in (0..documents).step_by(COMMIT_DOCUMENTS) {
        let numbers = first..documents.min(first + COMMIT_DOCUMENTS);
        let batch: Vec<Order> = numbers.clone().map(Order::numbered).collect();
        orders.put_many(numbers.map(id).zip(&batch)).await?;
    }
    node.close().await?;
    Ok(memory)
}

async fn open(memory: &Memory) -> anyhow::Result<(Node, Collection<Order>)> {
    let node = Node::builder(memory.clone()).open().await?;
    let orders = node.collection("orders").open().await?;
    Ok((node, orders))
}

async fn join(node: &Node, orders: &Collection<Order>, transport: impl Transport) -> anyhow::Result<Room> {
    Ok(node.room("benchmark").share(orders).join(transport).await?)
}

/// Copies everything to an empty replica: how long that takes from the moment the two are connected, and the bytes of frames.
pub(crate) async fn first_sync<T: Transport>(
    source: &Memory,
    documents: usize,
    [here, there]: [T; 2],
) -> anyhow::Result<(Span, usize)> {
    let (source, orders) = open(&source.fork()).await?;
    let (sink, copies) = open(&Memory::new()).await?;
    let pulling = join(&sink, &copies, there).await?;
    let mut events = pulling.events();
    let serving = join(&source, &orders, here).await?;
    while !matches!(events.next().await, Some(peerloom::RoomEvent::PeerJoined { .. }) | None) {}
    let clock = Clock::start();
    pulling.caught_up().await?;
    let took = clock.elapsed();
    has(&sink, documents).await?;
    let bytes: u64 =
        [&serving, &pulling].iter().flat_map(|room| room.peers()).map(|peer| peer.counters.bytes_sent).sum();
    source.close().await?;
    sink.close().await?;
    Ok((took, usize::try_from(bytes)?))
}

async fn has(node: &Node, documents: usize) -> anyhow::Result<()> {
    let bytes: Collection<Binary> = node.collection("orders").open().await?;
    let mut changes = bytes.watch_from(None).take(documents);
    while let Some(change) = changes.next().await {
        change?;
    }
    Ok(())
}

/// From before a write until the other side's watch shows it.
pub(crate) async fn live<T: Transport>(
    writes: usize,
    [here, there]: [T; 2],
) -> anyhow::Result<[Duration; 2]> {
    let (source, orders) = open(&Memory::new()).await?;
    let (sink, copies) = open(&Memory::new()).await?;
    let serving = join(&source, &orders, here).await?;
    let pulling = join(&sink, &copies, there).await?;
    let mut watch = copies.watch_from(None);
    orders.put(id(0), &Order::numbered(0)).await?;
    watch.next().await.transpose()?;
    tokio::try_join!(serving.caught_up(), pulling.caught_up())?;
    let mut times = Vec::new();
    for number in 1..=writes {
        let order = Order::numbered(number);
        let started = Instant::now();
        let writing = orders.put(id(number), &order);
        let (written, seen) = tokio::join!(writing, watch.next());
        written?;
        seen.transpose()?;
        times.push(started.elapsed());
    }
    source.close().await?;
    sink.close().await?;
    Ok(crate::p50_and_p99(times))
}

/// From joining until a document of somebody who is there has come.
pub(crate) async fn first_document<T: Transport>([here, there]: [T; 2]) -> anyhow::Result<Duration> {
    let (source, orders) = open(&Memory::new()).await?;
    let (sink, copies) = open(&Memory::new()).await?;
    orders.put(id(0), &Order::numbered(0)).await?;
    let _serving = join(&source, &orders, here).await?;
    let mut watch = copies.watch_from(None);
    let started = Instant::now();
    let _pulling = join(&sink, &copies, there).await?;
    watch.next().await.transpose()?;
    let time = started.elapsed();
    source.close().await?;
    sink.close().await?;
    Ok(time)
}
