//! The verdict about a handler.

mod support;

use std::sync::Arc;

use peerloom_rxdb_mesh::{
    CheckOptions, RxdbConflictHandler, Topology, Verdict, Violation, Write, check, deep_equal,
};
use serde_json::{Value, json};
use support::{master_wins, newest, note};

fn verdict(handler: &Arc<dyn RxdbConflictHandler>) -> Verdict {
    let documents = [note("start", 0), note("a", 1), note("b", 2), note("c", 2)];
    let writes: Vec<_> = documents[1..]
        .iter()
        .enumerate()
        .map(|(peer, document)| Write::concurrent(peer, "note", document.clone()))
        .collect();
    check(handler, &documents, &Topology::ALL, &writes, &CheckOptions::default()).unwrap()
}

#[test]
fn the_default_handler_is_rejected_with_the_shortest_trace() {
    let verdict = verdict(&master_wins());
    assert!(!verdict.is_safe());
    let asymmetry = verdict.asymmetry.as_ref().expect("the master decides");
    assert_ne!(asymmetry.master_has_one, asymmetry.master_has_other);
    let shortest = verdict.shortest().expect("a triangle goes round in circles");
    assert!(matches!(shortest.violation, Violation::Loop { .. }));
    for explored in &verdict.explored {
        let triangle = explored.topology == Topology::Triangle;
        let found = explored.outcome.finding();
        assert_eq!(found.is_some(), triangle, "{:?}: {}", explored.masters, explored.outcome);
        assert!(found.is_none_or(|found| found.actions.len() >= shortest.actions.len()));
    }
    let shown = verdict.to_string();
    assert!(shown.starts_with("not safe") && shown.contains("for ever"), "{shown}");
}

#[test]
fn a_symmetric_handler_passes_in_all_states() {
    let verdict = verdict(&newest());
    assert!(verdict.is_safe() && verdict.is_exhaustive(), "{verdict}");
    assert_eq!(verdict.explored.len(), 2 + 4 + 8);
}

/// Adds up what was counted on both sides since the common state. Symmetric, and yet it counts twice what arrives on two ways.
#[test]
fn symmetry_alone_does_not_make_a_handler_safe() {
    struct Appends;
    impl RxdbConflictHandler for Appends {
        fn is_equal(&self, a: &Value, b: &Value) -> bool {
            deep_equal(a, b)
        }
        fn resolve(&self, real: &Value, new: &Value, _: Option<&Value>) -> Value {
            let total = |state: &Value| state["at"].as_u64().unwrap_or(0);
            json!({ "id": "note", "at": total(real) + total(new), "_deleted": false })
        }
    }
    let handler: Arc<dyn RxdbConflictHandler> = Arc::new(Appends);
    let documents = [
        json!({ "id": "note", "at": 0 }),
        json!({ "id": "note", "at": 1 }),
        json!({ "id": "note", "at": 2 }),
    ];
    let writes: Vec<_> =
        (0..2).map(|peer| Write::concurrent(peer, "note", documents[peer + 1].clone())).collect();
    let options = CheckOptions::default();
    let pairs = check(&handler, &documents, &[Topology::Pair], &writes, &options).unwrap();
    assert!(pairs.is_safe(), "{pairs}");
    let mut options = options;
    options.limits.states_max = 20_000;
    let triangles = check(&handler, &documents, &[Topology::Triangle], &writes, &options).unwrap();
    assert_eq!(triangles.asymmetry, None);
    println!("{triangles}");
    assert!(!triangles.is_safe() || !triangles.is_exhaustive(), "{triangles}");
}
