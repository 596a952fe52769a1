//! Why a session ends: left, refused, broken by the peer, or failed.

use alloc::string::String;

use crate::codec::DecodeError;
use crate::id::DocumentId;
use crate::wire::FrameError;

/// Why a session ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side left the room.
    #[error("left")]
    Left,
    /// The peer left the room.
    #[error("the peer left")]
    LeftByPeer,
    /// This side refuses the peer.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The peer refuses this side.
    #[error("refused by the peer: {0}")]
    RefusedByPeer(Refusal),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(Violation),
    /// The peer says that this side broke the protocol.
    #[error("the peer reports a violation: {0}")]
    ViolationReported(String),
    /// The peer was silent for too long, or did not read what was sent.
    #[error("the peer fell silent")]
    Silent,
    /// The handshake was not finished in time.
    #[error("the handshake took too long")]
    HandshakeTimedOut,
    /// The transport closed the connection.
    #[error("the connection was lost")]
    ConnectionLost,
    /// This side compares the collection with everybody anew, and for that connects again.
    #[error("this side compares everything again")]
    Rechecking,
    /// The storage of this side failed.
    #[error("the storage failed: {0}")]
    StorageFailed(String),
    /// The peer failed, and says why.
    #[error("the peer failed: {0}")]
    PeerFailed(String),
}

/// Why somebody is not spoken with.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No version of the protocol is spoken by both. Update the older one.
    #[error("no common version of the protocol")]
    Version,
    /// The other side does not know the topic's key.
    #[error("another topic key")]
    TopicKey,
    /// The other side did not prove the identity that it claims.
    #[error("an identity that is not proven")]
    Identity,
    /// Both sides have the same replica id: one was copied from the other. One of them takes a new identity.
    #[error("the same identity at both ends")]
    SameIdentity,
    /// The connection leads back to this very node.
    #[error("a connection to itself")]
    Itself,
    /// Both are connected already.
    #[error("another connection to the same peer")]
    Duplicate,
    /// The room is full: `peers_max` is reached.
    #[error("no room for another peer")]
    Full,
    /// The application does not admit this peer, and says why, of which 512 bytes count.
    #[error("not admitted: {0}")]
    Denied(String),
    /// The application had admitted this peer and does so no longer, and says why, of which 512 bytes count.
    #[error("admitted no longer: {0}")]
    Revoked(String),
    /// A reason that this version does not know.
    #[error("an unknown reason")]
    Other,
}

impl Refusal {
    /// Whether the same two would refuse each other again, however soon, unless somebody does something about it.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Version | Self::TopicKey | Self::Identity | Self::Denied(_) | Self::Revoked(_) => true,
            Self::SameIdentity | Self::Itself | Self::Duplicate | Self::Full | Self::Other => false,
        }
    }

    /// The code on the wire, and the text that goes with it.
    pub(crate) fn code(&self) -> (u64, &str) {
        match self {
            Self::Version => (0, ""),
            Self::TopicKey => (1, ""),
            Self::Identity => (2, ""),
            Self::SameIdentity => (3, ""),
            Self::Itself => (4, ""),
            Self::Duplicate => (5, ""),
            Self::Full => (6, ""),
            Self::Denied(why) => (7, why),
            Self::Revoked(why) => (8, why),
            Self::Other => (u64::from(u8::MAX), ""),
        }
    }

    pub(crate) fn from_code(code: u64, why: String) -> Self {
        match code {
            0 => Self::Version,
            1 => Self::TopicKey,
            2 => Self::Identity,
            3 => Self::SameIdentity,
            4 => Self::Itself,
            5 => Self::Duplicate,
            6 => Self::Full,
            7 => Self::Denied(why),
            8 => Self::Revoked(why),
            _ => Self::Other,
        }
    }
}

/// What a peer did that no peer does. It costs the link; nothing that was sent with it is applied.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Frames that make no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message that cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message at a time when none of its kind is due.
    #[error("{0} at the wrong time")]
    Unexpected(&'static str),
    /// A message about a collection that is not shared.
    #[error("{0} about a collection that is not shared")]
    NotShared(&'static str),
    /// More collections than are accepted.
    #[error("more than {0} collections")]
    TooManyCollections(usize),
    /// A page that nobody asked for.
    #[error("a page that was not asked for")]
    PageNotAsked,
    /// A page of more documents than were asked for.
    #[error("a page of {documents} documents, {documents_max} were asked for")]
    PageTooLarge {
        /// How many.
        documents: usize,
        /// The limit.
        documents_max: u32,
    },
    /// A page that names a document twice.
    #[error("a page that names a document twice")]
    RepeatedDocument,
    /// A document with more versions beside each other than are accepted.
    #[error("a document with {heads} versions, {heads_max} are accepted")]
    TooManyHeads {
        /// How many.
        heads: usize,
        /// The limit.
        heads_max: usize,
    },
    /// A version vector with more entries than are accepted.
    #[error("a version vector with {entries} entries, {entries_max} are accepted")]
    VectorTooLong {
        /// How many.
        entries: usize,
        /// The limit.
        entries_max: usize,
    },
    /// A page of more bytes than were asked for, its largest document aside.
    #[error("a page of {bytes} bytes beside its largest document, {bytes_max} were asked for")]
    PageTooHeavy {
        /// How many, roughly.
        bytes: usize,
        /// What was asked for.
        bytes_max: u32,
    },
    /// A write that this replica has too, under the same name and with another content. Somebody made it up, or two machines
    /// write under one incarnation.
    #[error("the document {id} holds a write of another content than the one known by its name")]
    ForgedWrite {
        /// The document.
        id: DocumentId,
    },
    /// A claim other than the one that was proven.
    #[error("another claim than the one that was proven")]
    Claim,
    /// A limit of zero where at least one is needed.
    #[error("a limit of zero in a Pull")]
    ZeroLimit,
}
