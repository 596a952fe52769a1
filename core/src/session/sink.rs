//! The sink half of a link: asks for the peer's changes and hands them to the store, in their order.
//!
//! Never holds more than five pages: four on their way to the store, and the one after them.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::interface::APPLIES_MAX;
use super::limits::SessionLimits;
use super::reason::Violation;
use crate::feed::Sequence;
use crate::id::Incarnation;
use crate::replica::Applied;
use crate::version_vector::{Context, Knowledge};
use crate::wire::Changes;

/// Pages that the source may send before the first is acknowledged: those on their way to the store, and one on its way here.
pub(super) const PAGES: u32 = APPLIES_MAX as u32 + 1;

/// How much more than the bytes that were asked for a page may have, because sources count them before they encode, and end a page
/// with a document of any size.
const PAGE_ENCODED_FACTOR_MAX: usize = 4;
const PAGE_BYTES_SPARE: usize = 64 << 10;

/// How often an unmet announcement waits for progress from elsewhere before the documents are asked for all the same.
const GRAFT_WAITS_MAX: u32 = 10;

/// For how long a link that was asked for an origin's documents is not told to hold them back again, so that two
/// peers do not swap the task to and fro.
const PRUNE_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Sink {
    /// The peer serves us, and so will be pulled from.
    pub(super) expected: bool,
    pub(super) pulling: bool,
    queue: VecDeque<Changes>,
    /// On their way to the store, in the order of the feed, which is the order in which they become durable.
    applying: VecDeque<Applying>,
    /// The last page that was applied left nothing out.
    pub(super) complete: bool,
    announced: Context,
    graft_at: Option<Duration>,
    graft_waits: u32,
    /// The end of our feed when the graft was last put off: progress is when it moved.
    graft_end: Sequence,
    grafted: BTreeMap<Incarnation, Duration>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Applying {
    complete: bool,
    knowledge: Knowledge,
}

/// What follows from a page that is durable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Durable {
    /// What the source vouched for: both sides know it now.
    pub(super) knowledge: Knowledge,
    /// Origins to be held back from now on.
    pub(super) prune: Vec<Incarnation>,
}

impl Sink {
    pub(super) fn receive(&mut self, changes: Changes, limits: &SessionLimits) -> Result<(), Violation> {
        let held = self.queue.len() + self.applying.len();
        if !self.pulling || held >= PAGES as usize {
            return Err(Violation::PageNotAsked);
        }
        let (documents, documents_max) = (changes.documents.len(), limits.page.documents_max.get());
        if documents > documents_max as usize {
            return Err(Violation::PageTooLarge { documents, documents_max });
        }
        let heads = changes.documents.iter().map(|(_, document)| document.heads().len()).max().unwrap_or(0);
        if heads > limits.heads_accepted_max {
            return Err(Violation::TooManyHeads { heads, heads_max: limits.heads_accepted_max });
        }
        let entries =
            changes.documents.iter().map(|(_, document)| document.context().len()).max().unwrap_or(0);
        if entries > limits.context_entries_max {
            return Err(Violation::VectorTooLong { entries, entries_max: limits.context_entries_max });
        }
        let sizes = || changes.documents.iter().map(|(id, document)| Changes::document_bytes(id, document));
        let (bytes, bytes_max) =
            (sizes().sum::<usize>() - sizes().max().unwrap_or(0), limits.page.bytes_max.get());
        if bytes > PAGE_ENCODED_FACTOR_MAX * bytes_max as usize + PAGE_BYTES_SPARE {
            return Err(Violation::PageTooHeavy { bytes, bytes_max });
        }
        // Sources send them in ascending order, though they need not.
        let ascending = changes.documents.is_sorted_by(|left, right| left.0 < right.0);
        let distinct = || changes.documents.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len();
        if !ascending && distinct() < documents {
            return Err(Violation::RepeatedDocument);
        }
        self.queue.push_back(changes);
        Ok(())
    }

    /// The next page to apply, if it may be.
    pub(super) fn next(&mut self) -> Option<Changes> {
        if self.applying.len() == APPLIES_MAX {
            return None;
        }
        let changes = self.queue.pop_front()?;
        self.applying
            .push_back(Applying { complete: changes.complete, knowledge: changes.knowledge.clone() });
        Some(changes)
    }

    /// The first of the pages on their way to the store is durable.
    pub(super) fn applied(
        &mut self,
        now: Duration,
        applied: &Applied,
        peer: Incarnation,
        direct: &BTreeSet<Incarnation>,
    ) -> Durable {
        let Applying { complete, knowledge } = self.applying.pop_front().expect("a page was being applied");
        self.complete = complete;
        self.grafted.retain(|_, until| *until > now);
        // Without another peer to get it from, what came twice came from this one.
        let elsewhere = direct.iter().any(|origin| *origin != peer);
        let prune = |origin: &Incarnation| elsewhere && *origin != peer && !self.grafted.contains_key(origin);
        Durable { knowledge, prune: applied.duplicate_origins.iter().copied().filter(prune).collect() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.applying.is_empty()
    }

    /// The peer holds these back.
    pub(super) fn announced(
        &mut self,
        origins: &Context,
        known: &Knowledge,
        end: Sequence,
        now: Duration,
        delay: Duration,
    ) {
        self.announced.join(origins);
        self.forget_known(known);
        if !self.announced.is_empty() && self.graft_at.is_none() {
            self.graft_at = Some(now + delay);
            self.graft_waits = 0;
            self.graft_end = end;
        }
    }

    /// How many entries it holds of what the peer announced.
    pub(super) fn entries(&self) -> usize {
        self.announced.len()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.graft_at
    }

    /// The origins to ask for, if their time has come: what was announced is still not known, and nothing
    /// arrives from anywhere, or it has been so for long.
    pub(super) fn graft(
        &mut self,
        known: &Knowledge,
        end: Sequence,
        now: Duration,
        delay: Duration,
    ) -> Option<Vec<Incarnation>> {
        self.graft_at.filter(|at| *at <= now)?;
        self.graft_at = None;
        self.forget_known(known);
        if self.announced.is_empty() {
            return None;
        }
        let progress = core::mem::replace(&mut self.graft_end, end) != end;
        if progress && self.graft_waits < GRAFT_WAITS_MAX {
            self.graft_waits += 1;
            self.graft_at = Some(now + delay);
            return None;
        }
        if planted!(NeverGrafts) {
            return None;
        }
        let origins: Vec<_> = core::mem::take(&mut self.announced).iter().map(|entry| entry.0).collect();
        self.grafted.extend(origins.iter().map(|origin| (*origin, now + PRUNE_PAUSE)));
        Some(origins)
    }

    fn forget_known(&mut self, known: &Knowledge) {
        self.announced = known.lacks(&self.announced).collect();
    }
}
