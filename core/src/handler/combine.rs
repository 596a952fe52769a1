//! Folding the versions of one JSON value, a field or a whole document.
//!
//! The handlers of JSON are made of this: a document is parsed once, its value combined, and written in canonical form.
//! What is no JSON never comes here: there the last write wins.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::document::{Dot, Head, State};
use crate::json;

/// The most bytes in the id of a handler.
const ID_BYTES_MAX: usize = 255;

/// Folds concurrent versions of one value: a field, for [`PerField`](super::PerField), or a whole document.
///
/// The same promises as for a [`ConflictHandler`](super::ConflictHandler): pure, and never a panic, whatever annotations a peer sends.
/// Annotations that it cannot read are to be treated as if there were none.
///
/// A field that nobody touched is in every version. To tell it from one that was edited, note in the annotations which write
/// an edit was, as all the provided ones do; without annotations a rule should be one to which that makes no difference, such as the maximum.
///
/// ```
/// use bytes::Bytes;
/// use peerloom_core::{Combine, Dot, FieldHead, FieldState, PerField};
/// use serde_json::Value;
///
/// /// The highest score counts.
/// struct Highest;
///
/// impl Combine for Highest {
///     fn name(&self) -> &str {
///         "highest"
///     }
///
///     fn combine(&self, heads: &[FieldHead]) -> FieldState {
///         let scores = heads.iter().filter_map(|head| head.state.value.as_ref()?.as_i64());
///         FieldState { value: scores.max().map(Value::from), annotations: Bytes::new() }
///     }
///
///     fn note(&self, _seen: Option<&FieldState>, _next: Option<&Value>, _dot: Dot) -> Bytes {
///         Bytes::new()
///     }
/// }
///
/// let games = PerField::new().field("/score", Highest);
/// ```
pub trait Combine: Send + Sync + 'static {
    /// Names the rule, with its configuration. Changes with its behaviour.
    fn name(&self) -> &str;

    /// What the versions are together. At least one, in canonical order, oldest stamp first.
    fn combine(&self, heads: &[FieldHead]) -> FieldState;

    /// The annotations of a local write: `seen` is what the writer had read, if there was a document, `next` what it
    /// writes, `None` where it leaves the value out.
    fn note(&self, seen: Option<&FieldState>, next: Option<&Value>, dot: Dot) -> Bytes;
}

/// A value at one write.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldHead {
    /// The write.
    pub dot: Dot,
    /// What it wrote.
    pub state: FieldState,
}

/// A value and what its rule notes of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldState {
    /// The value. `None` where the document has no such field, or is deleted and keeps nothing.
    pub value: Option<Value>,
    /// Bytes that belong to the rule.
    pub annotations: Bytes,
}

/// The view of documents that are one value for `rule`.
///
/// Whether the document is deleted is decided by the last write. A deletion is no edit: it takes nothing out of the other versions, so that
/// a document whose last write is an edit is shown whole, and one that is deleted keeps what it held.
pub(super) fn resolve(rule: &impl Combine, heads: &[Head]) -> State {
    let last = heads.last().expect("a conflict has heads");
    let Some(versions) = versions(heads) else { return last.state.clone() };
    if versions.is_empty() {
        return last.state.clone();
    }
    let FieldState { value, annotations } = rule.combine(&versions);
    state(last, value.as_ref(), annotations)
}

/// The annotations of a write to a document that is one value for `rule`.
pub(super) fn annotate(rule: &impl Combine, seen: Option<&State>, next: &State, dot: Dot) -> Bytes {
    let Ok(next) = content(next) else { return Bytes::new() };
    let seen = seen.map(|seen| FieldState {
        value: content(seen).unwrap_or_default(),
        annotations: seen.annotations.clone(),
    });
    rule.note(seen.as_ref(), next.as_ref(), dot)
}

/// The versions that hold a value. `None` if one of them is no JSON.
pub(super) fn versions(heads: &[Head]) -> Option<Vec<FieldHead>> {
    let mut versions = Vec::with_capacity(heads.len());
    for head in heads {
        match content(&head.state) {
            Ok(None) => {}
            Ok(value) => {
                let state = FieldState { value, annotations: head.state.annotations.clone() };
                versions.push(FieldHead { dot: head.dot, state });
            }
            Err(_) if head.state.deleted => {}
            Err(_) => return None,
        }
    }
    Some(versions)
}

/// The view that has this value; without one, it is deleted.
pub(super) fn state(last: &Head, value: Option<&Value>, annotations: Bytes) -> State {
    match value.map(json::to_canonical) {
        Some(Ok(body)) => State { deleted: last.state.deleted, body, annotations },
        // A rule nested deeper than JSON may be.
        Some(Err(_)) => last.state.clone(),
        None => State { deleted: true, body: Bytes::new(), annotations },
    }
}

/// A deleted document without a body has no value.
fn content(state: &State) -> Result<Option<Value>, json::JsonError> {
    if state.deleted && state.body.is_empty() { Ok(None) } else { json::parse(&state.body).map(Some) }
}

/// Whether two values are the same document: `1` and `1.0` are.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    left == right || canonical(left) == canonical(right)
}

/// The canonical form of a part of a document.
pub(super) fn canonical(value: &Value) -> Bytes {
    // Only a value made by an application's own rule could be deeper, and then it has no form to tell it by.
    json::to_canonical(value).unwrap_or_default()
}

/// An id that is short enough: a long one is cut and followed by its hash.
pub(super) fn short_id(id: String) -> String {
    const HASH_BYTES: usize = 16;
    const KEPT_BYTES_MAX: usize = ID_BYTES_MAX - 2 * HASH_BYTES - 1;
    if id.len() <= ID_BYTES_MAX {
        return id;
    }
    let kept = id.char_indices().map(|(start, _)| start).take_while(|start| *start <= KEPT_BYTES_MAX);
    let kept = kept.last().unwrap_or_default();
    let hash = Sha256::digest(id.as_bytes());
    let hash: String = hash[..HASH_BYTES].iter().map(|byte| alloc::format!("{byte:02x}")).collect();
    alloc::format!("{}#{hash}", &id[..kept])
}

/// Makes a rule a conflict handler of whole documents.
macro_rules! whole_documents {
    ($rule:ty) => {
        impl $crate::handler::ConflictHandler for $rule {
            fn id(&self) -> &str {
                $crate::handler::Combine::name(self)
            }

            fn resolve(&self, heads: &[$crate::document::Head]) -> $crate::document::State {
                $crate::handler::combine::resolve(self, heads)
            }

            fn annotate(
                &self,
                seen: Option<&$crate::document::State>,
                next: &$crate::document::State,
                dot: $crate::document::Dot,
            ) -> bytes::Bytes {
                $crate::handler::combine::annotate(self, seen, next, dot)
            }
        }
    };
}
pub(super) use whole_documents;
