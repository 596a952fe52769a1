//! What two peers tell each other through the signaling, in the words of simple-peer.
//!
//! Fields and kinds that are ours are ones that simple-peer and RxDB ignore.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who somebody is in the room, in the words of the signaling. Of two peers, the one with the smaller id calls.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct PeerId(String);

impl PeerId {
    /// An id as the signaling writes it.
    pub fn new(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Names an attempt to connect, and the connection that comes of it: letters, chosen by who calls.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct ConnectionId(String);

impl ConnectionId {
    /// How many letters ours have.
    pub(crate) const LETTERS: usize = 10;

    /// An id as it was received.
    pub fn new(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// An id of random bytes.
    pub(crate) fn from_random(bytes: [u8; Self::LETTERS]) -> Self {
        Self(bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One message of a peer to another.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Signal {
    /// The beginning of an attempt, or a new way for a connection that there is.
    Offer {
        /// A session description.
        sdp: String,
        /// What Peerloom peers add.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peerloom: Option<Claim>,
    },
    /// The answer to an offer.
    Answer {
        /// A session description.
        sdp: String,
        /// What Peerloom peers add.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peerloom: Option<Claim>,
    },
    /// A way to reach the sender.
    Candidate {
        /// The way.
        candidate: Candidate,
    },
    /// There are no more candidates. Not sent to other peers by signaling that delivers each candidate at once.
    CandidatesComplete,
    /// The side that was called asks for another offer.
    Renegotiate {
        /// Always true.
        renegotiate: bool,
    },
    /// Instead of an answer: the two are connected already.
    Connected {
        /// Who the sender is.
        peerloom: Claim,
        /// By which connection.
        connection: ConnectionId,
    },
    /// What others send and we have no use for.
    #[serde(other)]
    Unknown,
}

/// Who a Peerloom peer is, beyond its [`PeerId`], which it loses with the connection to the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claim {
    /// The first id that the peer had in this room.
    pub member: PeerId,
    /// The connection to the receiver that the sender knows to be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ConnectionId>,
}

/// A way to reach a peer, as in `RTCIceCandidateInit`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The candidate attribute of SDP.
    pub candidate: String,
    /// Which media section it is for.
    #[serde(default)]
    pub sdp_mid: Option<String>,
    /// Which media section it is for.
    #[serde(default, rename = "sdpMLineIndex")]
    pub sdp_m_line_index: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_simple_peer_says_is_understood() {
        let candidate = r#"{"type":"candidate","candidate":{"candidate":"candidate:1 1 udp 1 10.0.0.1 9 typ host","sdpMLineIndex":0,"sdpMid":"0"}}"#;
        for (text, expected) in [
            (r#"{"type":"offer","sdp":"v=0"}"#, Signal::Offer { sdp: "v=0".into(), peerloom: None }),
            (r#"{"type":"answer","sdp":"v=0"}"#, Signal::Answer { sdp: "v=0".into(), peerloom: None }),
            (
                candidate,
                Signal::Candidate {
                    candidate: Candidate {
                        candidate: "candidate:1 1 udp 1 10.0.0.1 9 typ host".into(),
                        sdp_mid: Some("0".into()),
                        sdp_m_line_index: Some(0),
                    },
                },
            ),
            (r#"{"type":"renegotiate","renegotiate":true}"#, Signal::Renegotiate { renegotiate: true }),
            (r#"{"type":"transceiverRequest","transceiverRequest":{"kind":"video"}}"#, Signal::Unknown),
        ] {
            assert_eq!(serde_json::from_str::<Signal>(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_simple_peer_hears_has_its_form() {
        let offer = Signal::Offer { sdp: "v=0".into(), peerloom: None };
        assert_eq!(serde_json::to_string(&offer).unwrap(), r#"{"type":"offer","sdp":"v=0"}"#);
        let candidate = Signal::Candidate {
            candidate: Candidate {
                candidate: "candidate:1".into(),
                sdp_mid: Some("0".into()),
                sdp_m_line_index: Some(0),
            },
        };
        assert_eq!(
            serde_json::to_string(&candidate).unwrap(),
            r#"{"type":"candidate","candidate":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}}"#
        );
    }

    #[test]
    fn connection_ids_are_ten_letters() {
        assert_eq!(ConnectionId::from_random([0, 1, 25, 26, 255, 0, 0, 0, 0, 0]).as_str(), "abzavaaaaa");
    }
}
