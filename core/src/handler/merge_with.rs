//! Closures as conflict handlers.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde_json::Value;

use super::ConflictHandler;
use super::combine::{annotate, state, versions};
use super::field_wise::{FieldWise, joined};
use super::stamped::later;
use crate::document::{Dot, Head, State};

/// A closure that makes the view from the versions, whatever they hold.
///
/// **Choose it** for bodies that are not JSON, or rules on whole documents. **Choose another** if the rule is about fields: a version holds old values
/// of all the fields that its writer did not touch, which the closure cannot tell from new ones; [`MergeJson`] can.
///
/// The closure is a [`ConflictHandler`] and owes what that promises: the same versions, the same view, on every replica. The id names its behaviour,
/// 1 to 255 bytes: change it with the closure.
///
/// ```
/// use peerloom_core::{Head, MergeWith};
///
/// // The longest version counts; of several such, the last.
/// let longest = MergeWith::new("longest-1", |heads: &[Head]| {
///     heads.iter().max_by_key(|head| head.state.body.len()).expect("a conflict has heads").state.clone()
/// });
/// ```
#[derive(Clone)]
pub struct MergeWith<F> {
    id: String,
    merge: F,
}

impl<F: Fn(&[Head]) -> State + Send + Sync + 'static> MergeWith<F> {
    /// A handler with this id. The closure gets two or more heads in canonical order, oldest stamp first.
    pub fn new(id: impl Into<String>, merge: F) -> Self {
        Self { id: id.into(), merge }
    }
}

impl<F: Fn(&[Head]) -> State + Send + Sync + 'static> ConflictHandler for MergeWith<F> {
    fn id(&self) -> &str {
        &self.id
    }

    fn resolve(&self, heads: &[Head]) -> State {
        (self.merge)(heads)
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}

impl<F> fmt::Debug for MergeWith<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("MergeWith").field(&self.id).finish()
    }
}

/// A closure that corrects what [`FieldWise`] makes of JSON documents.
///
/// It gets the document in which every field is from the last write that changed it, and the versions that this was made of, oldest first, and
/// returns the view. `None` means that it cannot say: the last write wins.
///
/// **Choose it** for rules on top of field-wise merging: a value derived from others, two fields that must fit together. **Choose another** where
/// [`PerField`](super::PerField) says it without code, and for documents with a Rust type `peerloom::MergeTyped`.
///
/// Versions that are deleted and empty are not passed, and the last write decides whether the document is deleted; see
/// [`DeleteWins`](super::DeleteWins) and [`EditWins`](super::EditWins). Where a body is not JSON, the last write wins. What
/// the closure returns is written in canonical form and costs what [`FieldWise`] costs.
///
/// ```
/// use peerloom_core::MergeJson;
/// use serde_json::Value;
///
/// // Whoever finished it, finished it.
/// let todos = MergeJson::new("todo-1", |mut fields: Value, versions: &[Value]| {
///     fields["done"] = versions.iter().any(|todo| todo["done"] == true).into();
///     Some(fields)
/// });
/// ```
#[derive(Clone)]
pub struct MergeJson<F> {
    id: String,
    merge: F,
}

impl<F: Fn(Value, &[Value]) -> Option<Value> + Send + Sync + 'static> MergeJson<F> {
    /// A handler with this id.
    pub fn new(id: impl Into<String>, merge: F) -> Self {
        Self { id: id.into(), merge }
    }
}

impl<F: Fn(Value, &[Value]) -> Option<Value> + Send + Sync + 'static> ConflictHandler for MergeJson<F> {
    fn id(&self) -> &str {
        &self.id
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let last = heads.last().expect("a conflict has heads");
        let merged = versions(heads).filter(|versions| !versions.is_empty()).and_then(|versions| {
            let fields = joined(&versions);
            let values: Vec<Value> = versions.into_iter().filter_map(|version| version.state.value).collect();
            let merged = (self.merge)(fields.value()?, &values)?;
            // What the closure made is newer than the versions, but older than any write that has seen it.
            let newest = fields.newest();
            let annotations = fields.advance(Some(&merged), later(newest, newest)).encode();
            Some(state(last, Some(&merged), annotations))
        });
        merged.unwrap_or_else(|| last.state.clone())
    }

    fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Bytes {
        annotate(&FieldWise, seen, next, dot)
    }
}

impl<F> fmt::Debug for MergeJson<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("MergeJson").field(&self.id).finish()
    }
}
