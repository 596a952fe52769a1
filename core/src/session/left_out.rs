//! Documents of the feed that were not sent though the peer may lack them.
//!
//! They are not listed: what counts is where the first stands and the highest stamp per origin.

use crate::feed::Sequence;
use crate::id::Incarnation;
use crate::stamp::Stamp;
use crate::version_vector::{Context, Knowledge};

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct LeftOut {
    /// Where the first of them stands. `None` if there is none.
    pub(super) from: Option<Sequence>,
    /// The highest stamps among them that the peer lacks.
    pub(super) entries: Context,
}

impl LeftOut {
    /// Adds a document and what of its context the peer lacks.
    pub(super) fn add(&mut self, sequence: Sequence, lacks: impl Iterator<Item = (Incarnation, Stamp)>) {
        let origins_max = if planted!(OneOriginHeldBack) { 1 } else { usize::MAX };
        for (origin, stamp) in lacks.take(origins_max) {
            self.entries.advance(origin, stamp);
        }
        let from = self.from.filter(|_| !planted!(LatestHeldBack));
        self.from = Some(from.map_or(sequence, |from| from.min(sequence)));
    }

    /// Whether there is one that the peer lacks for this origin.
    pub(super) fn has(&self, origin: Incarnation) -> bool {
        self.entries.index_of(origin).is_some()
    }

    /// Nothing counts any more that the peer has by now.
    pub(super) fn release(&mut self, peer: &Knowledge) {
        self.entries = peer.lacks(&self.entries).collect();
        if self.entries.is_empty() {
            self.from = None;
        }
    }
}
