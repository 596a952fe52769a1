use peerloom_core::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::replicas::{REPLICAS, Replicas, steps, value, write};

fn rules() -> PerField {
    PerField::new().field("/tags", Union).field("/stats/votes", Counter).default(FieldWise)
}

fn shown(handler: &PerField, heads: &[Head]) -> Option<Value> {
    value(&handler.resolve(heads))
}

#[test]
fn each_field_follows_its_rule() {
    let rules = rules();
    let base = json!({ "title": "a", "text": "a", "tags": ["x", "y"], "stats": { "votes": 3, "views": 1 } });
    let base = write(&rules, 1, None, Some(base));
    let left = json!({ "title": "b", "text": "a", "tags": ["x", "l"], "stats": { "votes": 5, "views": 1 } });
    let left = write(&rules, 2, Some(&base.state), Some(left));
    let right =
        json!({ "title": "a", "text": "c", "tags": ["x", "y", "r"], "stats": { "votes": 2, "views": 9 } });
    let right = write(&rules, 3, Some(&base.state), Some(right));
    let merged =
        json!({ "title": "b", "text": "c", "tags": ["x", "l", "r"], "stats": { "votes": 4, "views": 9 } });
    assert_eq!(shown(&rules, &[left, right]), Some(merged));
}

#[test]
fn the_rest_is_one_value_of_the_last_write_that_changed_it() {
    let rules = PerField::new().field("/votes", Counter);
    let base = write(&rules, 1, None, Some(json!({ "title": "a", "text": "a", "votes": 0 })));
    let titled = write(&rules, 2, Some(&base.state), Some(json!({ "title": "b", "text": "a", "votes": 0 })));
    let texted = write(&rules, 3, Some(&base.state), Some(json!({ "title": "a", "text": "c", "votes": 1 })));
    let voted = write(&rules, 4, Some(&base.state), Some(json!({ "title": "a", "text": "a", "votes": 1 })));
    assert_eq!(
        shown(&rules, &[titled, texted, voted]),
        Some(json!({ "title": "a", "text": "c", "votes": 2 }))
    );
}

#[test]
fn objects_around_a_field_are_made_again_unless_something_is_in_their_place() {
    let rules = rules();
    let base = write(&rules, 1, None, Some(json!({ "stats": { "votes": 1 } })));
    let voted = write(&rules, 2, Some(&base.state), Some(json!({ "stats": { "votes": 2 } })));
    let removed = write(&rules, 3, Some(&base.state), Some(json!({})));
    assert_eq!(shown(&rules, &[voted.clone(), removed]), Some(json!({ "stats": { "votes": 2 } })));
    let replaced = write(&rules, 4, Some(&base.state), Some(json!({ "stats": "none" })));
    assert_eq!(shown(&rules, &[voted, replaced]), Some(json!({ "stats": "none" })));
}

#[test]
fn what_was_removed_with_an_object_stays_removed_when_the_object_is_made_again() {
    let rules =
        PerField::new().field("/stats/votes", Counter).field("/stats/stars", Counter).default(FieldWise);
    let base = json!({ "stats": { "votes": 1, "stars": 2, "views": 9 } });
    let counts = json!({ "stats": { "votes": 1, "stars": 2 } });
    let base = write(&rules, 1, None, Some(base));
    let untouched = write(&rules, 2, Some(&base.state), value(&base.state));
    let removed = write(&rules, 3, Some(&base.state), Some(json!({})));
    let view = rules.resolve(&[untouched.clone(), removed]);
    assert_eq!(value(&view), Some(counts.clone()));
    let folded = Head { dot: untouched.dot, state: view.clone() };
    let settled = write(&rules, 4, Some(&view), Some(counts.clone()));
    let settled_again = write(&rules, 5, Some(&settled.state), Some(counts.clone()));
    for later in [folded, settled, settled_again] {
        assert_eq!(shown(&rules, &[untouched.clone(), later]), Some(counts.clone()));
    }
}

#[test]
fn pointers_are_checked() {
    for pointer in ["", "tags", "#/tags", "/a~2b", "/a~"] {
        let refused = PerField::new().try_field(pointer, Union).expect_err(pointer);
        assert_eq!(refused, PointerError::Malformed { pointer: pointer.to_owned() });
    }
    for (first, second) in [("/a", "/a"), ("/a", "/a/b"), ("/a/b", "/a")] {
        let refused = PerField::new().field(first, Union).try_field(second, Counter).expect_err(second);
        let (pointer, other) = (second.to_owned(), first.to_owned());
        assert_eq!(refused, PointerError::Overlap { pointer, other });
    }
    let rules = PerField::new().field("/a~1b/~0", Counter);
    let base = write(&rules, 1, None, Some(json!({ "a/b": { "~": 1 } })));
    let heads = [2, 3].map(|dot| write(&rules, dot, Some(&base.state), Some(json!({ "a/b": { "~": 2 } }))));
    assert_eq!(shown(&rules, &heads), Some(json!({ "a/b": { "~": 3 } })));
}

#[test]
fn the_id_tells_the_rules_and_fits() {
    assert_eq!(rules().id(), "per-field(/stats/votes=counter,/tags=union,*=field-wise)");
    let other_order = PerField::new().default(FieldWise).field("/stats/votes", Counter).field("/tags", Union);
    assert_eq!(other_order.id(), rules().id());
    let many = |last: &str| {
        let fields = (0..40).map(|number| format!("/a-long-name-{number}")).chain([last.to_owned()]);
        fields.fold(PerField::new(), |rules, field| rules.field(&field, Union))
    };
    assert_eq!(many("/é").id().len(), 255);
    assert_ne!(many("/é").id(), many("/e").id());
}

/// What one write does to a document under all rules.
#[derive(Clone, Debug)]
struct Edit {
    votes: i64,
    tag: u8,
    title: Option<u8>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn rules_do_not_disturb_each_other(
        steps in steps((-2i64..3, 0u8..4, proptest::option::of(0u8..3)).prop_map(|(votes, tag, title)| Edit { votes, tag, title })),
        clocks in any::<[u8; REPLICAS]>(),
    ) {
        let mut replicas = Replicas::new(rules(), clocks.map(u64::from));
        replicas.play(&steps, |edit, before| {
            let mut document = before.unwrap_or_else(|| json!({ "tags": [], "stats": { "votes": 0 } }));
            let votes = document["stats"]["votes"].as_i64().expect("a count") + edit.votes;
            document["stats"]["votes"] = votes.into();
            let tags = document["tags"].as_array_mut().expect("a set");
            let tag = json!(edit.tag);
            match tags.iter().position(|other| *other == tag) {
                Some(position) => drop(tags.remove(position)),
                None => tags.push(tag),
            }
            if let Some(title) = edit.title {
                document["title"] = title.into();
            }
            Some(document)
        });
        let view = replicas.settled().as_ref().and_then(value);
        if let Some(view) = view {
            let votes: i64 = replicas.writes.iter().map(|write| {
                let votes = |value: &Option<Value>| value.as_ref().map_or(0, |value| value["stats"]["votes"].as_i64().expect("a count"));
                votes(&write.after) - votes(&write.before)
            }).sum();
            prop_assert_eq!(&view["stats"]["votes"], &json!(votes));
            let title = |value: &Option<Value>| value.as_ref().and_then(|value| value.get("title").cloned());
            let titled = replicas.writes.iter().filter(|write| title(&write.before) != title(&write.after));
            let last = titled.max_by_key(|write| write.dot.canonical()).and_then(|write| title(&write.after));
            prop_assert_eq!(view.get("title").cloned(), last);
        }
    }
}
