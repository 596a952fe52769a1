//! What peers and the server say to each other: JSON objects, one per WebSocket text message.
//!
//! The protocol is that of RxDB 17's `replication-webrtc`, and a peer or a server that knows no more of it works with
//! ours. What is ours travels in fields and messages that RxDB ignores. A peer shows that it understands them by the
//! field `peerloom` in its `join`; a server shows it by the field `peerloom` in its `init`. Unknown fields are ignored.
//!
//! | direction | message | |
//! |---|---|---|
//! | server → peer, first | `init` | RxDB's; with our limits and TURN credentials |
//! | peer → server | `join` | RxDB's; with `peerloom` for a *capable* member |
//! | peer → server | `leave` | ours |
//! | server → members without `peerloom` | `joined` | RxDB's: all members, after each change |
//! | server → capable newcomer | `members` | ours: all other members, once per `join` |
//! | server → capable members | `memberJoined`, `memberLeft` | ours: one member each |
//! | peer → server → peer | `signal` | RxDB's |
//! | server → capable members | `turn` | ours: credentials that replace those of `init` |
//! | peer → server | `ping` | RxDB's |
//!
//! Of two peers, the one with the smaller id makes the offer.
//!
//! ```
//! use peerloom_signaling::message::ClientMessage;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let join = ClientMessage::join("our-notes".parse()?);
//! assert_eq!(serde_json::to_string(&join)?, r#"{"type":"join","room":"our-notes","peerloom":{"version":1}}"#);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use thiserror::Error;

/// The version of the extensions that this crate speaks.
pub const VERSION: u32 = 1;

/// The query parameter of the server's URL that may carry the token. `Authorization: Bearer` may do so instead.
pub const TOKEN_QUERY_PARAMETER: &str = "token";

/// What a peer says to the server.
///
/// `Data` is what a signal carries for the other peer; a server that only passes it on parses it as
/// [`serde::de::IgnoredAny`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum ClientMessage<Data = Value> {
    /// Makes the peer a member of a room. Joining it again changes nothing.
    Join {
        /// The room to become a member of.
        room: RoomName,
        /// What the peer understands beyond RxDB's protocol. `None` is a stock RxDB peer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peerloom: Option<Capability>,
    },
    /// Ends the peer's membership of a room. The connection stays.
    Leave {
        /// The room to leave.
        room: RoomName,
    },
    /// Something for another member of a room.
    Signal(Signal<Data>),
    /// Shows that the peer is alive. Any other message does as well.
    Ping,
}

impl ClientMessage {
    /// The `join` of a peer that understands all of this module.
    pub fn join(room: RoomName) -> Self {
        Self::Join { room, peerloom: Some(Capability { version: VERSION }) }
    }
}

/// What the server says to a peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum ServerMessage {
    /// The first message on every connection.
    #[serde(rename_all = "camelCase")]
    Init {
        /// The id of this peer on this connection.
        your_peer_id: PeerId,
        /// What the server understands beyond RxDB's protocol. `None` is RxDB's own server, which sends nothing but
        /// `init`, `joined` and `signal`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peerloom: Option<ServerCapability>,
    },
    /// All members of the room after a change, the receiver included. Does not say which room.
    #[serde(rename_all = "camelCase")]
    Joined {
        /// In no order that means anything.
        other_peer_ids: Vec<PeerId>,
    },
    /// All members of a room that the receiver has just joined, without the receiver.
    Members {
        /// The room.
        room: RoomName,
        /// By ascending peer id.
        members: Vec<Member>,
    },
    /// A room has a new member.
    MemberJoined {
        /// The room.
        room: RoomName,
        /// Who joined.
        member: Member,
    },
    /// A member left a room or its connection ended.
    #[serde(rename_all = "camelCase")]
    MemberLeft {
        /// The room.
        room: RoomName,
        /// Who left.
        peer_id: PeerId,
    },
    /// Something from another member of a room.
    Signal(Signal),
    /// TURN credentials that replace those the peer has, sent before these expire.
    Turn {
        /// The new credentials.
        turn: TurnServer,
    },
    /// A message of a later version. To be ignored.
    #[serde(other)]
    Unknown,
}

/// Something from one member of a room to another, mostly an offer, an answer or an ICE candidate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signal<Data = Value> {
    /// A room that both are members of.
    pub room: RoomName,
    /// Who sends it. The server closes the connection of a peer that names another.
    pub sender_peer_id: PeerId,
    /// Who is to receive it. What is for somebody who is not there is dropped.
    pub receiver_peer_id: PeerId,
    /// What simple-peer emits.
    pub data: Data,
    /// Which attempt to connect it belongs to. Older RxDB versions send none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<String>,
}

/// What a peer understands beyond RxDB's protocol.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Capability {
    /// The version of these extensions, from 1.
    pub version: u32,
}

/// What a server understands beyond RxDB's protocol, and what it asks of peers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerCapability {
    /// The version of these extensions, from 1.
    pub version: u32,
    /// A peer that sends nothing for this long is closed. Ping at least twice as often.
    pub idle_timeout_ms: u64,
    /// A message with more bytes than this closes the connection.
    pub message_bytes_max: usize,
    /// A TURN server that the peer may use, with credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnServer>,
}

/// A TURN server and credentials for it, to be handed to the ICE agent as they are.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnServer {
    /// Such as `turn:turn.example.org:3478?transport=udp`.
    pub urls: Vec<String>,
    /// Names the time of expiry and the peer.
    pub username: String,
    /// The password.
    pub credential: String,
    /// For how long the credentials are valid, counted from when they were sent. Relative, so that the peer's clock
    /// does not matter.
    pub valid_seconds: u64,
}

/// Leaves the password out: messages get logged.
impl fmt::Debug for TurnServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TurnServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .field("valid_seconds", &self.valid_seconds)
            .finish_non_exhaustive()
    }
}

/// A member of a room, as others see it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its id.
    pub peer_id: PeerId,
    /// What it understands beyond RxDB's protocol. `None` is a stock RxDB peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peerloom: Option<Capability>,
}

/// The id that the server gave to a peer for the time of one connection: 12 lower-case letters.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId([u8; Self::LETTERS]);

impl PeerId {
    /// How many letters an id has.
    pub const LETTERS: usize = 12;

    /// Makes an id of a number: the same id for the same number, and another one for each number below 26^12.
    pub fn from_number(mut number: u64) -> Self {
        let mut letters = [0; Self::LETTERS];
        for letter in letters.iter_mut().rev() {
            *letter = b'a' + u8::try_from(number % 26).expect("a remainder of 26 is below 26");
            number /= 26;
        }
        Self(letters)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("an id is made of ASCII letters")
    }
}

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(text: &str) -> Result<Self, InvalidPeerId> {
        match <[u8; Self::LETTERS]>::try_from(text.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_lowercase) => Ok(Self(letters)),
            _ => Err(InvalidPeerId),
        }
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PeerId({self})")
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_str(deserializer)
    }
}

/// A text that is not a peer id.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a peer id has 12 lower-case letters")]
pub struct InvalidPeerId;

/// The name of a room: 6 to 99 characters, counted in UTF-16 units as RxDB does.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// The fewest characters of a name.
    pub const CHARACTERS_MIN: usize = 6;

    /// The most characters of a name.
    pub const CHARACTERS_MAX: usize = 99;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoomName {
    type Err = InvalidRoomName;

    fn from_str(text: &str) -> Result<Self, InvalidRoomName> {
        let characters = text.encode_utf16().take(Self::CHARACTERS_MAX + 1).count();
        if (Self::CHARACTERS_MIN..=Self::CHARACTERS_MAX).contains(&characters) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidRoomName)
        }
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for RoomName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_str(deserializer)
    }
}

/// A text that is not the name of a room.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a room name has 6 to 99 characters")]
pub struct InvalidRoomName;

/// Parses a string from the input in place, without a copy where the format allows.
fn parse_str<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Visitor<T>(std::marker::PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for Visitor<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a string")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Visitor(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    fn peer(text: &str) -> PeerId {
        text.parse().unwrap()
    }

    #[test]
    fn a_stock_peer_is_understood() {
        let lines = [
            r#"{"type":"join","room":"capture-room"}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"signal","senderPeerId":"eyzlabrwqoql","receiverPeerId":"mdgapuppbivp","room":"capture-room","data":{"type":"offer","sdp":"v=0\r\n"},"connectionId":"juomzwdtcd"}"#,
            r#"{"type":"signal","senderPeerId":"eyzlabrwqoql","receiverPeerId":"mdgapuppbivp","room":"capture-room","data":{"type":"renegotiate","renegotiate":true}}"#,
        ];
        for line in lines {
            serde_json::from_str::<ClientMessage>(line).unwrap();
            serde_json::from_str::<ClientMessage<IgnoredAny>>(line).unwrap();
        }
    }

    #[test]
    fn a_stock_server_is_understood() {
        let init = r#"{"type":"init","yourPeerId":"eyzlabrwqoql"}"#;
        let expected = ServerMessage::Init { your_peer_id: peer("eyzlabrwqoql"), peerloom: None };
        assert_eq!(serde_json::from_str::<ServerMessage>(init).unwrap(), expected);

        let joined = r#"{"type":"joined","otherPeerIds":["eyzlabrwqoql","mdgapuppbivp"]}"#;
        let expected =
            ServerMessage::Joined { other_peer_ids: vec![peer("eyzlabrwqoql"), peer("mdgapuppbivp")] };
        assert_eq!(serde_json::from_str::<ServerMessage>(joined).unwrap(), expected);
        assert_eq!(serde_json::to_string(&expected).unwrap(), joined);
    }

    #[test]
    fn what_is_unknown_is_ignored_by_peers() {
        let line = r#"{"type":"weather","sunny":true}"#;
        assert_eq!(serde_json::from_str::<ServerMessage>(line).unwrap(), ServerMessage::Unknown);
        let line = r#"{"type":"ping","sunny":true}"#;
        assert_eq!(serde_json::from_str::<ClientMessage>(line).unwrap(), ClientMessage::Ping);
    }

    #[test]
    fn a_message_that_says_a_thing_twice_is_refused() {
        let twice_a_sender = r#"{"type":"signal","senderPeerId":"eyzlabrwqoql","senderPeerId":"mdgapuppbivp","receiverPeerId":"mdgapuppbivp","room":"capture-room","data":1}"#;
        let twice_a_type = r#"{"type":"ping","type":"leave","room":"capture-room"}"#;
        for line in [twice_a_sender, twice_a_type] {
            assert!(serde_json::from_str::<ClientMessage<IgnoredAny>>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_credentials_stay_out_of_debug_output() {
        let turn = TurnServer {
            urls: Vec::new(),
            username: "1:a".into(),
            credential: "hush".into(),
            valid_seconds: 1,
        };
        assert!(!format!("{:?}", ServerMessage::Turn { turn }).contains("hush"));
    }

    #[test]
    fn peer_ids_are_twelve_lower_case_letters() {
        assert_eq!(PeerId::from_number(27).as_str(), "aaaaaaaaaabb");
        for text in ["", "eyzlabrwqoq", "eyzlabrwqoqlx", "EYZLABRWQOQL", "eyzlabrwqoq1"] {
            assert_eq!(text.parse::<PeerId>(), Err(InvalidPeerId), "{text}");
        }
    }

    #[test]
    fn room_names_have_6_to_99_utf16_units() {
        for (text, valid) in [("a".repeat(5), false), ("a".repeat(6), true), ("a".repeat(99), true)] {
            assert_eq!(text.parse::<RoomName>().is_ok(), valid, "{text}");
        }
        assert!("a".repeat(100).parse::<RoomName>().is_err());
        // Two units each.
        assert!("🙂".repeat(49).parse::<RoomName>().is_ok());
        assert!("🙂".repeat(50).parse::<RoomName>().is_err());
    }
}
