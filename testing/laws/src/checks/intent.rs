//! The laws of intent: what users meant is what they get, as far as both can have their way.

use std::collections::BTreeSet;

use peerloom_core::State;
use serde_json::{Map, Value};

use super::Verdict;
use crate::history::{History, Origin};
use crate::pointer::{Lists, Pointer, leaves, walk};
use crate::room::{Room, Written};
use crate::subject::{Deletion, Panicked, Subject, content, live_content};

pub(super) fn no_invention(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    for document in &room.conflicts {
        let view = subject.resolve(document.heads())?;
        let Some(shown) = live_content(&view) else { continue };
        let versions: Vec<Value> = document.heads().iter().filter_map(|head| content(&head.state)).collect();
        for (place, value) in leaves(&shown, Lists::Alike) {
            if !subject.combines(&place) && !versions.iter().any(|version| has(version, &place, value)) {
                let what = format!("the view has {value} at {place}, and no version has it there");
                return Ok(Verdict::broken(what, vec![("view", view)]).at(whole_list(&place)));
            }
        }
    }
    Ok(if room.conflicts.is_empty() { Verdict::DoesNotApply } else { Verdict::Holds })
}

/// Whether a document has this value at this place, in any item of a list. What was emptied counts as empty.
fn has(document: &Value, place: &Pointer, value: &Value) -> bool {
    let mut found = false;
    walk(&Pointer::default(), document, Lists::Alike, &mut |at, other, _| {
        let is_emptied = matches!(
            (value, other),
            (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_))
        );
        found |= at == place && (other == value || is_emptied);
    });
    found
}

/// The outermost list that the place is in, which is what a comparison shows.
fn whole_list(place: &Pointer) -> Pointer {
    let (mut at, mut outermost) = (place.clone(), place.clone());
    while let Some(parent) = at.parent() {
        if at.last() == Some("*") {
            outermost = parent.clone();
        }
        at = parent;
    }
    outermost
}

pub(super) fn disjoint_edits(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    let (Some(whole), true) = (room.last_conflict(), history.origin == Origin::There && history.is_apart())
    else {
        return Ok(Verdict::DoesNotApply);
    };
    let Value::Object(first) = &history.first else { return Ok(Verdict::DoesNotApply) };
    let mut expected = first.clone();
    let mut changed_before: BTreeSet<String> = BTreeSet::new();
    for head in whole.heads() {
        let writes =
            room.writes.iter().filter(|written| written.head.dot.incarnation == head.dot.incarnation).count();
        let Some(Value::Object(version)) = live_content(&head.state).filter(|_| writes == 1) else {
            return Ok(Verdict::DoesNotApply);
        };
        for key in changed(first, &version) {
            match version.get(&key) {
                Some(value) => expected.insert(key.clone(), value.clone()),
                None => expected.remove(&key),
            };
            if !changed_before.insert(key) {
                return Ok(Verdict::DoesNotApply);
            }
        }
    }
    let view = subject.resolve(whole.heads())?;
    let place = if view.deleted {
        changed_before.first().map(|_| Pointer::default())
    } else {
        let shown = live_content(&view).unwrap_or_default();
        let keys = expected.keys().chain(first.keys());
        let mut places = keys.map(|key| Pointer::default().child(key));
        let differs = |place: &Pointer| {
            let expected = Value::Object(expected.clone());
            let is_set = subject.combines(place);
            let value = |document| subject.uncombined(place, document).map(|value| unordered(&value, is_set));
            value(&shown) != value(&expected)
        };
        places.find(differs)
    };
    let Some(place) = place else { return Ok(Verdict::Holds) };
    let body = peerloom_core::json::to_canonical(&Value::Object(expected)).unwrap_or_default();
    let expected = State { body, ..State::default() };
    let what = if view.deleted {
        "nobody deletes the document, and it is gone".to_string()
    } else {
        format!("each writer changes other fields, and {place} is not what came of it")
    };
    Ok(Verdict::broken(what, vec![("view", view), ("expected", expected)]).at(place))
}

/// The fields at the top that differ.
fn changed(left: &Map<String, Value>, right: &Map<String, Value>) -> BTreeSet<String> {
    let keys = left.keys().chain(right.keys());
    keys.filter(|key| left.get(*key) != right.get(*key)).cloned().collect()
}

/// The value with its lists sorted, and for sets without duplicates: what a handler does to the order is not judged.
fn unordered(value: &Value, is_set: bool) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|item| unordered(item, is_set)).collect();
            items.sort_by_cached_key(ToString::to_string);
            if is_set {
                items.dedup();
            }
            Value::Array(items)
        }
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| (key.clone(), unordered(value, is_set))).collect()
        }
        leaf => leaf.clone(),
    }
}

pub(super) fn deletion_policy(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    for document in &room.conflicts {
        let view = subject.resolve(document.heads())?;
        let deleted: Vec<bool> = document.heads().iter().map(|head| head.state.deleted).collect();
        let (any, all) = (deleted.contains(&true), !deleted.contains(&false));
        let expected = match subject.deletion {
            Deletion::DeleteWins => any,
            Deletion::EditWins => all,
            Deletion::LastWriteWins => deleted[deleted.len() - 1],
            Deletion::NotDeclared if any != all => continue,
            Deletion::NotDeclared => all,
        };
        if view.deleted != expected {
            let what = match (any, all) {
                (false, _) => "nobody deletes the document, and it is gone".to_string(),
                (_, true) => "every version is deleted, and the document is there".to_string(),
                _ if expected => format!(
                    "the document is deleted, and is there again, though {:?} is declared",
                    subject.deletion
                ),
                _ => {
                    format!("the document is edited, and is gone, though {:?} is declared", subject.deletion)
                }
            };
            return Ok(Verdict::broken(what, vec![("view", view)]));
        }
    }
    Ok(if room.conflicts.is_empty() { Verdict::DoesNotApply } else { Verdict::Holds })
}

pub(super) fn later_writes(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    let mut applied = false;
    for document in &room.conflicts {
        let view = subject.resolve(document.heads())?;
        let writes: Option<Vec<&Written>> = document.heads().iter().map(|head| room.written(head)).collect();
        let Some(writes) = writes else { continue };
        for (index, later) in writes.iter().enumerate() {
            let others: Vec<&Written> = writes
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, written)| *written)
                .collect();
            let Some(verdict) = wins(subject, &view, later, &others) else { continue };
            applied = true;
            if let Verdict::Broken(_) = verdict {
                return Ok(verdict);
            }
        }
    }
    Ok(if applied { Verdict::Holds } else { Verdict::DoesNotApply })
}

/// Whether a write has its way against what its writer had seen, beside others who had seen no more than that.
fn wins(subject: &Subject, view: &State, later: &Written, others: &[&Written]) -> Option<Verdict> {
    let seen = later.seen.as_ref()?;
    if !others.iter().all(|other| later.seen_context.covers(&other.seen_context)) {
        return None;
    }
    if seen.deleted && !later.head.state.deleted && !others.iter().any(|other| other.head.state.deleted) {
        let what =
            format!("{} writes the deleted document again, nobody else deletes it, and it is gone", later.by);
        return Some(if view.deleted {
            Verdict::broken(what, vec![("view", view.clone())])
        } else {
            Verdict::Holds
        });
    }
    // Where the last write wins as a whole, whatever it left alone wins, too.
    if view.deleted || !subject.merges_fields {
        return None;
    }
    let (Value::Object(read), Value::Object(wrote)) = (live_content(seen)?, live_content(&later.head.state)?)
    else {
        return None;
    };
    let shown = live_content(view)?;
    for key in changed(&read, &wrote) {
        let place = Pointer::default().child(&key);
        let left_alone = |other: &&Written| {
            let before = other.seen.as_ref().and_then(live_content);
            let after = live_content(&other.head.state);
            matches!((before, after), (Some(before), Some(after)) if place.of(&before) == place.of(&after))
        };
        let is_set = subject.combines(&place);
        let value =
            |document: &Value| subject.uncombined(&place, document).map(|value| unordered(&value, is_set));
        if others.iter().all(left_alone) && value(&shown) != value(&Value::Object(wrote.clone())) {
            let what = format!(
                "{} changes {place} of what it sees, nobody else does, and something else is shown",
                later.by
            );
            let columns =
                vec![("seen", seen.clone()), ("written", later.head.state.clone()), ("view", view.clone())];
            return Some(Verdict::broken(what, columns).at(place));
        }
    }
    Some(Verdict::Holds)
}
