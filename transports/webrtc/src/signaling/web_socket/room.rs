//! What a connection to the server knows of the room: messages of the server become events, and signals become messages.
//!
//! Decides, and waits for nothing.

use std::collections::BTreeSet;

use peerloom_signaling::message::{ClientMessage, Member, ServerMessage, Signal as Passed, TurnServer};
use peerloom_signaling::{PeerId as ServerPeerId, RoomName};

use crate::options::IceServer;
use crate::signal::{ConnectionId, PeerId, Signal};
use crate::signaling::SignalingEvent;

/// A signal for another member.
pub(super) struct Outgoing {
    pub(super) to: PeerId,
    pub(super) connection: Option<ConnectionId>,
    pub(super) signal: Signal,
}

/// What a connection to the server knows of the room.
pub(super) struct Room {
    own: ServerPeerId,
    name: RoomName,
    members: BTreeSet<ServerPeerId>,
    joined: bool,
}

impl Room {
    pub(super) fn new(own: ServerPeerId, name: RoomName) -> Self {
        Self { own, name, members: BTreeSet::new(), joined: false }
    }

    /// What a message of the server means.
    pub(super) fn heard(&mut self, text: &str) -> Vec<SignalingEvent> {
        match serde_json::from_str(text) {
            // RxDB's server says all of it each time. It does not say for which room, but this connection has but one.
            Ok(ServerMessage::Joined { other_peer_ids }) => self.listed(other_peer_ids.into_iter().collect()),
            Ok(ServerMessage::Members { room, members }) if room == self.name => {
                self.listed(members.into_iter().map(|Member { peer_id, .. }| peer_id).collect())
            }
            Ok(ServerMessage::MemberJoined { room, member: Member { peer_id, .. } })
                if room == self.name && self.joined =>
            {
                let is_new = peer_id != self.own && self.members.insert(peer_id);
                is_new.then(|| SignalingEvent::PeerJoined(peer(peer_id))).into_iter().collect()
            }
            Ok(ServerMessage::MemberLeft { room, peer_id }) if room == self.name => {
                let was_there = self.members.remove(&peer_id);
                was_there.then(|| SignalingEvent::PeerLeft(peer(peer_id))).into_iter().collect()
            }
            Ok(ServerMessage::Signal(Passed {
                room,
                sender_peer_id,
                receiver_peer_id,
                data,
                connection_id,
            })) if room == self.name && receiver_peer_id == self.own => match serde_json::from_value(data) {
                Ok(signal) => vec![SignalingEvent::Signal {
                    from: peer(sender_peer_id),
                    connection: connection_id.map(|id| ConnectionId::new(&id)),
                    signal,
                }],
                Err(error) => {
                    tracing::debug!(%error, from = %sender_peer_id, "a signal is not understood");
                    Vec::new()
                }
            },
            Ok(ServerMessage::Turn { turn }) => vec![ice_servers(turn)],
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::debug!(%error, "a message of the server is not understood");
                Vec::new()
            }
        }
    }

    fn listed(&mut self, mut members: BTreeSet<ServerPeerId>) -> Vec<SignalingEvent> {
        members.remove(&self.own);
        let former = std::mem::replace(&mut self.members, members);
        if !std::mem::replace(&mut self.joined, true) {
            let peers = self.members.iter().copied().map(peer).collect();
            return vec![SignalingEvent::Joined { own: peer(self.own), peers }];
        }
        let left = former.difference(&self.members).map(|id| SignalingEvent::PeerLeft(peer(*id)));
        let came = self.members.difference(&former).map(|id| SignalingEvent::PeerJoined(peer(*id)));
        left.chain(came).collect()
    }

    /// The message that passes a signal on. `None` if it is meant for nobody here.
    pub(super) fn said(&self, outgoing: Outgoing) -> Option<String> {
        let Outgoing { to, connection, signal } = outgoing;
        let receiver_peer_id = to.as_str().parse().ok().filter(|to| self.members.contains(to))?;
        let message = ClientMessage::Signal(Passed {
            room: self.name.clone(),
            sender_peer_id: self.own,
            receiver_peer_id,
            data: serde_json::to_value(signal).expect("signals are plain data"),
            connection_id: connection.map(|connection| connection.as_str().to_owned()),
        });
        Some(serde_json::to_string(&message).expect("messages are plain data"))
    }
}

pub(super) fn ice_servers(turn: TurnServer) -> SignalingEvent {
    let TurnServer { urls, username, credential, .. } = turn;
    SignalingEvent::IceServers(vec![IceServer { urls, username, credential }])
}

fn peer(id: ServerPeerId) -> PeerId {
    PeerId::new(id.as_str())
}
