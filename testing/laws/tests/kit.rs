//! What the kit does around the laws: other processes, regression files, declarations and errors.

use std::error::Error;
use std::fs;

use bytes::Bytes;
use peerloom_core::{ConflictHandler, Dot, Head, LastWriteWins, State};
use peerloom_laws::{Deletion, Law, Laws, LawsError, Outcome, Row, from_examples, from_schema};
use serde_json::{Value, json};

/// The last write, with a change.
struct LastBut(fn(&mut State));

impl ConflictHandler for LastBut {
    fn id(&self) -> &str {
        "last-but"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let mut state = heads[heads.len() - 1].state.clone();
        if !state.deleted {
            (self.0)(&mut state);
        }
        state
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}

fn change(state: &mut State, change: impl FnOnce(&mut Value)) {
    if let Ok(mut content) = serde_json::from_slice(&state.body) {
        change(&mut content);
        state.body = content.to_string().into();
    }
}

fn todos(handler: impl ConflictHandler) -> Laws {
    Laws::for_handler(handler).documents(from_examples("tests/todos/*.json")).cases(64)
}

#[track_caller]
fn is_broken(row: &Row) {
    assert!(matches!(row.outcome, Outcome::Broken(_)), "{row:?}");
}

#[track_caller]
fn holds(row: &Row) {
    assert!(matches!(row.outcome, Outcome::Held), "{row:?}");
}

#[track_caller]
fn says(laws: &Laws, expected: &str) {
    let error = laws.check(Law::Closure).expect_err("nothing can be judged");
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    assert!(format!("{error}: {cause}").contains(expected), "{error}: {cause}");
}

/// In one process it looks pure.
#[test]
fn another_time_zone_is_noticed_in_another_process() {
    let zone = LastBut(|state| {
        let zone = std::env::var("TZ").unwrap_or_default();
        change(state, |content| content["zone"] = zone.into());
    });
    let arguments = ["another_time_zone_is_noticed_in_another_process", "--exact", "--nocapture"];
    let laws = todos(zone).named("zones");
    let here = laws.check(Law::Purity).expect("it can be judged");
    let elsewhere = laws.in_other_processes(arguments).check(Law::Purity).expect("it can be judged");
    // Whoever only answers has judged nothing.
    if std::env::var_os("PEERLOOM_LAWS_ASKED").is_none() {
        holds(&here);
        is_broken(&elsewhere);
    }
}

#[test]
fn a_process_that_does_not_answer_is_an_error() {
    let laws = todos(LastWriteWins).named("silent").in_other_processes(["--list"]);
    let error = laws.check(Law::Purity).expect_err("nobody has answered");
    assert!(matches!(error, LawsError::Processes(_)), "{error}");
}

#[test]
fn what_broke_a_law_is_kept_and_tried_first() {
    let directory = std::env::temp_dir().join(format!("peerloom-laws-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for this test");
    let file = directory.join("kept.regressions.json");
    let loses_tags = || {
        LastBut(|state| {
            change(state, |content| {
                content.as_object_mut().map(|fields| fields.remove("tags"));
            });
        })
    };
    let laws = todos(loses_tags()).regressions(&file);
    is_broken(&laws.check(Law::Closure).expect("it can be judged"));
    let kept = fs::read_to_string(&file).expect("a file beside the test");
    assert!(kept.contains(r#""law": "closure""#), "{kept}");
    let again = laws.check(Law::Closure).expect("it can be judged");
    is_broken(&again);
    assert_eq!((again.cases, again.tried.as_str()), (1, "1 kept, 0 random"));
    assert_eq!(fs::read_to_string(&file).expect("still there"), kept, "it is kept once");

    fs::write(&file, "[{}]").expect("a file that was damaged");
    let error = laws.check(Law::Closure).expect_err("it is not passed over");
    assert!(matches!(error, LawsError::Regressions(_)), "{error}");
    fs::remove_dir_all(&directory).expect("it was there");
}

#[test]
fn what_is_combined_may_be_invented() {
    let sums = || LastBut(|state| change(state, |content| content["count"] = json!(1000)));
    let (silent, declared) = (todos(sums()), todos(sums()).combines(["/count"]));
    is_broken(&silent.check(Law::NoInvention).expect("it can be judged"));
    holds(&declared.check(Law::NoInvention).expect("it can be judged"));
    holds(&declared.check(Law::Closure).expect("it can be judged"));
}

#[test]
fn documents_are_equal_when_it_is_said() {
    let marks = |state: &mut State| {
        let length = state.body.len();
        change(state, |content| content["length"] = length.into());
    };
    let strict = todos(LastBut(marks));
    let title = |document: &Value| document["title"].clone();
    let lenient = todos(LastBut(marks)).equality(move |left, right| title(left) == title(right));
    is_broken(&strict.check(Law::Equality).expect("it can be judged"));
    holds(&lenient.check(Law::Equality).expect("it can be judged"));
}

#[test]
fn a_policy_that_is_not_declared_promises_nothing() {
    let laws = todos(LastWriteWins);
    holds(&laws.check(Law::DeletionPolicy).expect("it can be judged"));
    is_broken(&laws.deletion(Deletion::EditWins).check(Law::DeletionPolicy).expect("it can be judged"));
}

#[test]
fn a_handler_that_always_panics_is_judged_by_totality_alone() {
    let panics = todos(LastBut(|_| panic!("no idea")));
    is_broken(&panics.check(Law::Totality).expect("it can be judged"));
    let row = panics.check(Law::DisjointEdits).expect("it can be judged");
    assert!(matches!(&row.outcome, Outcome::Skipped(reason) if reason.contains("totality")), "{row:?}");
}

#[test]
fn a_setup_that_cannot_be_judged_is_explained() {
    says(&Laws::for_handler(LastWriteWins), "no documents");
    says(
        &todos(LastWriteWins).documents(from_examples("tests/nothing/*.json")),
        "no file matches tests/nothing/*.json",
    );
    says(&todos(LastWriteWins).documents(from_examples("tests/[")), "is no pattern");
    says(&todos(LastWriteWins).documents(from_examples("tests/kit.rs")), "not the JSON of a document");
    says(&todos(LastWriteWins).documents(proptest::strategy::Just(json!([1]))), "is no JSON object");
    says(&todos(LastWriteWins).combines(["count"]), "no JSON pointer");
    let forbids = json!({ "type": "object", "not": { "required": ["a"] } });
    says(&todos(LastWriteWins).documents(from_schema(&forbids)), "cannot be used");
    says(&todos(LastWriteWins).documents(from_schema(&json!({ "$ref": "#/$defs/gone" }))), "cannot be used");
    let endless =
        json!({ "type": "object", "required": ["again"], "properties": { "again": { "$ref": "#" } } });
    says(&todos(LastWriteWins).documents(from_schema(&endless)), "cannot be used");
}
