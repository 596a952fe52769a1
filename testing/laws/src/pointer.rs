//! Places in a JSON document: JSON pointers (RFC 6901), where `*` in a pattern stands for any one step.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A place in a document, or a pattern of places.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer(Vec<String>);

/// A text that is no JSON pointer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no JSON pointer: write \"/field\", \"/list/0\", \"/list/*\", or \"\" for the whole document"
)]
pub struct MalformedPointer(pub String);

impl Pointer {
    pub(crate) fn child(&self, step: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.to_string());
        Self(steps)
    }

    /// A place within what is at this one.
    pub(crate) fn below(&self, inner: &Self) -> Self {
        Self(self.0.iter().chain(&inner.0).cloned().collect())
    }

    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, before) = self.0.split_last()?;
        Some(Self(before.to_vec()))
    }

    pub(crate) fn last(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    pub(crate) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether this pattern names the place, or something around it.
    pub(crate) fn is_at_or_above(&self, place: &Self) -> bool {
        self.0.len() <= place.0.len()
            && self.0.iter().zip(&place.0).all(|(pattern, step)| pattern == "*" || pattern == step)
    }

    pub(crate) fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(value, |value, step| match value {
            Value::Object(entries) => entries.get(step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    pub(crate) fn of_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(value, |value, step| match value {
            Value::Object(entries) => entries.get_mut(step),
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Puts a value at this place, if there is an object or a list for it to be in.
    pub(crate) fn set(&self, document: &mut Value, value: Value) {
        if let Some(place) = self.of_mut(document) {
            *place = value;
        } else if let (Some(parent), Some(last)) = (self.parent(), self.last())
            && let Some(Value::Object(entries)) = parent.of_mut(document)
        {
            entries.insert(last.to_string(), value);
        }
    }

    /// Takes the field away, if it is one.
    pub(crate) fn unset(&self, document: &mut Value) {
        if let (Some(parent), Some(last)) = (self.parent(), self.last())
            && let Some(Value::Object(entries)) = parent.of_mut(document)
        {
            entries.remove(last);
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            write!(formatter, "/{}", step.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

impl FromStr for Pointer {
    type Err = MalformedPointer;

    fn from_str(text: &str) -> Result<Self, MalformedPointer> {
        let mut steps = text.split('/');
        if steps.next() != Some("") {
            return Err(MalformedPointer(text.to_string()));
        }
        Ok(Self(steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl TryFrom<String> for Pointer {
    type Error = MalformedPointer;

    fn try_from(text: String) -> Result<Self, MalformedPointer> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.to_string()
    }
}

/// What a walk does with lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lists {
    /// A list is one value.
    Whole,
    /// Their items are walked through, each under its index.
    ByIndex,
    /// Their items are walked through, all under `*`.
    Alike,
}

/// Every place with a value that is not divided further, with that value. Empty objects and lists are such values.
pub(crate) fn leaves(document: &Value, lists: Lists) -> Vec<(Pointer, &Value)> {
    let mut leaves = Vec::new();
    walk(&Pointer::default(), document, lists, &mut |place, value, divided| {
        if !divided {
            leaves.push((place.clone(), value));
        }
    });
    leaves
}

/// Visits every place, outer ones first; the last argument says whether it is divided further.
pub(crate) fn walk<'v>(
    place: &Pointer,
    value: &'v Value,
    lists: Lists,
    visit: &mut impl FnMut(&Pointer, &'v Value, bool),
) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            visit(place, value, true);
            for (key, value) in entries {
                walk(&place.child(key), value, lists, visit);
            }
        }
        Value::Array(items) if !items.is_empty() && lists != Lists::Whole => {
            visit(place, value, true);
            for (index, item) in items.iter().enumerate() {
                let step = if lists == Lists::Alike { "*".to_string() } else { index.to_string() };
                walk(&place.child(&step), item, lists, visit);
            }
        }
        _ => visit(place, value, false),
    }
}

/// The places in which two documents differ, the outermost ones that tell the difference. A list is one value.
pub(crate) fn differences(left: Option<&Value>, right: Option<&Value>) -> Vec<Pointer> {
    let mut found = Vec::new();
    differ(Pointer::default(), left, right, &mut found);
    found
}

fn differ(place: Pointer, left: Option<&Value>, right: Option<&Value>, found: &mut Vec<Pointer>) {
    match (left, right) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let both: Map<String, Value> =
                left.iter().chain(right).map(|(key, _)| (key.clone(), Value::Null)).collect();
            for key in both.keys() {
                differ(place.child(key), left.get(key), right.get(key), found);
            }
        }
        _ if left == right => {}
        _ => found.push(place),
    }
}
