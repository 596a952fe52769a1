//! The storage contract: what an adapter promises, and what it may rely on.
//!
//! A [`Storage`] opens named [`Store`]s, one per collection and one for the node. The replica is the only
//! writer of its store and serializes read, decide and commit, so adapters need no compare-and-set.
//!
//! To *call* an async method means to poll its future for the first time; making the future calls nothing. A
//! caller goes on polling what it called, or drops it: a future that is kept and not polled may hold up what
//! is called after it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;

use crate::document::Record;
use crate::feed::Sequence;
use crate::id::{DocumentId, StoreName};

/// Opens stores by name. Two values on the same place, such as a directory, are the same storage.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Opens a store, and creates it if there is none.
    ///
    /// Everything that was ever committed to a store of this name is in it. At most one handle to a store is
    /// open at a time: a second `open` fails with [`StorageError::Locked`] until the first handle is closed
    /// or dropped. Stores of different names, be it by the case of a letter, are different stores and may be
    /// open side by side. A store needs the `Storage` no longer: that may be dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the store closed and whole. It may be locked for a moment after.
    ///
    /// # Errors
    ///
    /// [`StorageError::Locked`], [`StorageError::Foreign`] and [`StorageError::Newer`] if what is there
    /// cannot be used; nothing is changed then.
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError>;

    /// Deletes a store with all that is in it. A store that does not exist is deleted already.
    ///
    /// # Errors
    ///
    /// [`StorageError::Locked`] while a handle to it is open.
    async fn delete(&self, name: &StoreName) -> Result<(), StorageError>;
}

/// One open store: documents by id, a changefeed with one entry per document, and metadata.
///
/// Operations take effect in the order of their calls, whichever of them is awaited first. A read sees every
/// commit that was called before the read, none that was called after, and each whole or not at all. An
/// operation whose future is dropped harms no other. Any number may be called at once, from any number of
/// threads.
///
/// Everything comes back exactly as it went in. Ids, keys, bodies and values are opaque: any bytes, or any
/// UTF-8 for ids, with no meaning for characters such as NUL, `/` or `.`, and no normalization.
///
/// Dropping the last handle closes the store. When no operation is under way, the store can be opened again
/// at once.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads documents by id, one answer per id in the order asked.
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError>;

    /// Reads the changefeed after a sequence, in ascending order. Each document appears once, at its latest
    /// commit.
    ///
    /// Holds as many records as the limits allow: it ends before the record that would exceed one, but holds
    /// at least one record if there is one. An empty page means that nothing follows.
    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError>;

    /// Lists documents in the order of their ids, compared as bytes, within limits as [`Store::changes`] has
    /// them. A range that ends before it begins holds nothing.
    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError>;

    /// Reads metadata whose keys start with `prefix` and are greater than `after`, in the order of their keys
    /// compared as bytes, at most `entries_max`. `prefix` may be empty, and a key itself; `after` need
    /// neither be a key nor start with `prefix`. Metadata and documents share no keys.
    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError>;

    /// Applies a batch atomically.
    ///
    /// When this returns, the batch survives a crash and every later read sees it. An empty batch is fine.
    ///
    /// # Errors
    ///
    /// [`CommitError::NotApplied`] says that nothing of the batch is there. After
    /// [`CommitError::Unknown`] the store answers every commit with an error until it is reopened.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the batch applied or not, never in part; it may still land later, but
    /// before any operation that is called after.
    async fn commit(&self, batch: Batch) -> Result<(), CommitError>;

    /// Closes the store. When this returns, it can be opened again. Operations called before take effect;
    /// those called later fail with [`StorageError::Closed`]. Closing twice is fine, and does nothing to a
    /// later opening.
    ///
    /// # Cancel safety
    ///
    /// After dropping the future the store may be closed or not. Close it again.
    async fn close(&self) -> Result<(), StorageError>;
}

/// A set of changes that a store applies as one.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Batch {
    /// Records to put, in ascending order of their sequences, each id once.
    pub records: Vec<Put>,
    /// Metadata to put, or with `None` to remove, be it there or not, each key once. A key has 1 to 2,048
    /// bytes; a value may be empty, and is as large as memory allows.
    pub metadata: Vec<(Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.metadata.is_empty()
    }
}

/// A record to put in place of the one that the store has for its id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Put {
    /// The new record. Its sequence is larger than every one committed before, or equal to `replaces`: then
    /// it takes the place of the old record in the feed. Sequences start above zero, may leave gaps, and use
    /// all of their 64 bits.
    pub record: Record,
    /// The sequence of the record it replaces, whose entry in the changefeed goes. `None` for a new id.
    pub replaces: Option<Sequence>,
}

/// How much one page may hold.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PageLimits {
    /// The most documents.
    pub documents_max: NonZeroU32,
    /// The most bytes, as [`Record::bytes`] counts them. A single larger record makes a page of its own.
    pub bytes_max: NonZeroU32,
}

/// A range of document ids.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IdRange {
    /// Where it begins.
    pub start: Bound<DocumentId>,
    /// Where it ends.
    pub end: Bound<DocumentId>,
}

impl IdRange {
    /// All ids.
    pub const ALL: Self = Self { start: Bound::Unbounded, end: Bound::Unbounded };

    /// The ids that start with `prefix`.
    ///
    /// ```
    /// use peerloom_core::{DocumentId, IdRange};
    /// let range = IdRange::prefix("todo/");
    /// assert!(range.contains(&DocumentId::new("todo/1")?));
    /// assert!(!range.contains(&DocumentId::new("note/1")?));
    /// # Ok::<(), peerloom_core::InvalidName>(())
    /// ```
    pub fn prefix(prefix: &str) -> Self {
        let Ok(start) = DocumentId::new(prefix) else {
            // The empty prefix starts every id; one that is longer than ids may be starts none.
            let end =
                if prefix.is_empty() { Bound::Unbounded } else { Bound::Excluded(DocumentId::lowest()) };
            return Self { start: Bound::Unbounded, end };
        };
        Self { start: Bound::Included(start), end: Bound::Included(DocumentId::highest(prefix)) }
    }

    /// Whether an id lies in it.
    pub fn contains(&self, id: &DocumentId) -> bool {
        use core::ops::RangeBounds;
        (self.start.as_ref(), self.end.as_ref()).contains(id)
    }

    /// Whether no id can lie in it.
    pub fn is_empty(&self) -> bool {
        use Bound::{Excluded, Included, Unbounded};
        match (&self.start, &self.end) {
            (Unbounded, _) | (_, Unbounded) => false,
            (Included(start), Included(end)) => start > end,
            (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start >= end,
        }
    }
}

/// Why a store could not be opened, read or closed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Somebody else has it open: another handle, or another process. Close that one first.
    #[error("the store is open elsewhere ({place})")]
    Locked {
        /// What is locked.
        place: String,
    },
    /// What is there was not made by this adapter. Choose another place.
    #[error("{place} holds something that is not a peerloom store: {detail}")]
    Foreign {
        /// Where.
        place: String,
        /// What was found.
        detail: String,
    },
    /// It was written by a later version. Use that version.
    #[error("the store has format {found}, this version reads up to {supported}")]
    Newer {
        /// The format found.
        found: u32,
        /// The latest format that this version reads.
        supported: u32,
    },
    /// What is there cannot be read back. Restore a backup, or delete the store and replicate it anew.
    #[error("the store is damaged: {detail}")]
    Corrupt {
        /// What is wrong.
        detail: String,
    },
    /// It is encrypted with keys that are not at hand: they were changed since the storage was opened, or it was opened without any. Open the
    /// storage again, with the password or key that is valid now.
    #[error("the store is encrypted with other keys: {detail}")]
    OtherKeys {
        /// What does not fit.
        detail: String,
    },
    /// No space is left. Free some and try again.
    #[error("no space is left for the store")]
    Full,
    /// The store was closed. Open it again.
    #[error("the store is closed")]
    Closed,
    /// The system failed an operation. Trying again may help.
    #[error("the storage failed: {detail}")]
    Io {
        /// What the system said.
        detail: String,
    },
}

/// The key of metadata under which an encrypted store says that it is one, to whoever opens it without its keys.
pub const ENCRYPTION_MARKER_KEY: &[u8] = b"\0peerloom-encrypted";

/// Why a commit failed, and what became of the batch.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Nothing of the batch was applied. The commit can be tried again.
    #[error("the batch was not applied")]
    NotApplied(#[source] StorageError),
    /// Whether the batch was applied is not known. Reopen the store, which tells.
    #[error("it is not known whether the batch was applied; the store must be reopened")]
    Unknown(#[source] StorageError),
}
