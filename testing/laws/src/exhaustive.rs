//! The small scope: every way in which three replicas can write any of a few documents at the same time.
//!
//! Most faults of conflict handlers show with few documents of few values (the small scope hypothesis: Jackson, "Software
//! Abstractions", 2006). What is small enough is tried without gaps, so that nothing in it depends on luck.

use serde_json::Value;

use crate::edit::Edit;
use crate::history::{History, Origin, Reading, Step, Who};
use crate::pointer::{Pointer, differences};
use crate::shape::{Place, Shape};

/// How many fields take all their values.
const FIELDS_MAX: usize = 3;
/// How many values a field takes, its absence included if it may be absent.
const VALUES_MAX: usize = 2;

/// Every history in which A, B and C each write one of the few documents or delete it, one after the other by their clocks,
/// starting from each of two documents.
pub(crate) fn triples(shape: &Shape, sample: &Value) -> impl Iterator<Item = History> {
    let documents = few_documents(shape, sample);
    let outcomes: Vec<Option<Value>> = documents.iter().cloned().map(Some).chain([None]).collect();
    let firsts = [documents[0].clone(), documents[documents.len() - 1].clone()];
    let count = outcomes.len();
    firsts.into_iter().flat_map(move |first| {
        let outcomes = outcomes.clone();
        (0..count * count * count).map(move |number| {
            let chosen = [number / (count * count), number / count % count, number % count];
            let steps = Who::ALL.into_iter().zip(chosen).zip(1..);
            let step = |((by, choice), hour): ((Who, usize), i64)| Step::Write {
                by,
                clock_ms: 1000 * hour,
                reading: Reading::Now,
                edits: edits_to(&first, outcomes[choice].as_ref()),
            };
            History { steps: steps.map(step).collect(), first: first.clone(), origin: Origin::There }
        })
    })
}

/// In how many orders the clocks of two writers can be.
pub(crate) const CLOCKS: usize = 3;

/// The same with two writers, in both orders, and with clocks that agree, one after the other.
pub(crate) fn pairs(shape: &Shape, sample: &Value) -> impl Iterator<Item = History> {
    let documents = few_documents(shape, sample);
    let outcomes: Vec<Option<Value>> = documents.iter().cloned().map(Some).chain([None]).collect();
    let count = outcomes.len();
    documents.into_iter().flat_map(move |first| {
        let outcomes = outcomes.clone();
        (0..CLOCKS * count * count).map(move |number| {
            let (hours, number) = ([[1, 2], [2, 1], [1, 1]][number % CLOCKS], number / CLOCKS);
            let step = |by: Who, choice: usize| Step::Write {
                by,
                clock_ms: 1000 * hours[by.index()],
                reading: Reading::Now,
                edits: edits_to(&first, outcomes[choice].as_ref()),
            };
            let steps = vec![step(Who::A, number / count), step(Who::B, number % count)];
            History { steps, first: first.clone(), origin: Origin::There }
        })
    })
}

/// The same with a write on top of a conflict: A and B write, A takes over what B has and writes, and C writes meanwhile.
pub(crate) fn settlings(shape: &Shape, sample: &Value) -> impl Iterator<Item = History> {
    let documents = few_documents(shape, sample);
    let few = documents.iter().step_by(documents.len().div_ceil(4)).cloned();
    let outcomes: Vec<Option<Value>> = few.map(Some).chain([None]).collect();
    let (first, count) = (documents[0].clone(), outcomes.len());
    (0..count.pow(4)).map(move |number| {
        let write = |by: Who, place: u32| Step::Write {
            by,
            clock_ms: 1000 * i64::from(place + 1),
            reading: Reading::Now,
            edits: edits_to(&first, outcomes[number / count.pow(place) % count].as_ref()),
        };
        let takes = Step::Take { by: Who::A, from: Who::B };
        let steps = vec![write(Who::A, 0), write(Who::B, 1), takes, write(Who::A, 2), write(Who::C, 3)];
        History { steps, first: first.clone(), origin: Origin::There }
    })
}

/// All documents over a few values of a few fields. The rest is as in the sample.
pub(crate) fn few_documents(shape: &Shape, sample: &Value) -> Vec<Value> {
    let mut documents = vec![sample.clone()];
    for place in fields_that_matter(shape) {
        let mut choices: Vec<Option<&Value>> = place.values.iter().map(Some).collect();
        if !place.is_required {
            choices.insert(1.min(choices.len()), None);
        }
        choices.truncate(VALUES_MAX);
        let with = |document: &Value| {
            let mut all = Vec::new();
            for choice in &choices {
                let mut document = document.clone();
                match choice {
                    Some(value) => place.at.set(&mut document, (*value).clone()),
                    None => place.at.unset(&mut document),
                }
                all.push(document);
            }
            all
        };
        documents = documents.iter().flat_map(with).collect();
    }
    documents
}

/// Fields at the top whose values differ in kind, and after them any.
fn fields_that_matter(shape: &Shape) -> Vec<&Place> {
    let kind = |place: &Place| match place.values.first() {
        Some(Value::Array(_)) => 0,
        Some(Value::Number(_)) => 1,
        Some(Value::String(_)) => 2,
        Some(Value::Bool(_)) => 3,
        Some(Value::Object(_)) => 4,
        _ => 5,
    };
    let varied = |place: &&Place| place.values.len() > 1 || !place.is_required;
    let mut fields: Vec<&Place> = Vec::new();
    let mut others: Vec<&Place> = Vec::new();
    for place in shape.fields().filter(varied) {
        let is_new = fields.iter().all(|field| kind(field) != kind(place));
        if is_new { fields.push(place) } else { others.push(place) }
    }
    fields.sort_by_key(|place| kind(place));
    fields.extend(others);
    fields.truncate(FIELDS_MAX);
    fields
}

/// What makes one document of another, field by field.
pub(crate) fn edits_to(first: &Value, outcome: Option<&Value>) -> Vec<Edit> {
    let Some(outcome) = outcome else { return vec![Edit::Delete] };
    let mut edits: Vec<Edit> = differences(Some(first), Some(outcome))
        .into_iter()
        .map(|at: Pointer| match at.of(outcome) {
            Some(value) => Edit::Set { to: value.clone(), at },
            None => Edit::Unset { at },
        })
        .collect();
    if edits.is_empty() {
        edits.push(Edit::Touch);
    }
    edits
}
