//! Replicas that are connected with each other, and what they have sent.

use std::ops::Sub;
use std::time::Duration;

use futures_util::StreamExt;
use peerloom::{Binary, Collection, Network, Node, Room, Storage};

use crate::clock::Clock;
use crate::document::{self, Order};

/// Longer than anything in a session waits, but for the keep-alive.
const QUIET: Duration = Duration::from_secs(6);

/// How many documents are written in one commit.
pub(crate) const COMMIT_DOCUMENTS: usize = 1000;

/// A node with one collection.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) node: Node,
    pub(crate) orders: Collection<Order>,
}

impl Replica {
    pub(crate) async fn open(storage: impl Storage, clock: &Clock) -> anyhow::Result<Self> {
        let node = clock.open(storage).await?;
        let orders = node.collection("orders").open().await?;
        Ok(Self { node, orders })
    }

    pub(crate) async fn join(&self, network: &Network, address: &str) -> anyhow::Result<Room> {
        let transport = peerloom::InProcess::new(network).named(address);
        Ok(self.node.room("benchmark").share(&self.orders).join(transport).await?)
    }

    /// Writes the orders with these numbers, a thousand in each commit.
    pub(crate) async fn write_many(&self, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
        let mut first = numbers.start;
        while first < numbers.end {
            let last = numbers.end.min(first + COMMIT_DOCUMENTS);
            let orders: Vec<Order> = (first..last).map(Order::numbered).collect();
            self.orders.put_many((first..last).map(document::id).zip(&orders)).await?;
            first = last;
        }
        Ok(())
    }

    /// Waits until so many documents are there, if each is written once.
    pub(crate) async fn has(&self, documents: usize) -> anyhow::Result<()> {
        let bytes: Collection<Binary> = self.node.collection("orders").open().await?;
        let mut changes = bytes.watch_from(None).take(documents);
        while let Some(change) = changes.next().await {
            change?;
        }
        Ok(())
    }
}

/// What was sent over all connections.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) documents: u64,
    /// Documents that held nothing new for their receiver.
    pub(crate) duplicates: u64,
}

impl Traffic {
    pub(crate) fn of<'r>(rooms: impl IntoIterator<Item = &'r Room>) -> Self {
        let peers = rooms.into_iter().flat_map(Room::peers);
        peers.fold(Self::default(), |sum, peer| Self {
            bytes: sum.bytes + peer.counters.bytes_sent,
            documents: sum.documents + peer.counters.documents_sent,
            duplicates: sum.duplicates + peer.counters.documents_duplicate,
        })
    }
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            bytes: self.bytes - before.bytes,
            documents: self.documents - before.documents,
            duplicates: self.duplicates - before.duplicates,
        }
    }
}

/// Waits until nothing has been sent for a while, and says what was.
pub(crate) async fn quiet(rooms: &[Room]) -> Traffic {
    let mut before = Traffic::of(rooms);
    loop {
        tokio::time::sleep(QUIET).await;
        let after = Traffic::of(rooms);
        if after == before {
            return after;
        }
        before = after;
    }
}

/// Which of several replicas are connected, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topology {
    Mesh,
    Line,
    Ring,
    Star,
}

impl Topology {
    /// A network in which replicas that are named by their numbers below `count` are connected so.
    pub(crate) fn network(self, count: usize) -> Network {
        let network = Network::new();
        network.allow(move |left, right| {
            let number = |address: &peerloom::PeerAddress| {
                address.as_str().parse::<usize>().expect("replicas are named by numbers")
            };
            let (low, high) = (number(left).min(number(right)), number(left).max(number(right)));
            match self {
                Self::Mesh => true,
                Self::Line => high - low == 1,
                Self::Ring => high - low == 1 || high - low == count - 1,
                Self::Star => low == 0,
            }
        });
        network
    }
}

/// Opens replicas on empty memory and connects them.
pub(crate) async fn connected(
    clock: &Clock,
    count: usize,
    topology: Topology,
) -> anyhow::Result<(Network, Vec<Replica>, Vec<Room>)> {
    let network = topology.network(count);
    let (mut replicas, mut rooms) = (Vec::new(), Vec::new());
    for number in 0..count {
        let replica = Replica::open(peerloom::Memory::new(), clock).await?;
        rooms.push(replica.join(&network, &number.to_string()).await?);
        replicas.push(replica);
    }
    Ok((network, replicas, rooms))
}
