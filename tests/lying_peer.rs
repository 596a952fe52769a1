//! A member of the room that lies: it holds the key, proves it, and then says what no replica would. It loses its link, with a reason; those
//! who are honest go on, and what it made others believe can be undone.

mod cluster;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{NOTES, Side, TOPIC, join_over, told};
use peerloom::core::{
    Admission, Applied, Capabilities, Connection, Effect, History, Identity, Input, Membership, Opening,
    Scanned, Sequence, Session, SessionConfig, Share, Snapshot,
};
use peerloom::{
    CloseReason, CollectionName, Events, InProcess, Incarnation, Network, Now, ReplicaId, Room, RoomEvent,
    SessionLimits, Stamp, Topic, TopicKey, Transport, Violation,
};

struct Honest {
    side: Side,
    room: Room,
    events: Events,
}

impl Honest {
    async fn join(network: &Network, address: &str) -> Self {
        let side = Side::new().await;
        let (room, events) = join_over(side.sharing(), InProcess::new(network).named(address)).await;
        Self { side, room, events }
    }

    async fn caught_up(&self) {
        self.room.caught_up().await.expect("it is not left");
    }
}

const LIAR: Incarnation = Incarnation::new(666);

/// A member that speaks the protocol through a session, and otherwise as it likes.
struct Liar {
    replica: ReplicaId,
    session: Session,
    connection: Connection,
    snapshot: Snapshot,
    _membership: Box<dyn Membership>,
}

impl Liar {
    /// Meets the only member that it may be connected to, and proves itself.
    async fn meet(network: &Network, knowledge: &[(Incarnation, Stamp)]) -> Self {
        let topic = Topic::new(TOPIC).expect("valid");
        let transport = InProcess::new(network).named("liar");
        let mut membership = transport.join(&topic).await.expect("the room is joined");
        let connection = membership.accept().await.expect("somebody is there");
        let identity = Identity::from_secret(&[6; 32]);
        let replica = identity.replica_id();
        let config = SessionConfig {
            identity,
            opening: Opening::new(6),
            nonce: [6; 32],
            topic_key: TopicKey::of_open_topic(&topic),
            claim: Bytes::new(),
            admission: Admission::Everybody,
            capabilities: Capabilities::NONE,
            channel_binding: connection.channel_binding.clone(),
            frame_bytes_max: connection.message_bytes_max,
            limits: SessionLimits::default(),
        };
        let mut history = History::default();
        history.begin(Sequence::new(1), LIAR, 8);
        let snapshot = Snapshot {
            incarnation: LIAR,
            end: Sequence::new(1),
            knowledge: Arc::new(knowledge.iter().copied().collect()),
            history: Arc::new(history),
        };
        let session = Session::new(config, Now::default());
        let mut liar = Self { replica, session, connection, snapshot, _membership: membership };
        liar.handle(Input::Share(Share {
            name: CollectionName::new(NOTES).expect("valid"),
            schema_version: 0,
            handler: "last-write-wins".into(),
            serves: true,
            pulls: true,
            filter: None,
            snapshot: liar.snapshot.clone(),
            direct: Arc::new(BTreeSet::new()),
        }));
        liar
    }

    /// Plays on until both sides say that nothing is left: with a feed in which there is nothing.
    async fn catch_up(&mut self) {
        while !self.session.is_caught_up() {
            while let Some(frame) = self.session.transmit(Now::default()) {
                self.connection.sender.send(frame).await.expect("the link lives");
            }
            let received = self.connection.receiver.receive().await.expect("the link lives");
            self.handle(Input::Received(received));
        }
        while let Some(frame) = self.session.transmit(Now::default()) {
            self.connection.sender.send(frame).await.expect("the link lives");
        }
    }

    fn handle(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            self.session.handle(Now::default(), input, &mut effects);
            for effect in effects {
                inputs.extend(match effect {
                    Effect::LoadCheckpoint { collection, .. } => {
                        Some(Input::CheckpointLoaded { collection, checkpoint: None })
                    }
                    Effect::Scan { collection, .. } => {
                        let records: Vec<Scanned> = Vec::new();
                        Some(Input::Scanned { collection, snapshot: self.snapshot.clone(), records })
                    }
                    Effect::Apply { collection, page } => {
                        let applied = Applied { documents: page.documents.len(), ..Applied::default() };
                        Some(Input::Applied { collection, applied })
                    }
                    Effect::Close(reason) => panic!("{reason}"),
                    _ => None,
                });
            }
        }
    }

    /// Sends a message in as many frames as it takes. Stops when nobody listens any more.
    async fn say(&mut self, message: &[u8]) {
        let room = self.connection.message_bytes_max - 5;
        let mut parts = message.chunks(room);
        let first = parts.next().unwrap_or_default();
        let length = u32::try_from(message.len()).expect("messages are below 4 GiB");
        let mut frames = vec![[&[2], length.to_be_bytes().as_slice(), first].concat()];
        frames.extend(parts.map(|part| [&[3], part].concat()));
        self.send(frames).await;
    }

    async fn send(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) {
        for frame in frames {
            if self.connection.sender.send(frame.into()).await.is_err() {
                return;
            }
        }
    }
}

// Messages in CBOR, as far as lies need it.

fn head(major: u8, number: u64) -> Vec<u8> {
    [&[major << 5 | 27], number.to_be_bytes().as_slice()].concat()
}

fn number(number: u64) -> Vec<u8> {
    head(0, number)
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    [head(2, bytes.len() as u64), bytes.to_vec()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [head(3, text.len() as u64), text.as_bytes().to_vec()].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

fn numbers(items: impl IntoIterator<Item = u64>) -> Vec<u8> {
    list(&items.into_iter().map(number).collect::<Vec<_>>())
}

const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// An Update that tells of this knowledge.
fn update(knowledge: impl IntoIterator<Item = u64>) -> Vec<u8> {
    list(&[number(6), number(0), vec![NULL], numbers(knowledge), list(&[]), list(&[])])
}

/// A document: its context by places in the table, and one head by its place in the context and how far below.
fn document(context: impl IntoIterator<Item = u64>, head: (u64, u64), body: &[u8]) -> Vec<u8> {
    let head = list(&[number(head.0), number(head.1), vec![FALSE], bytes(body), bytes(b"")]);
    list(&[numbers(context), list(&[head])])
}

/// A page of documents written by one.
fn changes(table: impl IntoIterator<Item = u64>, documents: &[(String, Vec<u8>)]) -> Vec<u8> {
    let documents: Vec<_> =
        documents.iter().flat_map(|(id, document)| [text(id), document.clone()]).collect();
    list(&[number(5), number(0), numbers(table), list(&documents), vec![NULL], vec![TRUE], list(&[])])
}

fn one(document: Vec<u8>) -> Vec<u8> {
    changes([666], &[("lie".to_owned(), document)])
}

/// A network where the liar reaches the victim alone.
fn network() -> Network {
    let network = Network::new();
    network.allow(|left, right| {
        [left.as_str(), right.as_str()] != ["friend", "liar"]
            && [left.as_str(), right.as_str()] != ["liar", "friend"]
    });
    network
}

#[tokio::test(start_paused = true)]
async fn whoever_lies_loses_its_link_and_nobody_else_does() {
    type Expected = fn(&Violation) -> bool;
    let million = 0..=1_048_576u64;
    let places = 0..70_000u64;
    let heavy: Vec<_> =
        (0..8).map(|id| (format!("{id}"), document([0, 9], (0, 0), &vec![b'x'; 500_000]))).collect();
    let many: Vec<_> = (0..1001).map(|id| (format!("{id:04}"), document([0, 9], (0, 0), b"x"))).collect();
    let too_long = |violation: &Violation| matches!(violation, Violation::VectorTooLong { .. });
    let undecodable = |violation: &Violation| matches!(violation, Violation::Decode(_));
    let cases: Vec<(&str, Vec<Vec<u8>>, Expected)> = vec![
        ("knowledge of a million", vec![update(million.flat_map(|origin| [origin, 9]))], too_long),
        (
            "a long context",
            vec![changes(
                places.clone(),
                &[("lie".to_owned(), document(places.flat_map(|place| [place, 9]), (0, 0), b"x"))],
            )],
            too_long,
        ),
        ("a stamp of 2^63", vec![one(document([0, 1 << 63], (0, 0), b"x"))], undecodable),
        ("a head outside its context", vec![one(document([0, 9], (1, 0), b"x"))], undecodable),
        ("a head below every write", vec![one(document([0, 9], (0, 9), b"x"))], undecodable),
        (
            "a write with two contents",
            vec![one(document([0, 9], (0, 0), b"one")), one(document([0, 9], (0, 0), b"two"))],
            |violation| matches!(violation, Violation::ForgedWrite { .. }),
        ),
        ("a page of too many", vec![changes([666], &many)], |violation| {
            matches!(violation, Violation::PageTooLarge { .. })
        }),
        ("a page too heavy", vec![changes([666], &heavy)], |violation| {
            matches!(violation, Violation::PageTooHeavy { .. })
        }),
    ];
    for (lie, messages, expected) in cases {
        let network = network();
        let (mut victim, friend) =
            (Honest::join(&network, "victim").await, Honest::join(&network, "friend").await);
        victim.side.put("before").await;
        victim.caught_up().await;
        let mut liar = Liar::meet(&network, &[]).await;
        liar.catch_up().await;
        for message in messages {
            liar.say(&message).await;
        }
        loses(&mut victim, liar.replica, lie, expected).await;
        victim.side.put("after").await;
        victim.caught_up().await;
        assert!(friend.side.has("after").await, "{lie}");
        assert!(victim.room.peers().iter().all(|peer| peer.replica != Some(liar.replica)), "{lie}");
    }
}

async fn loses(victim: &mut Honest, liar: ReplicaId, lie: &str, expected: impl Fn(&Violation) -> bool) {
    told(&mut victim.events, lie, |event| {
        matches!(
            event,
            RoomEvent::PeerLeft { peer, reason: CloseReason::Violation(violation), .. }
                if *peer == liar && expected(violation)
        )
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn parts_without_end_are_cut_off_where_the_message_should_have_ended() {
    for frames in [
        // More is declared than fits, more comes than was declared, and a part of nothing.
        vec![[&[2], u32::MAX.to_be_bytes().as_slice(), b"x"].concat()],
        vec![[&[2], 3u32.to_be_bytes().as_slice(), b"x"].concat(), [&[3], b"xxx".as_slice()].concat()],
        [vec![[&[2], 9u32.to_be_bytes().as_slice(), b"x"].concat()], vec![vec![3]; 3]].concat(),
    ] {
        let network = network();
        let mut victim = Honest::join(&network, "victim").await;
        let mut liar = Liar::meet(&network, &[]).await;
        liar.catch_up().await;
        liar.send(frames).await;
        loses(&mut victim, liar.replica, "endless parts", |violation| {
            matches!(violation, Violation::Frame(_))
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn writes_from_the_far_future_are_told_of_and_move_no_clock() {
    let network = network();
    let mut victim = Honest::join(&network, "victim").await;
    let mut liar = Liar::meet(&network, &[]).await;
    liar.catch_up().await;
    let future = Stamp::MAX.number();
    liar.say(&one(document([0, future], (0, 0), b"\"lie\""))).await;
    let replica = liar.replica;
    told(
        &mut victim.events,
        "the clock",
        |event| matches!(event, RoomEvent::ClockAhead { peer, .. } if *peer == replica),
    )
    .await;
    victim.side.put("honest").await;
    let draft = victim.side.notes.read("honest").await.expect("it reads").expect("it is there");
    assert!(draft.context().newest() < Stamp::new(future / 2).expect("well-formed"));
    assert_eq!(victim.room.peers().len(), 1, "a clock that is wrong is no violation");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_and_never_reads_counts_as_gone() {
    let network = network();
    let (mut victim, friend) =
        (Honest::join(&network, "victim").await, Honest::join(&network, "friend").await);
    let mut liar = Liar::meet(&network, &[]).await;
    liar.catch_up().await;
    let (replica, mut connection) = (liar.replica, liar.connection);
    // It says that it lives, for as long as anybody takes it.
    let pings = tokio::spawn(async move {
        while connection.sender.send(Bytes::from_static(&[1, 0x81, 10])).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    for round in 0..100 {
        victim.side.put(&round.to_string()).await;
        victim.side.notes.put("large", &"x".repeat(300_000)).await.expect("the write is taken");
    }
    told(&mut victim.events, "the silence", |event| {
        matches!(event, RoomEvent::PeerLeft { peer, reason: CloseReason::Silent, .. } if *peer == replica)
    })
    .await;
    pings.await.expect("no panic");
    victim.caught_up().await;
    assert!(friend.side.has("99").await);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_lied_about_comes_once_everything_is_compared_again() {
    let network = Network::new();
    network.allow(|left, right| {
        let pair = [left.as_str(), right.as_str()];
        !pair.contains(&"liar") || pair.contains(&"victim")
    });
    network.cut(&cluster_address("victim"), &cluster_address("friend"));
    let (victim, friend) = (Honest::join(&network, "victim").await, Honest::join(&network, "friend").await);
    victim.side.put("of the victim").await;
    friend.side.put("of the friend").await;
    let draft = friend.side.notes.read("of the friend").await.expect("it reads").expect("it is there");
    let (origin, stamp) = draft.context().iter().next().expect("a write has a name");

    let mut liar = Liar::meet(&network, &[(origin, stamp)]).await;
    liar.catch_up().await;
    victim.caught_up().await;
    drop(liar);
    network.heal(&cluster_address("victim"), &cluster_address("friend"));
    friend.caught_up().await;
    victim.caught_up().await;
    assert!(friend.side.has("of the victim").await);
    assert!(!victim.side.has("of the friend").await, "the lie was not believed, so the test shows nothing");

    victim.side.notes.recheck().await.expect("it is forgotten");
    victim.caught_up().await;
    assert!(victim.side.has("of the friend").await);
    // What was written here is still known, so nobody sends it back, and nobody takes it for lost.
    let sent: u64 = friend.room.peers().iter().map(|peer| peer.counters.documents_sent).sum();
    assert_eq!(sent, 1);
    victim.side.node.close().await.expect("it closes");
}

fn cluster_address(name: &str) -> peerloom::PeerAddress {
    peerloom::PeerAddress::new(name)
}
