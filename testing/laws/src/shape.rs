//! What is where in the documents of an application, learnt from some of them: which values stand in which fields, and
//! which fields may be missing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::documents::Validity;
use crate::pointer::{Lists, Pointer, walk};

/// How many values a place keeps: few, so that writers collide.
const VALUES_MAX: usize = 5;

/// Values that handlers stumble over.
pub(crate) fn hostile_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(0),
        json!(9_007_199_254_740_993_u64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(-0.0),
        json!(1.7976931348623157e308),
        json!(5e-324),
        json!(0.1),
        json!(""),
        json!("\u{0}"),
        json!("e\u{301}"),
        json!("\u{202e}txet"),
        json!("👩‍👩‍👧‍👦"),
        json!("\u{feff}"),
        json!("İı"),
        json!([]),
        json!({}),
        json!([null, [[]], {}]),
        json!({ "__proto__": { "": null } }),
        json!({ "A": 1, "a": 2 }),
        (0..40).fold(json!("deep"), |inner, _| json!([inner])),
    ]
}

/// A place in documents.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) at: Pointer,
    pub(crate) values: Vec<Value>,
    /// Whether everything around it always has it.
    pub(crate) is_required: bool,
}

/// What is where.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// All places but the document itself, in order, the items of lists under `*`.
    pub(crate) places: Vec<Place>,
}

impl Shape {
    pub(crate) fn of(samples: &[Value], validity: Option<&Validity>) -> Self {
        let mut places: BTreeMap<Pointer, (Vec<Value>, usize)> = BTreeMap::new();
        for sample in samples {
            walk(&Pointer::default(), sample, Lists::Alike, &mut |at, value, _| {
                let (values, count) = places.entry(at.clone()).or_default();
                *count += 1;
                if values.len() < VALUES_MAX && !values.contains(value) {
                    values.push(value.clone());
                }
            });
        }
        let counts: BTreeMap<Pointer, usize> =
            places.iter().map(|(at, (_, count))| (at.clone(), *count)).collect();
        let is_required = |at: &Pointer| {
            at.last() == Some("*") || at.parent().is_some_and(|parent| counts.get(&parent) == counts.get(at))
        };
        let is_fit = |at: &Pointer, value: &Value| {
            let Some(valid) = validity else { return true };
            let holder = samples.iter().find(|sample| place_in(at, sample).is_some());
            holder.is_none_or(|sample| {
                let mut changed = sample.clone();
                place_in(at, sample).expect("just found").set(&mut changed, value.clone());
                valid(&changed).is_ok()
            })
        };
        let place = |(at, (mut values, _)): (Pointer, (Vec<Value>, usize))| {
            let more: Vec<Value> = values.iter().flat_map(variants).collect();
            let wanted = if values.iter().all(Value::is_boolean) { 2 } else { 3 };
            for value in more {
                if values.len() < wanted && !values.contains(&value) && is_fit(&at, &value) {
                    values.push(value);
                }
            }
            Place { is_required: is_required(&at), at, values }
        };
        Self { places: places.into_iter().filter(|(at, _)| at.depth() > 0).map(place).collect() }
    }

    /// The place that a pattern with `*` stands for in this document, if it or what is around it is there.
    pub(crate) fn concrete(&self, place: &Place, document: &Value, dice: &mut Dice) -> Option<Pointer> {
        let mut concrete = Pointer::default();
        for step in steps(&place.at) {
            let around = concrete.of(document)?;
            concrete = match (around, step.as_str()) {
                (Value::Array(items), "*") if items.is_empty() => return None,
                (Value::Array(items), "*") => concrete.child(&dice.below(items.len()).to_string()),
                (Value::Object(_), step) => concrete.child(step),
                _ => return None,
            };
        }
        Some(concrete)
    }

    /// The fields at the top.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.at.depth() == 1)
    }

    /// What may be in the list at this place.
    pub(crate) fn items(&self, list: &Pointer) -> &[Value] {
        let items = list.child("*");
        self.places.iter().find(|place| place.at == items).map_or(&[], |place| &place.values)
    }
}

/// Where a document has what the pattern stands for, the first of them.
fn place_in(pattern: &Pointer, document: &Value) -> Option<Pointer> {
    let first = steps(pattern)
        .iter()
        .fold(Pointer::default(), |at, step| at.child(if step == "*" { "0" } else { step }));
    first.of(document).is_some().then_some(first)
}

fn steps(pointer: &Pointer) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    let mut at = pointer.clone();
    while let (Some(last), Some(parent)) = (at.last().map(str::to_string), at.parent()) {
        steps.push(last);
        at = parent;
    }
    steps.reverse();
    steps
}

/// Other values of the kind, for places where the examples have too few.
fn variants(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => vec![json!(number.wrapping_add(1)), json!(number.wrapping_add(2))],
            (_, Some(number)) => vec![json!(number + 0.5)],
            _ => vec![],
        },
        Value::String(text) => vec![json!(format!("{text} (b)")), json!(format!("{text} (c)"))],
        Value::Array(items) if items.len() > 1 => vec![json!(items[1..]), json!(items[..1])],
        Value::Array(items) if !items.is_empty() => vec![json!([])],
        Value::Null | Value::Array(_) | Value::Object(_) => vec![],
    }
}
