//! Handlers of RxDB's, judged for a mesh of RxDB peers.

use peerloom_laws::{
    LawsError, MasterWins, RxdbConflictHandler, RxdbReport, RxdbSafety, Topology, from_examples, rxdb_safe,
};
use serde_json::{Value, json};

fn todos(handler: impl RxdbConflictHandler + 'static) -> RxdbSafety {
    rxdb_safe(handler).documents(from_examples("tests/todos/*.json"))
}

fn judged(handler: impl RxdbConflictHandler + 'static) -> RxdbReport {
    todos(handler).run().expect("documents that can be used")
}

/// The greater state, in an order that has nothing to do with roles.
fn greatest(real: &Value, new: &Value, _: Option<&Value>) -> Value {
    let rank = |state: &Value| (state["count"].as_u64(), state.to_string());
    if rank(new) > rank(real) { new.clone() } else { real.clone() }
}

#[test]
fn the_default_handler_of_rxdb_is_rejected_with_the_shortest_trace() {
    let report = judged(MasterWins);
    assert!(!report.is_safe() && !report.is_exhaustive());
    let asymmetry = report.asymmetry.as_ref().expect("the master decides");
    assert_ne!(asymmetry.master_has_one, asymmetry.master_has_other);
    for row in &report.explored {
        assert_eq!(row.broken > 0, row.topology == Topology::Triangle, "{report}");
    }
    let finding = report.shortest.as_ref().expect("a triangle goes round in circles");
    assert_eq!(finding.trace.len(), finding.actions.len());
    let shown = report.to_string();
    for words in [
        "NOT SAFE",
        "depends on who is the master",
        "if the master has the one",
        "never settles",
        "A writes",
        "The usual fix",
    ] {
        assert!(shown.contains(words), "{words:?} is missing in\n{shown}");
    }
}

#[test]
fn a_handler_without_roles_is_safe_in_all_states() {
    let report = judged(greatest);
    assert!(report.is_safe() && report.is_exhaustive(), "{report}");
    assert!(report.to_string().contains("exhaustive over"), "{report}");
}

#[test]
fn a_tie_that_the_master_wins_is_found() {
    let newer = |real: &Value, new: &Value, _: Option<&Value>| {
        let count = |state: &Value| state["count"].as_u64();
        if count(new) > count(real) { new.clone() } else { real.clone() }
    };
    let report = judged(newer);
    let asymmetry = report.asymmetry.as_ref().expect("equal counts are decided by the roles");
    assert_eq!(asymmetry.one["count"], asymmetry.other["count"], "{report}");
}

#[test]
fn a_symmetric_rule_in_circles_is_found_by_the_protocol() {
    let rounds = |real: &Value, new: &Value, _: Option<&Value>| {
        let number = |state: &Value| state["number"].as_u64();
        match (number(real), number(new)) {
            (Some(ours), Some(theirs)) if (ours + 1) % 3 == theirs => new.clone(),
            (None, Some(_)) => new.clone(),
            (Some(ours), Some(theirs)) if ours == theirs => greatest(real, new, None),
            (None, None) => greatest(real, new, None),
            _ => real.clone(),
        }
    };
    let games = vec![json!({}), json!({ "number": 0 }), json!({ "number": 1 }), json!({ "number": 2 })];
    let report = rxdb_safe(rounds).documents(proptest::sample::select(games)).run().expect("documents");
    assert!(report.asymmetry.is_none() && report.shortest.is_some(), "{report}");
}

#[test]
fn a_handler_that_panics_is_not_safe() {
    let needs_a_base = |_: &Value, new: &Value, assumed: Option<&Value>| {
        assumed.expect("there is always a base");
        new.clone()
    };
    let report = judged(needs_a_base);
    let fault = report.fault.as_ref().expect("it was called without a base");
    assert!(!report.is_safe() && fault.what.contains("there is always a base"), "{report}");
}

#[test]
fn a_handler_that_renames_documents_is_not_safe() {
    let renames = |_: &Value, new: &Value, _: Option<&Value>| {
        let mut state = new.clone();
        state["id"] = json!("another");
        state
    };
    let report = judged(renames);
    assert!(!report.is_safe() && report.fault.is_some(), "{report}");
}

#[test]
fn documents_are_named_by_the_primary_key() {
    let keeps_its_name = |real: &Value, new: &Value, assumed: Option<&Value>| {
        assert!(real["todo_id"].is_string() && new["todo_id"] == real["todo_id"]);
        greatest(real, new, assumed)
    };
    let report = todos(keeps_its_name).primary_key("todo_id").run().expect("documents");
    assert!(report.is_safe(), "{report}");
}

#[test]
fn documents_that_cannot_be_used_are_an_error() {
    let error = rxdb_safe(MasterWins).documents(from_examples("tests/nothing/*.json")).run();
    assert!(matches!(error, Err(LawsError::Documents(_))), "{error:?}");
}
