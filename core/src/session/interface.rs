//! What goes into a session and comes out of it: its configuration, inputs, effects, events and counters.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::limits::SessionLimits;
use super::reason::{CloseReason, Refusal};
use crate::document::Record;
use crate::feed::{Checkpoint, Sequence};
use crate::handshake::Identity;
use crate::id::{CollectionName, DocumentId, Incarnation, Opening, ReplicaId};
use crate::replica::{Applied, Page, Snapshot};
use crate::storage::PageLimits;
use crate::topic_key::TopicKey;

/// A collection's place among those shared with [`Input::Share`], from zero.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CollectionIndex(pub usize);

/// What a session needs from the start.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Who we are.
    pub identity: Identity,
    /// The opening of our node.
    pub opening: Opening,
    /// 32 random bytes, new for every session.
    pub nonce: [u8; 32],
    /// The key of the room.
    pub topic_key: TopicKey,
    /// What the application says of this replica to those who have proven the topic key, at most
    /// [`CLAIM_BYTES_MAX`](crate::CLAIM_BYTES_MAX) bytes.
    /// Empty for nothing.
    pub claim: Bytes,
    /// Who decides whether a peer that has proven the topic key is spoken with.
    pub admission: Admission,
    /// What this node does in the room besides replicating.
    pub capabilities: Capabilities,
    /// What the transport binds its connections with, if anything.
    pub channel_binding: Option<Bytes>,
    /// The most bytes of a frame.
    pub frame_bytes_max: usize,
    /// The bounds.
    pub limits: SessionLimits,
}

/// Who decides whether a peer is spoken with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Admission {
    /// Nobody: whoever knows the topic key is.
    Everybody,
    /// The driver is asked, by [`Effect::Admit`], and nothing about collections is said before it has answered.
    Asked,
}

/// What a node does in a room besides replicating, said in its Hello. A set; what a later version adds is kept and means nothing here.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Nothing else.
    pub const NONE: Self = Self(0);
    /// Speaks with RxDB peers, if the replicas that do agree that it is the one.
    pub const SPEAKS_RXDB: Self = Self(1);

    /// From a number with a bit for each.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Whether all of `others` are among them.
    pub const fn include(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// Somebody who has proven the topic key and an identity.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Newcomer {
    /// The public half of the identity, an Ed25519 key.
    pub public_key: [u8; 32],
    /// What it claims. Empty if it claims nothing.
    pub claim: Bytes,
}

/// A collection shared in the room.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Share {
    /// Its name. Collections of the same name are replicated with each other.
    pub name: CollectionName,
    /// The version of its schema, which must be the same on both sides.
    pub schema_version: u32,
    /// The id of its conflict handler, at most 255 bytes.
    pub handler: String,
    /// Whether the peer may pull from it.
    pub serves: bool,
    /// Whether it pulls from the peer.
    pub pulls: bool,
    /// What names the filter on what is served, if there is one, in at most 255 bytes. The driver applies it, by
    /// [`Scanned::served`].
    pub filter: Option<String>,
    /// The replica as it is now.
    pub snapshot: Snapshot,
    /// Incarnations that this replica hears from directly.
    pub direct: Arc<BTreeSet<Incarnation>>,
}

/// A record of a scan.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Scanned {
    /// The record.
    pub record: Record,
    /// Whether the filter lets it through.
    pub served: bool,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// A frame arrived.
    Received(Bytes),
    /// A collection is shared in the room. It gets the next [`CollectionIndex`].
    Share(Share),
    /// The replica of a collection has committed something, or hears from others than before.
    Committed {
        /// The collection.
        collection: CollectionIndex,
        /// The replica as it is now.
        snapshot: Snapshot,
        /// Incarnations that it hears from directly.
        direct: Arc<BTreeSet<Incarnation>>,
    },
    /// Answers [`Effect::LoadCheckpoint`].
    CheckpointLoaded {
        /// The collection.
        collection: CollectionIndex,
        /// What was stored, if anything.
        checkpoint: Option<Checkpoint>,
    },
    /// Answers [`Effect::Scan`].
    Scanned {
        /// The collection.
        collection: CollectionIndex,
        /// The replica at the instant of the scan.
        snapshot: Snapshot,
        /// What was read.
        records: Vec<Scanned>,
    },
    /// Answers the first [`Effect::Apply`] that is under way: the page is durable.
    Applied {
        /// The collection.
        collection: CollectionIndex,
        /// What became of it.
        applied: Applied,
    },
    /// An effect failed.
    StorageFailed {
        /// Why.
        detail: String,
    },
    /// Answers [`Effect::Admit`]: the peer is spoken with. [`Input::Refuse`] is the other answer.
    Admitted,
    /// The driver refuses the peer.
    Refuse(Refusal),
    /// What this replica knows was forgotten, to be learnt anew: this session, which relies on it, must end.
    Rechecking,
    /// This side leaves the room.
    Leave,
    /// The transport has closed the connection.
    ConnectionLost,
    /// The deadline has come.
    Tick,
}

/// The most [`Effect::Apply`] of one collection that are under way at a time: two being committed, and the next two
/// at hand when they are durable, to go into one commit again.
pub const APPLIES_MAX: usize = 4;

/// What to do. At most one `Scan` and one `LoadCheckpoint` per collection are under way at a time, and [`APPLIES_MAX`] `Apply`; and none of
/// these together with a `Scan`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Decide whether this peer is spoken with, within [`SessionLimits::admission_timeout`]. Once in a session, if at all.
    Admit(Newcomer),
    /// Read the checkpoint that is stored for the peer.
    LoadCheckpoint {
        /// The collection.
        collection: CollectionIndex,
        /// Where it is kept in the metadata.
        key: Bytes,
    },
    /// Take a snapshot of the replica and read its changefeed, both of one instant: no commit takes effect between the two. A
    /// document that moved to the end of the feed in between would be found in neither place, and yet be vouched for.
    Scan {
        /// The collection.
        collection: CollectionIndex,
        /// After which sequence.
        after: Sequence,
        /// How much.
        limits: PageLimits,
    },
    /// Merge a page of the peer's changes.
    ///
    /// Pages of a collection become durable in the order of these effects, one by one or several in one commit, and are answered in that
    /// order. After one that failed none may be committed: its checkpoint would pass what was lost.
    Apply {
        /// The collection.
        collection: CollectionIndex,
        /// The page.
        page: Page,
    },
    /// The collection hears directly from another incarnation, or from none, over this session.
    Direct {
        /// The collection.
        collection: CollectionIndex,
        /// The peer's incarnation.
        origin: Incarnation,
    },
    /// Something worth telling.
    Report(Event),
    /// Send what [`Session::transmit`](super::Session::transmit) still gives, then close the connection. The last effect.
    Close(CloseReason),
}

/// Something that happened in a session.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The peer has proven the topic key and its identity.
    Established {
        /// Who it is.
        peer: ReplicaId,
        /// Its opening.
        opening: Opening,
        /// What it does besides replicating.
        capabilities: Capabilities,
    },
    /// Both sides share a collection: it replicates from now on.
    Shared {
        /// The collection.
        collection: CollectionIndex,
    },
    /// The peer has made all the offers that it announced, and this collection is not among them.
    NotShared {
        /// The collection.
        collection: CollectionIndex,
    },
    /// The peer neither serves the collection nor pulls it, because its store has failed.
    PeerStorageFailed {
        /// The collection.
        collection: CollectionIndex,
    },
    /// The schema versions differ: the collection does not replicate with this peer.
    SchemaMismatch {
        /// The collection.
        collection: CollectionIndex,
        /// Our version.
        ours: u32,
        /// The peer's.
        theirs: u32,
    },
    /// The conflict handlers differ: heads converge, views may differ.
    HandlerMismatch {
        /// The collection.
        collection: CollectionIndex,
        /// The peer's handler.
        theirs: String,
    },
    /// The peer knows writes of an earlier incarnation of this replica that it does not remember: a backup was restored.
    RolledBack {
        /// The collection.
        collection: CollectionIndex,
        /// The incarnation.
        incarnation: Incarnation,
    },
    /// The peer was copied from this replica, or this one from it. The session ends.
    SameIdentity {
        /// Whether this side is the one to take a new identity.
        yields: bool,
    },
    /// Every collection shared with the peer is caught up, both ways.
    CaughtUp,
    /// A document cannot be sent: its versions together are too large for the peer. Settling it helps.
    DocumentTooLarge {
        /// The collection.
        collection: CollectionIndex,
        /// The document.
        id: DocumentId,
        /// Its size.
        bytes: usize,
    },
}

/// How much a session has moved.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SessionCounters {
    /// Bytes of frames sent.
    pub bytes_sent: u64,
    /// Bytes of frames received.
    pub bytes_received: u64,
    /// Documents sent.
    pub documents_sent: u64,
    /// Documents received.
    pub documents_received: u64,
    /// Documents received that held nothing new.
    pub documents_duplicate: u64,
}
