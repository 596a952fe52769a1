//! Pages of peers' changes, and what is told of a transaction.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use bytes::Bytes;

use crate::document::Document;
use crate::feed::{Checkpoint, Sequence};
use crate::id::{DocumentId, Incarnation};
use crate::version_vector::Knowledge;

/// A page of a peer's changes.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Page {
    /// The documents.
    pub documents: Vec<(DocumentId, Document)>,
    /// Where the checkpoint is kept, and how far the feed is read once the page is durable.
    pub checkpoint: Option<(Bytes, Checkpoint)>,
    /// What the peer vouches for: with this page, every one of these writes is here.
    pub knowledge: Knowledge,
}

/// What became of a page.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Applied {
    /// How many documents the page held.
    pub documents: usize,
    /// How many of them held nothing new.
    pub duplicates: usize,
    /// Origins of which the page held nothing new: the peer need not send what comes from them at once.
    pub duplicate_origins: Vec<Incarnation>,
    /// Positions in the changefeed of documents that are now exactly as the peer has them.
    pub as_sent: Vec<RangeInclusive<Sequence>>,
    /// A document with a write that is here too, under the same name and with another content. Nothing of the page was applied.
    pub forged: Option<DocumentId>,
}

/// Something worth telling the application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// Versions of the document stand beside each other now.
    Conflict {
        /// The document.
        id: DocumentId,
        /// How many versions.
        heads: usize,
    },
    /// The conflict handler panicked. The last write wins in this view.
    HandlerFailed {
        /// The document.
        id: DocumentId,
    },
    /// Page number `page` of the transaction brought a stamp too far ahead of the local clock. It was accepted and did not move the clock.
    ClockAhead {
        /// The page.
        page: usize,
        /// The first document that has such a stamp.
        id: DocumentId,
        /// How far ahead, in milliseconds.
        ahead_ms: u64,
    },
    /// Page number `page` of the transaction brought writes of this replica's live incarnation that it does not remember: its machine
    /// was restored or copied while running.
    RolledBack {
        /// The page.
        page: usize,
        /// Whether the replica writes under a new incarnation now.
        rotated: bool,
    },
}

/// What a transaction did, besides its batch.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// What became of each page, in the order they were applied.
    pub pages: Vec<Applied>,
    /// What is worth telling.
    pub notices: Vec<Notice>,
}
