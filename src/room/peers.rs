//! The peers of a room as others see them: who is connected, in which state, with which counters.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use peerloom_core::{Capabilities, Opening, PeerAddress, Refusal, ReplicaId, SessionCounters};
use tokio::sync::watch;

use crate::collection::{Mark, SessionNumber};

/// Two connections to one peer that came up within this time were dialed at once, and both ends keep the same one. After it, who
/// connects again has lost the connection before, even if this end has not heard of that yet.
const DIALED_AT_ONCE_WITHIN: Duration = Duration::from_secs(5);

/// A connection of a room, as it is now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// Where the peer is.
    pub address: PeerAddress,
    /// Who it is, once that is proven.
    pub replica: Option<ReplicaId>,
    /// How far things are.
    pub state: PeerState,
    /// How much the connection has moved.
    pub counters: SessionCounters,
    /// The storage token of a peer that speaks RxDB's dialect, once it has said it. Such a peer proves nothing.
    pub rxdb_token: Option<String>,
    /// How many documents could not cross over to an RxDB peer or from it. One counts each time it is met.
    pub documents_left_out: u64,
}

/// How far things are with a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PeerState {
    /// The two are still proving who they are.
    Connecting,
    /// Documents are moving.
    CatchingUp,
    /// Everything is on both sides.
    CaughtUp,
}

/// Why a session is asked to end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    Leave,
    Refuse(Refusal),
}

/// What a session tells of itself.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) peer: Peer,
    pub(super) opening: Option<Opening>,
    pub(super) capabilities: Capabilities,
    pub(super) tag: Vec<u8>,
    /// When it was admitted.
    pub(super) joined_at: Duration,
    /// The end of each collection's changefeed, in the order they were shared, as the session last heard of it.
    pub(super) marks: Vec<Mark>,
}

impl Status {
    fn known(&self) -> Option<(ReplicaId, Opening)> {
        self.peer.replica.zip(self.opening)
    }
}

/// A peer that has just proven who it is.
pub(super) struct Joining {
    pub(super) replica: ReplicaId,
    pub(super) opening: Opening,
    pub(super) capabilities: Capabilities,
    /// By which both ends prefer the same one of two connections.
    pub(super) tag: Vec<u8>,
    pub(super) at: Duration,
}

/// What is thought of a member when a connection to it comes up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    Welcome,
    /// Its last connection ended before it had proven itself, or with a refusal.
    Suspect,
}

struct Entry {
    standing: Standing,
    status: Status,
    stop: watch::Sender<Option<Stop>>,
}

/// The sessions of one room.
#[derive(Default)]
pub(super) struct Peers {
    entries: Mutex<BTreeMap<SessionNumber, Entry>>,
    changed: watch::Sender<()>,
}

impl Peers {
    pub(super) fn add(
        &self,
        number: SessionNumber,
        address: &PeerAddress,
        standing: Standing,
    ) -> watch::Receiver<Option<Stop>> {
        let (stop, stopped) = watch::channel(None);
        let peer = Peer {
            address: address.clone(),
            replica: None,
            state: PeerState::Connecting,
            counters: SessionCounters::default(),
            rxdb_token: None,
            documents_left_out: 0,
        };
        let status = Status {
            peer,
            opening: None,
            capabilities: Capabilities::NONE,
            tag: Vec::new(),
            joined_at: Duration::ZERO,
            marks: Vec::new(),
        };
        self.lock().insert(number, Entry { standing, status, stop });
        self.changed.send_replace(());
        stopped
    }

    /// A session has ended. Calls `left` if it was the last with its peer.
    pub(super) fn remove(&self, number: SessionNumber, left: impl FnOnce(ReplicaId)) {
        let mut entries = self.lock();
        let removed = entries.remove(&number);
        if let Some((replica, opening)) = removed.and_then(|entry| entry.status.known())
            && !entries.values().any(|entry| entry.status.known() == Some((replica, opening)))
        {
            left(replica);
        }
        drop(entries);
        self.changed.send_replace(());
    }

    /// Whether a session with this peer runs.
    pub(super) fn has_joined(&self, replica: ReplicaId) -> bool {
        self.lock().values().any(|entry| entry.status.peer.replica == Some(replica))
    }

    pub(super) fn update(&self, number: SessionNumber, update: impl FnOnce(&mut Status)) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&number) else { return };
        let before = (entry.status.peer.state, entry.status.marks.clone());
        update(&mut entry.status);
        let changed = before != (entry.status.peer.state, entry.status.marks.clone());
        drop(entries);
        if changed {
            self.changed.send_replace(());
        }
    }

    /// A session has come to know its peer. Calls `joined` if there is no other with it; that and `left` of [`Self::remove`] are called
    /// under the lock, so that they alternate. Says whether it is to end: because the room is full, or because of another
    /// connection to the same opening of the same replica. Of two such, both sides keep the one with the larger tag.
    pub(super) fn admit(
        &self,
        number: SessionNumber,
        newcomer: Joining,
        peers_max: usize,
        joined: impl FnOnce(),
    ) -> Result<(), Refusal> {
        let Joining { replica, opening, capabilities, tag, at } = newcomer;
        let mut entries = self.lock();
        let known = |entry: &Entry| entry.status.known() == Some((replica, opening));
        let stopping = |entry: &Entry| entry.stop.borrow().is_some();
        for entry in entries.values().filter(|entry| known(entry) && !stopping(entry)) {
            let settled = at.saturating_sub(entry.status.joined_at) >= DIALED_AT_ONCE_WITHIN;
            if !settled && entry.status.tag > tag {
                return Err(Refusal::Duplicate);
            }
            entry.stop.send_replace(Some(Stop::Refuse(Refusal::Duplicate)));
        }
        let present =
            entries.values().filter(|entry| entry.status.peer.replica.is_some() && !stopping(entry)).count();
        if present >= peers_max {
            return Err(Refusal::Full);
        }
        if !entries.values().any(known) {
            joined();
        }
        let entry = entries.get_mut(&number).expect("a session is listed while it runs");
        entry.status.peer.replica = Some(replica);
        entry.status.opening = Some(opening);
        entry.status.capabilities = capabilities;
        entry.status.tag = tag;
        entry.status.joined_at = at;
        Ok(())
    }

    /// Whether a replica with a smaller id than this has joined that speaks with RxDB peers, too.
    #[cfg(feature = "rxdb")]
    pub(super) fn has_bridge_below(&self, replica: &ReplicaId) -> bool {
        let bridges = |status: &Status| status.capabilities.include(Capabilities::SPEAKS_RXDB);
        let is_below = |status: &Status| status.peer.replica.is_some_and(|peer| peer < *replica);
        self.lock().values().any(|entry| bridges(&entry.status) && is_below(&entry.status))
    }

    pub(super) fn stop_all(&self) {
        for entry in self.lock().values() {
            entry.stop.send_replace(Some(Stop::Leave));
        }
    }

    pub(super) fn list(&self) -> Vec<Peer> {
        self.lock().values().map(|entry| entry.status.peer.clone()).collect()
    }

    pub(super) fn has_any_joined(&self) -> bool {
        self.lock().values().any(|entry| entry.status.peer.replica.is_some())
    }

    /// The session that began last.
    pub(super) fn newest(&self) -> Option<SessionNumber> {
        self.lock().last_key_value().map(|(number, _)| *number)
    }

    /// Ends the sessions with a replica.
    pub(super) fn refuse(&self, replica: ReplicaId, refusal: &Refusal) {
        for entry in self.lock().values().filter(|entry| entry.status.peer.replica == Some(replica)) {
            entry.stop.send_replace(Some(Stop::Refuse(refusal.clone())));
        }
    }

    /// Whether there is a peer, and all of them are caught up with everything up to `marks`. Of those that have not joined, suspects
    /// and those that began after `newest` do not count.
    pub(super) fn are_caught_up(&self, marks: &[Mark], newest: Option<SessionNumber>) -> bool {
        let entries = self.lock();
        let caught_up = |entry: &Entry| {
            entry.status.peer.state == PeerState::CaughtUp
                && entry.status.marks.len() >= marks.len()
                && entry.status.marks.iter().zip(marks).all(|(heard, mark)| heard >= mark)
        };
        let counts = |(number, entry): &(&SessionNumber, &Entry)| {
            let awaited =
                entry.standing == Standing::Welcome && newest.is_none_or(|newest| **number <= newest);
            entry.status.peer.replica.is_some() || awaited
        };
        let mut counted = entries.iter().filter(counts).map(|(_, entry)| entry).peekable();
        counted.peek().is_some() && counted.all(caught_up)
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionNumber, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
