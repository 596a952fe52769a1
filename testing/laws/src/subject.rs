//! The handler under test, and what its author declares of it.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::{ConflictHandler, Document, Dot, Head, State, json};
use serde_json::Value;

use crate::documents::Validity;
use crate::pointer::{Lists, Pointer, leaves};

/// What becomes of a document that one replica deletes while another one edits it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Deletion {
    /// It is gone, whoever was first.
    DeleteWins,
    /// It stays, with the edits.
    EditWins,
    /// What was done last, by the stamps, decides.
    LastWriteWins,
    /// Nothing is promised. Documents that nobody deletes must stay all the same, and those that everybody deletes go.
    #[default]
    NotDeclared,
}

/// When two documents count as equal.
pub(crate) type Equality = Arc<dyn Fn(&Value, &Value) -> bool + Send + Sync>;

/// A handler, and what is declared of it.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) handler: Arc<dyn ConflictHandler>,
    pub(crate) combines: Vec<Pointer>,
    pub(crate) deletion: Deletion,
    /// Whether fields are promised to be merged on their own.
    pub(crate) merges_fields: bool,
    pub(crate) equality: Equality,
    pub(crate) validity: Option<Validity>,
    pub(crate) cost_max: Duration,
}

/// The handler panicked, and this is what it said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Panicked(pub(crate) String);

impl Subject {
    pub(crate) fn resolve(&self, heads: &[Head]) -> Result<State, Panicked> {
        quietly(|| self.handler.resolve(heads))
    }

    pub(crate) fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Result<Bytes, Panicked> {
        quietly(|| self.handler.annotate(seen, next, dot))
    }

    /// What applications see of a document.
    pub(crate) fn view(&self, document: &Document) -> Result<State, Panicked> {
        match document.heads() {
            [only] => Ok(only.state.clone()),
            heads => self.resolve(heads),
        }
    }

    /// Whether applications see the same: both are deleted, or their contents are equal.
    pub(crate) fn looks_equal(&self, left: &State, right: &State) -> bool {
        match (left.deleted, right.deleted) {
            (true, true) => true,
            (false, false) => left.body == right.body || self.contents_equal(left, right),
            _ => false,
        }
    }

    /// Like that, but for what the handler is declared to combine.
    pub(crate) fn looks_equal_but_for_combined(&self, left: &State, right: &State) -> bool {
        if self.looks_equal(left, right) {
            return true;
        }
        let (false, false, Some(mut left), Some(right)) =
            (left.deleted, right.deleted, content(left), content(right))
        else {
            return false;
        };
        for place in crate::pointer::differences(Some(&left), Some(&right)) {
            if self.combines(&place) {
                match place.of(&right) {
                    Some(value) => place.set(&mut left, value.clone()),
                    None => place.unset(&mut left),
                }
            }
        }
        (self.equality)(&left, &right)
    }

    fn contents_equal(&self, left: &State, right: &State) -> bool {
        match (content(left), content(right)) {
            (Some(left), Some(right)) => {
                (self.equality)(&left, &right)
                    || (!self.combines.is_empty()
                        && (self.equality)(&self.with_sets(left), &self.with_sets(right)))
            }
            _ => false,
        }
    }

    /// The document with the lists that the handler is declared to combine as sets.
    fn with_sets(&self, mut document: Value) -> Value {
        for (place, _) in leaves(&document.clone(), Lists::Whole) {
            if self.combines(&place)
                && let Some(Value::Array(items)) = place.of_mut(&mut document)
            {
                items.sort_by_cached_key(ToString::to_string);
                items.dedup();
            }
        }
        document
    }

    /// Whether the handler may have a value of its own here.
    pub(crate) fn combines(&self, place: &Pointer) -> bool {
        self.combines.iter().any(|declared| declared.is_at_or_above(place))
    }

    /// The value at this place without what the handler may have of its own within it. Objects that hold nothing else count as not there.
    pub(crate) fn uncombined(&self, place: &Pointer, document: &Value) -> Option<Value> {
        let value = place.of(document)?;
        let holds_combined = self.combines.iter().any(|declared| declared.depth() > place.depth());
        if !holds_combined || !value.is_object() {
            return Some(value.clone());
        }
        let mut rest = document.clone();
        for (inner, _) in leaves(value, Lists::Whole) {
            let mut at = place.below(&inner);
            if self.combines(&at) {
                at.unset(&mut rest);
                while let Some(parent) = at.parent().filter(|parent| {
                    parent.depth() >= place.depth() && parent.of(&rest).is_some_and(is_empty_object)
                }) {
                    parent.unset(&mut rest);
                    at = parent;
                }
            }
        }
        place.of(&rest).cloned()
    }

    /// Whether this is a document that the application could have written.
    pub(crate) fn is_valid(&self, state: &State) -> bool {
        let Some(validity) = &self.validity else { return true };
        state.deleted || content(state).is_some_and(|content| validity(&content).is_ok())
    }
}

/// The content of a state, or `None` if it has none that is JSON.
///
/// As documents are written: `2.0` is `2`, which other programs may write for it.
pub(crate) fn content(state: &State) -> Option<Value> {
    let content = json::parse(&state.body).ok()?;
    let has_points = state.body.windows(2).any(|pair| matches!(pair, [b'0'..=b'9', b'.' | b'e' | b'E']));
    if !has_points {
        return Some(content);
    }
    json::parse(&json::to_canonical(&content).ok()?).ok()
}

/// The content of a state that is not deleted.
pub(crate) fn live_content(state: &State) -> Option<Value> {
    if state.deleted { None } else { content(state) }
}

fn is_empty_object(value: &Value) -> bool {
    value.as_object().is_some_and(|entries| entries.is_empty())
}

/// Calls what may panic, without a word on the terminal: the law that is broken tells.
pub(crate) fn quietly<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let called = catch_unwind(AssertUnwindSafe(call));
    QUIET.set(false);
    called.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Panicked(text.unwrap_or("it panicked without a message").to_string())
    })
}
