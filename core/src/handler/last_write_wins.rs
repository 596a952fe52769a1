//! Last write wins: of a whole document, or of one field.

use bytes::Bytes;
use serde_json::Value;

use super::combine::{canonical, same};
use super::stamped::{UNKNOWN, later};
use super::{Combine, ConflictHandler, FieldHead, FieldState};
use crate::codec::{DecodeError, Reader, Writer};
use crate::document::{Dot, Head, State};

/// The write with the highest stamp wins; between equal stamps, the higher incarnation. The default.
///
/// The other versions are not lost: they stay heads until a later write supersedes them, and applications can list them.
///
/// **Choose it** for documents that are written as a whole, whose fields belong together, or that have one writer at a time: it never
/// mixes two versions, works on any bytes, and costs nothing. **Choose another** where people edit different fields of the
/// same document: one of two concurrent edits is not seen until somebody looks at the conflict.
///
/// As the rule of a field in [`PerField`](super::PerField), the last write *that changed the field* wins.
///
/// ```
/// use peerloom_core::{ConflictHandler, LastWriteWins};
/// assert_eq!(LastWriteWins.id(), "last-write-wins");
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LastWriteWins;

impl ConflictHandler for LastWriteWins {
    fn id(&self) -> &str {
        "last-write-wins"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        heads.last().expect("a conflict has heads").state.clone()
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}

impl Combine for LastWriteWins {
    fn name(&self) -> &str {
        "last-write-wins"
    }

    fn combine(&self, heads: &[FieldHead]) -> FieldState {
        let changed = |head: &FieldHead| changed(&head.state.annotations).unwrap_or(head.dot);
        let winner = heads.iter().max_by(|left, right| {
            let by_value =
                || left.state.value.as_ref().map(canonical).cmp(&right.state.value.as_ref().map(canonical));
            changed(left).canonical().cmp(&changed(right).canonical()).then_with(by_value)
        });
        let winner = winner.expect("a conflict has heads");
        FieldState { value: winner.state.value.clone(), annotations: encode(changed(winner)) }
    }

    fn note(&self, seen: Option<&FieldState>, next: Option<&Value>, dot: Dot) -> Bytes {
        let before = seen.and_then(|seen| changed(&seen.annotations)).unwrap_or(UNKNOWN);
        match (seen.and_then(|seen| seen.value.as_ref()), next) {
            (Some(value), Some(next)) if same(value, next) => encode(before),
            (None, None) => encode(before),
            _ => encode(later(dot, before)),
        }
    }
}

/// The write that changed the value last.
fn encode(changed: Dot) -> Bytes {
    let mut writer = Writer::with_capacity(20);
    writer.array(2).dot(changed);
    writer.finish().into()
}

fn changed(annotations: &Bytes) -> Option<Dot> {
    let read = || -> Result<Dot, DecodeError> {
        let mut reader = Reader::new(annotations);
        reader.array_of(2)?;
        let dot = reader.dot()?;
        reader.finish()?;
        Ok(dot)
    };
    read().ok()
}
