//! The laws of safety: without them replicas differ, or lose what users wrote.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use peerloom_core::{Dot, Head, State, json};
use serde_json::Value;

use super::Verdict;
use crate::edit::Edit;
use crate::history::{History, Reading, Who};
use crate::pointer::{Lists, leaves};
use crate::room::Room;
use crate::subject::{Panicked, Subject, content, live_content};

/// How often a view is written down again.
const ROUNDS: i64 = 3;

pub(super) fn purity(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    for document in &room.conflicts {
        let first = subject.resolve(document.heads())?;
        // Elsewhere in memory, too.
        let copied: Vec<Head> = document.heads().iter().map(copied).collect();
        for again in [subject.resolve(document.heads())?, subject.resolve(&copied)?] {
            if again != first {
                let columns = vec![("one view", first), ("another", again)];
                return Ok(Verdict::broken("the same heads make different views", columns));
            }
        }
    }
    for written in &room.writes {
        let next = State { annotations: Bytes::new(), ..written.head.state.clone() };
        if subject.annotate(written.seen.as_ref(), &next, written.head.dot)? != written.head.state.annotations
        {
            return Ok(Verdict::broken("the same write gets different annotations", Vec::new()));
        }
    }
    Ok(if room.writes.is_empty() { Verdict::DoesNotApply } else { Verdict::Holds })
}

/// All that a handler says about a history, for comparison with what it says elsewhere.
pub(crate) fn answers(subject: &Subject, history: &History) -> u64 {
    let said = || {
        let room = Room::after(subject, history)?;
        let views: Result<Vec<State>, Panicked> =
            room.conflicts.iter().map(|document| subject.resolve(document.heads())).collect();
        Ok((room.writes.into_iter().map(|written| written.head).collect::<Vec<_>>(), views?))
    };
    let mut hasher = DefaultHasher::new();
    said().map_err(|Panicked(message): Panicked| message).hash(&mut hasher);
    hasher.finish()
}

pub(super) fn totality(subject: &Subject, history: &History) -> Verdict {
    let panics =
        |Panicked(message): Panicked| Verdict::broken(format!("the handler panics: {message}"), Vec::new());
    let room = match Room::after(subject, history) {
        Ok(room) => room,
        Err(panicked) => return panics(panicked),
    };
    for document in &room.conflicts {
        if let Err(panicked) = subject.resolve(document.heads()) {
            return panics(panicked);
        }
        for (oddity, heads) in odd_heads(document.heads()) {
            let seen = heads[0].state.clone();
            let next = State { annotations: Bytes::new(), ..heads[heads.len() - 1].state.clone() };
            let annotated = subject.annotate(Some(&seen), &next, heads[heads.len() - 1].dot);
            let called = subject.resolve(&heads).and(annotated);
            if let Err(Panicked(message)) = called {
                let what = format!("the handler panics where {oddity}: {message}");
                return Verdict::broken(what, Vec::new());
            }
        }
    }
    if room.conflicts.is_empty() { Verdict::DoesNotApply } else { Verdict::Holds }
}

/// The same heads as somebody else may send them: another handler wrote the annotations, or another program the body.
fn odd_heads(heads: &[Head]) -> Vec<(&'static str, Vec<Head>)> {
    let with = |change: &dyn Fn(&mut State)| {
        let mut all = heads.to_vec();
        all.iter_mut().for_each(|head| change(&mut head.state));
        all
    };
    let mut first = heads.to_vec();
    first[0].state.annotations = Bytes::from_static(b"\xff\x00{");
    let mut half = heads.to_vec();
    let last = &mut half[heads.len() - 1].state.annotations;
    last.truncate(last.len() / 2);
    let mut binary = heads.to_vec();
    binary[0].state.body = Bytes::from_static(b"\xff\x00{");
    vec![
        ("a head has the annotations of another handler", first),
        ("annotations are cut short", half),
        ("heads have no annotations", with(&|state| state.annotations = Bytes::new())),
        (
            "all annotations are of another handler",
            with(&|state| state.annotations = Bytes::from_static(b"{}")),
        ),
        ("a body is not JSON", binary),
        ("bodies are empty", with(&|state| state.body = Bytes::new())),
    ]
}

pub(super) fn closure(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    for document in &room.conflicts {
        let view = subject.resolve(document.heads())?;
        if view.deleted {
            continue;
        }
        let shown = match json::parse(&view.body) {
            Ok(shown) => shown,
            Err(error) => {
                return Ok(Verdict::broken(
                    format!("the view is no document: {error}"),
                    vec![("view", view)],
                ));
            }
        };
        let round = json::to_canonical(&shown).ok().and_then(|body| json::parse(&body).ok());
        if round.and_then(|value| json::to_canonical(&value).ok()) != json::to_canonical(&shown).ok() {
            return Ok(Verdict::broken(
                "the view does not survive being read and written",
                vec![("view", view)],
            ));
        }
        if let Some(validity) = &subject.validity
            && let Err(reason) = validity(&shown)
        {
            let what = format!("all versions are valid, and the view is not: {reason}");
            return Ok(Verdict::broken(what, vec![("view", view)]));
        }
        let broken = unkept_agreement(subject, document.heads(), view);
        if matches!(broken, Verdict::Broken(_)) {
            return Ok(broken);
        }
    }
    Ok(if room.conflicts.is_empty() { Verdict::DoesNotApply } else { Verdict::Holds })
}

/// What all versions agree on must be there. Where one of them is deleted, what it said before may still count.
fn unkept_agreement(subject: &Subject, heads: &[Head], view: State) -> Verdict {
    let versions: Option<Vec<Value>> = heads.iter().map(|head| live_content(&head.state)).collect();
    let versions = versions.unwrap_or_default();
    let (Some((first, others)), Some(shown)) = (versions.split_first(), content(&view)) else {
        return Verdict::Holds;
    };
    for (place, value) in leaves(first, Lists::Whole) {
        let is_agreed = others.iter().all(|other| place.of(other) == Some(value));
        if is_agreed && !subject.combines(&place) && place.of(&shown) != Some(value) {
            let what = match place.of(&shown) {
                Some(_) => format!("all versions agree on {place}, and the view has something else there"),
                None => format!("all versions agree on {place}, and the view has lost it"),
            };
            return Verdict::broken(what, vec![("view", view)]).at(place);
        }
    }
    Verdict::Holds
}

pub(super) fn stability(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let mut room = Room::after(subject, history)?;
    let Some(whole) = room.last_conflict() else { return Ok(Verdict::DoesNotApply) };
    let view = subject.view(&whole)?;
    for round in 0..ROUNDS {
        room.meet();
        for by in [Who::A, Who::B] {
            room.write(by, 1_000_000 + round, Reading::Now, &[Edit::Touch])?;
        }
        let again = subject.view(&room.whole().expect("two have just written it"))?;
        if !subject.looks_equal(&view, &again) {
            let what =
                "A and B each write down what is shown, without a change, and then something else is shown";
            return Ok(Verdict::broken(what, vec![("view", view), ("then", again)]));
        }
    }
    Ok(Verdict::Holds)
}

pub(super) fn equality(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    for document in &room.conflicts {
        let view = subject.resolve(document.heads())?;
        for pretty in [0, document.heads().len() - 1] {
            let mut heads: Vec<Head> = document.heads().iter().map(copied).collect();
            heads[pretty].state.body = spaced_out(&heads[pretty].state);
            let other = subject.resolve(&heads)?;
            if !subject.looks_equal(&view, &other) {
                let what = "white space and another order of keys in one of the documents make another view";
                return Ok(Verdict::broken(what, vec![("view", view), ("other", other)]));
            }
        }
    }
    Ok(if room.conflicts.is_empty() { Verdict::DoesNotApply } else { Verdict::Holds })
}

/// The same document, written down by another program.
fn spaced_out(state: &State) -> Bytes {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Object(entries) => {
                out.push_str("{ ");
                for (index, (key, value)) in entries.iter().rev().enumerate() {
                    out.push_str(if index > 0 { " , " } else { "" });
                    out.push_str(&Value::from(key.as_str()).to_string());
                    out.push_str(" : ");
                    write(value, out);
                }
                out.push_str(" }");
            }
            Value::Array(items) => {
                out.push_str("[ ");
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { " , " } else { "" });
                    write(item, out);
                }
                out.push_str(" ]");
            }
            leaf => {
                let leaf = json::to_canonical(leaf).unwrap_or_default();
                out.push_str(&String::from_utf8_lossy(&leaf));
            }
        }
    }
    let Some(content) = content(state) else { return state.body.clone() };
    let mut out = String::from("\n");
    write(&content, &mut out);
    out.push('\n');
    out.into()
}

fn copied(head: &Head) -> Head {
    let dot = Dot { incarnation: head.dot.incarnation, stamp: head.dot.stamp };
    let state = State {
        deleted: head.state.deleted,
        body: Bytes::copy_from_slice(&head.state.body),
        annotations: Bytes::copy_from_slice(&head.state.annotations),
    };
    Head { dot, state }
}
