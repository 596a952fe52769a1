//! A mesh of peers with a queue for each direction of each link. Nothing moves unless it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::handler::RxdbConflictHandler;
use crate::message::Message;
use crate::peer::{Input, LinkId, Output, Peer, PeerError, Settings};

/// One direction of a link between two peers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Direction {
    /// The sender.
    pub from: usize,
    /// The receiver.
    pub to: usize,
}

impl Direction {
    /// The other direction of the same link.
    pub fn reversed(self) -> Self {
        Direction { from: self.to, to: self.from }
    }
}

/// What the delivery of a message, or a write, did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The message that was delivered.
    pub message: Option<Message>,
    /// The documents that were written at the receiver, in order.
    pub changes: Vec<(String, Value)>,
}

/// The mesh did not come to rest within the given number of deliveries.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("messages are still going on after {deliveries} deliveries")]
pub struct NotSettled {
    /// How many there were.
    pub deliveries: usize,
}

/// Peers, and the messages between them.
///
/// Peers are numbered from 0 in the order of their tokens, and shown as A, B, C.
#[derive(Clone)]
pub struct Mesh {
    /// Shared with copies of the mesh until they differ: a search copies a mesh for each step, which changes one peer.
    pub(crate) peers: Vec<Arc<Peer>>,
    /// By direction; both directions of a link that is up are there.
    pub(crate) queues: BTreeMap<Direction, VecDeque<Arc<Message>>>,
}

impl Mesh {
    /// Peers with these storage tokens, not linked. The tokens decide who is master of whom.
    ///
    /// # Panics
    ///
    /// If two tokens are equal, or there are more than 26.
    pub fn new(tokens: &[String], settings: &Settings, handler: &Arc<dyn RxdbConflictHandler>) -> Self {
        assert!(tokens.len() <= 26, "peers are named by the letters of the alphabet");
        let different = |(index, token)| !tokens[..index].contains(token);
        assert!(tokens.iter().enumerate().all(different), "storage tokens differ");
        let peer = |token: &String| Arc::new(Peer::new(token, settings.clone(), handler.clone()));
        Mesh { peers: tokens.iter().map(peer).collect(), queues: BTreeMap::new() }
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is no peer.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// A peer.
    ///
    /// # Panics
    ///
    /// If there is no such peer.
    pub fn peer(&self, peer: usize) -> &Peer {
        &self.peers[peer]
    }

    /// Connects two peers.
    ///
    /// # Panics
    ///
    /// If there is no such peer, if they are the same, or if they are connected.
    pub fn link(&mut self, a: usize, b: usize) {
        assert!(a != b && a < self.len() && b < self.len(), "a link needs two peers");
        let direction = Direction { from: a, to: b };
        assert!(!self.queues.contains_key(&direction), "the peers are not connected yet");
        self.queues.insert(direction, VecDeque::new());
        self.queues.insert(direction.reversed(), VecDeque::new());
        for (peer, other) in [(a, b), (b, a)] {
            self.input(peer, Input::LinkUp(link(other))).expect("the link is new to both");
        }
    }

    /// Disconnects two peers. What is on its way is lost.
    ///
    /// # Panics
    ///
    /// If they are not connected.
    pub fn unlink(&mut self, a: usize, b: usize) {
        let direction = Direction { from: a, to: b };
        for direction in [direction, direction.reversed()] {
            self.queues.remove(&direction).expect("the peers are connected");
        }
        for (peer, other) in [(a, b), (b, a)] {
            self.input(peer, Input::LinkDown(link(other))).expect("both know the link");
        }
    }

    /// Writes a document at a peer.
    ///
    /// # Panics
    ///
    /// If there is no such peer.
    pub fn write(&mut self, peer: usize, document: Value) -> Result<Step, PeerError> {
        self.input(peer, Input::Write(document))
    }

    /// The directions in which a message can be delivered, in a fixed order.
    pub fn deliverable(&self) -> Vec<Direction> {
        let waiting = self.queues.iter().filter(|(_, queue)| !queue.is_empty());
        waiting.map(|(direction, _)| *direction).collect()
    }

    /// The messages on their way in a direction, the next one first.
    pub fn queue(&self, direction: Direction) -> impl Iterator<Item = &Message> {
        self.queues.get(&direction).into_iter().flatten().map(|message| &**message)
    }

    /// Delivers the next message of a direction. Messages of one direction never overtake each other.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn deliver(&mut self, direction: Direction) -> Result<Step, PeerError> {
        let queue = self.queues.get_mut(&direction).expect("the peers are connected");
        let message = queue.pop_front().expect("a message is on its way");
        let message = Arc::unwrap_or_clone(message);
        let step = self.input(direction.to, Input::Message(link(direction.from), message.clone()))?;
        Ok(Step { message: Some(message), ..step })
    }

    /// Whether no message is on its way. Nothing happens any more then until somebody writes.
    pub fn quiet(&self) -> bool {
        self.queues.values().all(VecDeque::is_empty)
    }

    /// Whether all peers have the same states of all documents, as the handler-independent comparison of RxDB finds.
    pub fn converged(&self) -> bool {
        let equal = |a: &Arc<Peer>, b: &Arc<Peer>| {
            let mut pairs = a.documents().zip(b.documents());
            a.documents().count() == b.documents().count()
                && pairs.all(|((a, left), (b, right))| a == b && crate::handler::deep_equal(left, right))
        };
        self.peers.windows(2).all(|pair| equal(&pair[0], &pair[1]))
    }

    /// Delivers in turn from all directions until no message is left, and returns how many there were.
    pub fn settle(&mut self, deliveries_max: usize) -> Result<Result<usize, NotSettled>, PeerError> {
        let mut deliveries = 0;
        loop {
            let round = self.deliverable();
            if round.is_empty() {
                return Ok(Ok(deliveries));
            }
            for direction in round {
                if deliveries == deliveries_max {
                    return Ok(Err(NotSettled { deliveries }));
                }
                self.deliver(direction)?;
                deliveries += 1;
            }
        }
    }

    /// Delivers in an order drawn from the seed until no message is left, and returns how many there were. The same seed gives
    /// the same order, everywhere.
    pub fn run(&mut self, seed: u64, deliveries_max: usize) -> Result<Result<usize, NotSettled>, PeerError> {
        let mut random = seed;
        for deliveries in 0..=deliveries_max {
            let possible = self.deliverable();
            if possible.is_empty() {
                return Ok(Ok(deliveries));
            }
            if deliveries < deliveries_max {
                // SplitMix64 (Steele, Lea, Flood 2014): enough to draw from a handful of directions.
                random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                let drawn = (mixed ^ (mixed >> 31)) % possible.len() as u64;
                self.deliver(possible[usize::try_from(drawn).expect("less than the length")])?;
            }
        }
        Ok(Err(NotSettled { deliveries: deliveries_max }))
    }

    fn input(&mut self, peer: usize, input: Input) -> Result<Step, PeerError> {
        let mut outputs = Vec::new();
        Arc::make_mut(&mut self.peers[peer]).handle(input, &mut outputs)?;
        let mut step = Step::default();
        for output in outputs {
            match output {
                Output::Send(LinkId(other), message) => {
                    let direction = Direction { from: peer, to: other as usize };
                    let queue = self.queues.get_mut(&direction);
                    queue.expect("peers send on links that are up").push_back(Arc::new(message));
                }
                Output::Changed { id, state } => step.changes.push((id, state)),
            }
        }
        Ok(step)
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let documents =
            |peer: &Peer| peer.documents().map(|(_, state)| state.to_string()).collect::<Vec<_>>();
        let peers: Vec<_> =
            self.peers.iter().map(|peer| (peer.token().to_owned(), documents(peer))).collect();
        formatter.debug_struct("Mesh").field("peers", &peers).field("queues", &self.queues).finish()
    }
}

/// The letter that names a peer.
pub fn peer_name(peer: usize) -> char {
    char::from(b'A' + u8::try_from(peer).expect("peers are named by the letters of the alphabet"))
}

/// A peer's links are named by the number of the other peer.
fn link(other: usize) -> LinkId {
    LinkId(u32::try_from(other).expect("at most 26 peers"))
}
