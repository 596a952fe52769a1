use std::collections::BTreeMap;

use bytes::Bytes;
use peerloom_core::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::replicas::{REPLICAS, Replicas, Written, steps, value, write};

/// Sets or removes one field of a document whose objects never become anything else.
#[derive(Clone, Debug)]
struct Edit {
    path: usize,
    value: Option<u8>,
}

const PATHS: [&[&str]; 5] = [&["a"], &["b"], &["n", "x"], &["n", "y"], &["n", "deep", "z"]];

fn edits() -> impl Strategy<Value = Vec<Edit>> + Clone {
    let edit = (0..PATHS.len(), proptest::option::weighted(0.8, 0u8..3));
    proptest::collection::vec(edit.prop_map(|(path, value)| Edit { path, value }), 0..3)
}

fn apply(edits: &[Edit], before: Option<Value>) -> Option<Value> {
    let mut document = before.unwrap_or_else(|| json!({}));
    for edit in edits {
        let (last, parents) = PATHS[edit.path].split_last().expect("not empty");
        let mut place = &mut document;
        for key in parents {
            let entries = place.as_object_mut().expect("objects stay objects");
            place = entries.entry(*key).or_insert_with(|| Value::Object(Map::new()));
        }
        let entries = place.as_object_mut().expect("objects stay objects");
        match edit.value {
            Some(value) => entries.insert((*last).to_owned(), json!(value)),
            None => entries.remove(*last),
        };
    }
    Some(document)
}

/// The fields of a document, by path.
fn fields(document: Option<&Value>) -> BTreeMap<usize, Value> {
    let field = |path: &[&str]| path.iter().try_fold(document?, |value, key| value.get(key)).cloned();
    PATHS.iter().enumerate().filter_map(|(number, path)| Some((number, field(path)?))).collect()
}

/// The writes that changed a field, by number.
fn changes(writes: &[Written], path: usize) -> Vec<usize> {
    let changed =
        |write: &Written| fields(write.before.as_ref()).get(&path) != fields(write.after.as_ref()).get(&path);
    (0..writes.len()).filter(|number| changed(&writes[*number])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn each_field_is_from_the_last_write_that_changed_it(
        steps in steps(edits()),
        clocks in any::<[u8; REPLICAS]>(),
    ) {
        let mut replicas = Replicas::new(FieldWise, clocks.map(u64::from));
        replicas.play(&steps, |edits, before| apply(edits, before));
        let view = replicas.settled();
        let shown = fields(view.as_ref().and_then(value).as_ref());
        for (path, keys) in PATHS.iter().enumerate() {
            let last = changes(&replicas.writes, path).into_iter().max_by_key(|n| replicas.writes[*n].dot.canonical());
            let expected = last.and_then(|number| fields(replicas.writes[number].after.as_ref()).remove(&path));
            prop_assert_eq!(shown.get(&path), expected.as_ref(), "{:?}", keys);
        }
    }

    #[test]
    fn no_field_goes_back_behind_a_write_that_had_seen_it_even_with_a_clock_far_ahead(
        steps in steps(edits()),
        ahead in 0..REPLICAS,
    ) {
        let mut clocks = [0; REPLICAS];
        clocks[ahead] = 1_000_000_000;
        let mut replicas = Replicas::new(FieldWise, clocks);
        replicas.play(&steps, |edits, before| apply(edits, before));
        let view = replicas.settled();
        let shown = fields(view.as_ref().and_then(value).as_ref());
        for (path, keys) in PATHS.iter().enumerate() {
            let changes = changes(&replicas.writes, path);
            let seen = |number: &usize| changes.iter().any(|other| replicas.writes[*other].seen.contains(number));
            let allowed: Vec<Option<Value>> = changes
                .iter()
                .filter(|number| !seen(number))
                .map(|number| fields(replicas.writes[*number].after.as_ref()).remove(&path))
                .collect();
            let shown = shown.get(&path).cloned();
            prop_assert!(allowed.contains(&shown) || (allowed.is_empty() && shown.is_none()), "{:?}", keys);
        }
    }
}

fn shown(heads: &[Head]) -> Option<Value> {
    value(&FieldWise.resolve(heads))
}

#[test]
fn disjoint_edits_survive_at_any_depth() {
    let base = write(&FieldWise, 1, None, Some(json!({ "a": 1, "n": { "x": 1, "y": [1] } })));
    let left = write(
        &FieldWise,
        2,
        Some(&base.state),
        Some(json!({ "a": 1, "n": { "x": 2, "y": [1], "new": null } })),
    );
    let right = write(&FieldWise, 3, Some(&base.state), Some(json!({ "n": { "x": 1, "y": [2] } })));
    assert_eq!(shown(&[left, right]), Some(json!({ "n": { "x": 2, "y": [2], "new": null } })));
}

#[test]
fn documents_and_objects_made_at_the_same_time_are_merged() {
    let left = write(&FieldWise, 1, None, Some(json!({ "a": 1, "n": { "x": 1 } })));
    let right = write(&FieldWise, 2, None, Some(json!({ "a": 2, "n": { "y": 2 } })));
    assert_eq!(shown(&[left, right]), Some(json!({ "a": 2, "n": { "x": 1, "y": 2 } })));
}

#[test]
fn an_object_that_is_replaced_takes_its_fields_with_it_but_for_later_ones() {
    let base = write(&FieldWise, 1, None, Some(json!({ "n": { "x": 1, "y": 1 } })));
    let early = write(&FieldWise, 2, Some(&base.state), Some(json!({ "n": { "x": 2, "y": 1 } })));
    let scalar = write(&FieldWise, 3, Some(&base.state), Some(json!({ "n": 7 })));
    let late = write(&FieldWise, 4, Some(&base.state), Some(json!({ "n": { "x": 1, "y": 4 } })));
    assert_eq!(shown(&[early.clone(), scalar.clone()]), Some(json!({ "n": 7 })));
    assert_eq!(shown(&[scalar.clone(), late.clone()]), Some(json!({ "n": { "y": 4 } })));
    // An object again: the fields of the one before stay away.
    let again = write(&FieldWise, 5, Some(&scalar.state), Some(json!({ "n": { "z": 5 } })));
    assert_eq!(shown(&[early, again.clone()]), Some(json!({ "n": { "z": 5 } })));
    assert_eq!(shown(&[late, again]), Some(json!({ "n": { "y": 4, "z": 5 } })));
}

#[test]
fn the_last_write_decides_whether_the_document_is_deleted() {
    let base = write(&FieldWise, 1, None, Some(json!({ "a": 1, "b": 1 })));
    let early = write(&FieldWise, 2, Some(&base.state), Some(json!({ "a": 2, "b": 1 })));
    let removed = write(&FieldWise, 3, Some(&base.state), None);
    let late = write(&FieldWise, 4, Some(&base.state), Some(json!({ "a": 1, "b": 4 })));
    assert_eq!(shown(&[early.clone(), removed.clone()]), None);
    assert_eq!(shown(&[removed.clone(), late.clone()]), Some(json!({ "a": 1, "b": 4 })));
    assert_eq!(shown(&[early.clone(), removed.clone(), late.clone()]), Some(json!({ "a": 2, "b": 4 })));
    // Brought back, it is what was written then, and what is written later elsewhere.
    let revived = write(&FieldWise, 5, Some(&removed.state), Some(json!({ "c": 5 })));
    assert_eq!(shown(&[early, revived.clone()]), Some(json!({ "c": 5 })));
    assert_eq!(shown(&[late, revived]), Some(json!({ "b": 4, "c": 5 })));
}

#[test]
fn a_write_on_top_of_a_view_wins_over_what_it_saw() {
    let base = write(&FieldWise, 1, None, Some(json!({ "a": 1, "b": 1 })));
    let left = write(&FieldWise, 2, Some(&base.state), Some(json!({ "a": 2, "b": 1 })));
    let right = write(&FieldWise, 9, Some(&base.state), Some(json!({ "a": 9, "b": 1 })));
    let view = FieldWise.resolve(&[left, right.clone()]);
    // Its clock is behind, and yet it has seen the nine.
    let settled = write(&FieldWise, 3, Some(&view), Some(json!({ "a": 3, "b": 1 })));
    let other = write(&FieldWise, 4, Some(&right.state), Some(json!({ "a": 9, "b": 4 })));
    assert_eq!(shown(&[settled, other]), Some(json!({ "a": 3, "b": 4 })));
}

#[test]
fn bodies_that_are_no_objects_are_one_value() {
    let array = write(&FieldWise, 1, None, Some(json!([1])));
    let other = write(&FieldWise, 2, None, Some(json!([2])));
    assert_eq!(shown(&[array.clone(), other.clone()]), Some(json!([2])));
    let binary = Head { state: State { body: (&b"\xff\x00"[..]).into(), ..State::default() }, ..other };
    assert_eq!(FieldWise.resolve(&[array, binary.clone()]), binary.state);
}

#[test]
fn fields_of_another_handlers_versions_are_older_than_every_edit() {
    let base = write(&LastWriteWins, 1, None, Some(json!({ "a": 1, "b": 1 })));
    let left = write(&FieldWise, 2, Some(&base.state), Some(json!({ "a": 2, "b": 1 })));
    let right = write(&FieldWise, 3, Some(&base.state), Some(json!({ "a": 1, "b": 3 })));
    assert_eq!(shown(&[left, right]), Some(json!({ "a": 2, "b": 3 })));
}

#[test]
fn integers_and_equal_forms_of_numbers_are_kept_exactly() {
    let base = write(&FieldWise, 1, None, Some(json!({ "n": 9_007_199_254_740_993_u64, "f": 1 })));
    let left =
        write(&FieldWise, 2, Some(&base.state), Some(json!({ "n": 9_007_199_254_740_993_u64, "f": 2 })));
    // The same number in another form is no edit.
    let right =
        write(&FieldWise, 3, Some(&base.state), Some(json!({ "n": 9_007_199_254_740_992_u64, "f": 1.0 })));
    assert_eq!(FieldWise.resolve(&[left, right]).body, r#"{"f":2,"n":9007199254740992}"#);
}

#[test]
fn annotations_are_as_the_protocol_says() {
    let write = |incarnation, stamp, seen: Option<&State>, body: &'static str| {
        let dot =
            Dot { incarnation: Incarnation::new(incarnation), stamp: Stamp::new(stamp).expect("small") };
        let mut state = State { deleted: false, body: body.into(), annotations: Bytes::new() };
        state.annotations = FieldWise.annotate(seen, &state, dot);
        state
    };
    let hex = |state: &State| state.annotations.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let base = write(7, 65_536, None, r#"{"a":1,"b":{"c":2}}"#);
    assert_eq!(hex(&base), "820182071a00010000");
    let edited = write(9, 65_537, Some(&base), r#"{"b":{"c":2}}"#);
    assert_eq!(hex(&edited), "8284010061610284071a00010000091a00010001");
}

#[test]
fn annotations_stay_small() {
    let document = json!({ "title": "Milk", "done": false, "who": { "name": "Ann", "mail": "a@b.c" } });
    let base = write(&FieldWise, 1 << 60, None, Some(document.clone()));
    assert!(base.state.annotations.len() <= 22, "{} bytes", base.state.annotations.len());
    let touched = write(&FieldWise, 1 << 61, Some(&base.state), Some(document.clone()));
    assert_eq!(touched.state.annotations, base.state.annotations);
    let mut edited = document;
    edited["who"]["name"] = "Bob".into();
    let edited = write(&FieldWise, 1 << 61, Some(&base.state), Some(edited));
    assert!(edited.state.annotations.len() <= 22 + 18 + 14, "{} bytes", edited.state.annotations.len());
}

#[test]
fn removed_fields_are_remembered_up_to_a_bound() {
    let mut document = write(&FieldWise, 1, None, Some(json!({})));
    let mut bytes_max = 0;
    for number in 2..1_000 {
        let value = if number % 2 == 0 { json!({ format!("{number:04}"): 1 }) } else { json!({}) };
        document = write(&FieldWise, number, Some(&document.state), Some(value));
        bytes_max = bytes_max.max(document.state.annotations.len());
    }
    assert!(bytes_max < 64 * 16, "{bytes_max} bytes");
    // The last one removed stays away, though another version still has it.
    let still = write(&FieldWise, 998, None, Some(json!({ "0998": 1 })));
    assert_eq!(shown(&[still, document]), Some(json!({})));
}
