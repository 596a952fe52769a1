//! One read-decide-commit: any number of writes and pages that become one atomic batch.
//!
//! Each write is accepted or refused for itself; a refused one leaves no trace in the batch. Nothing here
//! takes effect until the batch is durable and [`Replica::committed`] is told so, but for the stamps, which
//! are handed out for good.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use bytes::Bytes;

use super::page::{Applied, Notice, Outcome, Page};
use super::past::{PastViews, past_views_key};
use super::slot::{Slot, place};
use super::write::{Condition, Seen, Write, WriteError, Written};
use super::{Imports, Replica, last_write, metadata};
use crate::broken::{self, Rule};
use crate::document::{Document, Dot, Head, Merged, Record, State};
use crate::feed::{History, Sequence};
use crate::id::{DocumentId, Incarnation};
use crate::stamp::Stamp;
use crate::storage::{Batch, Put};
use crate::time::Now;
use crate::version_vector::{Context, Knowledge};

/// Calls the conflict handler. Fallible, because the handler is not ours: whoever drives the replica catches its panics.
pub trait Resolver {
    /// The view of a document with these heads, or `None` if the handler failed.
    fn resolve(&mut self, heads: &[Head]) -> Option<State>;

    /// The annotations of a write, or `None` if the handler failed.
    fn annotate(&mut self, seen: Option<&State>, next: &State, dot: Dot) -> Option<Bytes>;
}

/// What the replica becomes once the batch is durable. Pass it to [`Replica::committed`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Committable {
    pub(super) end: Sequence,
    pub(super) history: Option<Arc<History>>,
    pub(super) known: Knowledge,
    pub(super) own: Knowledge,
    pub(super) keeps_past_views: bool,
}

/// Writes and pages on their way to one batch.
pub struct Transaction<'r> {
    replica: &'r mut Replica,
    now: Now,
    fresh: Incarnation,
    /// In the order of their ids.
    slots: Vec<(DocumentId, Slot)>,
    /// The slots that changed, in the order in which they did first.
    changed: Vec<usize>,
    metadata: BTreeMap<Bytes, Option<Bytes>>,
    known: Knowledge,
    /// The part of it that was written here.
    own: Knowledge,
    pages: Vec<Applied>,
    notices: Vec<Notice>,
    keeps_past_views: bool,
}

impl<'r> Transaction<'r> {
    pub(super) fn new(
        replica: &'r mut Replica,
        now: Now,
        fresh: Incarnation,
        documents: impl IntoIterator<Item = (DocumentId, Option<Record>)>,
    ) -> Self {
        let keeps_past_views = replica.keeps_past_views;
        let slot = |record| Slot::new(record, keeps_past_views);
        let mut slots: Vec<_> = documents.into_iter().map(|(id, record)| (id, slot(record))).collect();
        slots.sort_by(|left, right| left.0.cmp(&right.0));
        slots.dedup_by(|later, earlier| later.0 == earlier.0);
        Self {
            replica,
            now,
            fresh,
            slots,
            changed: Vec::new(),
            metadata: BTreeMap::new(),
            known: Knowledge::default(),
            own: Knowledge::default(),
            pages: Vec::new(),
            notices: Vec::new(),
            keeps_past_views,
        }
    }

    /// Gives it the past views of its documents, of those that have any.
    #[must_use]
    pub fn with_past_views(mut self, past: impl IntoIterator<Item = (DocumentId, PastViews)>) -> Self {
        for (id, past) in past {
            let index = place(&self.slots, &id, 0);
            self.slots[index].1.past = past;
        }
        self
    }

    /// From this transaction on, the replica keeps past views.
    pub fn keep_past_views(&mut self) {
        if !self.keeps_past_views {
            self.keeps_past_views = true;
            self.set_metadata(Bytes::from_static(metadata::PAST_KEY), Some(Bytes::new()));
        }
    }

    /// A document as it is now in the transaction, with its view and the views before that.
    pub fn document(
        &mut self,
        id: &DocumentId,
        resolver: &mut dyn Resolver,
    ) -> Option<(&Document, State, &PastViews)> {
        let index = place(&self.slots, id, 0);
        let slot = &mut self.slots[index].1;
        let view = slot.view(resolver)?;
        Some((slot.document.as_ref().expect("what has a view is there"), view, &slot.past))
    }

    /// Makes the views of its documents again, by another handler. Where one differs, what it was becomes a past view, and the document moves to
    /// the end of the changefeed, so that peers that are shown views are shown this one.
    pub fn remake(&mut self, resolver: &mut dyn Resolver) {
        for (index, (id, slot)) in self.slots.iter_mut().enumerate() {
            let Some(document) = &slot.document else { continue };
            let remade = resolve(document, id, resolver, &mut Vec::new());
            if remade.as_ref() != slot.view.as_deref() && slot.changes() {
                self.changed.push(index);
            }
        }
    }

    /// Puts an entry of metadata into the batch, or with `None` removes it. For keys that begin with `x`, which are nobody else's.
    pub fn set_metadata(&mut self, key: Bytes, value: Option<Bytes>) {
        self.metadata.insert(key, value);
    }

    /// Places a local write. The document must be among those that the transaction began with.
    pub fn write(&mut self, write: Write, resolver: &mut dyn Resolver) -> Result<Written, WriteError> {
        let Write { id, deleted, body, seen, condition } = write;
        let limits = self.replica.limits.clone();
        if body.len() > limits.body_bytes_max {
            return Err(WriteError::BodyTooLarge { id, bytes: body.len(), bytes_max: limits.body_bytes_max });
        }
        self.replica.distrust_parted_clocks(self.now, self.fresh);
        let index = place(&self.slots, &id, 0);
        let slot = &mut self.slots[index].1;
        let view = slot.view(resolver);
        let present = view.as_ref().is_some_and(|view| !view.deleted);
        match condition {
            Condition::Absent if present => return Err(WriteError::Exists { id }),
            Condition::Present if !present => return Err(WriteError::Missing { id }),
            _ => {}
        }
        let local = slot.document.as_ref();
        let alone = if let Seen::Wrote { dot, .. } = &seen { Some(*dot) } else { None };
        let (context, read) = match seen {
            Seen::Wrote { context, state, .. } => (context, Some(state)),
            Seen::Read { context, state } if !broken::is(Rule::SeenContext) => {
                (context, if planted!(AnnotatedOverCurrent) { view } else { state })
            }
            _ => (local.map(|local| local.context().clone()).unwrap_or_default(), view),
        };
        let beside = local.map_or(0, |local| {
            local.heads().iter().filter(|head| !head.dot.is_in(&context) && Some(head.dot) != alone).count()
        });
        if beside + 1 > limits.heads_max {
            return Err(WriteError::TooManyHeads { id, heads: beside, heads_max: limits.heads_max });
        }
        let dot =
            self.replica.dot(self.now, self.fresh, local, &context).ok_or(WriteError::ClockExhausted)?;
        let mut state = State { deleted, body, annotations: Bytes::new() };
        match resolver.annotate(read.as_ref(), &state, dot) {
            Some(annotations) => state.annotations = annotations,
            None => self.notices.push(Notice::HandlerFailed { id: id.clone() }),
        }
        let document = Document::write_after(local, dot, state, &context, alone);
        if document.bytes() > limits.document_bytes_max {
            let (bytes, bytes_max) = (document.bytes(), limits.document_bytes_max);
            return Err(WriteError::DocumentTooLarge { id, bytes, bytes_max });
        }
        let heads = document.heads().len();
        if slot.becomes(document, None) {
            self.changed.push(index);
        }
        self.known.advance(dot.incarnation, dot.stamp);
        self.own.advance(dot.incarnation, dot.stamp);
        Ok(Written { dot, heads })
    }

    /// Places what somebody without causality had of a document before this replica met him: a write that has seen nothing and whose
    /// stamp is older than every other write's. It is kept like any version, and outranks none.
    ///
    /// `fresh` must be random: imports are made under it if none was made since the store was opened.
    pub fn import(
        &mut self,
        id: DocumentId,
        deleted: bool,
        body: Bytes,
        fresh: Incarnation,
        resolver: &mut dyn Resolver,
    ) -> Result<Written, WriteError> {
        let limits = self.replica.limits.clone();
        if body.len() > limits.body_bytes_max {
            return Err(WriteError::BodyTooLarge { id, bytes: body.len(), bytes_max: limits.body_bytes_max });
        }
        let index = place(&self.slots, &id, 0);
        let slot = &mut self.slots[index].1;
        let local = slot.document.as_ref();
        let heads = local.map_or(0, |local| local.heads().len());
        if heads >= limits.heads_max {
            return Err(WriteError::TooManyHeads { id, heads, heads_max: limits.heads_max });
        }
        let dot = self.replica.import_dot(fresh, local).ok_or(WriteError::ClockExhausted)?;
        let mut state = State { deleted, body, annotations: Bytes::new() };
        match resolver.annotate(None, &state, dot) {
            Some(annotations) => state.annotations = annotations,
            None => self.notices.push(Notice::HandlerFailed { id: id.clone() }),
        }
        let document = Document::write(local, dot, state, &Context::default());
        if document.bytes() > limits.document_bytes_max {
            let (bytes, bytes_max) = (document.bytes(), limits.document_bytes_max);
            return Err(WriteError::DocumentTooLarge { id, bytes, bytes_max });
        }
        if slot.becomes(document, None) {
            self.changed.push(index);
        }
        self.known.advance(dot.incarnation, dot.stamp);
        Ok(Written { dot, heads: heads + 1 })
    }

    /// Places several local writes, all or none.
    pub fn write_all(
        &mut self,
        writes: Vec<Write>,
        resolver: &mut dyn Resolver,
    ) -> Result<Vec<Written>, WriteError> {
        let slot = |write: &Write| {
            let index = place(&self.slots, &write.id, 0);
            (index, self.slots[index].1.clone())
        };
        let undo: Vec<_> = if writes.len() > 1 { writes.iter().map(slot).collect() } else { Vec::new() };
        let (changed, notices) = (self.changed.len(), self.notices.len());
        let (known, own) = (self.known.clone(), self.own.clone());
        let written: Result<Vec<_>, _> =
            writes.into_iter().map(|write| self.write(write, resolver)).collect();
        if written.is_err() {
            undo.into_iter().for_each(|(index, slot)| self.slots[index].1 = slot);
            self.changed.truncate(changed);
            self.known = known;
            self.own = own;
            self.notices.truncate(notices);
        }
        written
    }

    /// Merges a page of a peer's changes. Its documents must be among those that the transaction began with.
    pub fn apply(&mut self, page: Page) {
        let number = self.pages.len();
        let mut applied = Applied { documents: page.documents.len(), ..Applied::default() };
        if let Some(id) = self.forged(&page) {
            return self.pages.push(Applied { forged: Some(id), ..applied });
        }
        let (mut duplicate, mut useful) = (Vec::new(), Vec::new());
        let mut next = 0;
        for (id, remote) in page.documents {
            self.look_for_oddities(number, &id, remote.context());
            let index = place(&self.slots, &id, next);
            next = index + 1;
            let slot = &mut self.slots[index].1;
            let merged = slot.document.as_ref().map(|local| local.merge(&remote));
            let seen_before = match &merged {
                Some(Merged::Unchanged) => &mut duplicate,
                Some(Merged::Changed(_)) | None => &mut useful,
            };
            for (incarnation, _) in remote.context().iter() {
                if seen_before.last() != Some(&incarnation) {
                    seen_before.push(incarnation);
                }
            }
            let changed = match merged {
                Some(Merged::Unchanged) if planted!(PageEndsAtDuplicate) => break,
                Some(Merged::Unchanged) => {
                    applied.duplicates += 1;
                    false
                }
                Some(Merged::Changed(document)) => {
                    let as_sent = document.context() == remote.context() || planted!(MergedCountsAsSent);
                    slot.becomes(document, as_sent.then_some(number))
                }
                None => slot.becomes(remote, Some(number)),
            };
            if changed {
                self.changed.push(index);
            }
        }
        useful.sort_unstable();
        duplicate.sort_unstable();
        duplicate.dedup();
        duplicate.retain(|origin| useful.binary_search(origin).is_err());
        applied.duplicate_origins = duplicate;
        self.learn(&page.knowledge);
        if let Some((key, checkpoint)) = page.checkpoint {
            self.metadata.insert(key, Some(metadata::checkpoint_value(&checkpoint)));
        }
        self.pages.push(applied);
    }

    /// A document of the page with a write that is here with another content.
    fn forged(&self, page: &Page) -> Option<DocumentId> {
        let mut next = 0;
        let mut forged = |(id, remote): &(DocumentId, Document)| {
            let index = place(&self.slots, id, next);
            next = index + 1;
            let local = self.slots[index].1.document.as_ref()?;
            let same = |head: &Head| local.heads().iter().find(|other| other.dot == head.dot);
            let differs = |head: &Head| same(head).is_some_and(|other| other.state != head.state);
            remote.heads().iter().any(differs).then(|| id.clone())
        };
        page.documents.iter().find_map(&mut forged)
    }

    /// Knows what a peer vouches for, as far as there is room for it. To know less is always sound.
    fn learn(&mut self, vouched: &Knowledge) {
        let known = &self.replica.snapshot.knowledge;
        let entries_max = self.replica.limits.knowledge_entries_max;
        if known.len() + self.known.len() + vouched.len() <= entries_max {
            self.known.join(vouched);
            return;
        }
        let is_new = |origin| known.index_of(origin).or(self.known.index_of(origin)).is_none();
        let mut room = entries_max.saturating_sub(known.len() + self.known.len());
        let fits = |&(origin, _): &(Incarnation, Stamp)| {
            let new = is_new(origin);
            let fits = !new || room > 0;
            room = room.saturating_sub(usize::from(new));
            fits
        };
        let learnt: Knowledge = vouched.iter().filter(fits).collect();
        self.known.join(&learnt);
    }

    /// Hands out sequences and makes the views: the batch to commit, what the replica becomes with it, and what is worth telling.
    pub fn finish(mut self, resolver: &mut dyn Resolver) -> (Batch, Committable, Outcome) {
        let snapshot = &self.replica.snapshot;
        let (mut end, begins) = (snapshot.end, snapshot.history.last());
        let mut history = None;
        if !self.changed.is_empty() && begins != Some(snapshot.incarnation) {
            history = Some(self.begin_incarnation());
        }
        let mut records = Vec::with_capacity(self.changed.len());
        for index in core::mem::take(&mut self.changed) {
            end = end.next();
            records.push(self.put(index, end, resolver));
        }
        if !records.is_empty() {
            self.metadata
                .insert(Bytes::from_static(metadata::END_KEY), Some(metadata::number_value(end.number())));
        }
        let known: Knowledge = self.replica.snapshot.knowledge.lacks(&self.known).collect();
        let own: Knowledge = self.replica.own.lacks(&self.own).collect();
        for (incarnation, stamp) in own.iter() {
            self.metadata
                .insert(metadata::own_key(incarnation), Some(metadata::number_value(stamp.number())));
        }
        for (incarnation, stamp) in own.lacks(&known) {
            self.metadata
                .insert(metadata::known_key(incarnation), Some(metadata::number_value(stamp.number())));
        }
        let batch = Batch { records, metadata: self.metadata.into_iter().collect() };
        let committable = Committable { end, history, known, own, keeps_past_views: self.keeps_past_views };
        (batch, committable, Outcome { pages: self.pages, notices: self.notices })
    }

    fn begin_incarnation(&mut self) -> Arc<History> {
        let snapshot = &self.replica.snapshot;
        let (first, incarnation) = (snapshot.end.next(), snapshot.incarnation);
        let mut history = History::clone(&snapshot.history);
        let forgotten = history.begin(first, incarnation, self.replica.limits.history_incarnations_max);
        self.metadata.extend(forgotten.into_iter().map(|(first, _)| (metadata::begun_key(first), None)));
        self.metadata.insert(metadata::begun_key(first), Some(metadata::number_value(incarnation.number())));
        Arc::new(history)
    }

    fn put(&mut self, index: usize, sequence: Sequence, resolver: &mut dyn Resolver) -> Put {
        let (id, slot) = &mut self.slots[index];
        let id = id.clone();
        let document = slot.document.take().expect("a changed document is there");
        if let Some(page) = slot.as_sent_by {
            note_sequence(&mut self.pages[page].as_sent, sequence);
        }
        let resolved = match slot.view.take() {
            Some(view) if planted!(ViewKept) && document.in_conflict() => Some(*view),
            _ => resolve(&document, &id, resolver, &mut self.notices),
        };
        let was_in_conflict = slot.before.is_some_and(|before| before.1);
        match (was_in_conflict, document.in_conflict()) {
            (false, true) => self.metadata.insert(metadata::conflict_key(&id), Some(Bytes::new())),
            (true, false) if planted!(SettledStaysListed) => None,
            (true, false) => self.metadata.insert(metadata::conflict_key(&id), None),
            _ => None,
        };
        if document.in_conflict() {
            self.notices.push(Notice::Conflict { id: id.clone(), heads: document.heads().len() });
        }
        let replaces = slot.before.map(|before| before.0);
        let record = Record { id, sequence, document, resolved };
        if let Some((context, shown)) = slot.shown.take().map(|shown| *shown)
            && (shown.deleted, &shown.body) != (record.view().deleted, &record.view().body)
        {
            slot.past.add(context, &shown);
            self.metadata.insert(past_views_key(&record.id), Some(slot.past.to_value()));
        }
        Put { record, replaces }
    }

    /// Stamps far ahead, and writes under the live incarnation that this replica never made.
    fn look_for_oddities(&mut self, page: usize, id: &DocumentId, context: &Context) {
        let ahead_max = self.replica.stamp_ahead_max(self.now);
        let newest = context.newest();
        let page_of = |notice: &Notice| match notice {
            Notice::ClockAhead { page, .. } => Some(*page),
            _ => None,
        };
        if newest > ahead_max && self.notices.iter().rev().find_map(page_of) != Some(page) {
            let ahead_ms = newest.unix_ms().saturating_sub(self.now.unix_ms);
            self.notices.push(Notice::ClockAhead { page, id: id.clone(), ahead_ms });
        }
        let live = self.replica.snapshot.incarnation;
        if context.stamp(live) > self.replica.clock.last() {
            let rotated = self.replica.rotate(self.now, self.fresh);
            self.notices.push(Notice::RolledBack { page, rotated });
        }
    }
}

impl Replica {
    /// A dot that neither the document nor the writer has seen.
    fn dot(&mut self, now: Now, fresh: Incarnation, local: Option<&Document>, seen: &Context) -> Option<Dot> {
        let ahead_max = self.stamp_ahead_max(now);
        let contexts = || local.map(Document::context).into_iter().chain([seen]);
        let moving =
            |context: &Context| context.iter().map(|entry| entry.1).filter(|&s| s <= ahead_max).max();
        let newest = contexts().filter_map(moving).max().unwrap_or_default();
        let stamp = self.clock.tick(now.unix_ms, newest, ahead_max)?;
        let taken =
            |incarnation: Incarnation, stamp: Stamp| contexts().any(|c| c.stamp(incarnation) >= stamp);
        if !taken(self.snapshot.incarnation, stamp) {
            return Some(Dot { incarnation: self.snapshot.incarnation, stamp });
        }
        // Somebody wrote under this incarnation with stamps far ahead: leave it to him.
        self.last_rotation = None;
        self.rotate(now, fresh);
        let stamp = self.clock.tick(now.unix_ms, newest, ahead_max)?;
        assert!(!taken(fresh, stamp), "a fresh incarnation has written nothing");
        Some(Dot { incarnation: fresh, stamp })
    }
}

impl Replica {
    /// The dot of an import on top of a document.
    fn import_dot(&mut self, fresh: Incarnation, local: Option<&Document>) -> Option<Dot> {
        let imports = self.imports.get_or_insert(Imports { incarnation: fresh, last: 0 });
        imports.last += 1;
        let included = local.map_or(Stamp::ZERO, |local| local.context().stamp(imports.incarnation));
        if included.number() >= imports.last {
            // Somebody wrote under this incarnation, too: leave it to him.
            *imports = Imports { incarnation: fresh, last: 1 };
        }
        Some(Dot { incarnation: imports.incarnation, stamp: Stamp::new(imports.last).ok()? })
    }
}

/// The view of a document in conflict; `None` where the only head is the view.
pub(super) fn resolve(
    document: &Document,
    id: &DocumentId,
    resolver: &mut dyn Resolver,
    notices: &mut Vec<Notice>,
) -> Option<State> {
    document.in_conflict().then(|| {
        resolver.resolve(document.heads()).unwrap_or_else(|| {
            notices.push(Notice::HandlerFailed { id: id.clone() });
            last_write(document)
        })
    })
}

fn note_sequence(ranges: &mut Vec<RangeInclusive<Sequence>>, sequence: Sequence) {
    match ranges.last_mut() {
        Some(last) if last.end().next() == sequence => *last = *last.start()..=sequence,
        _ => ranges.push(sequence..=sequence),
    }
}
