//! Another rule for each field.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::combine::{short_id, whole_documents};
use super::pointer::{Pointer, PointerError};
use super::{Combine, FieldHead, FieldState, LastWriteWins};
use crate::codec::{DecodeError, Reader, Writer};
use crate::document::Dot;

/// Gives fields a rule each, and one to all the rest.
///
/// **Choose it** when a document holds a counter, a set and plain fields together. **Choose another** if all fields are alike:
/// [`FieldWise`](super::FieldWise) or [`LastWriteWins`] alone cost less.
///
/// ```
/// use peerloom_core::{Counter, FieldWise, LastWriteWins, PerField, Union};
///
/// // Tags and votes add up; of everything else, the last version that changed any of it is taken as one.
/// let posts = PerField::new().field("/tags", Union).field("/votes", Counter).default(LastWriteWins);
/// // Every other field for itself.
/// let profiles = PerField::new().field("/stats/visits", Counter).default(FieldWise);
/// ```
///
/// # How the parts fit together
///
/// The fields with a rule are taken out of every version, what is left is combined by the default rule, and the combined fields are put back. Where what is left
/// has lost the objects around such a field, they are made again; where something that is no object is in their place, the field is dropped.
///
/// Whether the document is deleted is decided by the last write; see [`DeleteWins`](super::DeleteWins) and [`EditWins`](super::EditWins). Where a body is
/// not JSON, the last write wins.
///
/// # What it costs
///
/// The annotations of each rule, and two bytes for each.
#[derive(Clone)]
pub struct PerField {
    fields: BTreeMap<Pointer, Arc<dyn Combine>>,
    default: Arc<dyn Combine>,
    id: String,
}

impl PerField {
    /// No rules yet: the last write wins.
    pub fn new() -> Self {
        Self { fields: BTreeMap::new(), default: Arc::new(LastWriteWins), id: String::new() }.named()
    }

    /// Combines the field that a JSON Pointer (RFC 6901) names by a rule: `/tags`, or `/author/name` within nested objects. Every part of it is
    /// the key of an object, `/0` too: fields within arrays have no rules.
    ///
    /// # Panics
    ///
    /// If the pointer names no field, or overlaps with another; [`Self::try_field`] returns that as an error.
    #[must_use]
    pub fn field(self, pointer: &str, rule: impl Combine) -> Self {
        self.try_field(pointer, rule).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Like [`Self::field`], for pointers that are not written in the program.
    ///
    /// # Errors
    ///
    /// If the pointer names no field, or overlaps with another.
    pub fn try_field(mut self, pointer: &str, rule: impl Combine) -> Result<Self, PointerError> {
        let parsed = Pointer::parse(pointer)?;
        if let Some(other) = self.fields.keys().find(|other| other.overlaps(&parsed)) {
            return Err(PointerError::Overlap { pointer: pointer.to_string(), other: other.to_string() });
        }
        self.fields.insert(parsed, Arc::new(rule));
        Ok(self.named())
    }

    /// Combines all the rest by a rule, instead of [`LastWriteWins`].
    #[must_use]
    pub fn default(mut self, rule: impl Combine) -> Self {
        self.default = Arc::new(rule);
        self.named()
    }

    fn named(mut self) -> Self {
        let fields: String =
            self.fields.iter().map(|(pointer, rule)| format!("{pointer}={},", rule.name())).collect();
        self.id = short_id(format!("per-field({fields}*={})", self.default.name()));
        self
    }

    fn rules(&self) -> impl Iterator<Item = &dyn Combine> {
        core::iter::once(&*self.default).chain(self.fields.values().map(|rule| &**rule))
    }

    /// The rest and the fields, in the order of [`Self::rules`].
    fn parts(&self, state: &FieldState) -> Vec<FieldState> {
        let (count, mut rest) = (1 + self.fields.len(), state.value.clone());
        let fields = self.fields.keys().map(|pointer| pointer.take(rest.as_mut()?));
        let fields: Vec<Option<Value>> = fields.collect();
        let annotations = read(&state.annotations, count)
            .unwrap_or_else(|_| Vec::from_iter((0..count).map(|_| Bytes::new())));
        let part = |(value, annotations)| FieldState { value, annotations };
        core::iter::once(rest).chain(fields).zip(annotations).map(part).collect()
    }

    fn whole(&self, parts: Vec<FieldState>) -> FieldState {
        let annotations = write(parts.iter().map(|part| &part.annotations));
        let mut values = parts.into_iter().map(|part| part.value);
        let mut whole = values.next().expect("the rest comes first");
        for (pointer, value) in self.fields.keys().zip(values) {
            if let Some(value) = value {
                pointer.put(whole.get_or_insert_with(|| Value::Object(Map::new())), value);
            }
        }
        FieldState { value: whole, annotations }
    }
}

whole_documents!(PerField);

impl Combine for PerField {
    fn name(&self) -> &str {
        &self.id
    }

    fn combine(&self, heads: &[FieldHead]) -> FieldState {
        let mut columns: Vec<Vec<FieldHead>> =
            self.rules().map(|_| Vec::with_capacity(heads.len())).collect();
        for head in heads {
            for (column, state) in columns.iter_mut().zip(self.parts(&head.state)) {
                column.push(FieldHead { dot: head.dot, state });
            }
        }
        self.whole(self.rules().zip(&columns).map(|(rule, column)| rule.combine(column)).collect())
    }

    fn note(&self, seen: Option<&FieldState>, next: Option<&Value>, dot: Dot) -> Bytes {
        let next = self.parts(&FieldState { value: next.cloned(), annotations: Bytes::new() });
        let seen = seen.map(|seen| self.parts(seen));
        let annotated = self.rules().zip(&next).enumerate().map(|(index, (rule, next))| {
            rule.note(seen.as_ref().map(|seen| &seen[index]), next.value.as_ref(), dot)
        });
        write(annotated.collect::<Vec<_>>().iter())
    }
}

impl Default for PerField {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PerField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("PerField").field(&self.id).finish()
    }
}

/// An array of the annotations of each rule; nothing if there are none.
fn write<'b>(annotations: impl ExactSizeIterator<Item = &'b Bytes> + Clone) -> Bytes {
    let bytes: usize = annotations.clone().map(Bytes::len).sum();
    if bytes == 0 {
        return Bytes::new();
    }
    let mut writer = Writer::with_capacity(bytes + 4 * annotations.len());
    writer.array(annotations.len());
    for annotations in annotations {
        writer.bytes(annotations);
    }
    writer.finish().into()
}

fn read(annotations: &Bytes, count: usize) -> Result<Vec<Bytes>, DecodeError> {
    let mut reader = Reader::new(annotations);
    reader.array_of(count)?;
    let read = (0..count).map(|_| reader.bytes()).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(read)
}
