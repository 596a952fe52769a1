//! Twelve conflict handlers as people write them, each with a fault.

mod contents;
mod roles;

pub(crate) use contents::*;
pub(crate) use roles::*;

use std::fmt;

use bytes::Bytes;
use peerloom_core::{ConflictHandler, Dot, Head, State, json};
use serde_json::Value;

/// A handler that folds the contents of heads, the earliest first, and annotates nothing.
pub(crate) struct Folding {
    pub id: &'static str,
    /// Of all versions that are not deleted.
    pub fold: fn(&[Value]) -> Value,
}

impl ConflictHandler for Folding {
    fn id(&self) -> &str {
        self.id
    }

    fn resolve(&self, heads: &[Head]) -> State {
        if let Some(deleted) = heads.iter().rev().find(|head| head.state.deleted) {
            return deleted.state.clone();
        }
        let versions: Vec<_> = heads.iter().filter_map(|head| fields(&head.state)).collect();
        if versions.len() < heads.len() {
            return heads[heads.len() - 1].state.clone();
        }
        state(&(self.fold)(&versions))
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}

impl fmt::Debug for Folding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.id)
    }
}

/// The fields of a document that is one.
pub(crate) fn fields(state: &State) -> Option<Value> {
    json::parse(&state.body).ok().filter(Value::is_object)
}

/// A document with these fields.
pub(crate) fn state(fields: &Value) -> State {
    let body = json::to_canonical(fields).expect("no deeper than what was parsed");
    State { body, ..State::default() }
}
