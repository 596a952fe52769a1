//! The wire format: what peers say to each other, in CBOR, one message at a time.
//!
//! Every message is an array whose first item is its kind. Later versions may append items to Hello, Offer and
//! Close, which a reader skips. Collections are named by their place in the *sender's* offers.

mod describe;
mod encoding;
mod frame;
mod page;
#[cfg(test)]
mod vectors;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

pub use describe::{describe, is_keep_alive};
pub use frame::FrameError;
pub(crate) use frame::{Assembler, Fragments};

use crate::document::Document;
use crate::feed::Checkpoint;
use crate::handshake::Proof;
use crate::id::{CollectionName, DocumentId, Incarnation, Opening};
use crate::session::{Capabilities, Refusal};
use crate::version_vector::{Context, Knowledge};

/// The only version there is.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// A collection's place in the sender's offers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct OfferIndex(pub(crate) u32);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Hello {
    pub(crate) version_min: u32,
    pub(crate) version_max: u32,
    pub(crate) public_key: [u8; 32],
    pub(crate) opening: Opening,
    pub(crate) nonce: [u8; 32],
    /// The largest message that the sender of this Hello puts together.
    pub(crate) message_bytes_max: u32,
    /// What the sender does in the room besides replicating.
    pub(crate) capabilities: Capabilities,
}

/// A collection shared in this room.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Offer {
    pub(crate) collection: OfferIndex,
    pub(crate) name: CollectionName,
    pub(crate) schema_version: u32,
    pub(crate) handler: String,
    pub(crate) incarnation: Incarnation,
    /// Whether the sender answers pulls.
    pub(crate) serves: bool,
    /// Whether the sender will pull.
    pub(crate) pulls: bool,
    /// What names the filter on what the sender serves, if there is one.
    pub(crate) filter: Option<String>,
    pub(crate) knowledge: Knowledge,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pull {
    pub(crate) collection: OfferIndex,
    pub(crate) after: Option<Checkpoint>,
    /// How many pages may be sent before the first is acknowledged.
    pub(crate) pages: u32,
    pub(crate) documents_max: u32,
    pub(crate) bytes_max: u32,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Changes {
    pub(crate) collection: OfferIndex,
    pub(crate) documents: Vec<(DocumentId, Document)>,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The scan reached the end of the feed and left nothing out but what the sink knows.
    pub(crate) complete: bool,
    /// What the source vouches for, as far as the sink was not known to know it.
    pub(crate) knowledge: Knowledge,
}

/// What has changed about the sender. Guides what the receiver sends, and is never joined.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Update {
    pub(crate) collection: OfferIndex,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) knowledge: Knowledge,
    /// Origins that the sender now hears from directly, or no longer does.
    pub(crate) connected: Vec<Incarnation>,
    pub(crate) disconnected: Vec<Incarnation>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Message {
    Hello(Hello),
    /// The proof of topic and identity, and how many Offers follow at once.
    Proof {
        proof: Proof,
        offers: u32,
    },
    /// What the application says of the sender, as the Proof has bound it. Said to those alone who have proven the topic key.
    Claim(Bytes),
    Offer(Offer),
    Pull(Pull),
    /// One page is durable; another may be sent.
    More {
        collection: OfferIndex,
    },
    Changes(Changes),
    Update(Update),
    /// The highest stamp per origin among the documents held back.
    Announce {
        collection: OfferIndex,
        origins: Context,
    },
    /// Send what comes from these origins at once.
    Graft {
        collection: OfferIndex,
        origins: Vec<Incarnation>,
    },
    /// Hold back what comes from these origins.
    Prune {
        collection: OfferIndex,
        origins: Vec<Incarnation>,
    },
    Ping,
    Pong,
    Close(Farewell),
}

/// Why the sender closes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Farewell {
    Left,
    Refused(Refusal),
    Violation(String),
    Failed(String),
}

/// The most bytes of a message until both sides have proven themselves. Whoever just knocks gets no more memory than that.
pub(crate) const HANDSHAKE_MESSAGE_BYTES_MAX: usize = CLAIM_BYTES_MAX + 1024;

/// The most bytes of a claim, which says to a peer's application who this replica is.
pub const CLAIM_BYTES_MAX: usize = 4096;

/// The most bytes of a handler's id and of a filter's name.
pub(crate) const NAME_BYTES_MAX: usize = 255;

impl Message {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Proof { .. } => "Proof",
            Self::Claim(_) => "Claim",
            Self::Offer(_) => "Offer",
            Self::Pull(_) => "Pull",
            Self::More { .. } => "More",
            Self::Changes(_) => "Changes",
            Self::Update(_) => "Update",
            Self::Announce { .. } => "Announce",
            Self::Graft { .. } => "Graft",
            Self::Prune { .. } => "Prune",
            Self::Ping => "Ping",
            Self::Pong => "Pong",
            Self::Close(_) => "Close",
        }
    }
}
