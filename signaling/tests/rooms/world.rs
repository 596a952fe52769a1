//! Rooms with peers that read what they are sent, on a clock that the test moves.

use std::collections::BTreeMap;
use std::time::Duration;

use peerloom_signaling::message::{ClientMessage, Signal};
use peerloom_signaling::permit::Permit;
use peerloom_signaling::rooms::{Input, Now, Outgoing, Rooms, RoomsOptions};
use peerloom_signaling::{CloseReason, PeerId, RoomName, ServerMessage};

pub(crate) const EPOCH: Duration = Duration::from_secs(1_700_000_000);

pub(crate) struct World {
    pub(crate) rooms: Rooms,
    pub(crate) elapsed: Duration,
    pub(crate) received: BTreeMap<PeerId, Vec<ServerMessage>>,
    pub(crate) closed: BTreeMap<PeerId, CloseReason>,
    /// Who takes nothing.
    pub(crate) deaf: Vec<PeerId>,
}

pub(crate) fn peer(number: u64) -> PeerId {
    PeerId::from_number(number)
}

pub(crate) fn room(number: u64) -> RoomName {
    format!("room-{number}").parse().unwrap()
}

pub(crate) fn stock_join(room: RoomName) -> ClientMessage {
    ClientMessage::Join { room, peerloom: None }
}

impl World {
    pub(crate) fn new(options: RoomsOptions) -> Self {
        Self {
            rooms: Rooms::new(options),
            elapsed: Duration::ZERO,
            received: BTreeMap::new(),
            closed: BTreeMap::new(),
            deaf: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now { monotonic: self.elapsed, unix: EPOCH + self.elapsed }
    }

    pub(crate) fn connect(&mut self, peer: PeerId) {
        self.connect_with(peer, Permit::default());
    }

    pub(crate) fn connect_with(&mut self, peer: PeerId, permit: Permit) {
        self.handle(Input::Connected { peer, permit });
    }

    pub(crate) fn say(&mut self, peer: PeerId, message: &ClientMessage) {
        let text = serde_json::to_string(message).unwrap();
        self.handle(Input::Message { peer, text: &text });
    }

    pub(crate) fn signal(&mut self, from: PeerId, claimed: PeerId, to: PeerId, room: RoomName, data: &str) {
        let signal = Signal {
            room,
            sender_peer_id: claimed,
            receiver_peer_id: to,
            data: data.into(),
            connection_id: None,
        };
        self.say(from, &ClientMessage::Signal(signal));
    }

    /// Moves the clock and ticks whenever the rooms ask for it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.elapsed + time;
        while let Some(due) = self.rooms.deadline().filter(|&due| due <= until) {
            self.elapsed = self.elapsed.max(due);
            self.handle(Input::Tick);
        }
        self.elapsed = until;
    }

    pub(crate) fn handle(&mut self, input: Input<'_>) {
        let mut woken = Vec::new();
        self.rooms.handle(self.now(), input, &mut woken);
        for peer in woken {
            if !self.deaf.contains(&peer) {
                self.read(peer);
            }
        }
    }

    /// Takes all there is for a peer.
    pub(crate) fn read(&mut self, peer: PeerId) {
        while let Some(outgoing) = self.rooms.take(self.now(), peer) {
            match outgoing {
                Outgoing::Message(text) => {
                    let message = serde_json::from_slice(&text).unwrap();
                    self.received.entry(peer).or_default().push(message);
                }
                Outgoing::Close(reason) => {
                    assert!(self.closed.insert(peer, reason).is_none(), "a peer is closed once");
                }
            }
        }
    }

    pub(crate) fn forget_received(&mut self) {
        self.received.clear();
    }

    pub(crate) fn received_by(&self, peer: PeerId) -> &[ServerMessage] {
        self.received.get(&peer).map_or(&[], Vec::as_slice)
    }
}
