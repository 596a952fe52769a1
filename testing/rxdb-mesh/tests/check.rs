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

#[test]
fn symmetry_alone_does_not_make_a_handler_safe() {
    /// Rock, paper, scissors: who wins does not depend on the roles, but there is no best.
    struct Rounds;
    impl RxdbConflictHandler for Rounds {
        fn is_equal(&self, a: &Value, b: &Value) -> bool {
            deep_equal(a, b)
        }
        fn resolve(&self, real: &Value, new: &Value, _: Option<&Value>) -> Value {
            let number = |state: &Value| state["number"].as_u64();
            match (number(real), number(new)) {
                (Some(ours), Some(theirs)) if (ours + 1) % 3 == theirs => new.clone(),
                (None, Some(_)) => new.clone(),
                _ => real.clone(),
            }
        }
    }
    let handler: Arc<dyn RxdbConflictHandler> = Arc::new(Rounds);
    let documents = [0, 1, 2].map(|number| json!({ "id": "game", "number": number }));
    let start = json!({ "id": "game" });
    let write = |(peer, document): (usize, &Value)| Write::concurrent(peer, "game", document.clone());
    let writes: Vec<_> = documents.iter().enumerate().map(write).collect();
    let documents = [&[start], &documents[..]].concat();
    let options = CheckOptions::default();
    let verdict = check(&handler, &documents, &[Topology::Triangle], &writes, &options).unwrap();
    assert_eq!(verdict.asymmetry, None);
    assert!(!verdict.is_safe(), "{verdict}");
}
