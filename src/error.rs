//! What can go wrong, by what the caller was doing.

use peerloom_core::{
    CLAIM_BYTES_MAX, CollectionName, CommitError, InvalidName, LoadError, PassphraseError, StorageError,
    TransportError, WriteError,
};

use crate::collection::ContentError;

/// Why a node or a collection could not be opened. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name cannot be used.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The storage says no.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What was to be written at the opening could not be.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store's layout cannot be used.
    #[error(transparent)]
    Layout(#[from] LoadError),
    /// The collection is open already, with another conflict handler or schema version. Use the same, or close that one.
    #[error("the collection {0} is open with another handler or schema version")]
    OpenDifferently(CollectionName),
    /// The id of the conflict handler is empty or longer than 255 bytes.
    #[error("the id of a conflict handler has 1 to 255 bytes, this one has {bytes}")]
    HandlerId {
        /// How many bytes it has.
        bytes: usize,
    },
    /// The node is closed.
    #[error("the node is closed")]
    Closed,
}

/// Why an operation on a collection failed. Unless it says otherwise, nothing was done.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The document id cannot be used.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The value cannot be written, or the document cannot be read as one of this type.
    #[error("the content of document {id:?}: {source}")]
    Content {
        /// The document.
        id: String,
        /// What is wrong.
        source: ContentError,
    },
    /// The write was refused.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The storage failed a read.
    #[error(transparent)]
    Storage(StorageError),
    /// The storage failed a commit, and says what became of it.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// After a commit of unknown fate the collection takes nothing more: close the node and open it again, which tells.
    #[error("an earlier commit failed and its fate is unknown; close the node and open it again")]
    MustReopen,
    /// The collection or its node is closed.
    #[error("the collection is closed")]
    Closed,
}

/// Why a room could not be joined, or waited for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The topic or a filter's name cannot be used.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// No key can be made of the passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// A claim has at most 4,096 bytes.
    #[error("a claim has at most {CLAIM_BYTES_MAX} bytes, this one has {bytes}")]
    ClaimTooLong {
        /// How many it has.
        bytes: usize,
    },
    /// RxDB peers cannot prove that they have a key, and would be let in without one.
    #[error("a room with a key cannot have RxDB peers in it; let them in by a room without one")]
    RxdbWithKey,
    /// What RxDB peers will be told cannot be kept.
    #[error("the collection for RxDB peers takes no commit")]
    Rxdb(#[source] Error),
    /// The transport says no.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The collection is shared in this room already.
    #[error("the collection {0} is shared in this room already")]
    SharedTwice(CollectionName),
    /// The collection belongs to another node.
    #[error("the collection {0} belongs to another node")]
    AnotherNode(CollectionName),
    /// A commit of this collection failed and its fate is unknown: it replicates no more. Close the node and open it again.
    #[error("an earlier commit of {0} failed and its fate is unknown; close the node and open it again")]
    MustReopen(CollectionName),
    /// The room was left, or its node closed.
    #[error("the room was left")]
    Left,
    /// The node is closed. Open it again.
    #[error("the node is closed")]
    Closed,
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            // Reads ask the store and writes the writer: whoever calls need not know.
            StorageError::Closed => Self::Closed,
            error => Self::Storage(error),
        }
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
