//! The source half of a link: reads the local changefeed and serves it to the peer.
//!
//! A document goes out at once, or is left out because the peer has it, or is *held back* because the peer
//! is expected to get it another way. What is held back is not listed: the source remembers where in the feed the
//! first such document stands and the highest stamp per origin. That is all it takes to keep the checkpoint
//! before it, to vouch for nothing of these origins, to announce it, and to scan again from there if the peer asks.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::Scanned;
use super::left_out::LeftOut;
use super::limits::SessionLimits;
use super::reason::Violation;
use super::relaying::Relaying;
use crate::broken::{self, Rule};
use crate::document::Document;
use crate::feed::{Checkpoint, Sequence};
use crate::id::{DocumentId, Incarnation};
use crate::replica::Snapshot;
use crate::storage::PageLimits;
use crate::version_vector::{Context, Knowledge};
use crate::wire::{Changes, Pull};

/// The most pages a sink may let the source send ahead, whatever it asks for.
const PAGES_MAX: u32 = 16;

/// The most ranges of sequences remembered as received from the peer. Beyond that the oldest are forgotten, and their documents
/// may be sent back once.
const AS_SENT_RANGES_MAX: usize = 1024;

/// What is kept for what a Changes has beside its documents: a page's knowledge of a thousand origins and the checkpoint. Half of a message that is
/// not twice as large.
const CHANGES_BYTES_SPARE: usize = 64 << 10;

/// The most documents listed that are too large for the peer. With more, none of them stops counting as left out in this
/// session, even if it is settled.
const BLOCKED_IDS_MAX: usize = 1024;

/// How many times larger than [`crate::Record::bytes`] a document may be in a page, at most.
const PAGE_ENCODED_FACTOR: usize = 3;

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Scan { after: Sequence, limits: PageLimits },
    Send(Served),
    Announce(Context),
}

/// The content of a Changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Served {
    pub(super) documents: Vec<(DocumentId, Document)>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) complete: bool,
    pub(super) knowledge: Knowledge,
}

/// What the last message said of the feed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Told {
    sequence: Sequence,
    complete: bool,
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Source {
    filtered: bool,
    /// Whether the peer will pull.
    expected: bool,
    /// Set by the peer's Pull.
    pull: Option<PageLimits>,
    /// The largest document that fits the peer's messages, whatever else is in the page.
    document_bytes_max: usize,
    /// The most versions and the longest context that a peer takes. Somebody may have made a document grow beyond that: to send
    /// it would cost this link, which has done nothing wrong.
    heads_max: usize,
    context_entries_max: usize,
    /// Pages that may be sent, and pages sent that are not acknowledged.
    window: u32,
    outstanding: u32,
    scanning: bool,
    /// A scan in flight is worth nothing for what was held back: go back when it is done.
    rewind: bool,
    cursor: Sequence,
    /// As of the latest scan, or of the Pull: what checkpoints are made of.
    scanned: Option<Snapshot>,
    /// The knowledge at the scan that last reached the end of the feed. Everything up to there was sent, or is known
    /// to the peer, or is held back.
    reached: Option<Arc<Knowledge>>,
    /// What goes out next, in the order of the feed: of a document that was rewritten meanwhile, the last copy counts.
    page: Vec<(DocumentId, Document)>,
    page_bytes: usize,
    told: Option<Told>,
    /// What the peer is known to know.
    pub(super) peer: Knowledge,
    relaying: Relaying,
    held: LeftOut,
    /// Too large for the peer, and cannot be asked for.
    blocked: LeftOut,
    blocked_ids: BTreeSet<DocumentId>,
    /// There are more of them than are listed.
    blocked_unlisted: bool,
    announced: Context,
    announce_at: Option<Duration>,
    tidy_at: Option<Duration>,
    as_sent: VecDeque<RangeInclusive<Sequence>>,
    /// Documents that are too large for the peer.
    pub(super) too_large: Vec<(DocumentId, usize)>,
}

impl Source {
    pub(super) fn new(filtered: bool) -> Self {
        Self { filtered, ..Self::default() }
    }

    /// The peer has offered its side of the collection.
    pub(super) fn expect(&mut self, pulls: bool, knowledge: Knowledge) {
        self.expected = pulls;
        self.peer = knowledge;
    }

    /// Whether the peer pulls, or will.
    pub(super) fn is_pulled(&self) -> bool {
        self.expected
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.scanning
    }

    pub(super) fn pulled(
        &mut self,
        pull: &Pull,
        snapshot: &Snapshot,
        limits: &SessionLimits,
        message_bytes_max: u32,
    ) -> Result<(), Violation> {
        let own = limits.page;
        self.heads_max = limits.heads_accepted_max;
        self.context_entries_max = limits.context_entries_max;
        if self.pull.is_some() || !self.expected {
            return Err(Violation::Unexpected("Pull"));
        }
        let (Ok(documents_max), Ok(bytes_max)) = (pull.documents_max.try_into(), pull.bytes_max.try_into())
        else {
            return Err(Violation::ZeroLimit);
        };
        let message_bytes_max = message_bytes_max as usize;
        let content_bytes_max = message_bytes_max - CHANGES_BYTES_SPARE.min(message_bytes_max / 2);
        // A small part of the message, so that a large document still fits beside the page that it ends.
        let part = u32::try_from(content_bytes_max / 8).unwrap_or(u32::MAX).max(1);
        let page_bytes_max = own.bytes_max.min(bytes_max).min(part.try_into().expect("at least one"));
        self.pull = Some(PageLimits {
            documents_max: own.documents_max.min(documents_max),
            bytes_max: page_bytes_max,
        });
        let page_bytes = PAGE_ENCODED_FACTOR * page_bytes_max.get() as usize;
        self.document_bytes_max = content_bytes_max.saturating_sub(page_bytes);
        self.window = pull.pages.clamp(1, PAGES_MAX);
        self.cursor = snapshot.position(pull.after);
        self.scanned = Some(snapshot.clone());
        Ok(())
    }

    /// The sink has made a page durable.
    pub(super) fn acknowledged(&mut self) -> Result<(), Violation> {
        self.outstanding = self.outstanding.checked_sub(1).ok_or(Violation::Unexpected("More"))?;
        if !planted!(WindowNotReopened) || self.outstanding > 0 {
            self.window += 1;
        }
        Ok(())
    }

    /// Whether everything up to `end` is durable on the other side.
    pub(super) fn is_done(&self, end: Sequence) -> bool {
        self.pull.is_some()
            && !self.scanning
            && self.is_at(end)
            && self.page.is_empty()
            && self.outstanding == 0
            && self.left_out_from().is_none()
            && self.told.is_some()
    }

    /// Documents at these positions are as the peer sent them.
    pub(super) fn received(&mut self, ranges: Vec<RangeInclusive<Sequence>>) {
        for range in ranges {
            // At the end, as a rule. But of two pages in one commit, the second may hold a document of the first again, which keeps
            // the place in the feed that it got with the first.
            let at = self.as_sent.partition_point(|other| other.start() < range.start());
            match at.checked_sub(1).map(|before| &mut self.as_sent[before]) {
                Some(before) if before.end().next() == *range.start() => {
                    *before = *before.start()..=*range.end();
                }
                _ => self.as_sent.insert(at, range),
            }
        }
        while self.as_sent.len() > AS_SENT_RANGES_MAX {
            self.as_sent.pop_front();
        }
    }

    /// The peer says what it knows: nothing of that need be held back any more.
    pub(super) fn peer_knows(&mut self, knowledge: &Knowledge) {
        self.peer.join(knowledge);
        self.release_known();
    }

    /// The peer says what it knows and whom it hears.
    pub(super) fn updated(
        &mut self,
        knowledge: &Knowledge,
        connected: &[Incarnation],
        disconnected: &[Incarnation],
        limits: &SessionLimits,
    ) {
        self.peer_knows(knowledge);
        self.relaying.updated(connected, disconnected, limits.origins_max);
        if disconnected.iter().any(|origin| self.held.has(*origin)) {
            self.go_back();
        }
    }

    /// The peer asks for what comes from these origins.
    pub(super) fn grafted(&mut self, origins: &[Incarnation], limits: &SessionLimits) {
        if !planted!(PrunedForGood) {
            self.relaying.grafted(origins, limits.origins_max);
        }
        if origins.iter().any(|origin| self.held.has(*origin)) {
            self.go_back();
        }
    }

    /// The peer got something twice.
    pub(super) fn pruned(&mut self, origins: &[Incarnation], limits: &SessionLimits) {
        if !self.filtered {
            self.relaying.pruned(origins, limits.origins_max);
        }
    }

    /// How many entries it holds of what the peer said it knows.
    pub(super) fn entries(&self) -> usize {
        self.peer.len()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let tidy = self.tidy_at.filter(|_| self.window > 0);
        self.announce_at.into_iter().chain(tidy).filter(|_| !self.scanning).min()
    }

    /// A scan has come back, of the feed as it was at `snapshot`.
    pub(super) fn scanned(&mut self, snapshot: &Snapshot, records: Vec<Scanned>) {
        assert!(core::mem::take(&mut self.scanning), "a scan was in flight");
        if core::mem::take(&mut self.rewind) {
            self.go_back();
            return;
        }
        // A page that ends early ends at a record, so an empty one means that nothing follows.
        if records.is_empty() {
            self.cursor = self.cursor.max(snapshot.end);
        }
        let mut records = records.into_iter();
        while let Some(Scanned { record, served }) = records.next() {
            assert!(record.sequence <= snapshot.end, "a scan and its snapshot are of the same instant");
            self.cursor = record.sequence;
            let was_blocked = self.blocked_ids.remove(&record.id);
            let served = served && !(planted!(TombstonesNotServed) && record.view().deleted);
            if served && self.is_news(&record.document, record.sequence) {
                if self.page.is_empty() {
                    self.page.reserve(records.len() + 1);
                }
                self.take(record.id, record.document, record.sequence, snapshot, was_blocked);
            }
            if was_blocked && self.blocked_ids.is_empty() && !self.blocked_unlisted {
                self.blocked = LeftOut::default();
            }
        }
        if self.cursor >= snapshot.end {
            self.reached = Some(snapshot.knowledge.clone());
        }
        while self.as_sent.front().is_some_and(|range| *range.end() <= self.cursor) {
            self.as_sent.pop_front();
        }
        self.scanned = Some(snapshot.clone());
    }

    /// What to do now, if anything. To be asked again after each step. While a page from the peer is being applied,
    /// `may_scan` is false: where that page stands in the feed is not known yet, and it would be sent back.
    pub(super) fn step(
        &mut self,
        now: Duration,
        snapshot: &Snapshot,
        may_scan: bool,
        limits: &SessionLimits,
    ) -> Option<Step> {
        let page = self.pull.filter(|_| !self.scanning)?;
        self.pass_over_received(snapshot);
        let held = &self.held.entries;
        if !held.is_empty() && self.announce_at.is_none() && !self.announced.covers(held) {
            self.announce_at = Some(now + limits.announce_delay);
        }
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announce_at = None;
            if !self.announced.covers(held) {
                self.announced.join(held);
                return Some(Step::Announce(held.clone()));
            }
        }
        if self.window == 0 {
            return None;
        }
        let at_end = self.is_at(snapshot.end);
        let half = self.page.len() * 2 >= page.documents_max.get() as usize
            || self.page_bytes * 2 >= page.bytes_max.get() as usize;
        if !at_end && !half {
            if !may_scan {
                self.tidy_at = None;
                return None;
            }
            self.scanning = true;
            let documents_max = page.documents_max.get() - self.page.len() as u32;
            let bytes_max = page.bytes_max.get() - self.page_bytes as u32;
            let limits = PageLimits {
                documents_max: documents_max.try_into().expect("the page is not half full"),
                bytes_max: bytes_max.try_into().expect("the page is not half full"),
            };
            return Some(Step::Scan { after: self.cursor, limits });
        }
        self.serve(now, at_end, limits)
    }

    fn serve(&mut self, now: Duration, at_end: bool, limits: &SessionLimits) -> Option<Step> {
        let knowledge = self.vouched();
        let before = |from: Sequence| if planted!(CheckpointAtHeldBack) { from } else { from.previous() };
        let sequence = self.left_out_from().map_or(self.cursor, |from| before(from).min(self.cursor));
        let told = Told { sequence, complete: at_end && self.left_out_from().is_none() };
        if self.page.is_empty()
            && knowledge.is_empty()
            && let Some(last) = self.told
        {
            let delay = match told {
                Told { complete: true, .. } if !last.complete => Some(limits.tidy_delay),
                Told { sequence, .. } if sequence != last.sequence => Some(limits.checkpoint_delay),
                _ => None,
            };
            self.tidy_at = match (self.tidy_at, delay) {
                (Some(at), Some(delay)) => Some(at.min(now + delay)),
                (_, delay) => delay.map(|delay| now + delay),
            };
            self.tidy_at.filter(|at| *at <= now)?;
        }
        self.tidy_at = None;
        self.window -= 1;
        self.outstanding += 1;
        self.told = Some(told);
        // The sink joins this with the page, or the session ends.
        self.peer.join(&knowledge);
        self.page_bytes = 0;
        let snapshot = self.scanned.as_ref().expect("set by the Pull");
        let checkpoint = snapshot.checkpoint(sequence.min(snapshot.end));
        let documents = latest_by_id(core::mem::take(&mut self.page));
        Some(Step::Send(Served { documents, checkpoint, complete: told.complete, knowledge }))
    }

    /// What stands next in the feed and is as the peer sent it needs no scan.
    fn pass_over_received(&mut self, snapshot: &Snapshot) {
        let before = self.cursor;
        while let Some(range) = self.as_sent.front()
            && (*range.start() <= self.cursor.next()
                || planted!(ReceivedOffByOne) && *range.start() == self.cursor.next().next())
            && *range.end() <= snapshot.end
        {
            self.cursor = self.cursor.max(*range.end());
            self.as_sent.pop_front();
        }
        // A snapshot older than the last scan may know of what has moved on since, to where nothing was read yet.
        if self.cursor > before && self.cursor == snapshot.end && self.is_at(snapshot.end) {
            self.reached = Some(snapshot.knowledge.clone());
            self.scanned = Some(snapshot.clone());
        }
    }

    /// The knowledge that the peer may join with everything sent so far.
    ///
    /// Every document up to the end that was reached has been sent, or is covered by the peer's knowledge, or was held back. If it was
    /// held back, each of its entries that the peer lacks is of an origin in `held` or `blocked`. So for any other origin the peer
    /// has, with this page, every write that this replica's knowledge covers.
    fn vouched(&self) -> Knowledge {
        let reached = match &self.scanned {
            Some(scanned) if broken::is(Rule::KnowledgeOnlyWhenComplete) => Some(&scanned.knowledge),
            _ => self.reached.as_ref(),
        };
        match reached {
            Some(reached) if !self.filtered || broken::is(Rule::KnowledgeNotOnFiltered) => {
                let held = |origin| self.held.has(origin) && !broken::is(Rule::VouchPerOrigin);
                let left_out = |origin| held(origin) || self.blocked.has(origin);
                self.peer.lacks(reached).filter(|(origin, _)| !left_out(*origin)).collect()
            }
            _ => Knowledge::default(),
        }
    }

    /// Whether every document up to `end` was read. A scan may have seen a later end: what stood before `end` when that was told
    /// may have moved behind it since.
    fn is_at(&self, end: Sequence) -> bool {
        let scanned = self.scanned.as_ref().map_or(Sequence::ZERO, |snapshot| snapshot.end);
        self.cursor >= end.max(scanned)
    }

    /// Where the first document stands that was left out though the peer may lack it.
    fn left_out_from(&self) -> Option<Sequence> {
        self.held.from.into_iter().chain(self.blocked.from).min()
    }

    fn is_news(&self, document: &Document, sequence: Sequence) -> bool {
        let range = self.as_sent.partition_point(|range| *range.end() < sequence);
        let as_sent = self.as_sent.get(range).is_some_and(|range| range.contains(&sequence));
        !as_sent && !self.peer.covers(document.context())
    }

    fn take(
        &mut self,
        id: DocumentId,
        document: Document,
        sequence: Sequence,
        snapshot: &Snapshot,
        was_blocked: bool,
    ) {
        let bytes = Changes::document_bytes(&id, &document);
        let too_large = bytes > self.document_bytes_max
            || document.heads().len() > self.heads_max
            || document.context().len() > self.context_entries_max;
        let left_out = if too_large {
            if !was_blocked {
                self.too_large.push((id.clone(), bytes));
            }
            if self.blocked_ids.len() < BLOCKED_IDS_MAX {
                self.blocked_ids.insert(id);
            } else {
                self.blocked_unlisted = true;
            }
            &mut self.blocked
        } else if self.holds_back(document.context(), snapshot) {
            &mut self.held
        } else {
            self.page_bytes += bytes;
            self.page.push((id, document));
            return;
        };
        left_out.add(sequence, self.peer.lacks(document.context()));
    }

    fn holds_back(&self, context: &Context, snapshot: &Snapshot) -> bool {
        let is_lazy = |origin| origin != snapshot.incarnation && self.relaying.is_lazy(origin);
        !self.filtered && self.peer.lacks(context).all(|(origin, _)| is_lazy(origin))
    }

    /// Nothing need be held back that the peer has by now.
    fn release_known(&mut self) {
        self.held.release(&self.peer);
        self.blocked.release(&self.peer);
        if self.blocked.from.is_none() {
            self.blocked_ids.clear();
            self.blocked_unlisted = false;
        }
        if self.held.from.is_none() {
            self.announce_at = None;
        }
    }

    /// Scans again from the first document held back. Until the end is reached again, nothing is vouched for.
    fn go_back(&mut self) {
        if self.scanning {
            self.rewind = true;
            return;
        }
        if let Some(from) = core::mem::take(&mut self.held).from {
            self.cursor = self.cursor.min(from.previous());
            self.announced = Context::default();
            self.announce_at = None;
            if !planted!(VouchedThoughRewound) {
                self.reached = None;
            }
        }
    }
}

/// The last copy of each document, in the order of their ids.
fn latest_by_id(mut documents: Vec<(DocumentId, Document)>) -> Vec<(DocumentId, Document)> {
    // Stable, so that copies stay in the order of the feed, and one walk if the ids ascend already.
    documents.sort_by(|left, right| left.0.cmp(&right.0));
    documents.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            core::mem::swap(later, earlier);
        }
        same
    });
    documents
}
