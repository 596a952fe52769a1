//! The replication core of Peerloom.
//!
//! Decides everything and waits for nothing: documents and the rules by which copies merge, the wire format, the
//! handshake, and the session between two replicas as a state machine, together with the traits that storage,
//! transports and conflict handlers implement. There is no clock, socket, thread, file or randomness in here, which
//! lets the very same code run in production, in a simulator and in a model checker.

#![no_std]

extern crate alloc;
#[cfg(feature = "planted-bugs")]
extern crate std;

/// Whether a mistake is planted on this thread: never without the feature `planted-bugs`.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($bug:ident) => {
        crate::planted::is(crate::planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

#[cfg(feature = "broken-rules")]
pub mod broken;
#[cfg(not(feature = "broken-rules"))]
mod broken;
mod codec;
mod document;
mod feed;
mod handler;
mod handshake;
mod id;
mod invitation;
pub mod json;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod replica;
mod session;
mod stamp;
mod storage;
mod time;
mod topic_key;
mod transport;
mod version_vector;
mod wire;

pub use codec::DecodeError;
pub use document::{Document, Dot, Head, MalformedDocument, Merged, Record, State};
pub use feed::{Checkpoint, History, Sequence};
pub use handler::{
    Combine, ConflictHandler, Counter, DeleteWins, EditWins, FieldHead, FieldState, FieldWise, LastWriteWins,
    MergeJson, MergeWith, PerField, PointerError, Union,
};
pub use handshake::Identity;
pub use id::{
    CollectionName, DOCUMENT_ID_BYTES_MAX, DocumentId, Incarnation, InvalidName, InvalidReplicaId, Opening,
    ReplicaId, StoreName, Topic,
};
pub use invitation::{InvalidInvitation, Invitation};
pub use replica::{
    Applied, CONFLICT_PREFIX, Committable, Condition, LoadError, MalformedMetadata, Notice, Outcome,
    PAST_VIEWS_MAX, Page, PastView, PastViews, Replica, ReplicaLimits, Resolver, Seen, Snapshot, Transaction,
    Write, WriteError, Written, checkpoint_from_value, checkpoint_key, past_views_key, view_digest,
};
pub use session::{
    APPLIES_MAX, Admission, Capabilities, CloseReason, CollectionIndex, Effect, Event, Input, Newcomer,
    Refusal, Scanned, Session, SessionConfig, SessionCounters, SessionLimits, Share, Violation,
};
pub use stamp::{Clock, MalformedStamp, Stamp};
pub use storage::{
    Batch, CommitError, ENCRYPTION_MARKER_KEY, IdRange, PageLimits, Put, Storage, StorageError, Store,
};
pub use time::Now;
pub use topic_key::{PassphraseError, TopicKey};
pub use transport::{
    Connection, MESSAGE_BYTES_MIN, Membership, MessageReceiver, MessageSender, PeerAddress, Transport,
    TransportError, check_message,
};
pub use version_vector::{Context, Knowledge, VersionVector};
pub use wire::{CLAIM_BYTES_MAX, FrameError, describe, is_keep_alive};
