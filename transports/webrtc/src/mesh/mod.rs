//! Who is in the room, who calls whom and when, and which of two connections stays. Decides, and waits for nothing.
//!
//! **Who calls.** Of two peers the one with the smaller id makes the offer, under an id for the attempt. The other answers
//! each offer with a new one. An attempt that is not open in time is dropped by both, and made again by the caller, after
//! waits that double. After a connection has ended, the caller calls again when it is asked to.
//!
//! **Who it is.** A peer loses its id together with the server, but its connections live on. So that it is recognized under
//! the next one, offers and answers of Peerloom peers name the first id they had in the room, which is their address from
//! then on. That is a claim that anybody can make; what nobody else can know is the id of a connection. So an offer that claims
//! the address of a peer to whom there is a connection is not answered, but told of that connection: who knows it takes
//! the new id for the old peer, who has lost it says so by naming it in the next offer.
//!
//! Everything is kept in order, and work per event does not grow with the number of peers but by its logarithm.

mod calls;
mod identity;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use peerloom_core::PeerAddress;

use self::calls::Role;
use crate::line::Dialect;
use crate::options::Options;
use crate::random::Random;
use crate::signal::{Claim, ConnectionId, PeerId, Signal};

/// Numbers the calls of one membership.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct CallId(u64);

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Begin a call with an offer.
    Dial(CallId),
    /// Begin a call with the answer to this offer.
    Answer { call: CallId, sdp: String, dialect: Dialect },
    /// Tell a call what the other side said.
    Deliver(CallId, Signal),
    /// Look for another way for this call.
    Restart(CallId),
    /// End this call.
    Close(CallId),
    /// Send this.
    Send { to: PeerId, connection: Option<ConnectionId>, signal: Signal },
}

pub(crate) struct Mesh {
    attempt_timeout: Duration,
    backoff: (Duration, Duration),
    attempts_max: usize,
    peers_max: usize,
    random: Random,
    /// This side's id now, and the first that it had.
    own: Option<PeerId>,
    member: Option<PeerId>,
    /// The network has changed since this side joined, and what it sent to the server then may be lost.
    moved: bool,
    contacts: BTreeMap<PeerId, Contact>,
    /// Which contact has an address at present.
    addresses: BTreeMap<PeerAddress, PeerId>,
    calls: BTreeMap<CallId, Call>,
    calls_made: u64,
    /// Open calls by the address of the other side, and by their connection.
    lines: BTreeMap<PeerAddress, CallId>,
    connections: BTreeMap<ConnectionId, CallId>,
    /// Who is to be called as soon as fewer attempts go on.
    waiting: VecDeque<PeerId>,
    dialing: usize,
    timers: BTreeMap<(Duration, u64), Timer>,
    timers_made: u64,
    effects: Vec<Effect>,
}

/// Somebody else in the room.
struct Contact {
    address: PeerAddress,
    /// The attempt that goes on, or else the open line.
    call: Option<CallId>,
    /// Attempts in a row that came to nothing.
    failures: u32,
    /// A dial is due or waits its turn.
    dials: bool,
    /// The connection that the next offer replaces.
    replaces: Option<ConnectionId>,
}

struct Call {
    connection: Option<ConnectionId>,
    caller: bool,
    address: PeerAddress,
    /// Whom its signals go to. `None` once they have left.
    peer: Option<PeerId>,
    /// As whom the other side knows this one.
    known_as: Option<PeerId>,
    replaces: Option<ConnectionId>,
    open: bool,
    /// Hears nothing.
    disturbed: bool,
    /// Another way is to be looked for, as soon as there is somebody to ask.
    wants_way: bool,
    /// Another way was asked for a short while ago.
    has_asked: bool,
}

/// Timers that no longer apply when they fire do nothing.
#[derive(Clone, Debug)]
enum Timer {
    Dial(PeerId),
    GiveUp(CallId),
    AskAgain(CallId),
}

impl Mesh {
    pub(crate) fn new(options: &Options, random: Random) -> Self {
        Self {
            attempt_timeout: options.attempt_timeout,
            backoff: (options.backoff_initial, options.backoff_max),
            attempts_max: options.attempts_max.get() as usize,
            peers_max: options.peers_max.get() as usize,
            random,
            own: None,
            member: None,
            moved: false,
            contacts: BTreeMap::new(),
            addresses: BTreeMap::new(),
            calls: BTreeMap::new(),
            calls_made: 0,
            lines: BTreeMap::new(),
            connections: BTreeMap::new(),
            waiting: VecDeque::new(),
            dialing: 0,
            timers: BTreeMap::new(),
            timers_made: 0,
            effects: Vec::new(),
        }
    }

    /// What is to be done since the last call.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When to call [`Mesh::tick`] at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Duration) {
        while let Some(timer) = self.timers.first_entry().filter(|timer| timer.key().0 <= now) {
            match timer.remove() {
                Timer::Dial(peer) => self.waiting.push_back(peer),
                Timer::GiveUp(call) => {
                    if self.calls.get(&call).is_some_and(|call| !call.open) {
                        self.give_up(call, now);
                    }
                }
                Timer::AskAgain(id) => {
                    if let Some(call) = self.calls.get_mut(&id) {
                        call.has_asked = false;
                        call.wants_way |= call.disturbed;
                        self.look_for_another_way(id, now);
                    }
                }
            }
        }
        self.dial_waiting(now);
    }

    /// This side is in the room, with these others.
    pub(crate) fn joined(&mut self, own: PeerId, peers: &[PeerId], now: Duration) {
        self.lost(now);
        let peers = if planted!(ListOfRejoinIgnored) && self.member.is_some() { &[] } else { peers };
        self.member.get_or_insert_with(|| own.clone());
        self.own = Some(own);
        if std::mem::take(&mut self.moved) {
            for line in self.lines.values() {
                self.calls.get_mut(line).expect("a line is a call").wants_way = true;
            }
        }
        for peer in peers {
            self.peer_joined(peer, now);
        }
    }

    /// There is no server.
    pub(crate) fn lost(&mut self, now: Duration) {
        self.own = None;
        for peer in self.contacts.keys().cloned().collect::<Vec<_>>() {
            self.peer_left(&peer, now);
        }
    }

    pub(crate) fn peer_joined(&mut self, peer: &PeerId, now: Duration) {
        let Some(own) = &self.own else { return };
        if own == peer || self.contacts.contains_key(peer) {
            return;
        }
        if self.contacts.len() >= self.peers_max {
            return tracing::warn!(%peer, "the room has more members than are connected to");
        }
        let calls = own < peer;
        let address = PeerAddress::new(peer.as_str());
        let line = self.lines.get(&address).copied();
        if let Some(line) = line {
            self.calls.get_mut(&line).expect("a line is a call").peer = Some(peer.clone());
            self.look_for_another_way(line, now);
        }
        self.addresses.entry(address.clone()).or_insert_with(|| peer.clone());
        let contact = Contact { address, call: line, failures: 0, dials: false, replaces: None };
        self.contacts.insert(peer.clone(), contact);
        if calls && line.is_none() {
            self.dial_at(peer, now);
        }
    }

    /// Attempts end, connections go on.
    pub(crate) fn peer_left(&mut self, peer: &PeerId, now: Duration) {
        let Some(contact) = self.contacts.remove(peer) else { return };
        if self.addresses.get(&contact.address) == Some(peer) {
            self.addresses.remove(&contact.address);
        }
        if let Some(line) = self.lines.get(&contact.address).and_then(|line| self.calls.get_mut(line))
            && line.peer.as_ref() == Some(peer)
        {
            line.peer = None;
        }
        if let Some(call) = contact.call.filter(|call| self.calls.get(call).is_some_and(|call| !call.open)) {
            self.effects.push(Effect::Close(call));
            self.forget(call, now);
        }
    }

    /// The other side of a connection that has ended is to be called again, if that is for this side to do.
    pub(crate) fn redial(&mut self, address: &PeerAddress, now: Duration) {
        let Some(peer) = self.addresses.get(address).cloned() else { return };
        let is_caller = self.own.as_ref().is_some_and(|own| *own < peer);
        if planted!(EndedLineNotRedialed) {
            return;
        }
        let contact = &self.contacts[&peer];
        if is_caller && contact.call.is_none() && !self.lines.contains_key(address) {
            self.dial_at(&peer, now);
        }
    }

    pub(crate) fn signal(
        &mut self,
        from: &PeerId,
        connection: Option<&ConnectionId>,
        signal: Signal,
        now: Duration,
    ) {
        if !self.contacts.contains_key(from) {
            return tracing::debug!(%from, "a signal of somebody who is not in the room is ignored");
        }
        match signal {
            Signal::Offer { sdp, peerloom } => self.offered(from, connection, sdp, peerloom, now),
            Signal::Connected { peerloom, connection } => self.connected(from, &peerloom, &connection, now),
            Signal::Unknown => {}
            signal => {
                let Some(call) = self.call_of(from, connection) else { return };
                self.recognize(from, call, now);
                match &signal {
                    Signal::Answer { peerloom: Some(claim), .. } if !self.calls[&call].open => {
                        self.claim(from, claim);
                        let address = self.contacts[from].address.clone();
                        self.calls.get_mut(&call).expect("just found").address = address;
                    }
                    Signal::Renegotiate { .. } => return self.wants_way(call, now),
                    _ => {}
                }
                self.effects.push(Effect::Deliver(call, signal));
            }
        }
    }

    /// A call has something to say to the other side.
    pub(crate) fn outgoing(&mut self, call: CallId, mut signal: Signal) {
        let Some(Call { peer: Some(peer), connection, replaces, .. }) = self.calls.get(&call) else { return };
        if let Signal::Offer { peerloom, .. } | Signal::Answer { peerloom, .. } = &mut signal {
            *peerloom = self.member.clone().map(|member| Claim { member, replaces: replaces.clone() });
        }
        self.effects.push(Effect::Send { to: peer.clone(), connection: connection.clone(), signal });
    }

    /// The call is open. Returns the address of the other side, unless the call is no longer wanted.
    pub(crate) fn opened(&mut self, id: CallId, now: Duration) -> Option<PeerAddress> {
        let call = self.calls.get_mut(&id)?;
        call.open = true;
        call.replaces = None;
        let address = call.address.clone();
        if call.caller {
            self.dialing -= 1;
        }
        if let Some(contact) = call.peer.as_ref().and_then(|peer| self.contacts.get_mut(peer)) {
            contact.failures = 0;
            contact.replaces = None;
        }
        if let Some(older) = self.lines.insert(address.clone(), id) {
            self.effects.push(Effect::Close(older));
            self.forget(older, now);
        }
        self.dial_waiting(now);
        Some(address)
    }

    /// The open call to an address.
    pub(crate) fn line(&self, address: &PeerAddress) -> Option<CallId> {
        self.lines.get(address).copied()
    }

    /// The call is over, or carries no messages any more.
    pub(crate) fn ended(&mut self, id: CallId, now: Duration) {
        match self.calls.get(&id) {
            Some(call) if call.open => self.forget(id, now),
            Some(_) => self.failed(id, now),
            None => {}
        }
    }

    /// The call hears the other side.
    pub(crate) fn steady(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.disturbed = false;
        }
    }

    /// The call does not hear the other side.
    pub(crate) fn disturbed(&mut self, id: CallId, now: Duration) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.disturbed = true;
            self.wants_way(id, now);
        }
    }

    /// The addresses of this machine are others than before.
    pub(crate) fn network_changed(&mut self, now: Duration) {
        self.moved = true;
        for line in self.lines.values().copied().collect::<Vec<_>>() {
            self.wants_way(line, now);
        }
    }

    fn offered(
        &mut self,
        from: &PeerId,
        connection: Option<&ConnectionId>,
        sdp: String,
        claim: Option<Claim>,
        now: Duration,
    ) {
        if let Some(call) = self.call_of(from, connection) {
            let Call { caller, open, .. } = self.calls[&call];
            // Without an id, an offer to an attempt is another attempt.
            if !caller && (open || connection.is_some()) {
                self.recognize(from, call, now);
                return self.effects.push(Effect::Deliver(call, Signal::Offer { sdp, peerloom: claim }));
            }
        }
        if self.own.as_ref().is_some_and(|own| own < from) {
            return tracing::debug!(%from, "an offer is ignored, because it is for this side to call");
        }
        if connection.is_some_and(|connection| self.connections.contains_key(connection)) {
            return tracing::debug!(%from, "an offer is ignored, because its connection is that of somebody else");
        }
        if let Some(claim) = &claim {
            self.claim(from, claim);
        }
        let contact = &self.contacts[from];
        let address = contact.address.clone();
        let line = self.lines.get(&address).map(|line| &self.calls[line]);
        let replaces = claim.as_ref().and_then(|claim| claim.replaces.as_ref());
        // Who offers may not know that this is the other end of a connection that they have, because it is under a new id.
        if let Some(Call { connection: Some(known), peer, known_as, .. }) = line
            && (peer.as_ref() != Some(from) || *known_as != self.own)
            && replaces != Some(known)
            && let Some(member) = self.member.clone()
        {
            let peerloom = Claim { member, replaces: None };
            let signal = Signal::Connected { peerloom, connection: known.clone() };
            return self.effects.push(Effect::Send {
                to: from.clone(),
                connection: connection.cloned(),
                signal,
            });
        }
        self.drop_attempt(from, now);
        let dialect = crate::call::dialect(claim.as_ref());
        let call = self.begin(from, connection.cloned(), Role::Called, now);
        self.effects.push(Effect::Answer { call, sdp, dialect });
    }

    /// The call that a signal of a contact is for.
    fn call_of(&self, from: &PeerId, connection: Option<&ConnectionId>) -> Option<CallId> {
        match connection {
            Some(connection) => {
                let call = *self.connections.get(connection)?;
                let Call { peer, open, .. } = &self.calls[&call];
                // The other end of an open one may be heard under another id, even before the server knows that it lost the
                // one before.
                (peer.as_ref() == Some(from) || *open).then_some(call)
            }
            None => self.contacts[from].call,
        }
    }

    fn set_timer(&mut self, at: Duration, timer: Timer) {
        self.timers_made += 1;
        self.timers.insert((at, self.timers_made), timer);
    }
}

#[cfg(test)]
mod tests;
