//! The rooms: who is in which, who hears what, and who has to go.
//!
//! A state machine without sockets, clocks or randomness. Its owner tells it what happened ([`Rooms::handle`]), wakes
//! the peers that it names, and hands them what [`Rooms::take`] gives; it wakes the machine itself at
//! [`Rooms::deadline`]. The same inputs give the same outputs.
//!
//! What one peer does costs others nothing: a join or a leave is one small message for each member; full lists, which
//! stock peers need, are sent at most once in [`Limits::list_interval`]; a signal that its receiver has no place for is
//! dropped, and the connection that ends is that of the sender who floods. When memory runs out, the peer with most
//! waiting for it goes, and after it the next.
//!
//! ```
//! use std::time::Duration;
//! use peerloom_signaling::message::PeerId;
//! use peerloom_signaling::rooms::{Input, Now, Outgoing, Rooms, RoomsOptions};
//!
//! let mut rooms = Rooms::new(RoomsOptions::default());
//! let now = Now { monotonic: Duration::ZERO, unix: Duration::from_secs(1_700_000_000) };
//! let peer = PeerId::from_number(7);
//! let mut woken = Vec::new();
//! rooms.handle(now, Input::Connected { peer, permit: Default::default() }, &mut woken);
//! rooms.handle(now, Input::Message { peer, text: r#"{"type":"join","room":"our-notes"}"# }, &mut woken);
//! assert_eq!(woken, [peer]);
//! let Some(Outgoing::Message(init)) = rooms.take(now, peer) else { panic!("the first message is `init`") };
//! assert!(init.starts_with(br#"{"type":"init","yourPeerId":"aaaaaaaaaaah""#));
//! let Some(Outgoing::Message(joined)) = rooms.take(now, peer) else { panic!("it has joined") };
//! assert_eq!(&joined[..], br#"{"type":"joined","otherPeerIds":["aaaaaaaaaaah"]}"#);
//! ```

mod bucket;
mod lifetime;
mod limits;
mod membership;
mod queue;
mod room;
mod statistics;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde::de::IgnoredAny;

use lifetime::{Closing, Peer};
pub use limits::{CONNECTION_BYTES, Limits, MEMBERSHIP_COST};
use queue::Offered;
use room::Room;
pub use statistics::Statistics;

use crate::close::CloseReason;
use crate::message::{ClientMessage, PeerId, RoomName, ServerMessage, Signal};
use crate::permit::{Permit, StockPeers};
use crate::turn::Turn;

/// How rooms behave.
#[derive(Clone, Debug, Default)]
pub struct RoomsOptions {
    /// The bounds.
    pub limits: Limits,
    /// What becomes of stock peers whose permit does not say.
    pub stock_peers: StockPeers,
    /// A TURN server for all peers.
    pub turn: Option<Turn>,
}

/// An instant, by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// By a clock that never goes back.
    pub monotonic: Duration,
    /// Since the Unix epoch.
    pub unix: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A peer was let in. It must not be connected already.
    Connected {
        /// Its id, drawn at random.
        peer: PeerId,
        /// What it may do.
        permit: Permit,
    },
    /// A peer sent a text message.
    Message {
        /// Who.
        peer: PeerId,
        /// The message.
        text: &'a str,
    },
    /// A peer sent something that is no message but shows that it is alive. Counts as a message.
    Alive {
        /// Who.
        peer: PeerId,
    },
    /// A peer broke a rule that shows before its message is whole.
    Violation {
        /// Who.
        peer: PeerId,
        /// The rule.
        reason: CloseReason,
    },
    /// The connection is gone. The last input of a peer.
    Disconnected {
        /// Who.
        peer: PeerId,
    },
    /// Time has passed.
    Tick,
    /// The server is shutting down: everybody is sent what still waits for them, and then closed.
    Stop,
}

/// What to do with a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outgoing {
    /// Send this JSON text. Counts as on its way until the next [`Rooms::take`].
    Message(Bytes),
    /// Close the connection. The last that is taken for a peer.
    Close(CloseReason),
}

/// All rooms of a server. See the [module](self).
#[derive(Debug)]
pub struct Rooms {
    options: RoomsOptions,
    peers: BTreeMap<PeerId, Peer>,
    rooms: BTreeMap<RoomName, Room>,
    timers: BTreeSet<(Duration, Timer)>,
    /// Whom the input at hand has condemned. Closing one can condemn the next.
    condemned: VecDeque<(PeerId, CloseReason)>,
    stopping: bool,
    statistics: Statistics,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Timer {
    Peer(PeerId),
    Lists(RoomName),
}

impl Rooms {
    /// Rooms without peers.
    pub fn new(options: RoomsOptions) -> Self {
        Self {
            options,
            peers: BTreeMap::new(),
            rooms: BTreeMap::new(),
            timers: BTreeSet::new(),
            condemned: VecDeque::new(),
            stopping: false,
            statistics: Statistics::default(),
        }
    }

    /// Takes note of what happened. Appends the peers for which there is something to [`take`](Self::take) now and was
    /// nothing before.
    pub fn handle(&mut self, now: Now, input: Input<'_>, woken: &mut Vec<PeerId>) {
        match input {
            Input::Connected { peer, permit } => self.connect(now, peer, permit, woken),
            Input::Message { peer, text } => self.receive(now, peer, Some(text), woken),
            Input::Alive { peer } => self.receive(now, peer, None, woken),
            Input::Violation { peer, reason } => self.condemned.push_back((peer, reason)),
            Input::Disconnected { peer } => self.disconnect(now, peer, woken),
            Input::Tick => self.tick(now, woken),
            Input::Stop => self.stop(woken),
        }
        self.execute(now, woken);
    }

    /// What to do next with a peer's connection. `None` until the peer is woken.
    pub fn take(&mut self, now: Now, peer: PeerId) -> Option<Outgoing> {
        let member = self.peers.get_mut(&peer)?;
        let before = member.queue.bytes();
        let text = member.queue.take(now.monotonic);
        self.statistics.memory_bytes -= before - member.queue.bytes();
        if let Some(text) = text {
            self.statistics.messages_sent_total += 1;
            self.arm(peer);
            return Some(Outgoing::Message(text));
        }
        match member.closing {
            Some(Closing::Pending(reason)) => {
                member.closing = Some(Closing::Taken);
                Some(Outgoing::Close(reason))
            }
            Some(Closing::Taken) | None => None,
        }
    }

    /// Whether a message on its way to this peer is not worth waiting for, because its connection is to be closed for
    /// something it did.
    pub fn is_cut(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| match peer.closing {
            Some(Closing::Pending(reason)) => reason != CloseReason::ServerStopping,
            Some(Closing::Taken) | None => false,
        })
    }

    /// When to handle [`Input::Tick`], by the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// Whether a peer has this id.
    pub fn contains(&self, peer: PeerId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// Whether one more peer would be let in, or closed at once for lack of memory.
    pub fn admits(&self) -> bool {
        let needed = self.statistics.memory_bytes + self.options.limits.connection_bytes();
        !self.stopping && needed <= self.options.limits.memory_bytes_max.get()
    }

    /// Whether there was an [`Input::Stop`].
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// What was counted, and how much there is.
    pub fn statistics(&self) -> Statistics {
        Statistics { peers: self.peers.len(), rooms: self.rooms.len(), ..self.statistics.clone() }
    }

    /// `None` for what is not a message.
    fn receive(&mut self, now: Now, id: PeerId, text: Option<&str>, woken: &mut Vec<PeerId>) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.closing.is_none()) else { return };
        peer.heard_at = now.monotonic;
        self.statistics.messages_received_total += 1;
        let text = text.unwrap_or(r#"{"type":"ping"}"#);
        if let Err(reason) = self.obey(now, id, text, woken) {
            self.condemned.push_back((id, reason));
        }
    }

    /// Does what a message asks for, or says which rule it breaks.
    fn obey(&mut self, now: Now, id: PeerId, text: &str, woken: &mut Vec<PeerId>) -> Result<(), CloseReason> {
        if text.len() > self.options.limits.message_bytes_max.get() {
            return Err(CloseReason::MessageTooLarge);
        }
        self.spend(now, id, 1)?;
        let message = serde_json::from_str::<ClientMessage<IgnoredAny>>(text)
            .map_err(|_| CloseReason::MalformedMessage)?;
        match message {
            ClientMessage::Join { room, peerloom } => {
                self.spend(now, id, MEMBERSHIP_COST - 1)?;
                self.join(now, id, &room, peerloom, woken)
            }
            ClientMessage::Leave { room } => {
                self.spend(now, id, MEMBERSHIP_COST - 1)?;
                self.leave(now, id, &room, woken);
                Ok(())
            }
            ClientMessage::Signal(signal) => self.signal(id, &signal, text, woken),
            ClientMessage::Ping => Ok(()),
        }
    }

    fn spend(&mut self, now: Now, id: PeerId, messages: u32) -> Result<(), CloseReason> {
        let peer = self.peers.get_mut(&id).expect("who sends is connected");
        if peer.bucket.take(now.monotonic, messages, &self.options.limits) {
            Ok(())
        } else {
            Err(CloseReason::TooManyMessages)
        }
    }

    fn signal(
        &mut self,
        id: PeerId,
        signal: &Signal<IgnoredAny>,
        text: &str,
        woken: &mut Vec<PeerId>,
    ) -> Result<(), CloseReason> {
        if signal.sender_peer_id != id {
            return Err(CloseReason::SpoofedSender);
        }
        let receiver_id = signal.receiver_peer_id;
        let connected = self.rooms.get(&signal.room).is_some_and(|room| room.connects(id, receiver_id));
        // A receiver that is gone is not the sender's fault: they may have left at the same time.
        if !connected {
            self.statistics.signals_dropped_total += 1;
            return Ok(());
        }
        let receiver = self.peers.get_mut(&receiver_id).expect("a member of a room is connected");
        let before = receiver.queue.bytes();
        let was_empty = receiver.queue.is_empty();
        match receiver.queue.offer(text, id, &self.options.limits) {
            Offered::Queued => {
                self.statistics.memory_bytes += receiver.queue.bytes() - before;
                self.statistics.signals_relayed_total += 1;
                if was_empty {
                    woken.push(receiver_id);
                }
                Ok(())
            }
            Offered::Full => {
                self.statistics.signals_dropped_total += 1;
                Ok(())
            }
            Offered::SenderFloods => Err(CloseReason::TooManyMessages),
        }
    }

    /// Queues one message for several peers, who share its bytes.
    fn send(&mut self, readers: &[PeerId], message: &ServerMessage, woken: &mut Vec<PeerId>) {
        if readers.is_empty() {
            return;
        }
        let text = Bytes::from(serde_json::to_vec(message).expect("a message is JSON"));
        for &id in readers {
            let peer = self.peers.get_mut(&id).expect("a member of a room is connected");
            let before = peer.queue.bytes();
            if peer.queue.is_empty() {
                woken.push(id);
            }
            peer.queue.push(text.clone());
            self.statistics.memory_bytes += peer.queue.bytes() - before;
            // A message that is alone always fits, however small the limit.
            if before > 0 && peer.queue.bytes() > self.options.limits.queue_bytes_max.get() {
                self.condemned.push_back((id, CloseReason::SlowReader));
            }
        }
    }
}
