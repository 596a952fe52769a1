//! Makes a history that breaks a law as small as it gets: fewer steps, fewer edits, fewer fields, plain clocks.
//!
//! Greedy delta debugging (Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), one removal at a
//! time: histories are short from the start.

use serde_json::Value;

use crate::history::{History, Reading, Step};
use crate::pointer::{Lists, Pointer, walk};
use crate::shape::Shape;

/// How often something smaller is looked for.
const ROUNDS_MAX: usize = 100;

/// What may be taken out of documents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Removable {
    /// What is not always there.
    Optional,
    /// Anything.
    Everything,
}

/// The smallest history found that is still broken. The predicate gets histories, the most wanted first, and gives the index of
/// one that is broken.
pub(crate) fn shrink(
    mut history: History,
    shape: &Shape,
    removable: Removable,
    mut broken_one: impl FnMut(&[History]) -> Option<usize>,
) -> History {
    for _ in 0..ROUNDS_MAX {
        let mut smaller = smaller(&history, shape, removable);
        match broken_one(&smaller) {
            Some(index) => history = smaller.swap_remove(index),
            None => break,
        }
    }
    history
}

fn smaller(history: &History, shape: &Shape, removable: Removable) -> Vec<History> {
    let mut all = Vec::new();
    for index in 0..history.steps.len() {
        let mut without = history.clone();
        without.steps.remove(index);
        all.push(without);
    }
    for (index, step) in history.steps.iter().enumerate() {
        let Step::Write { edits, .. } = step else { continue };
        for edit in 0..edits.len() {
            all.push(with_write(history, index, |_, _, edits| {
                edits.remove(edit);
            }));
        }
    }
    let whole = &history.first;
    walk(&Pointer::default(), whole, Lists::ByIndex, &mut |place, _, _| {
        if let Some(without) = without(whole, place, shape, removable) {
            all.push(History { first: without, ..history.clone() });
        }
    });
    for (index, step) in history.steps.iter().enumerate() {
        let Step::Write { clock_ms, reading, .. } = step else { continue };
        if *reading == Reading::Before {
            all.push(with_write(history, index, |_, reading, _| *reading = Reading::Now));
        }
        for plain in [0, 1000, 2000, 3000] {
            // Only towards smaller ones, or this would never end.
            if (plain as u64) < clock_ms.unsigned_abs() || *clock_ms < 0 {
                all.push(with_write(history, index, |clock_ms, _, _| *clock_ms = plain));
            }
        }
    }
    all
}

fn with_write(
    history: &History,
    index: usize,
    change: impl FnOnce(&mut i64, &mut Reading, &mut Vec<crate::edit::Edit>),
) -> History {
    let mut history = history.clone();
    if let Step::Write { clock_ms, reading, edits, .. } = &mut history.steps[index] {
        change(clock_ms, reading, edits);
    }
    history
}

/// The document without what is at this place, if that may be.
fn without(document: &Value, place: &Pointer, shape: &Shape, removable: Removable) -> Option<Value> {
    let parent = place.parent()?;
    let mut smaller = document.clone();
    match parent.of_mut(&mut smaller)? {
        Value::Array(items) => {
            items.remove(place.last()?.parse().ok()?);
        }
        Value::Object(entries) => {
            let is_required = shape.places.iter().any(|known| {
                known.is_required && known.at.depth() == place.depth() && known.at.is_at_or_above(place)
            });
            if is_required && removable == Removable::Optional {
                return None;
            }
            entries.remove(place.last()?);
        }
        _ => return None,
    }
    Some(smaller)
}
