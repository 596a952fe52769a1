//! A room of replicas in virtual time: the real core over stores in memory and queues of frames.
//!
//! Here are its nodes and connections, and what their users do; `schedule.rs` is what happens by itself. Invariants that
//! concern one step are asserted at that step. What a whole run must have kept is in `oracles.rs`.

#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)]

mod disk;
mod oracles;
mod random;
mod schedule;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::*;

use self::schedule::Work;
pub use disk::Disk;
pub use oracles::Fact;
pub use random::{Random, Replay};

/// Folds all versions into one text. Neither associative nor idempotent, so a replica that merged views would differ.
#[derive(Clone, Copy, Debug)]
pub struct Append;

impl ConflictHandler for Append {
    fn id(&self) -> &str {
        "append"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let bodies: Vec<&[u8]> = heads.iter().map(|head| head.state.body.as_ref()).collect();
        State {
            deleted: heads.iter().all(|head| head.state.deleted),
            body: bodies.join(&b'+').into(),
            annotations: Bytes::new(),
        }
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}

/// Calls a handler that does not panic.
pub struct Calls<'h>(pub &'h dyn ConflictHandler);

impl Resolver for Calls<'_> {
    fn resolve(&mut self, heads: &[Head]) -> Option<State> {
        Some(self.0.resolve(heads))
    }

    fn annotate(&mut self, seen: Option<&State>, next: &State, dot: Dot) -> Option<Bytes> {
        Some(self.0.annotate(seen, next, dot))
    }
}

/// One collection of one node.
#[derive(Clone, Debug)]
pub struct Shelf {
    pub name: CollectionName,
    pub disk: Disk,
    pub replica: Replica,
    /// Durable, but the replica has not been told yet.
    pub in_flight: Option<Committable>,
    /// Whom it hears from directly, by the end of a connection.
    pub direct: BTreeMap<usize, Incarnation>,
    pub schema_version: u32,
    pub handler: String,
}

impl Shelf {
    fn direct(&self) -> Arc<BTreeSet<Incarnation>> {
        Arc::new(self.direct.values().copied().collect())
    }
}

/// One node: an identity, a clock and its collections.
#[derive(Clone, Debug)]
pub struct Node {
    pub secret: [u8; 32],
    pub opening: Opening,
    pub skew_ms: i64,
    pub shelves: Vec<Shelf>,
}

impl Node {
    pub fn id(&self) -> ReplicaId {
        Identity::from_secret(&self.secret).replica_id()
    }
}

/// How one side shares a collection on one connection.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub serves: bool,
    pub pulls: bool,
    /// Serves only ids that begin so.
    pub filter: Option<&'static str>,
}

impl Terms {
    pub const FULL: Self = Self { serves: true, pulls: true, filter: None };
}

/// One end of a connection.
pub struct End {
    pub node: usize,
    pub session: Session,
    /// Frames on their way to this end, with the time at which they arrive.
    pub inbox: VecDeque<(Duration, Bytes)>,
    work: Vec<Work>,
    /// Collections whose latest commit the session has not been told of.
    untold: BTreeSet<usize>,
    /// The collections as the session numbers them.
    pub shared: Vec<(usize, Terms)>,
    /// The end of each feed as the session was told, and how much of the log is known to be at the peer.
    told: Vec<(Sequence, usize)>,
    pub events: Vec<Event>,
    /// Whom the session wants to be told about: tests answer.
    pub asked: Vec<Newcomer>,
    pub closed: Option<CloseReason>,
    /// Gone: no happening concerns it any more.
    pub dead: bool,
    pub bytes_sent: u64,
    /// Frames sent that are neither Ping nor Pong.
    pub frames_sent: u64,
}

pub struct Room {
    pub now: Duration,
    pub random: Random,
    pub nodes: Vec<Node>,
    /// Two by two: the other end of `ends[n]` is `ends[n ^ 1]`.
    pub ends: Vec<End>,
    pub facts: Vec<Fact>,
    pub limits: SessionLimits,
    pub replica_limits: ReplicaLimits,
    pub frame_bytes_max: usize,
    pub inbox_frames_max: usize,
    pub latency: Duration,
    /// Whether a violation is expected, because the test misbehaves.
    pub hostile: bool,
    pub topic_key: TopicKey,
    /// Every frame sent, with the end that it goes to.
    pub tap: Vec<(usize, Bytes)>,
    pub notices: Vec<Notice>,
}

/// Wall clocks start here, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

impl Room {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Duration::from_secs(1),
            random: Random(seed),
            nodes: Vec::new(),
            ends: Vec::new(),
            facts: Vec::new(),
            limits: SessionLimits::default(),
            replica_limits: ReplicaLimits::default(),
            frame_bytes_max: 16 << 10,
            inbox_frames_max: 64,
            latency: Duration::ZERO,
            hostile: false,
            topic_key: TopicKey::new([7; 32]),
            tap: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// A room of `count` nodes with one collection each.
    pub fn of(seed: u64, count: usize) -> Self {
        let mut room = Self::new(seed);
        (0..count).for_each(|_| {
            room.add_node(&["notes"]);
        });
        room
    }

    pub fn pages_of(mut self, documents_max: u32) -> Self {
        self.limits.page.documents_max = NonZeroU32::new(documents_max).expect("above zero");
        self
    }

    pub fn add_node(&mut self, collections: &[&str]) -> usize {
        let mut secret = [0; 32];
        secret.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.random.next().to_be_bytes()));
        let shelves = collections.iter().map(|name| self.shelf(name, Disk::default())).collect();
        let opening = Opening::new(self.random.next());
        self.nodes.push(Node { secret, opening, skew_ms: 0, shelves });
        self.nodes.len() - 1
    }

    fn shelf(&mut self, name: &str, disk: Disk) -> Shelf {
        let incarnation = Incarnation::new(self.random.next());
        let replica =
            Replica::load(self.replica_limits.clone(), incarnation, disk.metadata()).expect("sound");
        Shelf {
            name: CollectionName::new(name).expect("a valid name"),
            replica,
            disk,
            in_flight: None,
            direct: BTreeMap::new(),
            schema_version: 1,
            handler: "append".into(),
        }
    }

    /// The time as a node's clocks show it.
    pub fn now_at(&self, node: usize) -> Now {
        let unix_ms = EPOCH_MS + self.now.as_millis() as i64 + self.nodes[node].skew_ms;
        Now { monotonic: self.now, unix_ms: unix_ms as u64 }
    }

    // Connections.

    /// Connects two nodes that share all their collections. Returns the end at `left`.
    pub fn connect(&mut self, left: usize, right: usize) -> usize {
        self.connect_on(left, right, Terms::FULL, Terms::FULL)
    }

    pub fn connect_on(&mut self, left: usize, right: usize, ours: Terms, theirs: Terms) -> usize {
        let end = self.connect_bare(left, right);
        for (end, node, terms) in [(end, left, ours), (end + 1, right, theirs)] {
            (0..self.nodes[node].shelves.len()).for_each(|shelf| self.share(end, shelf, terms));
        }
        end
    }

    /// Connects two nodes that share nothing yet.
    pub fn connect_bare(&mut self, left: usize, right: usize) -> usize {
        let end = self.ends.len();
        for node in [left, right] {
            let config = self.config(node);
            self.add_end(node, config);
        }
        end
    }

    pub fn config(&mut self, node: usize) -> SessionConfig {
        let mut nonce = [0; 32];
        nonce.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.random.next().to_be_bytes()));
        SessionConfig {
            identity: Identity::from_secret(&self.nodes[node].secret),
            opening: self.nodes[node].opening,
            nonce,
            topic_key: self.topic_key.clone(),
            claim: Bytes::new(),
            admission: Admission::Everybody,
            capabilities: Capabilities::NONE,
            channel_binding: None,
            frame_bytes_max: self.frame_bytes_max,
            limits: self.limits.clone(),
        }
    }

    /// Adds one end; the two ends of a connection are added one after the other.
    pub fn add_end(&mut self, node: usize, config: SessionConfig) {
        let session = Session::new(config, self.now_at(node));
        self.ends.push(End {
            node,
            session,
            inbox: VecDeque::new(),
            work: Vec::new(),
            untold: BTreeSet::new(),
            shared: Vec::new(),
            told: Vec::new(),
            events: Vec::new(),
            asked: Vec::new(),
            closed: None,
            dead: false,
            bytes_sent: 0,
            frames_sent: 0,
        });
        if self.ends.len().is_multiple_of(2) {
            let end = self.ends.len() - 2;
            self.pump(end);
            self.pump(end + 1);
        }
    }

    pub fn share(&mut self, end: usize, shelf: usize, terms: Terms) {
        let node = self.ends[end].node;
        self.announce(node, shelf);
        let of = &self.nodes[node].shelves[shelf];
        let share = Share {
            name: of.name.clone(),
            schema_version: of.schema_version,
            handler: of.handler.clone(),
            serves: terms.serves,
            pulls: terms.pulls,
            filter: terms.filter.map(str::to_string),
            snapshot: of.replica.snapshot().clone(),
            direct: of.direct(),
        };
        let sequence = share.snapshot.end;
        self.ends[end].shared.push((shelf, terms));
        self.ends[end].told.push((sequence, 0));
        self.handle(end, Input::Share(share));
    }

    /// Puts a frame that the other end never sent on its way to an end.
    pub fn inject(&mut self, end: usize, frame: Vec<u8>) {
        self.ends[end].inbox.push_back((self.now, frame.into()));
    }

    /// Both ends lose the connection, and what was on its way is gone.
    pub fn disconnect(&mut self, end: usize) {
        for end in [end & !1, end | 1] {
            self.ends[end].inbox.clear();
            self.handle(end, Input::ConnectionLost);
            self.bury(end);
        }
    }

    pub fn disconnect_node(&mut self, node: usize) {
        for end in 0..self.ends.len() {
            if self.ends[end].node == node && !self.ends[end].dead {
                self.disconnect(end);
            }
        }
    }

    pub fn is_connected(&self, left: usize, right: usize) -> bool {
        self.live().any(|end| self.ends[end].node == left && self.ends[end ^ 1].node == right)
    }

    pub fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.ends.len()).filter(|end| !self.ends[*end].dead)
    }

    fn bury(&mut self, end: usize) {
        let of = &mut self.ends[end];
        of.dead = true;
        of.work.clear();
        let node = of.node;
        for shelf in 0..self.nodes[node].shelves.len() {
            if self.nodes[node].shelves[shelf].direct.remove(&end).is_some() {
                self.spread(node, shelf);
            }
        }
    }

    // What users do.

    /// Puts over what is there.
    pub fn put(&mut self, node: usize, id: &str, body: &str) {
        self.write(node, 0, id, Some(body), Seen::Current).expect("within limits");
    }

    pub fn delete(&mut self, node: usize, id: &str) {
        self.write(node, 0, id, None, Seen::Current).expect("within limits");
    }

    pub fn write(
        &mut self,
        node: usize,
        shelf: usize,
        id: &str,
        body: Option<&str>,
        seen: Seen,
    ) -> Result<Written, WriteError> {
        self.announce(node, shelf);
        let (now, fresh) = (self.now_at(node), Incarnation::new(self.random.next()));
        let of = &mut self.nodes[node].shelves[shelf];
        let id = DocumentId::new(id).expect("a valid id");
        let local = of.disk.read(&id);
        let effective = match &seen {
            Seen::Current => local.as_ref().map(|r| r.document.context().clone()).unwrap_or_default(),
            Seen::Read { context, .. } => context.clone(),
            Seen::Wrote { .. } => unreachable!("only other dialects write so"),
        };
        let mut transaction = of.replica.begin(now, fresh, [(id.clone(), local)]);
        let written = transaction.write(
            Write {
                id: id.clone(),
                deleted: body.is_none(),
                body: Bytes::copy_from_slice(body.unwrap_or_default().as_bytes()),
                seen,
                condition: Condition::None,
            },
            &mut Calls(&Append),
        )?;
        let (batch, committable, _) = transaction.finish(&mut Calls(&Append));
        self.facts.push(Fact { shelf, id, dot: written.dot, seen: effective });
        self.commit(node, shelf, &batch, committable);
        Ok(written)
    }

    /// Closes and opens the store of a node anew.
    pub fn restart(&mut self, node: usize) {
        let disks: Vec<_> = self.nodes[node].shelves.iter().map(|shelf| shelf.disk.clone()).collect();
        self.restore(node, disks);
    }

    /// Puts other stores in place of a node's, and opens them.
    pub fn restore(&mut self, node: usize, disks: Vec<Disk>) {
        self.disconnect_node(node);
        self.nodes[node].opening = Opening::new(self.random.next());
        for (shelf, disk) in disks.into_iter().enumerate() {
            let name = self.nodes[node].shelves[shelf].name.clone();
            self.nodes[node].shelves[shelf] = self.shelf(name.as_str(), disk);
        }
    }

    /// Starts a second live node from copies of a node's stores. It keeps the identity if `same_identity`.
    pub fn clone_node(&mut self, node: usize, disks: Vec<Disk>, same_identity: bool) -> usize {
        let mut copy = self.nodes[node].clone();
        if !same_identity {
            copy.secret[0] ^= 0x55;
            copy.secret[1..9].copy_from_slice(&self.random.next().to_be_bytes());
        }
        copy.shelves.iter_mut().for_each(|shelf| {
            shelf.direct.clear();
            shelf.in_flight = None;
        });
        self.nodes.push(copy);
        let clone = self.nodes.len() - 1;
        self.restore(clone, disks);
        clone
    }

    pub fn disks(&self, node: usize) -> Vec<Disk> {
        self.nodes[node].shelves.iter().map(|shelf| shelf.disk.clone()).collect()
    }
}
