//! Which of a room's replicas speaks with RxDB peers, and who takes over. The RxDB peers here say no more than it takes to tell.

mod cluster;

use std::time::Duration;

use cluster::{Cluster, Disk, NOTES, TOPIC, address};
use peerloom::core::Connection;
use peerloom::{
    Collection, InProcess, Memory, Network, Node, PeerAddress, Room, RxdbBridge, Topic, Transport,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than any wait of a room, on the paused clock.
const PATIENCE: Duration = Duration::from_secs(600);

/// RxDB peers are kept apart from each other.
fn may_meet(left: &PeerAddress, right: &PeerAddress) -> bool {
    [left, right].iter().any(|address| address.as_str().parse::<usize>().is_ok())
}

/// Replicas in one room, by their ids in ascending order. Each has its place as address.
struct Replicas {
    network: Network,
    nodes: Vec<(Node, Collection<Value>)>,
    rooms: Vec<Option<Room>>,
}

impl Replicas {
    /// Of which some have a bridge, and all have met.
    async fn of(bridges: &[bool]) -> Self {
        let mut cluster = Cluster::new(bridges.len() as u64);
        let mut nodes = Vec::new();
        for _ in bridges {
            let node = cluster.open(&Disk::new(Memory::new())).await;
            let notes = node.collection(NOTES).open().await.expect("the collection opens");
            nodes.push((node, notes));
        }
        nodes.sort_by_key(|(node, _)| node.replica_id());
        let rooms = bridges.iter().map(|_| None).collect();
        let network = Network::new();
        network.allow(may_meet);
        let mut replicas = Self { network, nodes, rooms };
        for (index, has_bridge) in bridges.iter().enumerate() {
            replicas.join(index, *has_bridge).await;
        }
        let has_others = bridges.len() > 1;
        for room in replicas.rooms.iter().flatten().filter(|_| has_others) {
            room.caught_up().await.expect("it is not left");
        }
        replicas
    }

    async fn join(&mut self, index: usize, has_bridge: bool) {
        let (node, notes) = &self.nodes[index];
        let room = node.room(TOPIC).share(notes);
        let room = if has_bridge { room.rxdb(RxdbBridge::new(notes)) } else { room };
        let transport = InProcess::new(&self.network).named(&index.to_string());
        self.rooms[index] = Some(room.join(transport).await.expect("the room is joined"));
    }

    async fn leave(&mut self, index: usize) {
        self.rooms[index].take().expect("it is in the room").leave().await;
    }

    /// As if it were unplugged: nobody hears from it any more, nor why.
    fn unplug(&mut self, index: usize) {
        let is_it = move |address: &PeerAddress| *address == cluster::address(index);
        self.network.allow(move |left, right| may_meet(left, right) && !is_it(left) && !is_it(right));
    }
}

/// What an RxDB peer notices of those in its room.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Noticed {
    Speaks(PeerAddress),
    /// One that spoke has gone.
    Gone(PeerAddress),
}

/// An RxDB peer that says its token and asks for the other's.
struct Rxdb {
    noticed: mpsc::UnboundedReceiver<Noticed>,
    task: JoinHandle<()>,
}

impl Rxdb {
    async fn join(network: &Network, name: &str, token: &'static str) -> Self {
        let topic = Topic::new(TOPIC).expect("valid");
        let transport = InProcess::new(network).named(name);
        let mut membership = transport.join(&topic).await.expect("the room is joined");
        let (notices, noticed) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let connection = membership.accept().await.expect("it is not left");
                tokio::spawn(converse(connection, token, notices.clone()));
            }
        });
        Self { noticed, task }
    }

    async fn notices(&mut self, expected: Noticed) {
        let noticed = timeout(PATIENCE, self.noticed.recv()).await;
        assert_eq!(noticed.ok().flatten(), Some(expected));
    }

    /// Nothing happens for longer than any wait.
    async fn notices_nothing_more(&mut self) {
        assert_eq!(timeout(PATIENCE, self.noticed.recv()).await.ok(), None);
    }
}

impl Drop for Rxdb {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut connection: Connection, token: &str, notices: mpsc::UnboundedSender<Noticed>) {
    let mut speaks = false;
    let ask = json!({ "id": "who", "method": "token", "params": [] });
    // What cannot be sent shows in what is received.
    let _ = connection.sender.send(ask.to_string().into()).await;
    while let Some(frame) = connection.receiver.receive().await {
        // RxDB ignores what is not JSON: Peerloom's own dialect.
        let Ok(message) = serde_json::from_slice::<Value>(&frame) else { continue };
        if message["method"] == "token" {
            let answer = json!({ "id": message["id"], "result": token });
            let _ = connection.sender.send(answer.to_string().into()).await;
        } else if message["id"] == "who" && !speaks {
            speaks = true;
            let _ = notices.send(Noticed::Speaks(connection.peer.clone()));
        }
    }
    if speaks {
        let _ = notices.send(Noticed::Gone(connection.peer));
    }
}

#[tokio::test(start_paused = true)]
async fn of_those_with_a_bridge_the_one_with_the_smallest_id_speaks_and_the_others_keep_still() {
    let replicas = Replicas::of(&[false, true, true, false, true]).await;
    let mut rxdb = Rxdb::join(&replicas.network, "rxdb", "tok1x0aaaa").await;
    rxdb.notices(Noticed::Speaks(address(1))).await;
    rxdb.notices_nothing_more().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_bridge_leaves_the_next_speaks_until_it_is_back() {
    let mut replicas = Replicas::of(&[true, false, true, true]).await;
    let mut rxdb = Rxdb::join(&replicas.network, "rxdb", "tok1x0aaaa").await;
    rxdb.notices(Noticed::Speaks(address(0))).await;
    replicas.leave(0).await;
    rxdb.notices(Noticed::Gone(address(0))).await;
    rxdb.notices(Noticed::Speaks(address(2))).await;
    rxdb.notices_nothing_more().await;
    replicas.join(0, true).await;
    rxdb.notices(Noticed::Gone(address(2))).await;
    rxdb.notices(Noticed::Speaks(address(0))).await;
    rxdb.notices_nothing_more().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_bridge_is_unplugged_the_next_speaks() {
    let mut replicas = Replicas::of(&[true, true, true]).await;
    let mut rxdb = Rxdb::join(&replicas.network, "rxdb", "tok1x0aaaa").await;
    rxdb.notices(Noticed::Speaks(address(0))).await;
    replicas.unplug(0);
    rxdb.notices(Noticed::Gone(address(0))).await;
    rxdb.notices(Noticed::Speaks(address(1))).await;
    rxdb.notices_nothing_more().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_connection_with_a_token_is_the_one_that_is_spoken_on() {
    let replicas = Replicas::of(&[true]).await;
    let mut earlier = Rxdb::join(&replicas.network, "first", "tok1x0aaaa").await;
    earlier.notices(Noticed::Speaks(address(0))).await;
    let mut other = Rxdb::join(&replicas.network, "other", "tok2x0aaaa").await;
    other.notices(Noticed::Speaks(address(0))).await;
    // Twice, so that the end of the one before is not taken for that of the one after.
    for name in ["second", "third"] {
        let mut later = Rxdb::join(&replicas.network, name, "tok1x0aaaa").await;
        later.notices(Noticed::Speaks(address(0))).await;
        earlier.notices(Noticed::Gone(address(0))).await;
        earlier.notices_nothing_more().await;
        earlier = later;
    }
    other.notices_nothing_more().await;
}
