//! A replica: one store taking part in replication, as far as it decides.
//!
//! It knows the end of the store's changefeed, the collection's knowledge and the clock, and turns writes and pages
//! into batches. Whoever drives it reads the documents that a [`Transaction`] needs, commits its batch, and says
//! whether that worked. It reads and commits nothing itself.

mod metadata;
mod page;
mod past;
mod slot;
mod transaction;
mod write;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

pub use metadata::{CONFLICT_PREFIX, MalformedMetadata, checkpoint_from_value, checkpoint_key};
pub use page::{Applied, Notice, Outcome, Page};
pub use past::{PAST_VIEWS_MAX, PastView, PastViews, past_views_key, view_digest};
pub use transaction::{Committable, Resolver, Transaction};
pub use write::{Condition, Seen, Write, WriteError, Written};

use crate::broken::{self, Rule};
use crate::feed::{Checkpoint, History, Sequence};
use crate::id::Incarnation;
use crate::stamp::{Clock, Stamp};
use crate::storage::{Batch, Put};
use crate::time::Now;
use crate::version_vector::Knowledge;
use crate::{Record, State};

/// Bounds on what a replica holds and accepts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ReplicaLimits {
    /// How far, in milliseconds, a stamp may lie ahead of the local clock and still move it. Default 5 minutes.
    pub clock_ahead_ms_max: u64,
    /// The most heads a local write may leave in a document. Default 64.
    pub heads_max: usize,
    /// The most bytes in the body of a local write. Default 16 MiB.
    pub body_bytes_max: usize,
    /// The most bytes that all heads of a document may hold after a local write, so that the document fits a message.
    /// Default 32 MiB.
    pub document_bytes_max: usize,
    /// How many openings the store remembers in its changefeed's history. A reader whose checkpoint lies in a forgotten one scans
    /// from the start. Default 1,024.
    pub history_incarnations_max: usize,
    /// By how many milliseconds wall clock and monotonic clock may part between two writes before the replica takes a new
    /// incarnation, because its machine may have been resumed from a snapshot. Default 10 seconds.
    pub clock_parting_ms_max: u64,
    /// How many incarnations the replica knows of, at most. What a peer vouches for beyond that is not believed, and is sent again
    /// whenever the two meet. Default 1,000,000, of which peers accept somewhat more.
    pub knowledge_entries_max: usize,
}

impl Default for ReplicaLimits {
    fn default() -> Self {
        Self {
            clock_ahead_ms_max: 5 * 60 * 1000,
            heads_max: 64,
            body_bytes_max: 16 << 20,
            document_bytes_max: 32 << 20,
            history_incarnations_max: 1024,
            clock_parting_ms_max: 10_000,
            knowledge_entries_max: 1_000_000,
        }
    }
}

/// What everybody may know of a replica at one instant. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Snapshot {
    /// Who writes here.
    pub incarnation: Incarnation,
    /// The end of the changefeed.
    pub end: Sequence,
    /// The writes that this replica's documents include.
    pub knowledge: Arc<Knowledge>,
    /// Which incarnation committed which part of the changefeed.
    pub history: Arc<History>,
}

impl Snapshot {
    /// The checkpoint of a reader who has read up to `sequence`. `None` for an empty feed.
    pub fn checkpoint(&self, sequence: Sequence) -> Option<Checkpoint> {
        self.history.checkpoint(self.end, sequence)
    }

    /// Where a reader with this checkpoint goes on: at the start if it does not fit.
    pub fn position(&self, checkpoint: Option<Checkpoint>) -> Sequence {
        self.history.position(checkpoint, self.end)
    }
}

/// A store whose layout this version cannot use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Written by a later version.
    #[error("the store's layout has version {found}, this version reads up to {supported}")]
    Newer {
        /// The version found.
        found: u32,
        /// The latest that can be read.
        supported: u32,
    },
    /// An entry that no version wrote.
    #[error(transparent)]
    Malformed(#[from] MalformedMetadata),
}

/// The state of a replica in memory. Its documents are in the store.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Replica {
    limits: ReplicaLimits,
    snapshot: Snapshot,
    /// What of its knowledge it has from nobody else: the writes made here.
    own: Knowledge,
    clock: Clock,
    /// The id of the handler that made the stored views, if the store has any.
    handler: Option<String>,
    last_write: Option<Now>,
    last_rotation: Option<Now>,
    keeps_past_views: bool,
    imports: Option<Imports>,
}

/// Who imports what peers without causality had before they met this replica.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Imports {
    incarnation: Incarnation,
    /// The last stamp handed out. They count from 1, so that an import never outranks a write.
    last: u64,
}

impl Replica {
    /// The prefixes of the metadata that [`Replica::load`] starts from.
    pub const LOADED_PREFIXES: [&'static [u8]; 7] = [
        metadata::FORMAT_KEY,
        metadata::END_KEY,
        metadata::HANDLER_KEY,
        metadata::PAST_KEY,
        b"i",
        b"k",
        b"o",
    ];

    /// The prefixes of the metadata that was learnt from peers, in the order in which it is to be forgotten: how far their feeds
    /// were read, then what they vouched for. To forget a part of it is sound at any time.
    pub const LEARNT_PREFIXES: [&'static [u8]; 2] = [b"l", b"k"];

    /// Starts from the metadata of a store that was just opened: all entries with [`Replica::LOADED_PREFIXES`], in the order of
    /// their keys within each prefix. Others are passed over.
    ///
    /// `incarnation` must be random and never used before. It is recorded at the first commit.
    pub fn load(
        limits: ReplicaLimits,
        incarnation: Incarnation,
        entries: impl IntoIterator<Item = (Bytes, Bytes)>,
    ) -> Result<Self, LoadError> {
        let (mut end, mut handler, mut begun, mut known) = (Sequence::ZERO, None, Vec::new(), Vec::new());
        let (mut own, mut keeps_past_views) = (Knowledge::default(), false);
        for (key, value) in entries {
            match metadata::parse(&key, &value)? {
                metadata::Entry::Format(found) if found > metadata::FORMAT => {
                    return Err(LoadError::Newer { found, supported: metadata::FORMAT });
                }
                metadata::Entry::End(sequence) => end = sequence,
                metadata::Entry::Handler(id) => handler = Some(id),
                metadata::Entry::Begun(first, incarnation) => begun.push((first, incarnation)),
                metadata::Entry::Known(incarnation, stamp) => known.push((incarnation, stamp)),
                metadata::Entry::Own(incarnation, stamp) => {
                    known.push((incarnation, stamp));
                    own.advance(incarnation, stamp);
                }
                metadata::Entry::KeepsPastViews => keeps_past_views = true,
                metadata::Entry::Format(_) | metadata::Entry::Other => {}
            }
        }
        let earlier = begun
            .last()
            .map(|last| last.1)
            .filter(|_| broken::is(Rule::SessionIdentity) || planted!(IncarnationOfDevice));
        let snapshot = Snapshot {
            incarnation: earlier.unwrap_or(incarnation),
            end,
            knowledge: Arc::new(known.into_iter().collect()),
            history: Arc::new(History::new(begun)),
        };
        Ok(Self {
            limits,
            snapshot,
            own,
            clock: Clock::default(),
            handler,
            last_write: None,
            last_rotation: None,
            keeps_past_views,
            imports: None,
        })
    }

    /// What everybody may know of it now.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether past views are kept: then a transaction must be given those of its documents, by
    /// [`Transaction::with_past_views`].
    pub fn keeps_past_views(&self) -> bool {
        self.keeps_past_views
    }

    /// Whether the stored views were made by another handler and must be remade, with [`Self::remake`].
    pub fn views_are_stale(&self, handler: &str) -> bool {
        self.handler.as_deref() != Some(handler)
    }

    /// A batch that remakes the views of records in conflict. It moves nothing in the changefeed, so it is for replicas that keep no past views;
    /// for others there is [`Transaction::remake`].
    pub fn remake(records: Vec<Record>, resolver: &mut dyn Resolver) -> Batch {
        let remade = records.into_iter().filter_map(|mut record| {
            let resolved = transaction::resolve(&record.document, &record.id, resolver, &mut Vec::new());
            let replaces = Some(record.sequence);
            (resolved != record.resolved).then(|| {
                record.resolved = resolved;
                Put { record, replaces }
            })
        });
        Batch { records: remade.collect(), metadata: Vec::new() }
    }

    /// The batch that notes that all views were made by this handler.
    pub fn views_made(&mut self, handler: &str) -> Batch {
        self.handler = Some(handler.into());
        let entry = |key: &'static [u8], value: Vec<u8>| (Bytes::from_static(key), Some(value.into()));
        let format = entry(metadata::FORMAT_KEY, metadata::FORMAT.to_be_bytes().to_vec());
        Batch {
            records: Vec::new(),
            metadata: vec![format, entry(metadata::HANDLER_KEY, handler.as_bytes().to_vec())],
        }
    }

    /// Begins a transaction on the documents with these ids, as the store has them now. `fresh` must be random: it becomes
    /// the incarnation if the present one can no longer be trusted to be the replica's own.
    pub fn begin(
        &mut self,
        now: Now,
        fresh: Incarnation,
        documents: impl IntoIterator<Item = (crate::DocumentId, Option<Record>)>,
    ) -> Transaction<'_> {
        Transaction::new(self, now, fresh, documents)
    }

    /// The batch is durable: the replica goes on from there.
    pub fn committed(&mut self, committable: Committable) {
        assert!(committable.end >= self.snapshot.end, "the changefeed never shrinks");
        self.snapshot.end = committable.end;
        self.keeps_past_views |= committable.keeps_past_views;
        if let Some(history) = committable.history {
            self.snapshot.history = history;
        }
        if !committable.known.is_empty() {
            Arc::make_mut(&mut self.snapshot.knowledge).join(&committable.known);
        }
        self.own.join(&committable.own);
    }

    /// Knows from now on only what was written here: the metadata with [`Replica::LEARNT_PREFIXES`] is gone. Sessions that
    /// began before must apply no more pages, because their peers leave out what this replica had said it knows.
    pub fn forget_learnt(&mut self) {
        self.snapshot.knowledge = Arc::new(self.own.clone());
    }

    /// The latest stamp that may move the clock.
    fn stamp_ahead_max(&self, now: Now) -> Stamp {
        Stamp::at_unix_ms(now.unix_ms.saturating_add(self.limits.clock_ahead_ms_max))
    }

    /// Takes a new incarnation if wall clock and monotonic clock have parted since the last write: the machine may
    /// have been resumed from a snapshot, and somebody else may be writing under the present one.
    fn distrust_parted_clocks(&mut self, now: Now, fresh: Incarnation) {
        if let Some(last) = self.last_write.replace(now) {
            let wall_ms = now.unix_ms as i128 - last.unix_ms as i128;
            let monotonic_ms = now.monotonic.saturating_sub(last.monotonic).as_millis() as i128;
            if (wall_ms - monotonic_ms).unsigned_abs() > u128::from(self.limits.clock_parting_ms_max) {
                self.rotate(now, fresh);
            }
        }
    }

    /// Takes a new incarnation, unless that was done less than a minute ago: a lying peer must not make a replica use up
    /// incarnations. Returns whether it was done.
    fn rotate(&mut self, now: Now, fresh: Incarnation) -> bool {
        const INTERVAL_SECONDS_MIN: u64 = 60;
        let elapsed = |last: Now| now.monotonic.saturating_sub(last.monotonic).as_secs();
        if self.last_rotation.is_some_and(|last| elapsed(last) < INTERVAL_SECONDS_MIN) {
            return false;
        }
        self.last_rotation = Some(now);
        self.snapshot.incarnation = fresh;
        self.clock = Clock::default();
        true
    }
}

/// The state that wins when a conflict handler gives none: the last in canonical order.
fn last_write(document: &crate::Document) -> State {
    document.heads().last().expect("a document has a head").state.clone()
}
