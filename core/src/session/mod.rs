//! A session: one run of the protocol over one connection, as a state machine.
//!
//! [`Session::handle`] takes what happened and says what to do; [`Session::transmit`] gives the frames to
//! send; [`Session::deadline`] tells when to call again at the latest. It knows the transport only as frames and the store only as
//! effects, so whoever drives it chooses both.
//!
//! Both sides do the same. After the handshake each offers its collections; for each that both offer there is a link
//! with a source half, which serves the local changefeed, and a sink half, which pulls the peer's.

mod heard;
mod interface;
mod left_out;
mod limits;
mod link;
mod phase;
mod reason;
mod relaying;
mod sink;
mod source;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use bytes::Bytes;

pub use interface::{
    APPLIES_MAX, Admission, Capabilities, CollectionIndex, Effect, Event, Input, Newcomer, Scanned,
    SessionConfig, SessionCounters, Share,
};
pub use limits::SessionLimits;
pub use reason::{CloseReason, Refusal, Violation};

use crate::feed::Sequence;
use crate::id::ReplicaId;
use crate::replica::Applied;
use crate::time::Now;
use crate::wire::{
    Assembler, CLAIM_BYTES_MAX, Farewell, Fragments, Hello, Message, NAME_BYTES_MAX, OfferIndex,
    PROTOCOL_VERSION,
};
use link::Link;
use phase::Phase;

/// Above this many bytes waiting to be sent, nothing is added that can wait.
const BACKLOG_BYTES_MAX: usize = 512 << 10;

/// One run of the protocol over one connection.
#[derive(Clone, Debug)]
pub struct Session {
    config: SessionConfig,
    phase: Phase,
    started_at: Duration,
    own_hello: Bytes,
    assembler: Assembler,
    outbox: VecDeque<Fragments>,
    outbox_bytes: usize,
    /// A Pong waits in the outbox: one answers any number of Pings.
    pong_waits: bool,
    /// Something was put off because too much waits to be sent.
    backlogged: bool,
    heard_at: Duration,
    sent_at: Duration,
    links: Vec<Link>,
    /// The link for each of the peer's offers.
    offered: BTreeMap<OfferIndex, usize>,
    /// Offers of collections that we do not share, kept until we do.
    unmatched: Vec<crate::wire::Offer>,
    offers_received: usize,
    /// Once the peer's offers have come, what is not among them was told.
    compared: bool,
    counters: SessionCounters,
    caught_up: bool,
    tag: Vec<u8>,
}

/// Hashes what decides how the session goes on, not who holds it nor how much it has moved: a model checker takes
/// two sessions that will act alike for one.
impl Hash for Session {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self {
            config: _,
            own_hello: _,
            counters: _,
            tag: _,
            phase,
            started_at,
            assembler,
            outbox,
            outbox_bytes,
            pong_waits,
            backlogged,
            heard_at,
            sent_at,
            links,
            offered,
            unmatched,
            offers_received,
            compared,
            caught_up,
        } = self;
        (phase, links, offered, unmatched, offers_received, compared, caught_up).hash(hasher);
        (assembler, outbox, outbox_bytes, pong_waits, backlogged).hash(hasher);
        (started_at, heard_at, sent_at).hash(hasher);
    }
}

impl Session {
    /// Begins a session on a connection that was just made.
    ///
    /// # Panics
    ///
    /// If the claim is longer than [`CLAIM_BYTES_MAX`](crate::CLAIM_BYTES_MAX).
    pub fn new(config: SessionConfig, now: Now) -> Self {
        assert!(config.claim.len() <= CLAIM_BYTES_MAX, "claims are bounded");
        let hello = Message::Hello(Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            public_key: config.identity.public_key(),
            opening: config.opening,
            nonce: config.nonce,
            message_bytes_max: config.limits.message_bytes_max,
            capabilities: config.capabilities,
        });
        let own_hello = hello.encode();
        let mut session = Self {
            config,
            phase: Phase::Greeting,
            started_at: now.monotonic,
            own_hello: own_hello.clone(),
            assembler: Assembler::default(),
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            pong_waits: false,
            backlogged: false,
            heard_at: now.monotonic,
            sent_at: now.monotonic,
            links: Vec::new(),
            offered: BTreeMap::new(),
            unmatched: Vec::new(),
            offers_received: 0,
            compared: false,
            counters: SessionCounters::default(),
            caught_up: false,
            tag: Vec::new(),
        };
        session.enqueue(own_hello);
        session
    }

    /// Takes what happened; appends what to do.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if let Err(reason) = self.take(now, input, effects).and_then(|()| self.go_on(now, effects)) {
            self.close(reason, effects);
        }
    }

    /// The next frame to send.
    pub fn transmit(&mut self, now: Now) -> Option<Bytes> {
        let message = self.outbox.front_mut()?;
        let before = message.bytes_left();
        let (frame, last) = message.next(self.config.frame_bytes_max);
        self.outbox_bytes -= before - message.bytes_left();
        if last {
            self.outbox.pop_front();
        }
        self.pong_waits &= !self.outbox.is_empty();
        self.sent_at = now.monotonic;
        self.counters.bytes_sent += frame.len() as u64;
        Some(frame)
    }

    /// When [`Input::Tick`] is due at the latest, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        let limits = &self.config.limits;
        match self.phase {
            Phase::Closed => None,
            Phase::Greeting | Phase::Proving { .. } | Phase::Claiming { .. } => {
                Some(self.started_at + limits.handshake_timeout)
            }
            Phase::Admitting { since, .. } => {
                let decided_at = since + limits.admission_timeout;
                self.ping_at().into_iter().chain([self.silent_at(), decided_at]).min()
            }
            Phase::Open { .. } if self.backlogged && self.outbox_bytes <= BACKLOG_BYTES_MAX / 2 => {
                Some(Duration::ZERO)
            }
            Phase::Open { .. } => {
                let links = self.links.iter().filter(|_| !self.backlogged).filter_map(Link::deadline);
                links.chain(self.ping_at()).chain([self.silent_at()]).min()
            }
        }
    }

    /// When a sign of life is due, unless something is on its way.
    fn ping_at(&self) -> Option<Duration> {
        if planted!(NoKeepAliveWhenCaughtUp) && self.caught_up {
            return None;
        }
        self.outbox.is_empty().then_some(self.sent_at + self.config.limits.keep_alive_interval)
    }

    /// When the peer counts as gone, if it is not heard and nothing gets sent.
    fn silent_at(&self) -> Duration {
        let since = match self.outbox.is_empty() {
            _ if planted!(SentCountsAsHeard) => self.heard_at.max(self.sent_at),
            true => self.heard_at,
            false => self.heard_at.min(self.sent_at),
        };
        since + self.config.limits.silence_max
    }

    /// Who is at the other end, once that is proven and admitted.
    pub fn peer(&self) -> Option<ReplicaId> {
        match self.phase {
            Phase::Open { peer, .. } => Some(peer),
            _ => None,
        }
    }

    /// Whether every collection shared with the peer is caught up both ways: everything committed here is durable there,
    /// and the peer has said that there is nothing left to get from it.
    pub fn is_caught_up(&self) -> bool {
        let Phase::Open { offers, .. } = self.phase else { return false };
        let mut matched = self.links.iter().filter(|link| link.is_matched());
        self.offers_received >= offers as usize && matched.all(Link::is_caught_up)
    }

    /// Whether [`Session::transmit`] has a frame to give.
    pub fn wants_to_send(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// A value that both ends of this connection have alike, and that no other connection has, once the peer is known. Of two
    /// connections to one peer, the one with the larger tag is kept.
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }

    /// The end of a collection's changefeed as of the last [`Input::Committed`].
    pub fn end(&self, collection: CollectionIndex) -> Sequence {
        self.links[collection.0].end()
    }

    /// How much it has moved.
    pub fn counters(&self) -> SessionCounters {
        self.counters
    }

    fn take(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) -> Result<(), CloseReason> {
        match input {
            Input::Received(frame) => return self.received(now, &frame, effects),
            Input::Share(share) => self.share(share, effects),
            Input::Committed { collection, snapshot, direct } => {
                let delay = self.config.limits.update_delay;
                self.links[collection.0].committed(now.monotonic, snapshot, direct, delay);
            }
            Input::CheckpointLoaded { collection, checkpoint } => {
                let pull = self.links[collection.0].begin_pull(checkpoint, &self.config.limits);
                self.send(&pull);
            }
            Input::Scanned { collection, snapshot, records } => {
                let source = &mut self.links[collection.0].source;
                source.scanned(&snapshot, records);
                effects.extend(
                    source
                        .too_large
                        .drain(..)
                        .map(|(id, bytes)| Effect::Report(Event::DocumentTooLarge { collection, id, bytes })),
                );
            }
            Input::Applied { applied: Applied { forged: Some(id), .. }, .. } => {
                return Err(CloseReason::Violation(Violation::ForgedWrite { id }));
            }
            Input::Applied { collection, applied } => {
                self.counters.documents_duplicate += applied.duplicates as u64;
                for message in self.links[collection.0].applied(now.monotonic, applied) {
                    self.send(&message);
                }
            }
            Input::StorageFailed { detail } => return Err(CloseReason::StorageFailed(detail)),
            Input::Admitted => self.admitted(effects),
            Input::Refuse(refusal) => return Err(CloseReason::Refused(refusal)),
            Input::Rechecking => return Err(CloseReason::Rechecking),
            Input::Leave => return Err(CloseReason::Left),
            Input::ConnectionLost => return Err(CloseReason::ConnectionLost),
            Input::Tick => {}
        }
        Ok(())
    }

    /// What can be done now, whatever happened.
    fn go_on(&mut self, now: Now, effects: &mut Vec<Effect>) -> Result<(), CloseReason> {
        self.watch_the_time(now)?;
        let Phase::Open { offers, .. } = self.phase else { return Ok(()) };
        if self.offers_received >= offers as usize && !core::mem::replace(&mut self.compared, true) {
            let lacking = self.links.iter().filter(|link| !link.is_offered()).map(Link::collection);
            effects.extend(lacking.map(|collection| Effect::Report(Event::NotShared { collection })));
        }
        self.backlogged = false;
        for index in 0..self.links.len() {
            while !self.backlogged {
                if self.outbox_bytes > BACKLOG_BYTES_MAX {
                    self.backlogged = true;
                    break;
                }
                let Some(step) = self.links[index].step(now.monotonic, &self.config.limits) else { break };
                match step {
                    link::Step::Send(message) => {
                        if let Message::Changes(changes) = &message {
                            self.counters.documents_sent += changes.documents.len() as u64;
                        }
                        self.send(&message);
                    }
                    link::Step::Do(effect) => effects.push(effect),
                }
            }
        }
        let caught_up = self.is_caught_up();
        if caught_up && !self.caught_up {
            effects.push(Effect::Report(Event::CaughtUp));
        }
        self.caught_up = caught_up;
        Ok(())
    }

    fn watch_the_time(&mut self, now: Now) -> Result<(), CloseReason> {
        let limits = &self.config.limits;
        match self.phase {
            Phase::Open { .. } => {}
            Phase::Admitting { since, .. } => {
                if now.monotonic >= since + limits.admission_timeout {
                    let why = "no decision was made in time".to_string();
                    return Err(CloseReason::Refused(Refusal::Denied(why)));
                }
            }
            _ => {
                let late = now.monotonic >= self.started_at + limits.handshake_timeout;
                return if late { Err(CloseReason::HandshakeTimedOut) } else { Ok(()) };
            }
        }
        if now.monotonic >= self.silent_at() {
            return Err(CloseReason::Silent);
        }
        if self.ping_at().is_some_and(|at| at <= now.monotonic) {
            self.send(&Message::Ping);
        }
        Ok(())
    }

    fn share(&mut self, share: Share, effects: &mut Vec<Effect>) {
        let names = [Some(&share.handler), share.filter.as_ref()];
        let short = names.into_iter().flatten().all(|name| name.len() <= NAME_BYTES_MAX);
        assert!(short, "the names of handlers and filters are bounded");
        let index = self.links.len();
        let mut link = Link::new(CollectionIndex(index), share);
        if matches!(self.phase, Phase::Open { .. }) {
            self.send(&Message::Offer(link.offer()));
        }
        self.links.push(link);
        if matches!(self.phase, Phase::Open { .. }) {
            self.match_waiting(index, effects);
        }
    }

    /// Matches a link with the offer that came before it, if one did.
    fn match_waiting(&mut self, index: usize, effects: &mut Vec<Effect>) {
        if let Some(position) =
            self.unmatched.iter().position(|offer| offer.name == *self.links[index].name())
        {
            let offer = self.unmatched.swap_remove(position);
            self.match_offer(index, offer, effects);
        }
    }

    /// Spread by up to a factor of two, so that a replica asks one peer first and the others see it progress.
    fn graft_delay(&self) -> Duration {
        let delay = self.config.limits.graft_delay;
        delay + delay * u32::from(self.config.nonce[0]) / 256
    }

    fn send(&mut self, message: &Message) {
        self.enqueue(message.encode());
    }

    fn enqueue(&mut self, message: Bytes) {
        self.outbox_bytes += message.len();
        self.outbox.push_back(Fragments::new(message));
    }

    /// Says why, as far as the peer should know, and ends.
    fn close(&mut self, reason: CloseReason, effects: &mut Vec<Effect>) {
        let farewell = match &reason {
            CloseReason::Left => Some(Farewell::Left),
            CloseReason::Refused(refusal) => Some(Farewell::Refused(refusal.clone())),
            CloseReason::Violation(violation) => Some(Farewell::Violation(violation.to_string())),
            CloseReason::Rechecking => Some(Farewell::Failed("it compares everything again".to_string())),
            CloseReason::StorageFailed(_) => Some(Farewell::Failed("its storage failed".to_string())),
            CloseReason::HandshakeTimedOut => {
                Some(Farewell::Failed("the handshake took too long".to_string()))
            }
            _ => None,
        };
        // A message that is partly sent is finished, the others are not worth sending any more.
        self.outbox.retain(Fragments::is_begun);
        self.outbox_bytes = self.outbox.iter().map(Fragments::bytes_left).sum();
        if let Some(farewell) = farewell {
            self.send(&Message::Close(farewell));
        }
        self.phase = Phase::Closed;
        effects.push(Effect::Close(reason));
    }
}
