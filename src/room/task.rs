//! The task of a room: takes connections from the transport, runs a session on each, and connects again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, pending};
use futures_util::stream::FuturesUnordered;
use peerloom_core::{CloseReason, Connection, Membership, PeerAddress, Refusal, ReplicaId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::RoomCore;
use super::connection::{Driver, Ended};
use super::event::RoomEvent;
use super::peers::Standing;
use crate::collection::SessionNumber;
use crate::environment::BoxFuture;

/// The most peers whose failures are remembered. Those beyond start over.
const FAILING_PEERS_MAX: usize = 4096;

/// How often in a row it went wrong with a peer.
#[derive(Default)]
struct Failures {
    connections: u32,
    /// Lasting refusals, whichever side refused.
    refusals: u32,
    /// The last connection ended before the peer had proven itself, or with a refusal.
    suspect: bool,
}

struct Redial {
    at: Duration,
    /// Not if this replica is connected by then.
    unless_joined: Option<ReplicaId>,
}

pub(super) struct RoomTask {
    room: Arc<RoomCore>,
    membership: Box<dyn Membership>,
    running: FuturesUnordered<BoxFuture<(PeerAddress, Option<Ended>)>>,
    /// Failures in a row per peer.
    failures: BTreeMap<PeerAddress, Failures>,
    /// Peers to connect to again.
    redials: BTreeMap<PeerAddress, Redial>,
}

impl RoomTask {
    pub(super) fn new(room: Arc<RoomCore>, membership: Box<dyn Membership>) -> Self {
        Self {
            room,
            membership,
            running: FuturesUnordered::new(),
            failures: BTreeMap::new(),
            redials: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, leave: CancellationToken) {
        // Should the transport panic, the room is closed all the same.
        let _closed = self.room.closed.clone().drop_guard();
        let environment = self.room.node.environment_handle();
        loop {
            let redial = self.redials.values().map(|redial| redial.at).min();
            let redial = match redial {
                Some(at) => Either::Left(environment.sleep_until(at)),
                None => Either::Right(pending()),
            };
            tokio::select! {
                biased;
                () = leave.cancelled() => break,
                () = self.room.node.leave().cancelled() => break,
                Some((address, ended)) = self.running.next(), if !self.running.is_empty() => self.ended(address, ended),
                () = redial => self.redial(),
                accepted = self.membership.accept() => match accepted {
                    Ok(connection) => self.begin(connection),
                    Err(error) => {
                        tracing::error!(%error, "the transport ended the membership");
                        self.room.end(error);
                        break;
                    }
                },
            }
        }
        // Leave before the farewells, so that nobody connects again meanwhile.
        drop(self.membership);
        self.room.peers.stop_all();
        while self.running.next().await.is_some() {}
    }

    fn begin(&mut self, connection: Connection) {
        let (number, address) = (self.room.node.next_session(), connection.peer.clone());
        let suspect = self.failures.get(&address).is_some_and(|failures| failures.suspect);
        let standing = if suspect { Standing::Suspect } else { Standing::Welcome };
        let stop = self.room.peers.add(number, &address, standing);
        let driver = Driver::new(self.room.clone(), number, connection);
        let (done, ended) = oneshot::channel();
        let span = tracing::info_span!("peer", %address);
        let (room, at) = (self.room.clone(), address.clone());
        self.room.node.spawn_in_room(
            async move {
                // Should the task be dropped or panic, the peer is gone all the same.
                let reason = CloseReason::ConnectionLost;
                let mut listed = Listed { room, number, address: at, reason };
                let ended = driver.run(stop).await;
                listed.reason = ended.reason.clone();
                drop(listed);
                let _ = done.send(ended);
            }
            .instrument(span),
        );
        self.running.push(Box::pin(async move { (address, ended.await.ok()) }));
    }

    fn ended(&mut self, address: PeerAddress, ended: Option<Ended>) {
        let Some(Ended { reason, peer, proven, joined_for, is_told }) = ended else {
            tracing::error!(%address, "the task of a session panicked");
            return self.redial_later(address, None);
        };
        tracing::debug!(%address, %reason, "a session ended");
        if !is_told {
            self.room.tell_end(&address, peer, proven, &reason);
        }
        if let CloseReason::Refused(refusal) | CloseReason::RefusedByPeer(refusal) = &reason
            && refusal.is_lasting()
        {
            return self.redial_much_later(address);
        }
        if joined_for.is_some_and(|joined_for| joined_for >= self.room.retry.max) {
            self.failures.remove(&address);
        }
        // Who merely lost the connection on the way is waited for when it comes again; who did not play by the rules is not.
        let broken = matches!(
            reason,
            CloseReason::HandshakeTimedOut | CloseReason::Violation(_) | CloseReason::Refused(Refusal::Other)
        );
        if peer.is_some() || broken {
            self.failures_of(&address).suspect = peer.is_none();
        }
        match reason {
            CloseReason::Left | CloseReason::LeftByPeer => drop(self.failures.remove(&address)),
            // The connection that this side prefers lives on, and has its own end. There is nobody else at this end.
            CloseReason::Refused(Refusal::Duplicate | Refusal::Itself)
            | CloseReason::RefusedByPeer(Refusal::Itself) => {}
            CloseReason::HandshakeTimedOut if planted!(LateHandshakeNotRedialed) => {}
            // The peer prefers another connection, which may be one that is dead and of whose end it has not heard.
            CloseReason::RefusedByPeer(Refusal::Duplicate) => self.redial_later(address, peer),
            _ => self.redial_later(address, None),
        }
    }

    fn redial_later(&mut self, address: PeerAddress, unless_joined: Option<ReplicaId>) {
        let failures = self.failures_of(&address);
        failures.connections += 1;
        let connections = failures.connections;
        let jitter = self.jitter();
        self.redial_after(address, self.room.retry.wait(connections, jitter), unless_joined);
    }

    /// After a refusal that stands until somebody does something about it.
    fn redial_much_later(&mut self, address: PeerAddress) {
        let failures = self.failures_of(&address);
        failures.refusals += 1;
        failures.suspect = true;
        let refusals = failures.refusals;
        let jitter = self.jitter();
        self.redial_after(address, self.room.retry.refused_wait(refusals, jitter), None);
    }

    fn failures_of(&mut self, address: &PeerAddress) -> &mut Failures {
        if self.failures.len() >= FAILING_PEERS_MAX && !self.failures.contains_key(address) {
            self.failures.pop_first();
        }
        self.failures.entry(address.clone()).or_default()
    }

    fn jitter(&self) -> u8 {
        let mut jitter = [0];
        self.room.node.environment().fill_random(&mut jitter);
        jitter[0]
    }

    fn redial_after(&mut self, address: PeerAddress, wait: Duration, unless_joined: Option<ReplicaId>) {
        let at = self.room.node.environment().now().monotonic + wait;
        self.redials.insert(address, Redial { at, unless_joined });
    }

    fn redial(&mut self) {
        let now = self.room.node.environment().now().monotonic;
        for (address, redial) in self.redials.extract_if(.., |_, redial| redial.at <= now) {
            if !redial.unless_joined.is_some_and(|replica| self.room.peers.has_joined(replica)) {
                self.membership.redial(&address);
            }
        }
    }
}

/// Lists a session among the room's peers while it lives.
struct Listed {
    room: Arc<RoomCore>,
    number: SessionNumber,
    address: PeerAddress,
    reason: CloseReason,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.room.peers.remove(self.number, |peer| {
            let (address, reason) = (self.address.clone(), self.reason.clone());
            self.room.tell(RoomEvent::PeerLeft { peer, address, reason });
        });
    }
}

impl RoomCore {
    /// Tells how a session ended, where that is more than that a peer left.
    pub(super) fn tell_end(
        &self,
        address: &PeerAddress,
        peer: Option<ReplicaId>,
        proven: Option<ReplicaId>,
        reason: &CloseReason,
    ) {
        let refused = |refusal: &Refusal, by_peer| {
            let (address, reason) = (address.clone(), refusal.clone());
            self.tell(RoomEvent::Refused { peer: proven, address, reason, by_peer });
        };
        match (peer, reason) {
            (
                _,
                CloseReason::Refused(Refusal::Duplicate) | CloseReason::RefusedByPeer(Refusal::Duplicate),
            ) => {}
            (_, CloseReason::Refused(refusal)) => refused(refusal, false),
            (_, CloseReason::RefusedByPeer(refusal)) => refused(refusal, true),
            (None, reason) => {
                self.tell(RoomEvent::ConnectionFailed { address: address.clone(), reason: reason.clone() });
            }
            (Some(_), _) => {}
        }
    }
}
