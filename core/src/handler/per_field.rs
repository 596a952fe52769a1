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

    /// Takes a document apart.
    fn parts(&self, state: &FieldState) -> Parts {
        let (annotations, made) = self.read(&state.annotations).unwrap_or_else(|_| {
            (
                Vec::from_iter(self.rules().map(|_| Bytes::new())),
                Vec::from_iter(self.fields.keys().map(|_| 0)),
            )
        });
        let (values, made) = self.values(state.value.clone(), made);
        let part = |(value, annotations)| FieldState { value, annotations };
        Parts { states: values.into_iter().zip(annotations).map(part).collect(), made }
    }

    /// The values of the rest and of the fields, without the objects that were made for them and that hold nothing else, and how many these were.
    fn values(&self, mut rest: Option<Value>, mut made: Vec<usize>) -> (Vec<Option<Value>>, Vec<usize>) {
        let fields: Vec<Option<Value>> =
            self.fields.keys().map(|pointer| pointer.take(rest.as_mut()?)).collect();
        if let Some(rest) = &mut rest {
            for ((pointer, made), field) in self.fields.keys().zip(&mut made).zip(&fields) {
                *made = field.as_ref().map_or(0, |_| *made);
                pointer.clear(rest, *made);
            }
            // Afterwards, because objects may have been made for several fields.
            for (pointer, made) in self.fields.keys().zip(&mut made) {
                *made = pointer.missing(rest).min(*made);
            }
        }
        (core::iter::once(rest).chain(fields).collect(), made)
    }

    fn whole(&self, states: Vec<FieldState>) -> FieldState {
        let (values, annotations): (Vec<_>, Vec<_>) =
            states.into_iter().map(|state| (state.value, state.annotations)).unzip();
        let mut values = values.into_iter();
        let mut whole = values.next().expect("the rest comes first");
        let fields = || self.fields.keys().zip(values.clone());
        let missing = |(pointer, value): (&Pointer, Option<Value>)| match (&whole, value) {
            (Some(rest), Some(_)) => pointer.missing(rest),
            (_, _) => 0,
        };
        let made: Vec<usize> = fields().map(missing).collect();
        for (pointer, value) in self.fields.keys().zip(values) {
            if let Some(value) = value {
                pointer.put(whole.get_or_insert_with(|| Value::Object(Map::new())), value);
            }
        }
        FieldState { value: whole, annotations: write(&annotations, &made) }
    }

    fn read(&self, annotations: &Bytes) -> Result<(Vec<Bytes>, Vec<usize>), DecodeError> {
        let (rules, fields) = (1 + self.fields.len(), self.fields.len());
        let mut reader = Reader::new(annotations);
        let items = reader.array_of_at_least(rules)?;
        let read = (0..rules).map(|_| reader.bytes()).collect::<Result<_, _>>()?;
        let mut made = Vec::from_iter((0..fields).map(|_| 0));
        if items > 0 {
            for made in &mut made {
                // More than there can be are as many as there are.
                *made = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
            }
        }
        reader.finish()?;
        Ok((read, made))
    }
}

/// A document taken apart.
struct Parts {
    /// The rest and the fields, in the order of the rules.
    states: Vec<FieldState>,
    /// For each field, how many of the objects around it are in the rest no more and were made again to hold it.
    made: Vec<usize>,
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
            for (column, state) in columns.iter_mut().zip(self.parts(&head.state).states) {
                column.push(FieldHead { dot: head.dot, state });
            }
        }
        self.whole(self.rules().zip(&columns).map(|(rule, column)| rule.combine(column)).collect())
    }

    fn note(&self, seen: Option<&FieldState>, next: Option<&Value>, dot: Dot) -> Bytes {
        let seen = seen.map(|seen| self.parts(seen));
        // What was made for a field and shown is not written by whoever leaves it as it is.
        let made = seen.as_ref().map(|seen| seen.made.clone());
        let made = made.unwrap_or_else(|| Vec::from_iter(self.fields.keys().map(|_| 0)));
        let (next, made) = self.values(next.cloned(), made);
        let noted = self.rules().zip(&next).enumerate().map(|(index, (rule, next))| {
            rule.note(seen.as_ref().map(|seen| &seen.states[index]), next.as_ref(), dot)
        });
        write(&noted.collect::<Vec<_>>(), &made)
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

/// An array of the annotations of each rule and, if any were, of how many objects were made for each field; nothing if there is nothing to say.
fn write(annotations: &[Bytes], made: &[usize]) -> Bytes {
    let bytes: usize = annotations.iter().map(Bytes::len).sum();
    let is_made = made.iter().any(|made| *made > 0);
    if bytes == 0 && !is_made {
        return Bytes::new();
    }
    let made = if is_made { made } else { &[] };
    let mut writer = Writer::with_capacity(bytes + 4 * (annotations.len() + made.len()));
    writer.array(annotations.len() + made.len());
    for annotations in annotations {
        writer.bytes(annotations);
    }
    for made in made {
        writer.number(*made as u64);
    }
    writer.finish().into()
}
