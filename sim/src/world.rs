//! What an observer outside of the room sees: who runs, what every device holds, which writes were made, and what went wrong.
//!
//! The observer is told of every commit by the storage of every peer, of every message by the network, and of every operation by the
//! user who makes it. It keeps a copy of what each device holds, so that the checks never ask a peer.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use peerloom::core::{Batch, Document, DocumentId, Incarnation, LoadError, Record, Replica, Stamp, Store};
use peerloom::{Context, Dot, IdRange, PageLimits, ReplicaId, ReplicaLimits, StorageError};

use crate::check::Check;
use crate::environment::Elapsed;
use crate::marks;
use crate::outcome::{Figures, Violation};
use crate::plan::PeerNumber;
use crate::recorder::{Recorder, Recording};
use crate::tasks::caught;
use crate::trace::{Committed, What, WriteName};

/// With what the keys of checkpoints begin.
const CHECKPOINT_PREFIX: &[u8] = b"l";

/// A document as a device holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The body that applications see. `None` if the document is deleted.
    pub view: Option<Bytes>,
    /// The document as it replicates. `None` if the system that runs here knows no such thing.
    pub record: Option<Record>,
    /// Equal for equal states of a document.
    pub version: u64,
}

/// What a device holds. Backups and clones are copies of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holdings {
    /// The documents.
    pub documents: BTreeMap<DocumentId, Held>,
    /// The metadata of the collection's store.
    pub metadata: BTreeMap<Bytes, Bytes>,
    /// The highest stamp that the replica claims to include, per incarnation.
    pub knowledge: BTreeMap<Incarnation, Stamp>,
    /// All versions in one number, in which order does not matter.
    pub(crate) digest: u64,
}

impl Holdings {
    pub(crate) fn put(&mut self, id: &DocumentId, held: Held) -> Option<Held> {
        self.digest = self.digest.wrapping_add(fingerprint(&(id, held.version)));
        let before = self.documents.insert(id.clone(), held);
        if let Some(before) = &before {
            self.digest = self.digest.wrapping_sub(fingerprint(&(id, before.version)));
        }
        before
    }

    /// Takes over the metadata of a batch.
    pub(crate) fn learn(&mut self, batch: &Batch) -> Result<(), LoadError> {
        let mut said = Vec::new();
        for (key, value) in &batch.metadata {
            match value {
                Some(value) => {
                    self.metadata.insert(key.clone(), value.clone());
                    said.push((key.clone(), value.clone()));
                }
                None => drop(self.metadata.remove(key)),
            }
        }
        if !said.is_empty() {
            // The layout of the keys is the replica's own affair, so it is asked to read them.
            let replica = Replica::load(ReplicaLimits::default(), Incarnation::new(0), said)?;
            self.knowledge.extend(replica.snapshot().knowledge.iter());
        }
        Ok(())
    }

    /// What a commit makes of it.
    pub(crate) fn apply(&mut self, batch: &Batch) -> Result<(), LoadError> {
        for put in &batch.records {
            self.put(&put.record.id, held(&put.record));
        }
        self.learn(batch)
    }
}

impl Fact {
    /// Whether the writer had seen another write.
    pub fn saw(&self, dot: Dot) -> bool {
        dot.is_in(&self.seen) && !self.beside.contains(&dot)
    }
}

/// A write that somebody made, as the observer remembers it.
#[derive(Clone, Debug)]
pub struct Fact {
    /// The document.
    pub document: DocumentId,
    /// Who wrote.
    pub peer: PeerNumber,
    /// What the writer had seen,
    pub seen: Context,
    /// except these, which stood beside the write from the start.
    pub beside: Vec<Dot>,
    /// The state it wrote, as a number.
    pub state: u64,
    /// Whether the user was told that it is durable.
    pub acknowledged: bool,
    /// Whether the plan destroyed the only copy.
    pub forgotten: bool,
}

/// One peer, from outside.
#[derive(Clone, Debug, Default)]
pub struct PeerView {
    /// What its device holds.
    pub holdings: Holdings,
    /// Its id, once it has started.
    pub replica: Option<ReplicaId>,
    /// Whether its software runs.
    pub running: bool,
    /// Whether it was in a room that had settled since it got its device.
    pub(crate) synced: bool,
    /// What its user is doing.
    pub(crate) doing: Option<Doing>,
    /// A commit within which the peer crashed: it took effect or not.
    pub(crate) pending: Option<Batch>,
    /// Set when a commit failed in a way that asks for a restart.
    pub(crate) must_reopen: bool,
}

/// An operation under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doing {
    /// What it writes: document, whether that deletes it, and the body.
    pub(crate) intends: BTreeMap<DocumentId, Option<Bytes>>,
    /// What the user had read. `None` for what is there.
    pub(crate) seen: Option<Context>,
    /// The body of the document that the user had read, if the operation changes it.
    pub(crate) read: Option<Bytes>,
    pub(crate) wrote: Vec<(DocumentId, Dot)>,
}

/// A handle to the observer.
#[derive(Clone)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
    elapsed: Elapsed,
}

/// What the observer knows.
pub struct State {
    /// The peers, by their numbers.
    pub peers: Vec<PeerView>,
    /// Every write that was ever committed, by its dot.
    pub facts: BTreeMap<(Incarnation, Stamp), Fact>,
    /// The writes of each document.
    pub facts_of: BTreeMap<DocumentId, Vec<Dot>>,
    /// What was counted so far.
    pub figures: Figures,
    /// Messages that say something, and commits.
    pub(crate) talk: u64,
    /// Connections that were made, counted at both ends.
    pub(crate) connections: u64,
    /// The size of the largest document.
    pub(crate) document_bytes_max: u64,
    pub(crate) recorder: Recorder,
    pub(crate) violation: Option<Violation>,
    checks: Vec<Box<dyn Check>>,
}

impl World {
    pub(crate) fn new(
        peers: usize,
        recording: Recording,
        checks: Vec<Box<dyn Check>>,
        elapsed: Elapsed,
    ) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(peers, recording, checks))), elapsed }
    }

    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from((self.elapsed)().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event into the trace.
    pub(crate) fn record(&self, peer: Option<PeerNumber>, what: What) {
        self.lock().recorder.record(self.now_us(), peer, what);
    }

    /// Ends the run with a violation, unless there is one already.
    pub(crate) fn violate(&self, violation: Violation) {
        self.lock().violate(self.now_us(), violation);
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.lock().violation.is_some()
    }

    /// Takes out what the observer knows, when the run is over.
    pub(crate) fn take(&self) -> State {
        std::mem::replace(&mut *self.lock(), State::new(0, Recording::Digest, Vec::new()))
    }

    /// Runs the checks at a settled room.
    pub(crate) fn check_settled(&self) {
        let mut state = self.lock();
        let at_us = self.now_us();
        state.peers.iter_mut().for_each(|peer| peer.synced |= peer.running);
        state.check(at_us, |check, state| check.settled(state));
    }

    /// Runs the checks at the end of all.
    pub(crate) fn check_over(&self) {
        let mut state = self.lock();
        let at_us = self.now_us();
        state.check(at_us, |check, state| check.over(state));
    }

    /// A commit of the collection took effect at a peer.
    pub(crate) fn committed(&self, peer: PeerNumber, batch: &Batch) {
        let mut state = self.lock();
        let at_us = self.now_us();
        state.committed(at_us, peer, batch);
    }

    /// A document changed at a peer whose system knows no contexts.
    pub(crate) fn observed(&self, peer: PeerNumber, id: &DocumentId, view: Option<Bytes>) {
        let mut state = self.lock();
        let at_us = self.now_us();
        let version = fingerprint(&view);
        let shown = view.as_deref().map(|body| String::from_utf8_lossy(body).into_owned());
        let document = id.as_str().to_owned();
        state.peers[peer.index()].holdings.put(id, Held { view, record: None, version });
        let documents = vec![Committed { document, heads: Vec::new(), view: shown, version }];
        state.figures.commits += 1;
        state.talk += 1;
        state.recorder.record(at_us, Some(peer), What::Committed { documents });
        let commit = Commit { peer, changes: &[], moved_checkpoint: false };
        state.check(at_us, |check, state| check.committed(state, &commit));
    }
}

/// A commit, with what it changed.
#[derive(Debug)]
pub struct Commit<'a> {
    /// Where.
    pub peer: PeerNumber,
    /// The documents, before and after.
    pub changes: &'a [Change],
    /// Whether a checkpoint in another's feed moved.
    pub moved_checkpoint: bool,
}

/// A document in a commit.
#[derive(Clone, Debug)]
pub struct Change {
    /// What was there.
    pub before: Option<Record>,
    /// What is there now.
    pub after: Record,
    /// Whether it kept its place in the feed, because only its view was made again.
    pub remade: bool,
}

impl State {
    fn new(peers: usize, recording: Recording, checks: Vec<Box<dyn Check>>) -> Self {
        Self {
            peers: vec![PeerView::default(); peers],
            facts: BTreeMap::new(),
            facts_of: BTreeMap::new(),
            figures: Figures::default(),
            talk: 0,
            connections: 0,
            document_bytes_max: 0,
            recorder: Recorder::new(recording),
            violation: None,
            checks,
        }
    }

    fn violate(&mut self, at_us: u64, violation: Violation) {
        if self.violation.is_none() {
            self.recorder.record(at_us, violation.peer, What::Violated(violation.clone()));
            self.violation = Some(violation);
        }
    }

    fn check(&mut self, at_us: u64, mut run: impl FnMut(&mut dyn Check, &Self) -> Result<(), Violation>) {
        let mut checks = std::mem::take(&mut self.checks);
        for check in &mut checks {
            // A check may be a user's, and an assertion in it is as good a verdict as any.
            let checked = caught(|| run(&mut **check, self));
            if let Err(violation) =
                checked.unwrap_or_else(|panic| Err(Violation::of("checks do not panic", panic)))
            {
                self.violate(at_us, violation);
            }
        }
        self.checks = checks;
    }

    fn committed(&mut self, at_us: u64, peer: PeerNumber, batch: &Batch) {
        let mut changes = Vec::with_capacity(batch.records.len());
        for put in &batch.records {
            let after = put.record.clone();
            let remade = put.replaces == Some(after.sequence);
            if !self.note_writes(peer, &after) && !remade {
                self.figures.bytes_ideal += after.bytes() as u64;
            }
            self.document_bytes_max = self.document_bytes_max.max(after.bytes() as u64);
            let before = self.hold(peer, &after).and_then(|held| held.record);
            changes.push(Change { before, after, remade });
        }
        self.learn(at_us, peer, batch);
        self.figures.commits += 1;
        self.talk += 1;
        if self.recorder.wants_events() {
            let documents = changes.iter().map(|change| committed(&change.after)).collect();
            self.recorder.record(at_us, Some(peer), What::Committed { documents });
        } else {
            let versions: Vec<u64> = changes.iter().map(|change| version(&change.after)).collect();
            self.recorder.note(at_us, peer, &versions);
        }
        let synced = self.peers[peer.index()].synced;
        if !synced && changes.iter().any(|change| change.after.document.in_conflict()) {
            marks::reach("a conflict during a first sync");
        }
        let moved_checkpoint = batch.metadata.iter().any(|(key, _)| key.starts_with(CHECKPOINT_PREFIX));
        let commit = Commit { peer, changes: &changes, moved_checkpoint };
        self.check(at_us, |check, state| check.committed(state, &commit));
    }

    fn hold(&mut self, peer: PeerNumber, record: &Record) -> Option<Held> {
        self.peers[peer.index()].holdings.put(&record.id, held(record))
    }

    /// Remembers the writes that nobody has committed before: they are this peer's own. Returns whether there were any.
    fn note_writes(&mut self, peer: PeerNumber, after: &Record) -> bool {
        let mut any = false;
        for head in after.document.heads() {
            let key = (head.dot.incarnation, head.dot.stamp);
            if self.facts.contains_key(&key) {
                continue;
            }
            any = true;
            let doing = self.peers[peer.index()].doing.as_mut();
            let read = doing.and_then(|doing| {
                doing.wrote.push((after.id.clone(), head.dot));
                doing.seen.clone()
            });
            // Who had read nothing has seen what was there, which may have come by a page in the same commit.
            let others = after.document.heads().iter().map(|other| other.dot);
            let fact = Fact {
                document: after.id.clone(),
                peer,
                beside: if read.is_some() {
                    Vec::new()
                } else {
                    others.filter(|dot| *dot != head.dot).collect()
                },
                seen: read.unwrap_or_else(|| after.document.context().clone()),
                state: fingerprint(&head.state),
                acknowledged: false,
                forgotten: false,
            };
            self.facts.insert(key, fact);
            self.facts_of.entry(after.id.clone()).or_default().push(head.dot);
        }
        any
    }

    /// Takes note of what the replica claims to know.
    fn learn(&mut self, at_us: u64, peer: PeerNumber, batch: &Batch) {
        if let Err(error) = self.peers[peer.index()].holdings.learn(batch) {
            let says = format!("a commit holds metadata that cannot be read back: {error}");
            self.violate(at_us, Violation::of("metadata is sound", says).at(peer));
        }
    }

    /// The writes that are on no device but this one: a plan that destroys it destroys them.
    pub(crate) fn forget_what_only(&mut self, peer: PeerNumber, keeps: &Holdings) {
        let includes = |holdings: &Holdings, fact: &Fact, dot: Dot| {
            let record = holdings.documents.get(&fact.document).and_then(|held| held.record.as_ref());
            record.is_some_and(|record| dot.is_in(record.document.context()))
        };
        let peers = &self.peers;
        for ((incarnation, stamp), fact) in &mut self.facts {
            let dot = Dot { incarnation: *incarnation, stamp: *stamp };
            let elsewhere = peers
                .iter()
                .enumerate()
                .any(|(index, other)| index != peer.index() && includes(&other.holdings, fact, dot));
            if !fact.forgotten && !elsewhere && !includes(keeps, fact, dot) {
                fact.forgotten = true;
                self.figures.losses_expected += u64::from(fact.acknowledged);
            }
        }
    }
}

fn held(record: &Record) -> Held {
    let view = record.view();
    Held {
        view: (!view.deleted).then(|| view.body.clone()),
        version: version(record),
        record: Some(record.clone()),
    }
}

/// Everything that is in a store, as the observer keeps it.
pub(crate) async fn holdings_of(store: &dyn Store) -> Result<Holdings, StorageError> {
    const ALL: NonZeroU32 = NonZeroU32::MAX;
    let limits = PageLimits { documents_max: ALL, bytes_max: ALL };
    let mut holdings = Holdings::default();
    for record in store.list(IdRange::ALL, limits).await? {
        holdings.put(&record.id, held(&record));
    }
    let entries = store.metadata(b"", None, ALL).await?;
    let metadata = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let batch = Batch { records: Vec::new(), metadata };
    holdings.learn(&batch).map_err(|error| StorageError::Corrupt { detail: error.to_string() })?;
    Ok(holdings)
}

/// The number of a state of a document: its writes and what they look like. Its place in the feed does not matter.
fn version(record: &Record) -> u64 {
    fingerprint(&(&record.document, record.view()))
}

pub(crate) fn fingerprint(value: &impl std::hash::Hash) -> u64 {
    use std::hash::Hasher;
    // Without keys, so that it is the same in every process.
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn committed(record: &Record) -> Committed {
    let view = record.view();
    Committed {
        document: record.id.as_str().to_owned(),
        heads: names(&record.id, &record.document),
        view: (!view.deleted).then(|| String::from_utf8_lossy(&view.body).into_owned()),
        version: version(record),
    }
}

fn names(id: &DocumentId, document: &Document) -> Vec<WriteName> {
    document.heads().iter().map(|head| name(id, head.dot)).collect()
}

/// A write, for people.
pub(crate) fn name(id: &DocumentId, dot: Dot) -> WriteName {
    WriteName {
        document: id.as_str().to_owned(),
        incarnation: format!("{:016x}", dot.incarnation.number()),
        stamp: dot.stamp.number(),
    }
}
