//! What happens in a room, as a stream that applications follow.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream;
use peerloom_core::{
    CloseReason, CollectionName, CommitError, DocumentId, PeerAddress, Refusal, ReplicaId, TransportError,
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// How many events a reader may fall behind before it misses the oldest.
pub(super) const EVENTS_MAX: usize = 1024;

/// Something that happened in a room.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RoomEvent {
    /// A peer has proven who it is and that it belongs here.
    PeerJoined {
        /// Who.
        peer: ReplicaId,
        /// Where.
        address: PeerAddress,
    },
    /// A peer that had joined is gone from an address. One that was killed and came back has joined at its new address by then:
    /// [`Room::peers`](super::Room::peers) tells who is there.
    PeerLeft {
        /// Who.
        peer: ReplicaId,
        /// Where it was.
        address: PeerAddress,
        /// Why.
        reason: CloseReason,
    },
    /// A connection ended before the peer had joined.
    ConnectionFailed {
        /// Where the peer is.
        address: PeerAddress,
        /// Why.
        reason: CloseReason,
    },
    /// This side refused a peer, or was refused by it.
    Refused {
        /// Who, if it had proven that.
        peer: Option<ReplicaId>,
        /// Where the peer is.
        address: PeerAddress,
        /// Why.
        reason: Refusal,
        /// Whether the peer refused this side.
        by_peer: bool,
    },
    /// A collection replicates with a peer from now on.
    Shared {
        /// The peer.
        peer: ReplicaId,
        /// The collection.
        collection: CollectionName,
    },
    /// A peer that has joined does not share a collection, which stays here. If both should, compare the names.
    NotShared {
        /// The peer.
        peer: ReplicaId,
        /// The collection.
        collection: CollectionName,
    },
    /// A peer's store of a collection has failed: nothing of it replicates with this peer, which is not caught up until its application has
    /// opened the store again.
    PeerStorageFailed {
        /// The peer.
        peer: ReplicaId,
        /// The collection.
        collection: CollectionName,
    },
    /// The store of a collection has failed a commit, and nobody knows what became of it: the collection takes nothing more. Close the node
    /// and open it again.
    StorageFailed {
        /// The collection.
        collection: CollectionName,
        /// What the storage says.
        error: CommitError,
    },
    /// The schema versions differ: the collection does not replicate with this peer. Bring both to the same version.
    SchemaMismatch {
        /// The peer.
        peer: ReplicaId,
        /// The collection.
        collection: CollectionName,
        /// This side's version.
        ours: u32,
        /// The peer's version.
        theirs: u32,
    },
    /// The conflict handlers differ: the versions of documents converge, their views may not until both run the same handler.
    HandlerMismatch {
        /// The peer.
        peer: ReplicaId,
        /// The collection.
        collection: CollectionName,
        /// The id of the peer's handler.
        theirs: String,
    },
    /// All collections shared with a peer are caught up, both ways.
    CaughtUp {
        /// The peer.
        peer: ReplicaId,
    },
    /// Versions of a document stand beside each other. The view is what the conflict handler makes of them.
    Conflict {
        /// The collection.
        collection: CollectionName,
        /// The document.
        id: DocumentId,
        /// How many versions.
        versions: usize,
    },
    /// The conflict handler panicked on a document; the last write wins in this view.
    HandlerFailed {
        /// The collection.
        collection: CollectionName,
        /// The document.
        id: DocumentId,
    },
    /// A peer brought a write from far in the future. It was accepted; the local clock does not follow it.
    ClockAhead {
        /// The collection.
        collection: CollectionName,
        /// The peer that brought it, which need not have made it.
        peer: ReplicaId,
        /// The document.
        id: DocumentId,
        /// How far ahead, in milliseconds.
        ahead_ms: u64,
    },
    /// A peer knows writes of this replica that it does not remember: it was restored from a backup, or copied. They come back from
    /// the peer, beside what was written since.
    RolledBack {
        /// The collection.
        collection: CollectionName,
        /// The peer that brought them.
        peer: ReplicaId,
    },
    /// A copy of this node is alive under the same id, so this one has taken a new id.
    IdentityChanged {
        /// The new id.
        replica: ReplicaId,
    },
    /// A document is too large for a peer and stays behind, until its versions are settled.
    DocumentTooLarge {
        /// The peer.
        peer: ReplicaId,
        /// The collection.
        collection: CollectionName,
        /// The document.
        id: DocumentId,
        /// Its size in a message.
        bytes: usize,
    },
    /// An RxDB peer is spoken with.
    RxdbJoined {
        /// Where.
        address: PeerAddress,
        /// Its storage token, which it does not prove.
        token: String,
    },
    /// An RxDB peer that was spoken with is gone, or another replica speaks with it from now on.
    RxdbLeft {
        /// Where.
        address: PeerAddress,
        /// Its storage token.
        token: String,
    },
    /// An RxDB peer and this side have what the other has, as far as they have said.
    RxdbCaughtUp {
        /// Where.
        address: PeerAddress,
    },
    /// A document cannot cross over to an RxDB peer, or from it, and is passed over.
    RxdbLeftOut {
        /// Where the peer is.
        address: PeerAddress,
        /// The collection.
        collection: CollectionName,
        /// The document, if it is known.
        id: Option<DocumentId>,
        /// Why.
        reason: String,
    },
    /// The transport has ended this side's membership of the room, such as for a server that refuses it: the room is left, and nothing
    /// follows. Join again once what the error names has been set right.
    Ended {
        /// What the transport says.
        error: TransportError,
    },
    /// The reader of this stream fell behind and missed events.
    Missed {
        /// How many.
        events: u64,
    },
}

/// A stream of events, from when it was made. Ends when the room is left, or its transport has ended.
#[must_use = "streams do nothing unless polled"]
pub struct Events {
    events: Pin<Box<dyn Stream<Item = RoomEvent> + Send>>,
}

impl Events {
    pub(super) fn new(receiver: broadcast::Receiver<RoomEvent>, closed: CancellationToken) -> Self {
        let events = stream::unfold((receiver, closed), |(mut receiver, closed)| async {
            let received = tokio::select! {
                biased;
                received = receiver.recv() => received,
                () = closed.cancelled() => return None,
            };
            let event = match received {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(events)) => RoomEvent::Missed { events },
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((event, (receiver, closed)))
        });
        Self { events: Box::pin(events) }
    }
}

impl Stream for Events {
    type Item = RoomEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<RoomEvent>> {
        self.events.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}
