//! Nodes on one network, for tests: opened, joined, cut off, crashed, restored, and compared.
//!
//! Every member shares one collection of strings in one room. Time is tokio's paused clock, randomness is seeded, so a run follows from
//! its seed and its calls.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

mod disk;
mod side;
mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::StreamExt;
use peerloom::{
    BoxFuture, Collection, CollectionBuilder, ConflictHandler, Context, DocumentId, Dot, Environment, Events,
    Head, InProcess, Memory, Network, Node, Now, OpenError, PeerAddress, Room, RoomBuilder, RoomEvent, State,
    StorageError, Transport,
};
use tokio::time::Instant;

#[allow(unused_imports, reason = "each test binary uses a part")]
pub use disk::{Disk, Fate, Ledger, Step};
#[allow(unused_imports, reason = "each test binary uses a part")]
pub use side::{Side, join, join_over};
#[allow(unused_imports, reason = "each test binary uses a part")]
pub use wire::{Tamper, Wire};

pub const TOPIC: &str = "the topic";
pub const NOTES: &str = "notes";

/// Longer than any reconnection, silence or backoff takes to be noticed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where the wall clock of every cluster starts.
const UNIX_MS: u64 = 1_800_000_000_000;

/// Who may be connected to whom.
#[derive(Clone, Copy, Debug)]
pub enum Topology {
    Mesh,
    Ring,
    Line,
    Star,
}

impl Topology {
    pub const ALL: [Self; 4] = [Self::Mesh, Self::Ring, Self::Line, Self::Star];

    fn links(self, left: usize, right: usize, size: usize) -> bool {
        let (low, high) = (left.min(right), left.max(right));
        match self {
            Self::Mesh => true,
            Self::Line => high - low == 1,
            Self::Ring => high - low == 1 || (low == 0 && high == size - 1),
            Self::Star => low == 0,
        }
    }
}

/// Which conflict handler the collection has.
#[derive(Clone, Copy, Debug, Default)]
pub enum Handler {
    #[default]
    LastWriteWins,
    Concatenate,
    /// Panics at every conflict.
    Panic,
}

impl Handler {
    pub fn set(self, builder: CollectionBuilder<String>) -> CollectionBuilder<String> {
        match self {
            Self::LastWriteWins => builder,
            Self::Concatenate => builder.handler(Concatenate),
            Self::Panic => builder.handler(Panicking),
        }
    }
}

/// Shows all versions, one after the other.
pub struct Concatenate;

impl ConflictHandler for Concatenate {
    fn id(&self) -> &'static str {
        "concatenate"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let alive = heads.iter().filter(|head| !head.state.deleted);
        let words: Vec<String> =
            alive.filter_map(|head| serde_json::from_slice(&head.state.body).ok()).collect();
        let body = serde_json::to_vec(&words.join("+")).expect("a string is JSON");
        State { deleted: words.is_empty(), body: body.into(), annotations: Default::default() }
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> bytes::Bytes {
        bytes::Bytes::new()
    }
}

struct Panicking;

impl ConflictHandler for Panicking {
    fn id(&self) -> &'static str {
        "panicking"
    }

    fn resolve(&self, _heads: &[Head]) -> State {
        panic!("a conflict, as the test wants it")
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> bytes::Bytes {
        bytes::Bytes::new()
    }
}

/// Seeded randomness: splitmix64, by Steele, Lea and Flood (2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}

/// Tokio's clock for both clocks, so that they never part, and seeded randomness.
pub struct Seeded {
    started: Instant,
    random: Mutex<Random>,
}

impl Environment for Seeded {
    fn now(&self) -> Now {
        let monotonic = self.started.elapsed();
        let elapsed_ms = u64::try_from(monotonic.as_millis()).expect("tests are short");
        Now { monotonic, unix_ms: UNIX_MS + elapsed_ms }
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        let mut random = self.random.lock().expect("nobody panics with it");
        buffer.fill_with(|| random.next().to_be_bytes()[0]);
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep_until(self.started + deadline))
    }
}

/// A node that runs.
pub struct Running {
    pub node: Node,
    pub notes: Collection<String>,
    pub room: Room,
}

pub struct Member {
    pub disk: Disk,
    running: Option<Running>,
}

impl Member {
    /// One that does not run yet.
    pub fn on(disk: Disk) -> Self {
        Self { disk, running: None }
    }
}

/// What one replica holds: its documents with all heads and contexts and their views, and its list of conflicts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holdings {
    pub documents: BTreeMap<DocumentId, Holding>,
    pub in_conflict: Vec<DocumentId>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holding {
    pub heads: Vec<Head>,
    pub context: Context,
    pub view: State,
}

pub struct Cluster {
    pub network: Network,
    pub members: Vec<Member>,
    pub handler: Handler,
    started: Instant,
    random: Random,
}

impl Cluster {
    /// Nobody yet.
    pub fn new(seed: u64) -> Self {
        let (started, random) = (Instant::now(), Random(seed));
        Self { network: Network::new(), members: Vec::new(), handler: Handler::default(), started, random }
    }

    /// So many nodes, joined.
    pub async fn of(size: usize, topology: Topology) -> Self {
        let mut cluster = Self::new(size as u64);
        cluster.arrange(topology, size);
        for _ in 0..size {
            cluster.add().await;
        }
        cluster
    }

    pub fn arrange(&self, topology: Topology, size: usize) {
        let index = |address: &PeerAddress| address.as_str().parse().expect("addresses are numbers");
        self.network.allow(move |left, right| topology.links(index(left), index(right), size));
    }

    /// Another node on an empty disk, joined.
    pub async fn add(&mut self) -> usize {
        self.add_on(Disk::new(Memory::new())).await
    }

    /// Another node on a disk, joined.
    pub async fn add_on(&mut self, disk: Disk) -> usize {
        self.members.push(Member::on(disk));
        self.start(self.members.len() - 1).await;
        self.members.len() - 1
    }

    /// Opens a member that does not run and joins the room.
    pub async fn start(&mut self, index: usize) {
        let transport = InProcess::new(&self.network).named(&index.to_string());
        self.start_with(index, transport, |room| room).await;
    }

    pub async fn start_with(
        &mut self,
        index: usize,
        transport: impl Transport,
        options: impl FnOnce(RoomBuilder) -> RoomBuilder,
    ) {
        let node = self.open(&self.members[index].disk.clone()).await;
        let notes = self.handler.set(node.collection(NOTES)).open().await.expect("the collection opens");
        let room = options(node.room(TOPIC).share(&notes)).join(transport).await.expect("the room is joined");
        self.members[index].running = Some(Running { node, notes, room });
    }

    /// A node on a disk that may still be held by one that is on its way out.
    pub async fn open(&mut self, disk: &Disk) -> Node {
        let seed = self.random.next();
        let started = self.started;
        eventually("the storage can be opened", || {
            let environment = Seeded { started, random: Mutex::new(Random(seed)) };
            let opening = Node::builder(disk.clone()).environment(environment).open();
            async move {
                match opening.await {
                    Err(OpenError::Storage(StorageError::Locked { .. })) => None,
                    opened => Some(opened.expect("the node opens")),
                }
            }
        })
        .await
    }

    /// Writes at a member that does not run, which it does for that long, outside the room.
    pub async fn put_alone(&mut self, index: usize, id: &str, value: &str) {
        let node = self.open(&self.members[index].disk.clone()).await;
        let notes = self.handler.set(node.collection(NOTES)).open().await.expect("the collection opens");
        notes.put(id, &value.to_owned()).await.expect("the write is taken");
        node.close().await.expect("it closes");
    }

    /// Drops everything of a member without closing it.
    pub fn crash(&mut self, index: usize) {
        self.members[index].running.take().expect("it runs");
    }

    /// Closes a member in order.
    pub async fn stop(&mut self, index: usize) {
        let running = self.members[index].running.take().expect("it runs");
        running.node.close().await.expect("it closes");
    }

    pub fn runs(&self, index: usize) -> bool {
        self.members[index].running.is_some()
    }

    pub fn running(&self, index: usize) -> &Running {
        self.members[index].running.as_ref().expect("it runs")
    }

    pub fn notes(&self, index: usize) -> &Collection<String> {
        &self.running(index).notes
    }

    pub fn room(&self, index: usize) -> &Room {
        &self.running(index).room
    }

    pub async fn put(&self, index: usize, id: &str, value: &str) {
        self.notes(index).put(id, &value.to_owned()).await.expect("the write is taken");
    }

    pub fn cut(&self, left: usize, right: usize) {
        self.network.cut(&address(left), &address(right));
    }

    pub fn heal(&self, left: usize, right: usize) {
        self.network.heal(&address(left), &address(right));
    }

    pub async fn holdings(&self, index: usize) -> Holdings {
        let records = self.members[index].disk.records(NOTES).await;
        let documents = records.into_iter().map(|record| {
            let holding = Holding {
                heads: record.document.heads().to_vec(),
                context: record.document.context().clone(),
                view: record.view().clone(),
            };
            (record.id, holding)
        });
        let conflicts =
            self.notes(index).conflicts(None, 10_000).await.expect("conflicts are listed").conflicts;
        let in_conflict = conflicts.into_iter().map(|conflict| conflict.id).collect();
        Holdings { documents: documents.collect(), in_conflict }
    }

    /// Waits until all members that run hold the same, and returns it.
    pub async fn converged(&self) -> Holdings {
        let running: Vec<usize> = (0..self.members.len()).filter(|index| self.runs(*index)).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut all = Vec::new();
            for index in &running {
                all.push(self.holdings(*index).await);
            }
            if all.iter().all(|one| *one == all[0]) {
                return all.swap_remove(0);
            }
            if Instant::now() > deadline {
                let different = all.iter().position(|one| *one != all[0]).expect("just seen");
                let peers = (self.room(0).peers(), self.room(running[different]).peers());
                panic!(
                    "{different} and 0 do not converge:\n{:#?}\n{:#?}\n{peers:#?}",
                    all[0], all[different]
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the view of a document at a member is as said.
    pub async fn shows(&self, index: usize, id: &str, value: Option<&str>) {
        eventually(&format!("{index} shows {value:?} for {id}"), || async {
            (self.notes(index).get(id).await.expect("it reads").as_deref() == value).then_some(())
        })
        .await;
    }
}

pub fn address(index: usize) -> PeerAddress {
    PeerAddress::new(&index.to_string())
}

/// Asks until there is an answer, on the paused clock.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for an event.
pub async fn told(events: &mut Events, what: &str, is_it: impl Fn(&RoomEvent) -> bool) -> RoomEvent {
    let mut seen = Vec::new();
    let waiting = async {
        loop {
            let event = events.next().await.expect("the room is not left");
            if is_it(&event) {
                return event;
            }
            seen.push(event);
        }
    };
    let told = tokio::time::timeout(PATIENCE, waiting).await;
    told.unwrap_or_else(|_| panic!("never told: {what}, but {seen:#?}"))
}
