//! How a peer's connection begins, lasts and ends.

use std::collections::BTreeSet;
use std::time::Duration;

use super::bucket::Bucket;
use super::limits::MEMBERSHIP_BYTES;
use super::queue::Queue;
use super::{Now, Rooms, Timer};
use crate::close::CloseReason;
use crate::message::{PeerId, RoomName, ServerCapability, ServerMessage, VERSION};
use crate::permit::Permit;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) permit: Permit,
    /// By the monotonic clock.
    pub(super) expires_at: Option<Duration>,
    pub(super) rooms: BTreeSet<RoomName>,
    /// In how many of these it is a capable member.
    pub(super) capable_in: usize,
    pub(super) heard_at: Duration,
    pub(super) bucket: Bucket,
    pub(super) queue: Queue,
    pub(super) closing: Option<Closing>,
    pub(super) turn_due: Option<Duration>,
    /// When its timer goes off: at its deadline or before.
    pub(super) timer: Option<Duration>,
    pub(super) connection_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Closing {
    Pending(CloseReason),
    Taken,
}

impl Rooms {
    pub(super) fn connect(&mut self, now: Now, id: PeerId, permit: Permit, woken: &mut Vec<PeerId>) {
        assert!(!self.contains(id), "the caller draws an id that nobody has");
        let admitted = self.admits();
        let connection_bytes = if admitted { self.options.limits.connection_bytes() } else { 0 };
        let turn = self.options.turn.as_ref();
        let peer = Peer {
            expires_at: permit.expires_at.map(|at| now.monotonic + at.saturating_sub(now.unix)),
            permit,
            rooms: BTreeSet::new(),
            capable_in: 0,
            heard_at: now.monotonic,
            bucket: Bucket::default(),
            queue: Queue::default(),
            closing: None,
            turn_due: turn.map(|turn| now.monotonic + turn.renewed_after()),
            timer: None,
            connection_bytes,
        };
        self.peers.insert(id, peer);
        self.statistics.connected_total += 1;
        self.statistics.memory_bytes += connection_bytes;
        if !admitted {
            let reason = if self.stopping { CloseReason::ServerStopping } else { CloseReason::ServerFull };
            self.condemned.push_back((id, reason));
            return;
        }
        let peerloom = ServerCapability {
            version: VERSION,
            idle_timeout_ms: self.options.limits.idle_timeout.as_millis().try_into().unwrap_or(u64::MAX),
            message_bytes_max: self.options.limits.message_bytes_max.get(),
            turn: self.options.turn.as_ref().map(|turn| turn.credentials(id, now.unix)),
        };
        let init = ServerMessage::Init { your_peer_id: id, peerloom: Some(peerloom) };
        self.send(&[id], &init, woken);
        self.arm(id);
    }

    pub(super) fn disconnect(&mut self, now: Now, id: PeerId, woken: &mut Vec<PeerId>) {
        self.leave_all(now, id, woken);
        let Some(peer) = self.peers.remove(&id) else { return };
        self.statistics.memory_bytes -= peer.queue.bytes() + peer.connection_bytes;
        if let Some(at) = peer.timer {
            self.timers.remove(&(at, Timer::Peer(id)));
        }
    }

    pub(super) fn tick(&mut self, now: Now, woken: &mut Vec<PeerId>) {
        while let Some((at, timer)) = self.timers.first().cloned()
            && at <= now.monotonic
        {
            self.timers.remove(&(at, timer.clone()));
            match timer {
                Timer::Peer(id) => self.attend(now, id, woken),
                Timer::Lists(room) => self.send_lists(now, &room, woken),
            }
        }
    }

    /// Does what is due for a peer.
    pub(super) fn attend(&mut self, now: Now, id: PeerId, woken: &mut Vec<PeerId>) {
        let limits = &self.options.limits;
        let peer = self.peers.get_mut(&id).expect("a peer that is gone has no timer");
        peer.timer = None;
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now.monotonic);
        if due(peer.expires_at) {
            self.condemned.push_back((id, CloseReason::TokenExpired));
        } else if due(peer.queue.in_flight_since().map(|since| since + limits.send_timeout)) {
            self.condemned.push_back((id, CloseReason::SlowReader));
        } else if due(Some(peer.heard_at + limits.idle_timeout)) {
            self.condemned.push_back((id, CloseReason::IdleTimeout));
        } else {
            if due(peer.turn_due) {
                self.renew_turn(now, id, woken);
            }
            self.arm(id);
        }
    }

    pub(super) fn renew_turn(&mut self, now: Now, id: PeerId, woken: &mut Vec<PeerId>) {
        let Some(turn) = &self.options.turn else { return };
        let peer = self.peers.get_mut(&id).expect("who is attended to is connected");
        peer.turn_due = Some(now.monotonic + turn.renewed_after());
        if peer.capable_in > 0 {
            let turn = turn.credentials(id, now.unix);
            self.send(&[id], &ServerMessage::Turn { turn }, woken);
        }
    }

    /// Closes the condemned, and then whoever has most waiting until the memory suffices.
    pub(super) fn execute(&mut self, now: Now, woken: &mut Vec<PeerId>) {
        loop {
            if let Some((id, reason)) = self.condemned.pop_front() {
                self.close(now, id, reason, woken);
            } else if self.statistics.memory_bytes > self.options.limits.memory_bytes_max.get()
                && let Some(id) = self.slowest()
            {
                self.condemned.push_back((id, CloseReason::SlowReader));
            } else {
                return;
            }
        }
    }

    pub(super) fn slowest(&self) -> Option<PeerId> {
        let open = self.peers.iter().filter(|(_, peer)| peer.closing.is_none() && peer.queue.bytes() > 0);
        open.max_by_key(|(_, peer)| peer.queue.bytes()).map(|(&id, _)| id)
    }

    pub(super) fn close(&mut self, now: Now, id: PeerId, reason: CloseReason, woken: &mut Vec<PeerId>) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.closing.is_none()) else { return };
        peer.closing = Some(Closing::Pending(reason));
        let before = peer.queue.bytes();
        peer.queue.clear();
        self.statistics.memory_bytes -= before - peer.queue.bytes();
        *self.statistics.closed_total.entry(reason).or_default() += 1;
        if let Some(at) = peer.timer.take() {
            self.timers.remove(&(at, Timer::Peer(id)));
        }
        woken.push(id);
        self.leave_all(now, id, woken);
    }

    pub(super) fn stop(&mut self, woken: &mut Vec<PeerId>) {
        self.stopping = true;
        self.timers.clear();
        // Nobody is told who left: everybody does.
        self.rooms.clear();
        self.statistics.memory_bytes -= self.statistics.memberships * MEMBERSHIP_BYTES;
        self.statistics.left_total += self.statistics.memberships as u64;
        self.statistics.memberships = 0;
        for (&id, peer) in &mut self.peers {
            peer.rooms.clear();
            peer.timer = None;
            if peer.closing.is_none() {
                peer.closing = Some(Closing::Pending(CloseReason::ServerStopping));
                *self.statistics.closed_total.entry(CloseReason::ServerStopping).or_default() += 1;
                woken.push(id);
            }
        }
    }

    /// Sets a peer's timer if it would go off too late. One that goes off early finds nothing to do and is set again,
    /// which is cheaper than to move it with each message.
    pub(super) fn arm(&mut self, id: PeerId) {
        let limits = &self.options.limits;
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.closing.is_none()) else { return };
        let deadlines = [
            Some(peer.heard_at + limits.idle_timeout),
            peer.expires_at,
            peer.turn_due,
            peer.queue.in_flight_since().map(|since| since + limits.send_timeout),
        ];
        let due = deadlines.into_iter().flatten().min().expect("the idle timeout is always set");
        if peer.timer.is_none_or(|at| due < at) {
            if let Some(at) = peer.timer.replace(due) {
                self.timers.remove(&(at, Timer::Peer(id)));
            }
            self.timers.insert((due, Timer::Peer(id)));
        }
    }
}
