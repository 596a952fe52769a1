//! The storage of a simulated peer: the adapter under test, watched by the observer and failing when the plan says so.
//!
//! An operation of the adapter runs to its end within one poll. Nothing else happens meanwhile, so that an adapter with threads of its
//! own gives the same run each time; what a slow device would let happen in between is simulated after the operation took effect.

use std::collections::BTreeSet;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use peerloom::core::{Batch, DocumentId, Put, Record, Sequence, Store, StoreName};
use peerloom::{CommitError, IdRange, PageLimits, Storage, StorageError};
use tokio::sync::Notify;

use crate::disk::Disk;
use crate::marks;
use crate::outcome::Violation;
use crate::plan::{Draw, Fate, PeerNumber};
use crate::world::{Holdings, World, holdings_of};

/// The longest that an operation takes on a device with nothing wrong, in milliseconds.
const PACE_MS_MAX: u64 = 30;

/// How long an operation may keep its thread waiting, in real time, before the run is given up.
const OPERATION_MAX: Duration = Duration::from_secs(60);

/// What every opening of a store and every settled room checks. They have names of their own, so that shrinking does not lead from a lost document to a lost checkpoint.
const DURABLE: &str = "what was acknowledged is durable";
const METADATA_DURABLE: &str = "metadata is durable";
const OPENS: &str = "a store opens again";

/// How many disk operations of a commit are done at most before the power goes within it.
const OPERATIONS_BEFORE_CUT_MAX: u64 = 15;

/// What the plan does to a peer's storage.
#[derive(Clone, Debug, Default)]
pub(crate) struct StorageFaults {
    state: Arc<Mutex<Faults>>,
}

#[derive(Debug, Default)]
struct Faults {
    commits: Option<(u32, Fate)>,
    reads: Option<u32>,
    full: bool,
    slow: Duration,
    dies_in_commit: bool,
}

impl StorageFaults {
    pub(crate) fn fail_commit(&self, after: u32, fate: Fate) {
        self.lock().commits = Some((after, fate));
    }

    pub(crate) fn fail_read(&self, after: u32) {
        self.lock().reads = Some(after);
    }

    pub(crate) fn fill(&self, full: bool) {
        self.lock().full = full;
    }

    pub(crate) fn slow(&self, by: Duration) {
        self.lock().slow = by;
    }

    /// The next commit does not return, because the peer crashes within it.
    pub(crate) fn die_in_commit(&self) {
        self.lock().dies_in_commit = true;
    }

    /// Undoes [`StorageFaults::die_in_commit`].
    pub(crate) fn live_on(&self) {
        self.lock().dies_in_commit = false;
    }

    pub(crate) fn heal(&self) {
        *self.lock() = Faults::default();
    }

    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_fails(&self) -> bool {
        let mut faults = self.lock();
        match &mut faults.reads {
            Some(0) => faults.reads.take().is_some(),
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn commit_fails(&self) -> Option<Fate> {
        let mut faults = self.lock();
        if faults.full {
            return Some(Fate::NotApplied);
        }
        match &mut faults.commits {
            Some((0, _)) => faults.commits.take().map(|(_, fate)| fate),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }
}

/// Called when a commit is where the plan wants the crash.
pub(crate) type Die = Arc<dyn Fn() + Send + Sync>;

/// The store that a peer has open, for the observer to look into.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenStore {
    store: Arc<Mutex<Option<Weak<dyn Store>>>>,
}

impl OpenStore {
    fn set(&self, store: Option<Weak<dyn Store>>) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = store;
    }

    /// Compares what is in the store of a peer with what the peer was told is in it. A store that is not open, or must be opened again
    /// because a commit failed, is compared when it opens. Must not be called while an operation of the store is under way, which is never where something waits.
    pub(crate) fn compare(&self, peer: PeerNumber, world: &World) {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(store) = store.and_then(|store| store.upgrade()) else { return };
        if world.lock().peers[peer.index()].must_reopen {
            return;
        }
        let violation = match to_its_end(holdings_of(&*store)) {
            Err(error) => Some(Violation::of(
                DURABLE,
                format!("in a settled room, the storage cannot be read: {error}"),
            )),
            Ok(found) => {
                let world = world.lock();
                let expected = &world.peers[peer.index()].holdings;
                let differs = expected.documents != found.documents || expected.metadata != found.metadata;
                differs.then(|| difference("in a settled room", expected, &found, None))
            }
        };
        violation.into_iter().for_each(|violation| world.violate(violation.at(peer)));
    }
}

/// The storage of one lifetime of a peer.
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Storage>,
    pub(crate) seed: u64,
    pub(crate) peer: PeerNumber,
    pub(crate) world: World,
    pub(crate) faults: StorageFaults,
    /// On which the adapter may keep its files.
    pub(crate) disk: Disk,
    pub(crate) die: Die,
    /// Wakes the user when the store must be opened again.
    pub(crate) wake: Arc<Notify>,
    pub(crate) open: OpenStore,
}

#[async_trait]
impl Storage for Watched {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        let inner = self.must_open(name, to_its_end(self.inner.open(name)))?;
        if *name == StoreName::node() {
            return Ok(inner);
        }
        let found = self.must_open(name, to_its_end(holdings_of(&*inner)))?;
        self.compare(&found);
        self.open.set(Some(Arc::downgrade(&inner)));
        let mut draw = Draw::new(self.seed, ("pace", self.peer));
        let pace_ms = if draw.chance(0.5) { draw.mostly_small(1, PACE_MS_MAX) } else { 0 };
        Ok(Arc::new(WatchedStore {
            inner,
            seed: self.seed,
            pace_ms,
            peer: self.peer,
            world: self.world.clone(),
            faults: self.faults.clone(),
            disk: self.disk.clone(),
            die: self.die.clone(),
            wake: self.wake.clone(),
            open: self.open.clone(),
        }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        to_its_end(self.inner.delete(name))
    }
}

impl Watched {
    /// What was acknowledged must be there, and of a commit that was under way all or nothing.
    fn compare(&self, found: &Holdings) {
        let mut world = self.world.lock();
        let peer = &mut world.peers[self.peer.index()];
        let pending = peer.pending.take();
        let holds = |expected: &Holdings| {
            expected.documents == found.documents && expected.metadata == found.metadata
        };
        if holds(&peer.holdings) {
            return;
        }
        if let Some(batch) = &pending {
            let mut after = peer.holdings.clone();
            let applied = after.apply(batch).is_ok();
            if applied && holds(&after) {
                drop(world);
                return self.world.committed(self.peer, batch);
            }
        }
        let violation = difference("after reopening", &peer.holdings, found, pending.as_ref()).at(self.peer);
        drop(world);
        self.world.violate(violation);
    }

    /// What was acknowledged must be readable. A lock may be held for a moment by what is being dropped, and is asked for again.
    fn must_open<T>(&self, name: &StoreName, opened: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(error) = &opened
            && !matches!(error, StorageError::Locked { .. })
        {
            let says = format!("the store {:?} does not open again: {error}", name.as_str());
            self.world.violate(Violation::of(OPENS, says).at(self.peer));
        }
        opened
    }
}

/// Says where what was found differs from what must be there.
fn difference(when: &str, expected: &Holdings, found: &Holdings, pending: Option<&Batch>) -> Violation {
    let ids: BTreeSet<&DocumentId> = expected.documents.keys().chain(found.documents.keys()).collect();
    for id in ids {
        let (must, has) = (expected.documents.get(id), found.documents.get(id));
        if must == has {
            continue;
        }
        let of_pending = |put: &Put| has.and_then(|held| held.record.as_ref()) == Some(&put.record);
        let is_part = pending.is_some_and(|batch| batch.records.iter().any(of_pending));
        let says = match (must, has) {
            _ if is_part => "holds a part of a commit that never returned: all or nothing was promised",
            (_, None) => "does not hold a document that it had acknowledged",
            (None, _) => "holds a document that no commit has put there",
            (Some(_), Some(_)) => "does not hold the state of a document that it had acknowledged",
        };
        return Violation::of(DURABLE, format!("{when}, the storage {says}")).about(id.as_str());
    }
    let keys: BTreeSet<&Bytes> = expected.metadata.keys().chain(found.metadata.keys()).collect();
    let key = keys.into_iter().find(|key| expected.metadata.get(*key) != found.metadata.get(*key));
    let key = key.map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default();
    let says = format!("{when}, the storage does not hold the metadata {key:?} as it had acknowledged");
    Violation::of(METADATA_DURABLE, says)
}

struct WatchedStore {
    inner: Arc<dyn Store>,
    seed: u64,
    /// The longest that an operation takes when nothing is wrong.
    pace_ms: u64,
    peer: PeerNumber,
    world: World,
    faults: StorageFaults,
    disk: Disk,
    die: Die,
    wake: Arc<Notify>,
    open: OpenStore,
}

impl WatchedStore {
    async fn read_like<T>(
        &self,
        operation: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let answer = if self.faults.read_fails() {
            marks::reach("a read failed");
            Err(StorageError::Io { detail: "the plan says so".to_owned() })
        } else {
            to_its_end(operation)
        };
        self.take_a_while().await;
        answer
    }

    /// Lets other tasks go on, and time pass on a slow device.
    async fn take_a_while(&self) {
        let mut draw = Draw::new(self.seed, ("yields", self.peer, self.world.now_us()));
        let takes = self.faults.lock().slow + Duration::from_millis(draw.below(self.pace_ms + 1));
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        for _ in 0..draw.below(3) {
            tokio::task::yield_now().await;
        }
    }

    /// Applies a batch for good, and tells the observer.
    fn apply(&self, batch: Batch) -> Result<(), CommitError> {
        let told = batch.clone();
        to_its_end(self.inner.commit(batch))?;
        self.world.committed(self.peer, &told);
        Ok(())
    }

    async fn crash_within(&self, batch: Batch) -> Result<(), CommitError> {
        marks::reach("a crash within a commit");
        if !batch.records.is_empty() && batch.metadata.iter().any(|(key, _)| key.starts_with(b"l")) {
            marks::reach("a crash between a page and its commit");
        }
        let mut draw = Draw::new(self.seed, ("crash within", self.peer, self.world.now_us()));
        // On a disk, that nothing of it took effect is one of the ways in which it is cut short.
        if self.disk.is_used() || draw.chance(0.5) {
            self.disk.cut_power_after(draw.mostly_small(0, OPERATIONS_BEFORE_CUT_MAX) as u32);
            // Whether it landed shows when the store is opened again, unless the adapter says now that it did.
            match to_its_end(self.inner.commit(batch.clone())) {
                Ok(()) => self.world.committed(self.peer, &batch),
                Err(_) => self.world.lock().peers[self.peer.index()].pending = Some(batch),
            }
            if self.disk.is_without_power() {
                marks::reach("a power cut between the disk operations of a commit");
            }
        }
        self.disk.cut_power(self.seed, (self.peer, self.world.now_us()));
        (self.die)();
        std::future::pending().await
    }
}

#[async_trait]
impl Store for WatchedStore {
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.read_like(self.inner.read(ids)).await
    }

    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.read_like(self.inner.changes(after, limits)).await
    }

    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.read_like(self.inner.list(range, limits)).await
    }

    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.read_like(self.inner.metadata(prefix, after, entries_max)).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        if std::mem::take(&mut self.faults.lock().dies_in_commit) {
            return self.crash_within(batch).await;
        }
        let failed = || StorageError::Io { detail: "the plan says so".to_owned() };
        let committed = match self.faults.commit_fails() {
            None => self.apply(batch),
            Some(Fate::NotApplied) if self.faults.lock().full => {
                Err(CommitError::NotApplied(StorageError::Full))
            }
            Some(Fate::NotApplied) => Err(CommitError::NotApplied(failed())),
            Some(fate) => {
                marks::reach("a commit of unknown fate");
                if fate == Fate::UnknownButApplied {
                    self.apply(batch)?;
                }
                Err(CommitError::Unknown(failed()))
            }
        };
        if matches!(committed, Err(CommitError::Unknown(_))) {
            self.world.lock().peers[self.peer.index()].must_reopen = true;
            self.wake.notify_one();
        }
        self.take_a_while().await;
        committed
    }

    async fn close(&self) -> Result<(), StorageError> {
        self.open.set(None);
        to_its_end(self.inner.close())
    }
}

/// Runs a future of an adapter to its end. An adapter's own threads may work for it; the runtime's tasks may not.
fn to_its_end<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut poll = move || -> Poll<T> { Pin::as_mut(&mut future).poll(&mut context) };
    if let Poll::Ready(answer) = poll() {
        return answer;
    }
    #[allow(clippy::disallowed_methods, reason = "an adapter's threads run in real time")]
    let started = std::time::Instant::now();
    loop {
        std::thread::park_timeout(OPERATION_MAX);
        if let Poll::Ready(answer) = poll() {
            return answer;
        }
        assert!(
            started.elapsed() < OPERATION_MAX,
            "an operation of the storage does not end; it must not wait for a task of the runtime that calls it"
        );
    }
}
