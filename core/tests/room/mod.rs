//! A room of replicas in virtual time: the real core over stores in memory and queues of frames.
//!
//! Everything that may happen next is an [`Happening`]; the room's own random numbers pick one, so effects complete
//! in any order the contracts allow and the same seed gives the same run. Invariants that concern one step are
//! asserted at that step. What a whole run must have kept is in `oracles.rs`.

#![allow(dead_code, unreachable_pub, missing_docs)]

mod disk;
mod oracles;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::*;

pub use disk::Disk;
pub use oracles::Fact;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Names the seed of a run that panics.
pub struct Replay(pub &'static str, pub u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay: {} with the seed {}", self.0, self.1);
        }
    }
}

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

/// What the driver has to do for a session.
#[derive(Clone, Debug)]
enum Work {
    Load { collection: CollectionIndex, key: Bytes },
    Scan { collection: CollectionIndex, after: Sequence, limits: PageLimits },
    Apply { collection: CollectionIndex, page: Page },
    Answer(Input),
}

impl Work {
    /// Whether that must wait for this: pages are committed in their order, and the session is told in that order.
    fn precedes(&self, later: &Self) -> bool {
        let of = |work: &Self| match work {
            Self::Apply { collection, .. } => Some((false, *collection)),
            Self::Answer(Input::Applied { collection, .. }) => Some((true, *collection)),
            _ => None,
        };
        of(self).is_some() && of(self) == of(later)
    }
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

impl End {
    /// The page of a collection that waits to be applied.
    fn take_page(&mut self, of: CollectionIndex) -> Option<Page> {
        let waits = |work: &Work| matches!(work, Work::Apply { collection, .. } if *collection == of);
        match self.work.remove(self.work.iter().position(waits)?) {
            Work::Apply { page, .. } => Some(page),
            _ => unreachable!("it was looked for"),
        }
    }
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Deliver(usize),
    Work(usize, usize),
    Tell(usize),
    Tick(usize),
    Lose(usize),
    Announce(usize, usize),
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

    // What happens.

    /// Runs for a span of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Long enough for every delay of the protocol to pass.
    pub fn settle(&mut self) {
        self.run_for(Duration::from_secs(30));
    }

    /// Lets one thing happen, chosen at random. When nothing can, time goes on, to `until` at the latest.
    pub fn step(&mut self, until: Duration) -> bool {
        let happenings = self.happenings();
        if happenings.is_empty() {
            let Some(at) = self.next_at().filter(|at| *at <= until) else { return false };
            assert!(at > self.now, "time goes on when nothing can happen");
            self.now = at;
            return true;
        }
        let happening = *self.random.pick(&happenings);
        self.happen(happening);
        true
    }

    fn next_at(&self) -> Option<Duration> {
        let arrivals = self.live().filter_map(|end| self.ends[end].inbox.front().map(|frame| frame.0));
        let deadlines = self.live().filter_map(|end| self.ends[end].session.deadline());
        arrivals.chain(deadlines).min()
    }

    fn happenings(&self) -> Vec<Happening> {
        let mut happenings = Vec::new();
        for (node, of) in self.nodes.iter().enumerate() {
            for (shelf, of) in of.shelves.iter().enumerate() {
                if of.in_flight.is_some() {
                    happenings.push(Happening::Announce(node, shelf));
                }
            }
        }
        for end in self.live() {
            let of = &self.ends[end];
            if of.inbox.front().is_some_and(|frame| frame.0 <= self.now) {
                happenings.push(Happening::Deliver(end));
            }
            for (place, work) in of.work.iter().enumerate() {
                let waits = match work {
                    Work::Apply { collection, .. } | Work::Scan { collection, .. } => {
                        self.nodes[of.node].shelves[of.shared[collection.0].0].in_flight.is_some()
                    }
                    _ => false,
                } || of.work[..place].iter().any(|earlier| earlier.precedes(work));
                if !waits {
                    happenings.push(Happening::Work(end, place));
                }
            }
            if !of.untold.is_empty() {
                happenings.push(Happening::Tell(end));
            }
            if of.session.deadline().is_some_and(|at| at <= self.now) {
                happenings.push(Happening::Tick(end));
            }
            if self.ends[end ^ 1].dead && of.inbox.is_empty() {
                happenings.push(Happening::Lose(end));
            }
        }
        happenings
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(end) => {
                let (_, frame) = self.ends[end].inbox.pop_front().expect("a frame is there");
                self.handle(end, Input::Received(frame));
                self.pump(end ^ 1);
            }
            Happening::Work(end, place) => {
                let work = self.ends[end].work.remove(place);
                self.work(end, work);
            }
            Happening::Tell(end) => {
                let node = self.ends[end].node;
                for shelf in std::mem::take(&mut self.ends[end].untold) {
                    let Some(place) = self.ends[end].shared.iter().position(|shared| shared.0 == shelf)
                    else {
                        continue;
                    };
                    let of = &self.nodes[node].shelves[shelf];
                    let (snapshot, direct) = (of.replica.snapshot().clone(), of.direct());
                    self.ends[end].told[place].0 = snapshot.end;
                    let collection = CollectionIndex(place);
                    self.handle(end, Input::Committed { collection, snapshot, direct });
                }
            }
            Happening::Tick(end) => {
                let (work, frames) = (self.ends[end].work.len(), self.ends[end].bytes_sent);
                self.handle(end, Input::Tick);
                let of = &self.ends[end];
                let acted = of.dead || of.work.len() > work || of.bytes_sent > frames;
                let waits = of.session.deadline().is_none_or(|at| at > self.now);
                assert!(acted || waits, "a deadline that passed without effect is no deadline");
            }
            Happening::Lose(end) => {
                self.handle(end, Input::ConnectionLost);
                if !self.ends[end].dead {
                    self.bury(end);
                }
            }
            Happening::Announce(node, shelf) => self.announce(node, shelf),
        }
    }

    fn work(&mut self, end: usize, work: Work) {
        let node = self.ends[end].node;
        let shelf = |collection: CollectionIndex| self.ends[end].shared[collection.0].0;
        match work {
            Work::Load { collection, key } => {
                let value = self.nodes[node].shelves[shelf(collection)].disk.entry(&key);
                let checkpoint = value.and_then(|value| checkpoint_from_value(&value));
                let answer = Input::CheckpointLoaded { collection, checkpoint };
                self.ends[end].work.push(Work::Answer(answer));
            }
            Work::Scan { collection, after, limits } => {
                let (shelf, terms) = self.ends[end].shared[collection.0];
                let of = &self.nodes[node].shelves[shelf];
                let snapshot = of.replica.snapshot().clone();
                let records = of.disk.changes(after, limits);
                let served = |record: &Record| {
                    terms.filter.is_none_or(|filter| record.id.as_str().starts_with(filter))
                };
                let records =
                    records.into_iter().map(|record| Scanned { served: served(&record), record }).collect();
                self.ends[end].work.push(Work::Answer(Input::Scanned { collection, snapshot, records }));
            }
            Work::Apply { collection, page } => {
                let shelf = shelf(collection);
                let mut pages = vec![page];
                // What waits may go into the same commit.
                while self.random.chance(50) {
                    let Some(page) = self.ends[end].take_page(collection) else { break };
                    pages.push(page);
                }
                let (now, fresh) = (self.now_at(node), Incarnation::new(self.random.next()));
                let of = &mut self.nodes[node].shelves[shelf];
                let ids = pages.iter().flat_map(|page| page.documents.iter().map(|document| &document.0));
                let documents = ids.map(|id| (id.clone(), of.disk.read(id)));
                let documents: Vec<_> = documents.collect();
                let mut transaction = of.replica.begin(now, fresh, documents);
                pages.into_iter().for_each(|page| transaction.apply(page));
                let (batch, committable, mut outcome) = transaction.finish(&mut Calls(&Append));
                self.notices.append(&mut outcome.notices);
                self.commit(node, shelf, &batch, committable);
                let answers = outcome.pages.into_iter();
                let answers = answers.map(|applied| Work::Answer(Input::Applied { collection, applied }));
                self.ends[end].work.extend(answers);
            }
            Work::Answer(input) => self.handle(end, input),
        }
    }

    fn commit(&mut self, node: usize, shelf: usize, batch: &Batch, committable: Committable) {
        let of = &mut self.nodes[node].shelves[shelf];
        assert!(of.in_flight.is_none(), "a replica serializes read, decide and commit");
        of.disk.commit(batch);
        of.in_flight = Some(committable);
        // A peer that lies about what it knows is believed; that costs soundness until a recheck.
        if !self.hostile {
            self.assert_sound(node, shelf);
        }
    }

    /// The replica learns that its commit is durable, and so will its sessions.
    fn announce(&mut self, node: usize, shelf: usize) {
        let of = &mut self.nodes[node].shelves[shelf];
        if let Some(committable) = of.in_flight.take() {
            of.replica.committed(committable);
            self.spread(node, shelf);
        }
    }

    fn spread(&mut self, node: usize, shelf: usize) {
        for end in self.ends.iter_mut().filter(|end| end.node == node && !end.dead) {
            end.untold.insert(shelf);
        }
    }

    /// Hands an input to a session and takes down what it wants done.
    pub fn handle(&mut self, end: usize, input: Input) {
        let (node, now) = (self.ends[end].node, self.now_at(self.ends[end].node));
        let mut effects = Vec::new();
        self.ends[end].session.handle(now, input, &mut effects);
        for effect in effects {
            let of = &mut self.ends[end];
            match effect {
                Effect::Admit(newcomer) => of.asked.push(newcomer),
                Effect::LoadCheckpoint { collection, key } => of.work.push(Work::Load { collection, key }),
                Effect::Scan { collection, after, limits } => {
                    of.work.push(Work::Scan { collection, after, limits });
                }
                Effect::Apply { collection, page } => of.work.push(Work::Apply { collection, page }),
                Effect::Direct { collection, origin } => {
                    let shelf = of.shared[collection.0].0;
                    self.nodes[node].shelves[shelf].direct.insert(end, origin);
                    self.spread(node, shelf);
                }
                Effect::Report(event) => of.events.push(event),
                Effect::Close(reason) => {
                    let broken = matches!(
                        reason,
                        CloseReason::Violation(_)
                            | CloseReason::ViolationReported(_)
                            | CloseReason::PeerFailed(_)
                    );
                    assert!(self.hostile || !broken, "honest peers break no rule: {reason}");
                    of.closed = Some(reason);
                    self.flush(end);
                    self.bury(end);
                }
            }
        }
        self.pump(end);
        if !self.ends[end].dead && !self.hostile {
            self.assert_caught_up_is_true(end);
        }
    }

    /// Puts frames on their way, as many as the connection takes.
    fn pump(&mut self, end: usize) {
        while self.ends.len() > (end ^ 1)
            && !self.ends[end].dead
            && self.ends[end ^ 1].inbox.len() < self.inbox_frames_max
            && self.transmit(end)
        {}
    }

    fn flush(&mut self, end: usize) {
        while self.transmit(end) {}
    }

    fn transmit(&mut self, end: usize) -> bool {
        let now = self.now_at(self.ends[end].node);
        let Some(frame) = self.ends[end].session.transmit(now) else { return false };
        assert!(frame.len() <= self.frame_bytes_max, "a frame fits the connection");
        let of = &mut self.ends[end];
        of.bytes_sent += frame.len() as u64;
        of.frames_sent += u64::from(!is_sign_of_life(&frame));
        if self.hostile {
            self.tap.push((end ^ 1, frame.clone()));
        }
        if !self.ends[end ^ 1].dead {
            self.ends[end ^ 1].inbox.push_back((self.now + self.latency, frame));
        }
        true
    }
}

/// Whether a frame is a Ping or a Pong: a whole message that is an array of its kind alone.
pub fn is_sign_of_life(frame: &[u8]) -> bool {
    matches!(frame, [1, 0x81, 10 | 11])
}
