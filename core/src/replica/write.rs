//! Local writes: what is asked for, and what became of it.

use bytes::Bytes;

use crate::document::{Dot, State};
use crate::id::DocumentId;
use crate::version_vector::Context;

/// A local write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// The document.
    pub id: DocumentId,
    /// Whether the document is deleted by it.
    pub deleted: bool,
    /// The new body.
    pub body: Bytes,
    /// What the writer had seen.
    pub seen: Seen,
    /// What must be so for the write to be made.
    pub condition: Condition,
}

/// What a writer had seen of a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// Everything that is there now: the write supersedes all of it.
    Current,
    /// What was read some time ago, perhaps on another replica: the write supersedes this much, and stands beside the rest.
    Read {
        /// The context that was read, empty if there was no document.
        context: Context,
        /// The state that was read.
        state: Option<State>,
    },
    /// What was read some time ago, and then a write of the same writer's, of which he knows what it had seen and what it is, but not
    /// what else the replica that made it for him had written before.
    Wrote {
        /// What that write had seen.
        context: Context,
        /// That write. Superseded with what it had seen.
        dot: Dot,
        /// What it had written.
        state: State,
    },
}

/// What must be so for a write to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Condition {
    /// Nothing.
    None,
    /// There is no such document, or it is deleted.
    Absent,
    /// The document is there and not deleted.
    Present,
}

/// Why a write was refused. Nothing of it was done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The document is there already. Read it and save it, or put over it.
    #[error("the document {id} exists already")]
    Exists {
        /// The document.
        id: DocumentId,
    },
    /// There is no such document.
    #[error("there is no document {id}")]
    Missing {
        /// The document.
        id: DocumentId,
    },
    /// The document has so many unsettled versions that another one beside them is refused. Settle it, or read it again and write over
    /// what is there.
    #[error(
        "the document {id} has {heads} versions beside each other, {heads_max} are allowed; settle them first"
    )]
    TooManyHeads {
        /// The document.
        id: DocumentId,
        /// How many it has.
        heads: usize,
        /// The limit.
        heads_max: usize,
    },
    /// The body is too large. Split the document.
    #[error("the body of {id} has {bytes} bytes, {bytes_max} are allowed")]
    BodyTooLarge {
        /// The document.
        id: DocumentId,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The versions of the document together are too large to be sent. Settle it first.
    #[error(
        "the versions of {id} would have {bytes} bytes together, {bytes_max} are allowed; settle them first"
    )]
    DocumentTooLarge {
        /// The document.
        id: DocumentId,
        /// Their size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The clock is at the end of its range, near the year 6400.
    #[error("the clock has no stamp left")]
    ClockExhausted,
}

/// A write that is in the batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written {
    /// Its name.
    pub dot: Dot,
    /// How many versions the document has now; more than one means a conflict.
    pub heads: usize,
}
