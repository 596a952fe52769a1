//! Why a session ends: left, refused, broken by the peer, or failed.

use alloc::string::String;

use crate::codec::DecodeError;
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
    /// The storage of this side failed.
    #[error("the storage failed: {0}")]
    StorageFailed(String),
    /// The peer failed, and says why.
    #[error("the peer failed: {0}")]
    PeerFailed(String),
}

/// Why somebody is not spoken with.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
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
    /// A reason that this version does not know.
    #[error("an unknown reason")]
    Other,
}

impl Refusal {
    const ALL: [Self; 8] = [
        Self::Version,
        Self::TopicKey,
        Self::Identity,
        Self::SameIdentity,
        Self::Itself,
        Self::Duplicate,
        Self::Full,
        Self::Other,
    ];

    pub(crate) fn code(self) -> u64 {
        Self::ALL.iter().position(|refusal| *refusal == self).expect("every refusal has a code") as u64
    }

    pub(crate) fn from_code(code: u64) -> Self {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code)).copied().unwrap_or(Self::Other)
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
    #[error("a {0} at the wrong time")]
    Unexpected(&'static str),
    /// A message about a collection that is not shared.
    #[error("a {0} about a collection that is not shared")]
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
    /// A limit of zero where at least one is needed.
    #[error("a limit of zero in a Pull")]
    ZeroLimit,
}
