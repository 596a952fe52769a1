//! Nodes that replicate over real data channels on this machine's loopback.

use std::time::Duration;

use futures_util::StreamExt;
use peerloom::{Binary, Collection, Memory, Node, Room, RoomEvent};
use peerloom_webrtc::{InProcessSignaling, Interfaces, Options, WebRtc};
use tokio::time::timeout;

/// Far longer than anything here takes, on any machine.
const TIME_MAX: Duration = Duration::from_secs(120);

struct Replica {
    node: Node,
    files: Collection<Binary>,
}

impl Replica {
    async fn open() -> Self {
        let node = Node::builder(Memory::new()).open().await.unwrap();
        let files = node.collection("files").open().await.unwrap();
        Self { node, files }
    }

    async fn join(&self, signaling: &InProcessSignaling) -> Room {
        let options = Options { interfaces: Interfaces::loopback(), ..Options::default() };
        let transport = WebRtc::with_options(signaling.clone(), options);
        self.node.room("our-files").share(&self.files).join(transport).await.unwrap()
    }

    async fn write(&self, id: &str, bytes: usize) {
        self.files.put(id, &content(id, bytes)).await.unwrap();
    }

    /// Waits until the document is there.
    async fn has(&self, id: &str, bytes: usize) {
        let expected = content(id, bytes);
        let mut changes = self.files.watch_from(None);
        let seen = async {
            loop {
                if self.files.get(id).await.unwrap().is_some_and(|found| found.0 == expected.0) {
                    return;
                }
                changes.next().await.unwrap().unwrap();
            }
        };
        timeout(TIME_MAX, seen).await.unwrap_or_else(|_| panic!("{id} of {bytes} bytes does not come"));
    }
}

fn content(id: &str, bytes: usize) -> Binary {
    let seed = id.len() as u8;
    Binary((0..bytes).map(|index| (index as u8).wrapping_mul(31) ^ (index >> 8) as u8 ^ seed).collect())
}

async fn peers(room: &Room, count: usize) {
    let mut events = room.events();
    let met = async {
        while room.peers().len() < count {
            events.next().await.expect("the room goes on");
        }
    };
    timeout(TIME_MAX, met).await.expect("the peers meet");
}

/// Waits until something happens, from the call on and not only from the first poll.
fn next(room: &Room, wanted: impl Fn(&RoomEvent) -> bool) -> impl Future<Output = ()> {
    let mut events = room.events();
    async move {
        let happened = async { while !wanted(&events.next().await.expect("the room goes on")) {} };
        timeout(TIME_MAX, happened).await.expect("it happens");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_any_size_arrive() {
    let signaling = InProcessSignaling::new();
    let (left, right) = (Replica::open().await, Replica::open().await);
    let _rooms = (left.join(&signaling).await, right.join(&signaling).await);
    let sizes = [1, 16 << 10, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 1 << 20, 16 << 20];
    for bytes in sizes {
        let id = format!("of-{bytes}");
        left.write(&id, bytes).await;
        right.has(&id, bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_live_on_without_the_server_and_newcomers_come_with_it() {
    let signaling = InProcessSignaling::new();
    let (left, right) = (Replica::open().await, Replica::open().await);
    let (on_left, on_right) = (left.join(&signaling).await, right.join(&signaling).await);
    left.write("before", 100).await;
    right.has("before", 100).await;

    signaling.stop();
    left.write("meanwhile", 100).await;
    right.has("meanwhile", 100).await;
    let late = Replica::open().await;
    let on_late = late.join(&signaling).await;

    let mut events = on_left.events();
    signaling.start();
    peers(&on_late, 2).await;
    late.has("meanwhile", 100).await;
    right.write("after", 100).await;
    left.has("after", 100).await;
    // The one who was connected before was recognized: the newcomer is the only one who joined.
    peers(&on_left, 2).await;
    peers(&on_right, 2).await;
    let mut joined = 0;
    while let Ok(Some(event)) = timeout(Duration::ZERO, events.next()).await {
        assert!(!matches!(event, RoomEvent::PeerLeft { .. } | RoomEvent::Refused { .. }), "{event:?}");
        joined += usize::from(matches!(event, RoomEvent::PeerJoined { .. }));
    }
    assert_eq!(joined, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_replicas_meet_and_converge() {
    const REPLICAS: usize = 10;
    let signaling = InProcessSignaling::new();
    let (mut replicas, mut rooms) = (Vec::new(), Vec::new());
    for number in 0..REPLICAS {
        let replica = Replica::open().await;
        replica.write(&format!("of-{number}"), 1000).await;
        rooms.push(replica.join(&signaling).await);
        replicas.push(replica);
    }
    for room in &rooms {
        peers(room, REPLICAS - 1).await;
    }
    for replica in &replicas {
        for number in 0..REPLICAS {
            replica.has(&format!("of-{number}"), 1000).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_and_joins_again_catches_up() {
    let signaling = InProcessSignaling::new();
    let (left, right) = (Replica::open().await, Replica::open().await);
    let on_left = left.join(&signaling).await;
    for round in 0..3 {
        let on_right = right.join(&signaling).await;
        let id = format!("of-round-{round}");
        left.write(&id, 50_000).await;
        right.has(&id, 50_000).await;
        peers(&on_left, 1).await;
        let left_by_peer = next(&on_left, |event| matches!(event, RoomEvent::PeerLeft { .. }));
        tokio::join!(on_right.leave(), left_by_peer);
    }
}
