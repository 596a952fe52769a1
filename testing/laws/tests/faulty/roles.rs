//! Faults in who counts, and in what became of whom.

use bytes::Bytes;
use peerloom_core::{ConflictHandler, Dot, Head, State, json};
use serde_json::Value;

use super::{Folding, fields, state};

/// Takes the first version for the master's, which always wins.
pub(crate) const HAS_A_MASTER: Folding = Folding { id: "has-a-master", fold: |versions| versions[0].clone() };

/// What was deleted once stays deleted, also after somebody has written it again.
pub(crate) struct NeverForgetsADeletion;

impl ConflictHandler for NeverForgetsADeletion {
    fn id(&self) -> &str {
        "never-forgets-a-deletion"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let buried = heads.iter().any(|head| head.state.deleted || !head.state.annotations.is_empty());
        let last = &heads[heads.len() - 1].state;
        match buried {
            true => State { deleted: true, body: Bytes::new(), annotations: Bytes::from_static(b"buried") },
            false => last.clone(),
        }
    }

    fn annotate(&self, seen: Option<&State>, next: &State, _dot: Dot) -> Bytes {
        let buried = seen.is_some_and(|seen| seen.deleted || !seen.annotations.is_empty());
        if buried || next.deleted { Bytes::from_static(b"buried") } else { Bytes::new() }
    }
}

/// Merges the fields that changed since the base, which writers note, and which is not always there.
pub(crate) struct NeedsABase;

impl ConflictHandler for NeedsABase {
    fn id(&self) -> &str {
        "needs-a-base"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        if let Some(deleted) = heads.iter().find(|head| head.state.deleted) {
            return deleted.state.clone();
        }
        let Some(mut merged) = fields(&heads[heads.len() - 1].state) else { return heads[0].state.clone() };
        for head in heads {
            let base: Value = json::parse(&head.state.annotations).expect("every write has a base");
            for (key, value) in fields(&head.state).iter().filter_map(Value::as_object).flatten() {
                if base.get(key) != Some(value) {
                    merged[key] = value.clone();
                }
            }
        }
        State { annotations: heads[0].state.annotations.clone(), ..state(&merged) }
    }

    fn annotate(&self, seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        seen.map(|seen| seen.body.clone()).unwrap_or_default()
    }
}

/// Joins the fields of all versions, a tombstone's too, and forgets that it was one.
pub(crate) struct BringsBackTheDead;

impl ConflictHandler for BringsBackTheDead {
    fn id(&self) -> &str {
        "brings-back-the-dead"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        if heads.iter().all(|head| head.state.deleted) {
            return heads[heads.len() - 1].state.clone();
        }
        let versions: Vec<Value> = heads.iter().filter_map(|head| fields(&head.state)).collect();
        state(
            &versions
                .iter()
                .filter_map(Value::as_object)
                .flatten()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}
