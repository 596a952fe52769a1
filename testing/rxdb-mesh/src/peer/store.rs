//! The collection of one peer: documents with revisions, in the order of their last writes.
//!
//! As RxDB's storage does it. All rows of a write share one time, and a row names the revision that it replaces.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::message::Checkpoint;

/// A document as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) state: Value,
    /// Counts the writes of this document here.
    pub(crate) revision: u64,
    /// The time of the last write.
    pub(crate) lwt: u64,
    /// The token of the master from which this very revision was pulled, over an older one. RxDB keeps this in the document's
    /// metadata and, because of how it writes, loses it where the document is new.
    pub(crate) pulled_from: Option<String>,
}

/// A document at the moment when it was read or written.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) state: Value,
    pub(crate) revision: u64,
}

/// A document to be written.
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) state: Value,
    /// The revision that is replaced. None if there must be none.
    pub(crate) previous: Option<u64>,
    pub(crate) pulled_from: Option<String>,
}

/// What a write did.
pub(crate) struct Written {
    /// Which rows were written; the others did not replace the current revision.
    pub(crate) ids: Vec<String>,
    /// What observers are told. A deleted document that was not there before is not told, which is what RxDB does.
    pub(crate) told: Vec<Snapshot>,
    /// The position after this write.
    pub(crate) checkpoint: Checkpoint,
}

/// The documents of a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    documents: BTreeMap<String, Stored>,
    clock: u64,
}

impl Store {
    pub(crate) fn find(&self, id: &str) -> Option<&Stored> {
        self.documents.get(id)
    }

    pub(crate) fn documents(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.documents.iter().map(|(id, stored)| (id.as_str(), stored))
    }

    /// Writes the rows that replace what they say, all at one time. None if there was nothing to write.
    pub(crate) fn write(&mut self, rows: Vec<Row>) -> Option<Written> {
        let (mut ids, mut told) = (Vec::new(), Vec::new());
        for Row { id, state, previous, pulled_from } in rows {
            let current = self.documents.get(&id).map(|stored| stored.revision);
            if current != previous {
                continue;
            }
            let revision = previous.unwrap_or(0) + 1;
            if previous.is_some() || !is_deleted(&state) {
                told.push(Snapshot { id: id.clone(), state: state.clone(), revision });
            }
            let pulled_from = pulled_from.filter(|_| previous.is_some());
            let stored = Stored { state, revision, lwt: self.clock + 1, pulled_from };
            self.documents.insert(id.clone(), stored);
            ids.push(id);
        }
        let last = ids.last()?.clone();
        self.clock += 1;
        Some(Written { ids, told, checkpoint: Checkpoint { lwt: self.clock, id: last } })
    }

    /// The documents written after the checkpoint, in that order.
    pub(crate) fn since(&self, checkpoint: Option<&Checkpoint>) -> Vec<(Checkpoint, Snapshot)> {
        let mut found: Vec<_> = self
            .documents
            .iter()
            .filter_map(|(id, stored)| {
                let at = Checkpoint { lwt: stored.lwt, id: id.clone() };
                let snapshot =
                    || Snapshot { id: id.clone(), state: stored.state.clone(), revision: stored.revision };
                checkpoint.is_none_or(|checkpoint| at > *checkpoint).then(|| (at, snapshot()))
            })
            .collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    /// How many documents were written after the checkpoint.
    pub(crate) fn count_since(&self, checkpoint: Option<&Checkpoint>) -> usize {
        let after = |at: &Checkpoint, id: &str, stored: &Stored| (stored.lwt, id) > (at.lwt, at.id.as_str());
        self.documents().filter(|(id, stored)| checkpoint.is_none_or(|at| after(at, id, stored))).count()
    }
}

fn is_deleted(state: &Value) -> bool {
    state.get("_deleted").and_then(Value::as_bool).unwrap_or(false)
}
