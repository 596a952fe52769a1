//! A signaling server that sits in the middle: it swaps the fingerprints of two real peers for its own, ends both encrypted connections itself
//! and passes everything on, to read along.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use peerloom::core::{Connection, MessageReceiver, MessageSender, Topic, Transport, TransportError};
use peerloom::{Binary, Collection, Events, Memory, Node, Refusal, RoomBuilder, RoomEvent, TopicKey};
use peerloom_webrtc::{InProcessSignaling, Interfaces, Options, Signaling, SignalingSession, WebRtc};
use tokio::time::timeout;

/// Far longer than anything here takes, on any machine.
const TIME_MAX: Duration = Duration::from_secs(120);

const SECRET: &[u8] = b"meet me at the old mill at nine";

fn loopback(signaling: impl Signaling) -> WebRtc {
    WebRtc::with_options(signaling, Options { interfaces: Interfaces::loopback(), ..Options::default() })
}

/// Whatever somebody asks for, there is a room for it alone, in which only the server waits. What the server offers and answers there has
/// fingerprints of its own, in place of those of the peer that it pretends to be.
#[derive(Clone, Default)]
struct Eavesdropper {
    rooms: Arc<Mutex<Vec<(Topic, InProcessSignaling)>>>,
}

#[async_trait]
impl Signaling for Eavesdropper {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn SignalingSession>, TransportError> {
        let room = InProcessSignaling::new();
        self.rooms.lock().expect("nothing panics").push((topic.clone(), room.clone()));
        room.join(topic).await
    }
}

impl Eavesdropper {
    /// Calls both who have come, as each other, and passes on what they say until one of them hangs up. Returns what it heard.
    async fn eavesdrop(self) -> Vec<Bytes> {
        let rooms = self.rooms.lock().expect("nothing panics").clone();
        let [(topic, left), (same, right)] = rooms.as_slice() else { panic!("{} rooms", rooms.len()) };
        assert_eq!(topic, same, "both ask for the same");
        let (mut left, mut right) = (
            loopback(left.clone()).join(topic).await.expect("it is joined"),
            loopback(right.clone()).join(topic).await.expect("it is joined"),
        );
        let (left, right) = tokio::join!(left.accept(), right.accept());
        let (left, right) = (left.expect("a victim"), right.expect("a victim"));
        assert_ne!(left.channel_binding, right.channel_binding, "two connections, and the server ends both");
        let Connection { sender: mut to_left, receiver: mut from_left, .. } = left;
        let Connection { sender: mut to_right, receiver: mut from_right, .. } = right;
        let (mut heard, also_heard) =
            tokio::join!(pass_on(&mut *from_left, &mut *to_right), pass_on(&mut *from_right, &mut *to_left),);
        heard.extend(also_heard);
        heard
    }
}

async fn pass_on(from: &mut dyn MessageReceiver, to: &mut dyn MessageSender) -> Vec<Bytes> {
    let mut heard = Vec::new();
    while let Some(message) = from.receive().await {
        heard.push(message.clone());
        if to.send(message).await.is_err() {
            break;
        }
    }
    to.close().await;
    heard
}

struct Victim {
    node: Node,
    files: Collection<Binary>,
}

impl Victim {
    async fn open() -> Self {
        let node = Node::open(Memory::new()).await.expect("the node opens");
        let files = node.collection("files").open().await.expect("the collection opens");
        Self { node, files }
    }

    fn room(&self) -> RoomBuilder {
        self.node.room("our-files").share(&self.files)
    }
}

/// Waits for a refusal, and sees that nothing moved before.
async fn refusal(mut events: Events) -> Refusal {
    let refused = async {
        loop {
            match events.next().await.expect("the room is not left") {
                RoomEvent::Refused { reason, .. } => return reason,
                RoomEvent::PeerJoined { .. } | RoomEvent::Shared { .. } => panic!("the server was believed"),
                _ => {}
            }
        }
    };
    timeout(TIME_MAX, refused).await.expect("it is refused")
}

fn was_said(heard: &[Bytes], words: &[u8]) -> bool {
    heard.iter().any(|message| message.windows(words.len()).any(|part| part == words))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_swaps_the_fingerprints_is_refused_by_both() {
    for key in [Some(TopicKey::new([7; 32])), None] {
        let eavesdropper = Eavesdropper::default();
        let (left, right) = (Victim::open().await, Victim::open().await);
        left.files.put("letter", &Binary(Bytes::from_static(SECRET))).await.expect("the write is taken");
        let mut rooms = Vec::new();
        for victim in [&left, &right] {
            let room = key.iter().fold(victim.room(), |room, key| room.key(key.clone()));
            rooms.push(room.join(loopback(eavesdropper.clone())).await.expect("the room is joined"));
        }
        let (on_left, on_right) = (refusal(rooms[0].events()), refusal(rooms[1].events()));
        let names: Vec<Topic> =
            eavesdropper.rooms.lock().expect("nothing panics").iter().map(|room| room.0.clone()).collect();
        let eavesdropping = tokio::spawn(eavesdropper.eavesdrop());
        let refusals = tokio::join!(on_left, on_right);
        // In a room without a key too, who only passes things on is found out. There the server could instead join, as anybody could.
        assert_eq!(refusals, (Refusal::TopicKey, Refusal::TopicKey));
        drop(rooms);
        let heard = timeout(TIME_MAX, eavesdropping).await.expect("they hang up").expect("no panic");
        assert!(heard.len() >= 4, "two Hellos and two Proofs passed through: {}", heard.len());
        assert!(!was_said(&heard, SECRET) && !was_said(&heard, b"files"));
        for name in names {
            let characters = name.as_str().encode_utf16().count();
            assert!((6..=99).contains(&characters), "{name} is no name of a room");
            assert_eq!(name.as_str() == "our-files", key.is_none(), "the server sees {name}");
        }
        assert!(right.files.get("letter").await.expect("it reads").is_none());
    }
}

/// What the guarantee of a room without a key is, and what a key changes: the server knows the name of the room, and joins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_can_join_a_room_without_a_key_and_none_with_one() {
    for (key, expected) in [(None, true), (Some(TopicKey::new([7; 32])), false)] {
        let signaling = InProcessSignaling::new();
        let (victim, server) = (Victim::open().await, Victim::open().await);
        victim.files.put("letter", &Binary(Bytes::from_static(SECRET))).await.expect("the write is taken");
        let room = key.iter().fold(victim.room(), |room, key| room.key(key.clone()));
        let seen = Named::default();
        let transport = loopback(Watched { signaling: signaling.clone(), seen: seen.clone() });
        let on_victim = room.join(transport).await.expect("the room is joined");
        // All that the server knows is the name under which the room is met.
        let name = seen.lock().expect("nothing panics").clone().expect("somebody asked for a room");
        let on_server = server.node.room(name.as_str()).share(&server.files);
        let on_server = on_server.join(loopback(signaling)).await.expect("the room is joined");
        if expected {
            timeout(TIME_MAX, on_server.caught_up()).await.expect("they meet").expect("it is not left");
        } else {
            assert_eq!(refusal(on_server.events()).await, Refusal::TopicKey);
        }
        let read = server.files.get("letter").await.expect("it reads").is_some();
        assert_eq!(read, expected);
        drop(on_victim);
    }
}

type Named = Arc<Mutex<Option<Topic>>>;

/// Signaling that remembers which room was asked for last.
struct Watched {
    signaling: InProcessSignaling,
    seen: Named,
}

#[async_trait]
impl Signaling for Watched {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn SignalingSession>, TransportError> {
        *self.seen.lock().expect("nothing panics") = Some(topic.clone());
        self.signaling.join(topic).await
    }
}
