//! Peerloom replicates collections of documents directly between peers.
#![doc = include_str!("../README.md")]

/// Whether a mistake is planted on this thread: never without the feature `planted-bugs`.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($bug:ident) => {
        peerloom_core::planted::is(peerloom_core::planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

mod collection;
mod environment;
mod error;
mod merge;
mod node;
mod room;

pub use collection::{
    Binary, Change, Changes, Collection, CollectionBuilder, Conflict, ConflictPage, Content, ContentError,
    Draft, Entry, Page, Version,
};
pub use environment::{BoxFuture, Environment, SystemEnvironment};
pub use error::{Error, OpenError, RoomError};
pub use merge::{Merge, MergeTyped};
pub use node::{Node, NodeBuilder};
#[cfg(feature = "encrypted")]
pub use peerloom_encrypted as encrypted;
#[cfg(feature = "encrypted")]
pub use peerloom_encrypted::Encrypted;
#[cfg(feature = "fjall")]
pub use peerloom_fjall::Fjall;
#[cfg(feature = "in-process")]
pub use peerloom_in_process::{InProcess, Network};
#[cfg(feature = "memory")]
pub use peerloom_memory::Memory;
#[cfg(feature = "rocksdb")]
pub use peerloom_rocksdb::RocksDb;
#[cfg(feature = "rxdb")]
pub use peerloom_rxdb as rxdb;
#[cfg(feature = "webrtc")]
pub use peerloom_webrtc as webrtc;
#[cfg(feature = "webrtc")]
pub use peerloom_webrtc::{WebRtc, WebSocketSignaling};
#[cfg(feature = "rxdb")]
pub use room::RxdbBridge;
pub use room::{
    Applicant, Candidate, Events, Peer, PeerState, PeerValidator, Retry, Room, RoomBuilder, RoomEvent,
    Sharing, Verdict,
};

pub use peerloom_core as core;
pub use peerloom_core::{
    Checkpoint, CloseReason, CollectionName, Combine, CommitError, ConflictHandler, Context, Counter,
    DeleteWins, DocumentId, Dot, EditWins, FieldHead, FieldState, FieldWise, Head, IdRange, Incarnation,
    InvalidInvitation, InvalidName, Invitation, LastWriteWins, MergeJson, MergeWith, Now, PageLimits,
    PassphraseError, PeerAddress, PerField, PointerError, Refusal, ReplicaId, ReplicaLimits, SessionCounters,
    SessionLimits, Stamp, State, Storage, StorageError, Topic, TopicKey, Transport, TransportError, Union,
    Violation, WriteError, json,
};
