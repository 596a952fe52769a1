use std::collections::BTreeSet;

use peerloom_core::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::replicas::{REPLICAS, Replicas, Written, steps, value, write};

/// Adds and removes some of few elements.
#[derive(Clone, Debug)]
struct Edit {
    add: BTreeSet<u8>,
    remove: BTreeSet<u8>,
}

fn edits() -> impl Strategy<Value = Edit> + Clone {
    let some = || proptest::collection::btree_set(0u8..5, 0..3);
    (some(), some()).prop_map(|(add, remove)| Edit { add, remove })
}

fn apply(edit: &Edit, before: Option<Value>) -> Option<Value> {
    let mut elements: Vec<Value> = before.and_then(|before| before.as_array().cloned()).unwrap_or_default();
    elements.retain(|element| !edit.remove.iter().any(|removed| element == &json!(removed)));
    for added in &edit.add {
        if !elements.contains(&json!(added)) {
            elements.push(json!(added));
        }
    }
    Some(elements.into())
}

fn set(value: Option<&Value>) -> BTreeSet<String> {
    value.and_then(Value::as_array).into_iter().flatten().map(Value::to_string).collect()
}

/// An element is there if some write added it and no write that had seen this addition took it out.
fn expected(writes: &[Written]) -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    for (number, write) in writes.iter().enumerate() {
        for added in set(write.after.as_ref()).difference(&set(write.before.as_ref())) {
            let removed = writes.iter().any(|other| {
                other.seen.contains(&number)
                    && set(other.before.as_ref()).contains(added)
                    && !set(other.after.as_ref()).contains(added)
            });
            if !removed {
                expected.insert(added.clone());
            }
        }
    }
    expected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_was_added_is_there_unless_one_who_saw_it_took_it_out(
        steps in steps(edits()),
        clocks in any::<[u8; REPLICAS]>(),
    ) {
        let mut replicas = Replicas::new(Union, clocks.map(u64::from));
        replicas.play(&steps, apply);
        let view = replicas.settled();
        let shown = view.as_ref().and_then(value);
        prop_assert_eq!(set(shown.as_ref()), expected(&replicas.writes));
        let length = shown.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
        prop_assert_eq!(length, set(shown.as_ref()).len(), "nothing stands twice");
        prop_assert!(replicas.annotation_bytes_max <= 100 + 40 * replicas.writes.len());
    }
}

#[test]
fn the_oldest_additions_come_first_and_equal_json_is_one_element() {
    let base = write(&Union, 1, None, Some(json!([{ "b": 1, "a": 2 }, "z"])));
    let left = write(&Union, 2, Some(&base.state), Some(json!(["z", { "a": 2, "b": 1.0 }, "m"])));
    let right = write(&Union, 3, Some(&base.state), Some(json!([{ "b": 1, "a": 2 }, "a", "z", "a"])));
    let view = Union.resolve(&[left, right]);
    assert_eq!(value(&view), Some(json!(["z", { "a": 2, "b": 1 }, "m", "a"])));
}

#[test]
fn an_element_removed_here_and_added_anew_there_stays() {
    let base = write(&Union, 1, None, Some(json!(["a"])));
    let removed = write(&Union, 2, Some(&base.state), Some(json!([])));
    let unaware = write(&Union, 3, None, Some(json!(["a"])));
    assert_eq!(value(&Union.resolve(&[removed.clone(), unaware])), Some(json!(["a"])));
    let untouched = write(&Union, 4, Some(&base.state), Some(json!(["a", "b"])));
    assert_eq!(value(&Union.resolve(&[removed, untouched])), Some(json!(["b"])));
}

#[test]
fn a_draft_does_not_take_out_what_its_own_writer_added_since() {
    let same_writer = |number: u64, seen: Option<&State>, value: Value| {
        let mut head = write(&LastWriteWins, number, None, Some(value));
        head.dot.incarnation = Incarnation::new(1);
        head.state.annotations = Union.annotate(seen, &head.state, head.dot);
        head
    };
    let base = same_writer(1, None, json!(["a"]));
    let added = same_writer(2, Some(&base.state), json!(["a", "b"]));
    let draft = same_writer(3, Some(&base.state), json!(["a", "c"]));
    assert_eq!(value(&Union.resolve(&[added, draft])), Some(json!(["a", "b", "c"])));
}

#[test]
fn what_was_deleted_with_the_document_does_not_come_back_with_it() {
    let base = write(&Union, 1, None, Some(json!(["a", "b"])));
    let added = write(&Union, 2, Some(&base.state), Some(json!(["a", "b", "c"])));
    let removed = write(&Union, 3, Some(&base.state), None);
    let revived = write(&Union, 4, Some(&removed.state), Some(json!(["d"])));
    assert_eq!(value(&Union.resolve(&[added, revived])), Some(json!(["c", "d"])));
}

#[test]
fn versions_of_another_handler_lose_nothing() {
    let base = write(&LastWriteWins, 1, None, Some(json!(["a", "b"])));
    let removed = write(&Union, 2, Some(&base.state), Some(json!(["a"])));
    let added = write(&Union, 3, Some(&base.state), Some(json!(["a", "b", "c"])));
    assert_eq!(value(&Union.resolve(&[removed, added])), Some(json!(["a", "c"])));
    let foreign = [4, 5].map(|dot| write(&LastWriteWins, dot, Some(&base.state), Some(json!(["a", dot]))));
    assert_eq!(value(&Union.resolve(&foreign)), Some(json!(["a", 4, 5])));
}

#[test]
fn something_else_than_an_array_falls_back_to_the_last_write() {
    let array = write(&Union, 1, None, Some(json!(["a"])));
    let other = write(&Union, 2, None, Some(json!({ "a": 1 })));
    assert_eq!(value(&Union.resolve(&[array.clone(), other.clone()])), Some(json!({ "a": 1 })));
    let later = Head { dot: write(&Union, 3, None, None).dot, ..array };
    assert_eq!(value(&Union.resolve(&[other, later])), Some(json!(["a"])));
}
