//! Folding in any order and grouping gives the same value with the same annotations.

use peerloom_core::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::replicas::{REPLICAS, Replicas, Step, steps};

/// Small documents in which a key is at times an object, at times not.
fn values() -> impl Strategy<Value = Option<Value>> + Clone {
    let leaf = prop_oneof![Just(json!(1)), Just(json!(2)), Just(json!([1])), Just(json!({}))];
    let leaf = leaf.boxed();
    let inner =
        proptest::collection::btree_map("[xy]", leaf.clone(), 0..3).prop_map(|entries| json!(entries));
    let field = prop_oneof![leaf, inner];
    let document = proptest::collection::btree_map("[ab]", field, 0..3).prop_map(|entries| json!(entries));
    prop_oneof![9 => document.prop_map(Some), 1 => Just(None)].boxed()
}

fn sets() -> impl Strategy<Value = Option<Value>> + Clone {
    proptest::option::weighted(0.9, proptest::collection::btree_set(0u8..4, 0..4).prop_map(|set| json!(set)))
        .boxed()
}

fn counts() -> impl Strategy<Value = Option<Value>> + Clone {
    proptest::option::weighted(0.9, (-3i64..4).prop_map(|count| json!(count))).boxed()
}

fn rows() -> impl Strategy<Value = Option<Value>> + Clone {
    let row = (sets(), counts(), values()).prop_map(|(tags, votes, rest)| {
        let mut row = json!({ "rest": rest });
        for (key, value) in [("tags", tags), ("votes", votes)] {
            if let Some(value) = value {
                row[key] = value;
            }
        }
        Some(row)
    });
    row.boxed()
}

/// The versions of some document that three replicas may hold, as the rule sees them.
fn versions(
    handler: impl ConflictHandler,
    steps: &[Step<Option<Value>>],
    clocks: [u8; REPLICAS],
) -> Vec<FieldHead> {
    let mut replicas = Replicas::new(handler, clocks.map(u64::from));
    replicas.play(steps, |value, _before| value.clone());
    let heads = replicas.heads().into_iter().filter(|head| !head.state.deleted);
    let version = |head: Head| {
        let value = Some(json::parse(&head.state.body).expect("JSON"));
        FieldHead { dot: head.dot, state: FieldState { value, annotations: head.state.annotations } }
    };
    heads.map(version).collect()
}

/// In any order, and any two of them first.
fn check(rule: &impl Combine, versions: &[FieldHead], pick: usize) -> Result<(), TestCaseError> {
    if versions.is_empty() {
        return Ok(());
    }
    let canonical =
        |state: &FieldState| state.value.as_ref().map(|value| json::to_canonical(value).expect("shallow"));
    let all = rule.combine(versions);
    let expected = (canonical(&all), all.annotations.clone());
    let mut rotated = versions.to_vec();
    rotated.rotate_left(pick % versions.len());
    let reversed: Vec<FieldHead> = rotated.iter().rev().cloned().collect();
    for order in [rotated, reversed] {
        let combined = rule.combine(&order);
        prop_assert_eq!(&(canonical(&combined), combined.annotations), &expected);
        let (first, rest) = order.split_at(order.len().min(2));
        let pair = FieldHead { dot: first[0].dot, state: rule.combine(first) };
        let grouped: Vec<FieldHead> = [pair.clone()].into_iter().chain(rest.iter().cloned()).collect();
        let combined = rule.combine(&grouped);
        prop_assert_eq!(&(canonical(&combined), combined.annotations), &expected);
        // Its own part adds nothing to a whole.
        let repeated = rule.combine(&[FieldHead { dot: pair.dot, state: all.clone() }, pair]);
        prop_assert_eq!(&(canonical(&repeated), repeated.annotations), &expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn field_wise(steps in steps(values()), clocks in any::<[u8; REPLICAS]>(), pick in 0usize..8) {
        check(&FieldWise, &versions(FieldWise, &steps, clocks), pick)?;
    }

    #[test]
    fn union(steps in steps(sets()), clocks in any::<[u8; REPLICAS]>(), pick in 0usize..8) {
        check(&Union, &versions(Union, &steps, clocks), pick)?;
    }

    #[test]
    fn counter(steps in steps(counts()), clocks in any::<[u8; REPLICAS]>(), pick in 0usize..8) {
        check(&Counter, &versions(Counter, &steps, clocks), pick)?;
    }

    #[test]
    fn per_field(steps in steps(rows()), clocks in any::<[u8; REPLICAS]>(), pick in 0usize..8) {
        for default in [0, 1] {
            let rules = PerField::new().field("/tags", Union).field("/votes", Counter);
            let rules = if default == 0 { rules } else { rules.default(FieldWise) };
            check(&rules, &versions(rules.clone(), &steps, clocks), pick)?;
        }
    }

    #[test]
    fn views_are_canonical_and_the_same_when_they_are_made_again(
        steps in steps(rows()),
        clocks in any::<[u8; REPLICAS]>(),
    ) {
        let mut replicas = Replicas::new(FieldWise, clocks.map(u64::from));
        replicas.play(&steps, |value, _before| value.clone());
        if let Some(view) = replicas.settled() {
            prop_assert_eq!(&json::to_canonical(&json::parse(&view.body).expect("JSON")).expect("shallow"), &view.body);
            let heads = replicas.heads();
            if let [_, _, ..] = heads.as_slice() {
                prop_assert_eq!(&FieldWise.resolve(&heads), &view);
            }
        }
    }
}
