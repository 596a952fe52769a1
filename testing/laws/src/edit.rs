//! What a user does to a document in one write.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pointer::Pointer;

/// One change. A change to a place that is not there does nothing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// Gives a field a value.
    Set {
        /// The field, or the item of a list.
        at: Pointer,
        /// Its new value.
        to: Value,
    },
    /// Takes a field away.
    Unset {
        /// The field.
        at: Pointer,
    },
    /// Puts an item into a list.
    Insert {
        /// The list.
        list: Pointer,
        /// Where, at the end if the list is shorter.
        index: usize,
        /// What.
        item: Value,
    },
    /// Takes an item out of a list.
    Remove {
        /// The list.
        list: Pointer,
        /// Which.
        index: usize,
    },
    /// Moves an item of a list.
    Move {
        /// The list.
        list: Pointer,
        /// From which index.
        from: usize,
        /// To which.
        to: usize,
    },
    /// Deletes the document, so that nothing is left of its content.
    Delete,
    /// Deletes the document and leaves its content in the tombstone.
    DeleteKeepingContent,
    /// Writes a deleted document again, with the content it had at first. Writes any other as it is.
    Revive,
    /// Writes the document as it is.
    Touch,
}

/// A document as an application reads and writes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    pub(crate) deleted: bool,
    /// `None` for a tombstone without content.
    pub(crate) content: Option<Value>,
}

impl Edit {
    /// Makes the change. A deleted document that is changed starts again from `first`.
    pub(crate) fn apply(&self, draft: &mut Draft, first: &Value) {
        match self {
            Self::Delete => *draft = Draft { deleted: true, content: None },
            Self::DeleteKeepingContent => draft.deleted = true,
            Self::Touch => {}
            _ => {
                if draft.deleted || draft.content.is_none() {
                    *draft = Draft { deleted: false, content: Some(first.clone()) };
                }
                let content = draft.content.as_mut().expect("just made sure of");
                self.change(content);
            }
        }
    }

    fn change(&self, content: &mut Value) {
        match self {
            Self::Set { at, to } => at.set(content, to.clone()),
            Self::Unset { at } => at.unset(content),
            Self::Insert { list, index, item } => {
                if let Some(Value::Array(items)) = list.of_mut(content) {
                    items.insert((*index).min(items.len()), item.clone());
                }
            }
            Self::Remove { list, index } => {
                if let Some(Value::Array(items)) = list.of_mut(content)
                    && *index < items.len()
                {
                    items.remove(*index);
                }
            }
            Self::Move { list, from, to } => {
                if let Some(Value::Array(items)) = list.of_mut(content)
                    && *from < items.len()
                {
                    let item = items.remove(*from);
                    items.insert((*to).min(items.len()), item);
                }
            }
            Self::Delete | Self::DeleteKeepingContent | Self::Revive | Self::Touch => {}
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { at, to } if at.depth() == 0 => write!(formatter, "writes {to}"),
            Self::Set { at, to } => write!(formatter, "sets {at} to {to}"),
            Self::Unset { at } => write!(formatter, "takes {at} away"),
            Self::Insert { list, index, item } => write!(formatter, "inserts {item} into {list} at {index}"),
            Self::Remove { list, index } => write!(formatter, "removes item {index} of {list}"),
            Self::Move { list, from, to } => write!(formatter, "moves item {from} of {list} to {to}"),
            Self::Delete => formatter.write_str("deletes it"),
            Self::DeleteKeepingContent => {
                formatter.write_str("deletes it, and leaves its content in the tombstone")
            }
            Self::Revive => formatter.write_str("writes it as it was at first"),
            Self::Touch => formatter.write_str("writes it without a change"),
        }
    }
}
