//! The laws of folding: versions may be folded in any order, in pairs, and more than once.
//!
//! A replica of Peerloom folds all heads at once, in one order, so that views agree even without these laws. With them a user who
//! settles a part of a conflict early gets what everybody else gets later.

use peerloom_core::{Dot, Head, Incarnation, State};
use serde_json::Value;

use super::Verdict;
use crate::history::{History, Who};
use crate::pointer::{Lists, Pointer, leaves};
use crate::room::Room;
use crate::subject::{Panicked, Subject, content};

/// Whoever makes the same change as somebody else.
const TWIN: Incarnation = Incarnation::new(0xd);

pub(super) fn order_free_fold(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    wherever(|stands| order_free_fold_where(subject, &room, stands))
}

fn order_free_fold_where(subject: &Subject, room: &Room<'_>, stands: Stands) -> Result<Verdict, Panicked> {
    let Some(whole) = room.last_conflict().filter(|whole| whole.heads().len() > 2) else {
        return Ok(Verdict::DoesNotApply);
    };
    let at_once = subject.resolve(whole.heads())?;
    let heads: Vec<&Head> = whole.heads().iter().collect();
    for order in orders(&heads) {
        let mut folded = order[0].clone();
        for next in &order[1..] {
            folded = pair(subject, stands, &folded, next)?;
        }
        if !subject.looks_equal(&at_once, &folded.state) {
            let names: Vec<String> = order.iter().map(|head| name(room, head)).collect();
            let what = format!(
                "folding one after the other, {}, does not make what folding all at once makes",
                names.join(", then ")
            );
            return Ok(Verdict::broken(what, vec![("at once", at_once), ("in turn", folded.state)]));
        }
    }
    Ok(Verdict::Holds)
}

pub(super) fn associativity(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    wherever(|stands| associativity_where(subject, &room, stands))
}

fn associativity_where(subject: &Subject, room: &Room<'_>, stands: Stands) -> Result<Verdict, Panicked> {
    let Some(whole) = room.last_conflict() else { return Ok(Verdict::DoesNotApply) };
    let [x, y, z, ..] = whole.heads() else { return Ok(Verdict::DoesNotApply) };
    let (xy, yz, xz) =
        (pair(subject, stands, x, y)?, pair(subject, stands, y, z)?, pair(subject, stands, x, z)?);
    let first = pair(subject, stands, &xy, z)?.state;
    for (other, second, inner) in [(x, yz, [y, z]), (y, xz, [x, z])] {
        let second = pair(subject, stands, other, &second)?.state;
        if !subject.looks_equal(&first, &second) {
            let [x, y, z] = [x, y, z].map(|head| name(room, head));
            let [left, right] = inner.map(|head| name(room, head));
            let (one, two) = (format!("({x}·{y})·{z}"), format!("{}·({left}·{right})", name(room, other)));
            let what = format!("{one} is not {two}, where {x}·{y} is what {x} and {y} are folded into");
            return Ok(Verdict::broken(what, vec![(&one, first), (&two, second)]));
        }
    }
    Ok(Verdict::Holds)
}

pub(super) fn idempotence(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let room = Room::after(subject, history)?;
    for written in &room.writes {
        let dot = Dot { incarnation: TWIN, stamp: written.head.dot.stamp };
        let mut state = State { annotations: Default::default(), ..written.head.state.clone() };
        state.annotations = subject.annotate(written.seen.as_ref(), &state, dot)?;
        let view = subject.resolve(&[written.head.clone(), Head { dot, state }])?;
        if !subject.looks_equal_but_for_combined(&view, &written.head.state) {
            let what =
                format!("{} and somebody else write the very same, and something else is shown", written.by);
            return Ok(Verdict::broken(
                what,
                vec![("written twice", written.head.state.clone()), ("view", view)],
            ));
        }
    }
    Ok(if room.writes.is_empty() { Verdict::DoesNotApply } else { Verdict::Holds })
}

pub(super) fn commutativity(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let writers = history.writers();
    let ([one, two], true) = (writers.as_slice(), history.is_apart()) else {
        return Ok(Verdict::DoesNotApply);
    };
    let in_order = history.at(|who| if who == *one { 1000 } else { 2000 });
    let reversed = history.at(|who| if who == *one { 2000 } else { 1000 });
    let (first, second) = (Room::after(subject, &in_order)?, Room::after(subject, &reversed)?);
    let (Some(later), Some(view)) = (last_write(&first, *two), shown(subject, &first)?) else {
        return Ok(Verdict::DoesNotApply);
    };
    let (Some(other_later), Some(other_view)) = (last_write(&second, *one), shown(subject, &second)?) else {
        return Ok(Verdict::DoesNotApply);
    };
    let value = |place: &Pointer, state: &State| {
        let value = content(state).and_then(|content| place.of(&content).cloned());
        // Objects are judged by what is in them.
        value.filter(|value| !value.is_object())
    };
    let looks_the_same = |place: &Pointer| same_items(&value(place, &view), &value(place, &other_view));
    let is_decided_for_later = |place: &Pointer| {
        looks_the_same(place)
            || (value(place, &view) == value(place, &later)
                && value(place, &other_view) == value(place, &other_later))
    };
    let (one_last, two_last) = (format!("{one} last"), format!("{two} last"));
    let columns = vec![(two_last.as_str(), view.clone()), (one_last.as_str(), other_view.clone())];
    if view.deleted != other_view.deleted {
        if view.deleted != later.deleted || other_view.deleted != other_later.deleted {
            let what = "whether the document is deleted is decided for the earlier write";
            return Ok(Verdict::broken(what, columns));
        }
    } else if !view.deleted && !subject.looks_equal(&view, &other_view) {
        let views = [content(&view), content(&other_view)];
        let places: Vec<Pointer> = views
            .iter()
            .flatten()
            .flat_map(|view| leaves(view, Lists::Whole))
            .map(|(place, _)| place)
            .collect();
        // What is combined from fields that the later write decides follows it.
        let later_decides = places
            .iter()
            .any(|place| !subject.combines(place) && !looks_the_same(place) && is_decided_for_later(place));
        let follows = |place: &Pointer| later_decides && subject.combines(place);
        if let Some(place) = places.into_iter().find(|place| !is_decided_for_later(place) && !follows(place))
        {
            let what = format!(
                "which of the two writes has which role decides about {place}, and not for the later one"
            );
            return Ok(Verdict::broken(what, columns).at(place));
        }
    }
    for names in [[0x1c, 0x1b, 0x1a], [0xfff, 2, 1]] {
        let renamed = shown(subject, &Room::after_named(subject, &in_order, names)?)?;
        if let Some(renamed) = renamed
            && !subject.looks_equal(&view, &renamed)
        {
            let what = "with other incarnations at the same hours, something else is shown";
            return Ok(Verdict::broken(what, vec![("view", view), ("renamed", renamed)]));
        }
    }
    Ok(Verdict::Holds)
}

/// Where two versions stand that were folded into one. Handlers may rely on either: one that merges leaves the stamps of both in its
/// annotations, and one that chooses has none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stands {
    /// Where the later one stood.
    Later,
    /// Where the one stood that was chosen, and where the later one stood if it is of both.
    Chosen,
}

/// Two versions folded into one.
fn pair(subject: &Subject, stands: Stands, left: &Head, right: &Head) -> Result<Head, Panicked> {
    let mut heads = [left.clone(), right.clone()];
    heads.sort_by_key(|head| head.dot.canonical());
    let state = subject.resolve(&heads)?;
    let is_chosen = |head: &&Head| {
        stands == Stands::Chosen && head.state.deleted == state.deleted && head.state.body == state.body
    };
    let place = heads.iter().rev().find(is_chosen).unwrap_or(&heads[1]);
    Ok(Head { dot: place.dot, state })
}

/// A verdict that is broken only if it is, wherever folded versions stand.
fn wherever(mut judge: impl FnMut(Stands) -> Result<Verdict, Panicked>) -> Result<Verdict, Panicked> {
    match judge(Stands::Later)? {
        Verdict::Broken(evidence) => Ok(match judge(Stands::Chosen)? {
            Verdict::Broken(_) => Verdict::Broken(evidence),
            other => other,
        }),
        other => Ok(other),
    }
}

fn orders<'h>(heads: &[&'h Head]) -> Vec<Vec<&'h Head>> {
    let Some((last, others)) = heads.split_last() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(others) {
        for place in 0..=order.len() {
            let mut order = order.clone();
            order.insert(place, last);
            all.push(order);
        }
    }
    all
}

fn shown(subject: &Subject, room: &Room<'_>) -> Result<Option<State>, Panicked> {
    room.last_conflict().map(|whole| subject.resolve(whole.heads())).transpose()
}

fn last_write(room: &Room<'_>, by: Who) -> Option<State> {
    let written = room.writes.iter().rev().find(|written| written.by == by)?;
    Some(written.head.state.clone())
}

fn name(room: &Room<'_>, head: &Head) -> String {
    room.writer(head).map_or("the first content".into(), |who| who.to_string())
}

/// Whether two values are equal, or lists with the same items.
fn same_items(left: &Option<Value>, right: &Option<Value>) -> bool {
    match (left, right) {
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            let sorted = |items: &[Value]| {
                let mut items: Vec<String> = items.iter().map(ToString::to_string).collect();
                items.sort();
                items
            };
            sorted(left) == sorted(right)
        }
        _ => left == right,
    }
}
