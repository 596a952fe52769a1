//! Joining and leaving, and who is told.

use std::time::Duration;

use super::limits::MEMBERSHIP_BYTES;
use super::room::{Membership, Room};
use super::{Now, Rooms, Timer};
use crate::close::CloseReason;
use crate::message::{Capability, Member, PeerId, RoomName, ServerMessage};

impl Rooms {
    pub(super) fn join(
        &mut self,
        now: Now,
        id: PeerId,
        name: &RoomName,
        capability: Option<Capability>,
        woken: &mut Vec<PeerId>,
    ) -> Result<(), CloseReason> {
        let limits = &self.options.limits;
        let peer = self.peers.get_mut(&id).expect("who joins is connected");
        if !peer.permit.rooms.contain(name) {
            return Err(CloseReason::RoomForbidden);
        }
        if peer.rooms.contains(name) {
            return Ok(());
        }
        if peer.rooms.len() >= limits.rooms_per_peer_max.get() {
            return Err(CloseReason::TooManyRooms);
        }
        let members_max = (peer.permit.members_per_room_max)
            .map_or(limits.members_per_room_max, |max| max.min(limits.members_per_room_max));
        if self.rooms.get(name).map_or(0, Room::len) >= members_max.get() {
            return Err(CloseReason::RoomFull);
        }
        if self.statistics.memory_bytes + MEMBERSHIP_BYTES > limits.memory_bytes_max.get() {
            return Err(CloseReason::ServerFull);
        }

        self.statistics.memory_bytes += MEMBERSHIP_BYTES;
        self.statistics.memberships += 1;
        self.statistics.joined_total += 1;
        peer.rooms.insert(name.clone());
        peer.capable_in += usize::from(capability.is_some());
        let stock_peers = peer.permit.stock_peers.unwrap_or(self.options.stock_peers);
        let room = self.rooms.entry(name.clone()).or_default();
        room.insert(id, Membership { capability, stock_peers });

        let others: Vec<PeerId> = room.capable_except(id).collect();
        let members = capability
            .map(|_| ServerMessage::Members { room: name.clone(), members: room.members_except(id) });
        let member = Member { peer_id: id, peerloom: capability };
        self.send(&others, &ServerMessage::MemberJoined { room: name.clone(), member }, woken);
        if let Some(members) = members {
            self.send(&[id], &members, woken);
        }
        self.owe_lists(now, name, woken);
        self.arm(id);
        Ok(())
    }

    pub(super) fn leave(&mut self, now: Now, id: PeerId, name: &RoomName, woken: &mut Vec<PeerId>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.rooms.remove(name) {
            return;
        }
        let room = self.rooms.get_mut(name).expect("a peer's room has the peer as a member");
        let membership = room.remove(id).expect("a peer's room has the peer as a member");
        peer.capable_in -= usize::from(membership.capability.is_some());
        self.statistics.memory_bytes -= MEMBERSHIP_BYTES;
        self.statistics.memberships -= 1;
        self.statistics.left_total += 1;
        if room.is_empty() {
            self.timers.remove(&(self.lists_due(now, name), Timer::Lists(name.clone())));
            self.rooms.remove(name);
            return;
        }
        let others: Vec<PeerId> = room.capable_except(id).collect();
        self.send(&others, &ServerMessage::MemberLeft { room: name.clone(), peer_id: id }, woken);
        self.owe_lists(now, name, woken);
    }

    pub(super) fn leave_all(&mut self, now: Now, id: PeerId, woken: &mut Vec<PeerId>) {
        let rooms = self.peers.get(&id).map(|peer| peer.rooms.clone()).unwrap_or_default();
        for room in &rooms {
            self.leave(now, id, room, woken);
        }
    }

    /// Sends the stock members of a room their lists, now or when the interval is over.
    pub(super) fn owe_lists(&mut self, now: Now, name: &RoomName, woken: &mut Vec<PeerId>) {
        if !self.rooms.get(name).is_some_and(Room::owes_lists) {
            return;
        }
        let due = self.lists_due(now, name);
        if due <= now.monotonic {
            self.send_lists(now, name, woken);
        } else {
            self.timers.insert((due, Timer::Lists(name.clone())));
        }
    }

    pub(super) fn lists_due(&self, now: Now, name: &RoomName) -> Duration {
        let listed_at = self.rooms.get(name).and_then(|room| room.listed_at);
        listed_at.map_or(now.monotonic, |at| at + self.options.limits.list_interval)
    }

    pub(super) fn send_lists(&mut self, now: Now, name: &RoomName, woken: &mut Vec<PeerId>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        for (list, readers) in room.take_lists(now.monotonic) {
            self.send(&readers, &list, woken);
        }
    }
}
