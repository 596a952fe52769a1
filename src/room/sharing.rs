//! How a collection is shared in a room: which way it replicates, and what of it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use peerloom_core::{DocumentId, Record, Scanned};

/// How a collection is shared in a room. By default both ways and whole.
#[derive(Clone, Default)]
pub struct Sharing {
    direction: Direction,
    filter: Option<Filter>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Direction {
    #[default]
    Both,
    PullOnly,
    PushOnly,
}

#[derive(Clone)]
struct Filter {
    /// Names the filter to peers, who keep a checkpoint per filter.
    name: String,
    lets_through: Arc<dyn Fn(&Candidate<'_>) -> bool + Send + Sync>,
}

/// A document that a filter decides on.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: &'a DocumentId,
    /// Whether it is deleted. A tombstone that is filtered out leaves the document alive at peers that have it.
    pub deleted: bool,
    /// Its body.
    pub body: &'a Bytes,
}

impl Sharing {
    /// Both ways and whole.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what peers have and gives nothing.
    pub fn pull_only(mut self) -> Self {
        self.direction = Direction::PullOnly;
        self
    }

    /// Gives what is here and takes nothing.
    pub fn push_only(mut self) -> Self {
        self.direction = Direction::PushOnly;
        self
    }

    /// Gives only documents whose id starts with `prefix`.
    pub fn only_prefix(self, prefix: &str) -> Self {
        let starts = prefix.to_owned();
        self.only(&format!("prefix:{prefix}"), move |document| document.id.as_str().starts_with(&starts))
    }

    /// Gives only documents that the predicate lets through, as they are when they are about to be sent.
    ///
    /// `name` tells this filter from others: peers remember under it how far they have read. Change it with the predicate, and they
    /// read again from the start. At most 128 bytes count. What a peer already has stays there when a later version is filtered
    /// out. A predicate that panics lets nothing through.
    pub fn only(
        mut self,
        name: &str,
        predicate: impl Fn(&Candidate<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let name = name[..name.floor_char_boundary(128)].to_owned();
        self.filter = Some(Filter { name, lets_through: Arc::new(predicate) });
        self
    }

    pub(super) fn pulls(&self) -> bool {
        self.direction != Direction::PushOnly
    }

    pub(super) fn serves(&self) -> bool {
        self.direction != Direction::PullOnly
    }

    pub(super) fn filter_name(&self) -> Option<String> {
        self.filter.as_ref().map(|filter| filter.name.clone())
    }

    pub(super) fn scanned(&self, record: Record) -> Scanned {
        let served = self.filter.as_ref().is_none_or(|filter| filter.serves(&record));
        Scanned { record, served }
    }
}

impl Filter {
    fn serves(&self, record: &Record) -> bool {
        let view = record.view();
        let candidate = Candidate { id: &record.id, deleted: view.deleted, body: &view.body };
        catch_unwind(AssertUnwindSafe(|| (self.lets_through)(&candidate))).unwrap_or_else(|_| {
            tracing::error!(filter = self.name, id = %record.id, "the filter panicked; the document stays here");
            false
        })
    }
}

impl fmt::Debug for Sharing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sharing")
            .field("direction", &self.direction)
            .field("filter", &self.filter_name())
            .finish()
    }
}
