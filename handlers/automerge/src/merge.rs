//! The conflict handler: every change that any version holds, in one order.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{Automerge, Change, ChangeHash};
use bytes::Bytes;
use peerloom_core::{ConflictHandler, Dot, Head, State};

/// Merges bodies that are Automerge documents: the view holds the changes of all versions.
///
/// The view is the same bytes on every replica: the changes are applied to an empty document in the order of their dependencies and, where that leaves
/// a choice, of their hashes, and it is saved without compression, whose output may differ between versions of the library. A write on top
/// of the view may be compressed.
///
/// Whether the document is deleted is decided by the last write; see [`DeleteWins`](peerloom_core::DeleteWins) and
/// [`EditWins`](peerloom_core::EditWins). Where a version is no Automerge document, or two versions cannot be one document because they hold different changes
/// of the same actor and number, the last write wins. Needs no annotations.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MergeAutomerge;

#[deny(clippy::missing_trait_methods)]
impl ConflictHandler for MergeAutomerge {
    fn id(&self) -> &'static str {
        "automerge-1"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let last = &heads.last().expect("a conflict has heads").state;
        match merged(heads) {
            Some(body) => State { deleted: last.deleted, body, annotations: Bytes::new() },
            None => last.clone(),
        }
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}

fn merged(heads: &[Head]) -> Option<Bytes> {
    let with_body = heads.iter().filter(|head| !(head.state.deleted && head.state.body.is_empty()));
    let mut changes = BTreeMap::new();
    for head in with_body {
        let document = Automerge::load(&head.state.body).ok()?;
        changes.extend(document.get_changes(&[]).into_iter().map(|change| (change.hash(), change)));
    }
    if changes.is_empty() {
        return None;
    }
    let mut document = Automerge::new();
    document.apply_changes(in_order(changes)).ok()?;
    Some(document.save_nocompress().into())
}

/// Each change after those it depends on, and otherwise by hash.
fn in_order(mut changes: BTreeMap<ChangeHash, Change>) -> Vec<Change> {
    let mut waiting: BTreeMap<ChangeHash, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<ChangeHash, Vec<ChangeHash>> = BTreeMap::new();
    for (hash, change) in &changes {
        waiting.insert(*hash, change.deps().len());
        for dependency in change.deps() {
            dependents.entry(*dependency).or_default().push(*hash);
        }
    }
    let mut ready: BTreeSet<ChangeHash> =
        waiting.iter().filter(|(_, count)| **count == 0).map(|(hash, _)| *hash).collect();
    let mut ordered = Vec::with_capacity(changes.len());
    while let Some(hash) = ready.pop_first() {
        ordered.push(changes.remove(&hash).expect("a change is ready once"));
        for dependent in dependents.remove(&hash).unwrap_or_default() {
            let count = waiting.get_mut(&dependent).expect("every change waits");
            *count -= 1;
            if *count == 0 {
                ready.insert(dependent);
            }
        }
    }
    ordered
}
