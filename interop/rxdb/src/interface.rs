//! What goes into a session and comes out of it.

use bytes::Bytes;
use peerloom_core::{DocumentId, PageLimits, Record, Sequence, Snapshot};

use crate::chunk::ChunkError;
use crate::document::Unfit;
use crate::exchange::{Exchange, Exchanged, LinkState, Reply};
use crate::token::{Role, Token};

/// A record of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanned {
    /// The record.
    pub record: Record,
    /// Whether it may be shown to the peer.
    pub served: bool,
    /// What the peer is known to have of it.
    pub exchanged: Option<Exchanged>,
    /// For a removed document without a body, the last that it had.
    pub last_body: Bytes,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A frame arrived.
    Received(Bytes),
    /// The replica has committed something.
    Committed(Snapshot),
    /// Answers [`Effect::Load`].
    Loaded(LinkState),
    /// Answers [`Effect::Scan`].
    Scanned {
        /// The replica at the instant of the scan.
        snapshot: Snapshot,
        /// What was read.
        records: Vec<Scanned>,
    },
    /// Answers [`Effect::Exchange`]: it is durable.
    Exchanged(Vec<Reply>),
    /// An effect failed.
    StorageFailed {
        /// Why.
        detail: String,
    },
    /// The deadline has come, or something was sent.
    Tick,
}

/// What to do. At most one `Load`, `Scan` or `Exchange` is under way at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The peer has said who it is. Read how far things are with it.
    Load {
        /// Who.
        token: Token,
        /// What this side is towards it.
        role: Role,
    },
    /// Read the changefeed and the snapshot that belongs to it, and what the peer is known to have of the documents.
    Scan {
        /// The peer.
        token: Token,
        /// After which sequence.
        after: Sequence,
        /// How much.
        limits: PageLimits,
    },
    /// Decide and commit.
    Exchange(Exchange),
    /// Something worth telling.
    Report(Event),
    /// Close the connection. The last effect.
    Close(CloseReason),
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Both sides have all that the other has, for now.
    CaughtUp,
    /// A document cannot cross over, and is passed over.
    LeftOut {
        /// The document, if it is known.
        id: Option<DocumentId>,
        /// Why.
        why: Unfit,
    },
    /// The peer did not answer, or not with what was asked for. It is asked again.
    RequestFailed {
        /// Which request.
        method: &'static str,
        /// Why.
        detail: String,
    },
}

/// Why a session ends.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer's chunks exceed the bounds or contradict each other.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The peer has no token that could be kept.
    #[error("the peer gave no usable token")]
    Token,
    /// A message that would take more memory than [`Settings::parsed_bytes_max`](crate::Settings::parsed_bytes_max).
    #[error("a message that would take {bytes} bytes of memory, {bytes_max} are allowed")]
    Message {
        /// How many, roughly.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The peer asks and asks, and does not say who it is.
    #[error("the peer asked for more than can wait until it says who it is")]
    Unnamed,
    /// The peer's checkpoints grow and grow: what they say is kept key by key.
    #[error("the peer's checkpoint has {bytes} bytes, {bytes_max} are allowed")]
    Checkpoint {
        /// How many.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The store failed.
    #[error("the storage failed: {detail}")]
    Storage {
        /// Why.
        detail: String,
    },
}

/// How much a session has moved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Bytes of frames sent.
    pub bytes_sent: u64,
    /// Bytes of frames received.
    pub bytes_received: u64,
    /// Documents sent.
    pub documents_sent: u64,
    /// Documents received.
    pub documents_received: u64,
    /// Documents that could not cross over, in either direction. One counts again each time it is met.
    pub documents_left_out: u64,
}
