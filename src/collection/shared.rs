//! What the handles, the writer and the sessions of one collection share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use peerloom_core::{CollectionName, CommitError, ConflictHandler, Incarnation, Sequence, Snapshot};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::room::RoomEvent;

/// The replica as its surroundings see it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) snapshot: Snapshot,
    /// Incarnations that it hears from directly.
    pub(crate) direct: Arc<BTreeSet<Incarnation>>,
    pub(crate) era: Era,
}

/// Counts how often a collection has forgotten what it had learnt from peers. What a session knows and was told holds for one era.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Era(u64);

/// An end of the changefeed, and in which era it was: what was caught up in an earlier era is to be compared again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Mark {
    pub(crate) era: Era,
    pub(crate) end: Sequence,
}

impl Mark {
    /// Beyond all that is ever waited for.
    #[cfg_attr(not(feature = "rxdb"), expect(dead_code, reason = "no other dialect takes part"))]
    pub(crate) const BEYOND: Self = Self { era: Era(u64::MAX), end: Sequence::new(u64::MAX) };
}

impl Era {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names one session among all of a node.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct SessionNumber(pub(crate) u64);

pub(crate) struct Shared {
    name: CollectionName,
    handler: Arc<dyn ConflictHandler>,
    environment: Arc<dyn Environment>,
    progress: watch::Sender<Progress>,
    /// Which session hears from which incarnation.
    direct: Mutex<BTreeMap<SessionNumber, Incarnation>>,
    /// Where the rooms that share the collection tell their events.
    listeners: Mutex<Vec<broadcast::WeakSender<RoomEvent>>>,
    /// A commit's fate is unknown: nothing more is written.
    failed: AtomicBool,
    feed: RwLock<()>,
    /// Cancelled when the writer has ended and the store is closed.
    closed: CancellationToken,
}

impl Shared {
    pub(super) fn new(
        name: CollectionName,
        handler: Arc<dyn ConflictHandler>,
        environment: Arc<dyn Environment>,
        snapshot: Snapshot,
    ) -> Self {
        Self {
            name,
            handler,
            environment,
            progress: watch::Sender::new(Progress { snapshot, direct: Arc::default(), era: Era::default() }),
            direct: Mutex::default(),
            listeners: Mutex::default(),
            failed: AtomicBool::new(false),
            feed: RwLock::new(()),
            closed: CancellationToken::new(),
        }
    }

    pub(crate) fn name(&self) -> &CollectionName {
        &self.name
    }

    pub(crate) fn handler(&self) -> &dyn ConflictHandler {
        &*self.handler
    }

    pub(super) fn environment(&self) -> &dyn Environment {
        &*self.environment
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.progress.borrow().snapshot.clone()
    }

    pub(crate) fn mark(&self) -> Mark {
        let progress = self.progress.borrow();
        Mark { era: progress.era, end: progress.snapshot.end }
    }

    /// Keeps commits out, until it is dropped: to be held from before a snapshot until after the scan that belongs to it. A document
    /// that a commit moved to the end of the feed between the two would be found in neither place, and yet be vouched for.
    pub(crate) async fn still_feed(&self) -> RwLockReadGuard<'_, ()> {
        self.feed.read().await
    }

    /// Keeps scans out, until it is dropped: to be held from before a commit until after its snapshot is published.
    pub(super) async fn moving_feed(&self) -> RwLockWriteGuard<'_, ()> {
        self.feed.write().await
    }

    pub(super) fn publish(&self, snapshot: &Snapshot) {
        self.progress.send_if_modified(|progress| {
            let modified = progress.snapshot != *snapshot;
            let own = |of: &Snapshot| of.knowledge.stamp(snapshot.incarnation);
            let dozes = planted!(OnlyOwnWritesWake) && own(&progress.snapshot) == own(snapshot);
            progress.snapshot = snapshot.clone();
            modified && !dozes
        });
    }

    /// The replica has forgotten what it had learnt, or has tried to: sessions begin anew either way.
    pub(super) fn begin_era(&self, snapshot: &Snapshot, era: Era) {
        self.progress.send_modify(|progress| {
            progress.snapshot = snapshot.clone();
            progress.era = era;
        });
    }

    /// A session hears from this incarnation, or with `None` from nobody any more.
    pub(crate) fn hear(&self, session: SessionNumber, origin: Option<Incarnation>) {
        let mut direct = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        match origin {
            Some(origin) => direct.insert(session, origin),
            None => direct.remove(&session),
        };
        let origins: BTreeSet<_> = direct.values().copied().collect();
        self.progress.send_if_modified(|progress| {
            let modified = *progress.direct != origins;
            if modified {
                progress.direct = Arc::new(origins);
            }
            modified
        });
    }

    pub(crate) fn listen(&self, listener: &broadcast::Sender<RoomEvent>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener.downgrade());
    }

    pub(super) fn tell(&self, event: &RoomEvent) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter().filter_map(broadcast::WeakSender::upgrade) {
            // Nobody listening is fine.
            let _ = listener.send(event.clone());
        }
    }

    /// Nobody knows what became of a commit.
    pub(super) fn fail(&self, error: &CommitError) {
        self.failed.store(true, Ordering::Release);
        self.tell(&RoomEvent::StorageFailed { collection: self.name.clone(), error: error.clone() });
        // Who waits for progress waits no longer.
        self.progress.send_modify(|_| {});
    }

    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}
