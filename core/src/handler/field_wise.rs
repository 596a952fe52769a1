//! Field-wise last write wins: concurrent edits of different fields both survive.

use bytes::Bytes;
use serde_json::Value;

use super::combine::whole_documents;
use super::stamped::{Node, UNKNOWN, later};
use super::{Combine, FieldHead, FieldState};
use crate::document::Dot;

/// Of every field, however deep in nested objects, the last write that changed it wins.
///
/// **Choose it** for documents that people edit field by field: forms, settings, records. **Choose another** where fields depend on each
/// other (a total and its items, a start before an end): each field may come from another version, and nobody wrote
/// the combination. Numbers that are counted up lose counts, arrays lose elements: see [`Counter`](super::Counter),
/// [`Union`](super::Union) and [`PerField`](super::PerField).
///
/// ```
/// # use peerloom_core::*;
/// # use serde_json::json;
/// # let write = |number: u64, seen: Option<&State>, value: serde_json::Value| {
/// #     let dot = Dot { incarnation: Incarnation::new(number), stamp: Stamp::new(number).unwrap() };
/// #     let mut state = State { body: json::to_canonical(&value).unwrap(), ..State::default() };
/// #     state.annotations = FieldWise.annotate(seen, &state, dot);
/// #     Head { dot, state }
/// # };
/// let base = write(1, None, json!({ "title": "Milk", "done": false }));
/// // Two people edit what they both had seen.
/// let ann = write(2, Some(&base.state), json!({ "title": "Oat milk", "done": false }));
/// let bob = write(3, Some(&base.state), json!({ "title": "Milk", "done": true }));
/// let view = FieldWise.resolve(&[ann, bob]);
/// assert_eq!(view.body, r#"{"done":true,"title":"Oat milk"}"#);
/// ```
///
/// # What counts as a field
///
/// Each key of each object. An array, a string, a number is one value. Objects that two writers add at the same time under the same key, or as
/// the same document, are merged. Removing a field is an edit of it, and removing or replacing an object is one of each
/// field in it: what somebody else sets in it *later*, without having seen that, stays, and so may an object with this field alone.
///
/// Whether the document is deleted is decided by the last write of all; a deletion that is not the last takes no field with it. Wrap this in
/// [`DeleteWins`](super::DeleteWins) or [`EditWins`](super::EditWins) for another policy. Where a body is not JSON, the last write wins.
///
/// # What it costs
///
/// Annotations of some 20 bytes, and for each later write whose fields are still there, 18 bytes and their names. An object remembers its latest 64
/// removed fields; one removed before these comes back if a replica that was away for so long still has it and edits the document. Fields of
/// versions that another handler wrote count as older than every edit made with this one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FieldWise;

whole_documents!(FieldWise);

impl Combine for FieldWise {
    fn name(&self) -> &str {
        "field-wise"
    }

    fn combine(&self, heads: &[FieldHead]) -> FieldState {
        let node = joined(heads);
        FieldState { value: node.value(), annotations: node.encode() }
    }

    fn note(&self, seen: Option<&FieldState>, next: Option<&Value>, dot: Dot) -> Bytes {
        let before = match seen {
            Some(seen) => Node::decode(seen.value.as_ref(), &seen.annotations, UNKNOWN),
            None => Node::Leaf(UNKNOWN, None),
        };
        let dot = later(dot, before.newest());
        before.advance(next, dot).encode()
    }
}

/// All versions, each field from the one that changed it last.
pub(super) fn joined(heads: &[FieldHead]) -> Node {
    let nodes = heads.iter().map(|head| {
        let FieldState { value, annotations } = &head.state;
        Node::decode(value.as_ref(), annotations, head.dot)
    });
    nodes.reduce(Node::join).expect("a conflict has heads")
}
