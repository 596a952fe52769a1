use peerloom_core::*;
use serde_json::{Value, json};

use crate::replicas::{value, write};

fn finished() -> impl ConflictHandler {
    MergeJson::new("finished", |mut fields: Value, versions: &[Value]| {
        fields["done"] = versions.iter().any(|version| version["done"] == true).into();
        fields.get("undecided").is_none().then_some(fields)
    })
}

#[test]
fn a_closure_corrects_the_field_wise_merge() {
    let handler = finished();
    let base = write(&handler, 1, None, Some(json!({ "title": "a", "done": false })));
    let done = write(&handler, 2, Some(&base.state), Some(json!({ "title": "a", "done": true })));
    let undone = write(&handler, 3, Some(&done.state), Some(json!({ "title": "a", "done": false })));
    let titled = write(&handler, 4, Some(&done.state), Some(json!({ "title": "b", "done": true })));
    let view = handler.resolve(&[undone, titled]);
    assert_eq!(value(&view), Some(json!({ "title": "b", "done": true })));
    // Who has seen what the closure made may undo it.
    let again = write(&handler, 5, Some(&view), Some(json!({ "title": "b", "done": false })));
    let other = write(&handler, 6, Some(&base.state), Some(json!({ "title": "c", "done": false })));
    assert_eq!(value(&handler.resolve(&[again, other])), Some(json!({ "title": "c", "done": false })));
}

#[test]
fn a_closure_that_cannot_say_leaves_it_to_the_last_write() {
    let handler = finished();
    let heads = [1, 2]
        .map(|dot| write(&handler, dot, None, Some(json!({ "undecided": dot, "done": true, "x": dot }))));
    assert_eq!(handler.resolve(&heads), heads[1].state);
}

#[test]
fn a_closure_on_states_gets_every_version() {
    let handler = MergeWith::new("longest", |heads: &[Head]| {
        heads.iter().max_by_key(|head| head.state.body.len()).expect("two").state.clone()
    });
    let heads = [(1, "long"), (2, "s")].map(|(dot, word)| write(&handler, dot, None, Some(json!(word))));
    assert_eq!((handler.id(), value(&handler.resolve(&heads))), ("longest", Some(json!("long"))));
}
