//! How calls begin, fail and are forgotten, and when another way is looked for.

use std::time::Duration;

use super::{Call, CallId, Effect, Mesh, Timer};
use crate::backoff;
use crate::signal::{ConnectionId, PeerId, Signal};

/// How long to wait before asking again for another way.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(4);

/// Whether this side made the offer of a call.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Role {
    Caller,
    Called,
}

impl Mesh {
    pub(super) fn dial_at(&mut self, peer: &PeerId, at: Duration) {
        let contact = self.contacts.get_mut(peer).expect("only a contact is dialed");
        if !std::mem::replace(&mut contact.dials, true) {
            self.set_timer(at, Timer::Dial(peer.clone()));
        }
    }

    pub(super) fn dial_waiting(&mut self, now: Duration) {
        while self.dialing < self.attempts_max
            && let Some(peer) = self.waiting.pop_front()
        {
            let Some(contact) = self.contacts.get_mut(&peer) else { continue };
            if !std::mem::take(&mut contact.dials) {
                continue;
            }
            if contact.call.is_some() || self.lines.contains_key(&contact.address) {
                continue;
            }
            let connection = ConnectionId::from_random(self.random.bytes());
            let call = self.begin(&peer, Some(connection), Role::Caller, now);
            self.effects.push(Effect::Dial(call));
        }
    }

    pub(super) fn begin(
        &mut self,
        peer: &PeerId,
        connection: Option<ConnectionId>,
        role: Role,
        now: Duration,
    ) -> CallId {
        self.calls_made += 1;
        let id = CallId(self.calls_made);
        let contact = self.contacts.get_mut(peer).expect("only contacts are called");
        contact.call = Some(id);
        let caller = role == Role::Caller;
        if caller {
            self.dialing += 1;
        }
        let call = Call {
            connection: connection.clone(),
            caller,
            address: contact.address.clone(),
            peer: Some(peer.clone()),
            known_as: self.own.clone(),
            replaces: contact.replaces.clone().filter(|_| caller),
            open: false,
            disturbed: false,
            wants_way: false,
            has_asked: false,
        };
        self.calls.insert(id, call);
        if let Some(connection) = connection {
            self.connections.insert(connection, id);
        }
        self.set_timer(now + self.attempt_timeout, Timer::GiveUp(id));
        id
    }

    pub(super) fn drop_attempt(&mut self, peer: &PeerId, now: Duration) {
        if let Some(call) = self.contacts[peer].call.filter(|call| !self.calls[call].open) {
            self.effects.push(Effect::Close(call));
            self.forget(call, now);
        }
    }

    pub(super) fn give_up(&mut self, id: CallId, now: Duration) {
        self.effects.push(Effect::Close(id));
        self.failed(id, now);
    }

    /// An attempt came to nothing. Who called calls again after a while.
    pub(super) fn failed(&mut self, id: CallId, now: Duration) {
        let Call { caller, peer, .. } = &self.calls[&id];
        let again = peer.clone().filter(|_| *caller);
        self.forget(id, now);
        if let Some(peer) = again
            && let Some(contact) = self.contacts.get_mut(&peer)
        {
            contact.failures = contact.failures.saturating_add(1);
            // Should it have been about to succeed, the other side is told of another connection again.
            contact.replaces = None;
            let [jitter] = self.random.bytes();
            let wait = backoff::wait(self.backoff.0, self.backoff.1, contact.failures, jitter);
            self.dial_at(&peer, now + wait);
        }
    }

    pub(super) fn forget(&mut self, id: CallId, now: Duration) {
        let call = self.calls.remove(&id).expect("a call is forgotten once");
        if let Some(connection) = &call.connection
            && self.connections.get(connection) == Some(&id)
        {
            self.connections.remove(connection);
        }
        if self.lines.get(&call.address) == Some(&id) {
            self.lines.remove(&call.address);
        }
        if let Some(contact) = call.peer.as_ref().and_then(|peer| self.contacts.get_mut(peer))
            && contact.call == Some(id)
        {
            contact.call = None;
        }
        if call.caller && !call.open {
            self.dialing -= 1;
            self.dial_waiting(now);
        }
    }

    pub(super) fn wants_way(&mut self, id: CallId, now: Duration) {
        if let Some(call) = self.calls.get_mut(&id).filter(|call| call.open) {
            call.wants_way = true;
            self.look_for_another_way(id, now);
        }
    }

    /// Asks for another way if one is wanted, and again after a while if the call hears nothing even then.
    pub(super) fn look_for_another_way(&mut self, id: CallId, now: Duration) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.wants_way && !call.has_asked) else {
            return;
        };
        let Some(to) = call.peer.clone() else { return };
        (call.wants_way, call.has_asked) = (false, true);
        self.effects.push(match call.caller {
            true => Effect::Restart(id),
            false => {
                let signal = Signal::Renegotiate { renegotiate: true };
                Effect::Send { to, connection: call.connection.clone(), signal }
            }
        });
        self.set_timer(now + ASK_EVERY, Timer::AskAgain(id));
    }
}
