//! How peers are recognized that have lost their ids, and which address is whose.

use std::time::Duration;

use peerloom_core::PeerAddress;

use super::{CallId, Effect, Mesh};
use crate::signal::{Claim, ConnectionId, PeerId, Signal};

impl Mesh {
    /// The other side says that there is a connection, instead of answering an offer, or to confirm that there is.
    pub(super) fn connected(
        &mut self,
        from: &PeerId,
        claim: &Claim,
        connection: &ConnectionId,
        now: Duration,
    ) {
        let line = self.connections.get(connection).copied();
        if let Some(line) = line.filter(|line| self.calls[line].open) {
            return self.recognize(from, line, now);
        }
        // It is gone here. The next offer says so, once: what is said twice is a mistake of somebody.
        let contact = &self.contacts[from];
        let attempt = contact.call.filter(|call| self.calls[call].caller && !self.calls[call].open);
        if attempt.is_some() && contact.replaces.is_none() {
            self.drop_attempt(from, now);
            self.claim(from, claim);
            self.contacts.get_mut(from).expect("a contact").replaces = Some(connection.clone());
            self.dial_at(from, now);
        }
    }

    /// Whoever knows the connection is its other end, whatever the id.
    pub(super) fn recognize(&mut self, from: &PeerId, line: CallId, now: Duration) {
        let call = self.calls.get_mut(&line).expect("a line is a call");
        if !call.open {
            return;
        }
        call.known_as = self.own.clone();
        if call.peer.as_ref() == Some(from) {
            return;
        }
        call.peer = Some(from.clone());
        let (address, connection) = (call.address.clone(), call.connection.clone());
        self.drop_attempt(from, now);
        let contact = self.contacts.get_mut(from).expect("only a contact is recognized");
        let former = std::mem::replace(&mut contact.address, address.clone());
        contact.call = Some(line);
        if self.addresses.get(&former) == Some(from) {
            self.addresses.remove(&former);
        }
        self.addresses.insert(address, from.clone());
        // So that the other side recognizes this one, too.
        if let (Some(member), Some(connection)) = (self.member.clone(), connection) {
            let peerloom = Claim { member, replaces: None };
            let signal = Signal::Connected { peerloom, connection: connection.clone() };
            self.effects.push(Effect::Send { to: from.clone(), connection: Some(connection), signal });
        }
        self.look_for_another_way(line, now);
    }

    /// Takes the address that a contact claims to have, if nobody else in the room has it.
    pub(super) fn claim(&mut self, from: &PeerId, claim: &Claim) {
        let claimed = PeerAddress::new(claim.member.as_str());
        let taken = self.addresses.contains_key(&claimed) || self.member.as_ref() == Some(&claim.member);
        let contact = self.contacts.get_mut(from).expect("only a contact claims");
        if contact.address == claimed || taken {
            return;
        }
        let former = std::mem::replace(&mut contact.address, claimed.clone());
        if self.addresses.get(&former) == Some(from) {
            self.addresses.remove(&former);
        }
        self.addresses.insert(claimed, from.clone());
    }
}
