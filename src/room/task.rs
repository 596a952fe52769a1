//! The task of a room: takes connections from the transport, runs a session on each, and connects again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, pending};
use futures_util::stream::FuturesUnordered;
use peerloom_core::{CloseReason, Connection, Membership, PeerAddress, Refusal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::RoomCore;
use super::connection::{Driver, Ended};
use super::event::RoomEvent;
use crate::environment::BoxFuture;

/// The most peers whose failures are remembered. Those beyond start over.
const FAILING_PEERS_MAX: usize = 4096;

pub(super) struct RoomTask {
    room: Arc<RoomCore>,
    membership: Box<dyn Membership>,
    running: FuturesUnordered<BoxFuture<(PeerAddress, Option<Ended>)>>,
    /// Failures in a row per peer.
    failures: BTreeMap<PeerAddress, u32>,
    /// Peers to connect to again, and when.
    redials: BTreeMap<PeerAddress, Duration>,
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
        let environment = self.room.node.environment_handle();
        loop {
            let redial = self.redials.values().min().copied();
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
                        break;
                    }
                },
            }
        }
        // Leave before the farewells, so that nobody connects again meanwhile.
        drop(self.membership);
        self.room.peers.stop_all();
        while self.running.next().await.is_some() {}
        self.room.closed.cancel();
    }

    fn begin(&mut self, connection: Connection) {
        let (number, address) = (self.room.node.next_session(), connection.peer.clone());
        let stop = self.room.peers.add(number, &address);
        let driver = Driver::new(self.room.clone(), number, connection);
        let (done, ended) = oneshot::channel();
        let span = tracing::info_span!("peer", %address);
        let room = self.room.clone();
        self.room.node.spawn_in_room(
            async move {
                // Should the task be dropped or panic, the peer is gone all the same.
                let listed = Listed { room, number };
                let ended = driver.run(stop).await;
                drop(listed);
                let _ = done.send(ended);
            }
            .instrument(span),
        );
        self.running.push(Box::pin(async move { (address, ended.await.ok()) }));
    }

    fn ended(&mut self, address: PeerAddress, ended: Option<Ended>) {
        let Some(Ended { reason, peer, joined_for }) = ended else {
            tracing::error!(%address, "the task of a session panicked");
            return self.redial_later(address);
        };
        tracing::debug!(%address, %reason, "a session ended");
        self.room.tell_end(&address, peer, &reason);
        if joined_for.is_some_and(|joined_for| joined_for >= self.room.retry.max) {
            self.failures.remove(&address);
        }
        match reason {
            CloseReason::Left | CloseReason::LeftByPeer => drop(self.failures.remove(&address)),
            // The other connection lives on, and there is nobody else at this end.
            CloseReason::Refused(Refusal::Duplicate | Refusal::Itself)
            | CloseReason::RefusedByPeer(Refusal::Duplicate | Refusal::Itself) => {}
            _ => self.redial_later(address),
        }
    }

    fn redial_later(&mut self, address: PeerAddress) {
        if self.failures.len() >= FAILING_PEERS_MAX && !self.failures.contains_key(&address) {
            self.failures.pop_first();
        }
        let failures = self.failures.entry(address.clone()).or_default();
        *failures += 1;
        let environment = self.room.node.environment();
        let mut jitter = [0];
        environment.fill_random(&mut jitter);
        let wait = self.room.retry.wait(*failures, jitter[0]);
        self.redials.insert(address, environment.now().monotonic + wait);
    }

    fn redial(&mut self) {
        let now = self.room.node.environment().now().monotonic;
        let due: Vec<PeerAddress> =
            self.redials.iter().filter(|(_, at)| **at <= now).map(|(address, _)| address.clone()).collect();
        for address in due {
            self.redials.remove(&address);
            self.membership.redial(&address);
        }
    }
}

/// Lists a session among the room's peers while it lives.
struct Listed {
    room: Arc<RoomCore>,
    number: crate::collection::SessionNumber,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.room.peers.remove(self.number);
    }
}

impl RoomCore {
    /// Tells how a session ended, in the words for applications.
    pub(super) fn tell_end(
        &self,
        address: &PeerAddress,
        peer: Option<peerloom_core::ReplicaId>,
        reason: &CloseReason,
    ) {
        match (peer, reason) {
            (
                _,
                CloseReason::Refused(Refusal::Duplicate) | CloseReason::RefusedByPeer(Refusal::Duplicate),
            ) => {}
            (_, CloseReason::Refused(refusal)) => {
                self.tell(RoomEvent::Refused { address: address.clone(), reason: *refusal, by_peer: false });
            }
            (_, CloseReason::RefusedByPeer(refusal)) => {
                self.tell(RoomEvent::Refused { address: address.clone(), reason: *refusal, by_peer: true });
            }
            (None, reason) => {
                self.tell(RoomEvent::ConnectionFailed { address: address.clone(), reason: reason.clone() });
            }
            (Some(_), _) => {}
        }
        if let Some(peer) = peer {
            self.tell(RoomEvent::PeerLeft { peer, reason: reason.clone() });
        }
    }
}
