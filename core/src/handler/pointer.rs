//! JSON Pointers (RFC 6901) to fields of nested objects. Positions in arrays are not fields.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use crate::json::DEPTH_MAX;

/// A pointer that names no field, or one that has a rule already.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PointerError {
    /// Not a JSON Pointer to a field: it starts with `/`, and a `~` in it is written `~0`, a `/` within a key `~1`.
    #[error("{pointer:?} is no JSON Pointer to a field, such as \"/tags\" or \"/author/name\"")]
    Malformed {
        /// The pointer as given.
        pointer: String,
    },
    /// The field has a rule, or lies within one that has, or has one within it.
    #[error("the rules of {pointer:?} and {other:?} overlap: keep one of them")]
    Overlap {
        /// The pointer as given.
        pointer: String,
        /// The one that was there.
        other: String,
    },
}

/// The keys on the way to a field, at least one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Pointer {
    keys: Vec<String>,
}

impl Pointer {
    pub(super) fn parse(pointer: &str) -> Result<Self, PointerError> {
        let malformed = || PointerError::Malformed { pointer: pointer.to_string() };
        let keys = pointer.strip_prefix('/').ok_or_else(malformed)?.split('/');
        let keys = keys.map(|key| unescape(key).ok_or_else(malformed)).collect::<Result<Vec<_>, _>>()?;
        if keys.len() < DEPTH_MAX { Ok(Self { keys }) } else { Err(malformed()) }
    }

    /// Whether one lies within the other, or they are the same.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.keys.iter().zip(&other.keys).all(|(left, right)| left == right)
    }

    /// Takes the field out of a document. `None` if it is not there.
    pub(super) fn take(&self, document: &mut Value) -> Option<Value> {
        let (last, parents) = self.split();
        parents.iter().try_fold(document, |value, key| value.get_mut(key))?.as_object_mut()?.remove(last)
    }

    /// Puts the field back, with the objects on the way to it. Does nothing where something else is in the way.
    pub(super) fn put(&self, document: &mut Value, field: Value) {
        let (last, parents) = self.split();
        let mut place = document;
        for key in parents {
            let Value::Object(entries) = place else { return };
            place = entries.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
        }
        if let Value::Object(entries) = place {
            entries.insert(last.clone(), field);
        }
    }

    /// How many of the objects on the way to the field a document does not have.
    pub(super) fn missing(&self, document: &Value) -> usize {
        let (_, parents) = self.split();
        let mut place = Some(document);
        let there = parents.iter().take_while(|key| {
            place = place.and_then(|place| place.get(key.as_str()));
            place.is_some()
        });
        parents.len() - there.count()
    }

    /// Removes the innermost objects on the way to the field, at most so many and as long as they are empty.
    pub(super) fn clear(&self, document: &mut Value, objects_max: usize) {
        let (_, mut parents) = self.split();
        for _ in 0..objects_max {
            let Some((key, around)) = parents.split_last() else { return };
            let place = around.iter().try_fold(&mut *document, |value, key| value.get_mut(key));
            let Some(entries) = place.and_then(Value::as_object_mut) else { return };
            match entries.get(key) {
                Some(Value::Object(object)) if object.is_empty() => drop(entries.remove(key)),
                Some(_) => return,
                // Another field was in it, too.
                None => {}
            }
            parents = around;
        }
    }

    fn split(&self) -> (&String, &[String]) {
        self.keys.split_last().expect("a pointer has at least one key")
    }
}

fn unescape(key: &str) -> Option<String> {
    let mut plain = String::with_capacity(key.len());
    let mut characters = key.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '~' => match characters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

impl core::fmt::Display for Pointer {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.keys
            .iter()
            .try_for_each(|key| write!(formatter, "/{}", key.replace('~', "~0").replace('/', "~1")))
    }
}
