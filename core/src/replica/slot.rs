//! The documents of a transaction, as they become.

use alloc::boxed::Box;

use super::last_write;
use super::past::PastViews;
use super::transaction::Resolver;
use crate::document::{Document, Record, State};
use crate::feed::Sequence;
use crate::id::DocumentId;
use crate::version_vector::Context;

/// One of a transaction's documents. As small as it can be, for a page has many and most have neither view nor past.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) before: Option<(Sequence, bool)>,
    pub(super) document: Option<Document>,
    pub(super) view: Option<Box<State>>,
    changed: bool,
    /// The page that brought it as it is now.
    pub(super) as_sent_by: Option<usize>,
    /// Where past views are kept, the view it had before the transaction.
    pub(super) shown: Option<Box<(Context, State)>>,
    pub(super) past: PastViews,
}

impl Slot {
    pub(super) fn new(record: Option<Record>, keeps_past_views: bool) -> Self {
        let shown = record
            .as_ref()
            .filter(|_| keeps_past_views)
            .map(|record| Box::new((record.document.context().clone(), record.view().clone())));
        let before = record.as_ref().map(|record| (record.sequence, record.document.in_conflict()));
        let (document, view) = match record {
            Some(record) => (Some(record.document), record.resolved.map(Box::new)),
            None => (None, None),
        };
        Self { before, document, view, changed: false, as_sent_by: None, shown, past: PastViews::default() }
    }

    /// The view of the document as it is now in the transaction.
    pub(super) fn view(&mut self, resolver: &mut dyn Resolver) -> Option<State> {
        let document = self.document.as_ref()?;
        if document.in_conflict() && self.view.is_none() {
            self.view = resolver.resolve(document.heads()).map(Box::new);
        }
        Some(self.view.as_deref().cloned().unwrap_or_else(|| last_write(document)))
    }

    /// Returns whether this is its first change.
    pub(super) fn becomes(&mut self, document: Document, page: Option<usize>) -> bool {
        self.document = Some(document);
        if !planted!(ViewKept) {
            self.view = None;
        }
        self.as_sent_by = page;
        self.changes()
    }

    /// Marks it as changed. Returns whether this is its first change.
    pub(super) fn changes(&mut self) -> bool {
        !core::mem::replace(&mut self.changed, true)
    }
}

/// Where the slot of a document stands. It is looked for at `likely` first: a page's documents come in the order of the slots.
pub(super) fn place(slots: &[(DocumentId, Slot)], id: &DocumentId, likely: usize) -> usize {
    if slots.get(likely).is_some_and(|slot| slot.0 == *id) {
        return likely;
    }
    slots.binary_search_by(|slot| slot.0.cmp(id)).expect("the transaction began with this document")
}
