//! Shrinking against conditions that stand for bugs.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Budget, ShrinkError, Shrunk, Size, shrink};
use crate::outcome::{Verdict, Violation};
use crate::plan::{Action, Fault, FaultKind, Operation, PeerNumber, Plan, PlanOptions, plan};

const PLENTY: Budget = Budget { runs_max: 100_000, time_max: std::time::Duration::MAX };

fn verdict(fails: bool) -> Verdict {
    match fails {
        true => Verdict::Violated(violation("lost", None)),
        false => Verdict::Held,
    }
}

fn violation(check: &str, document: Option<&str>) -> Violation {
    Violation { check: check.into(), says: String::new(), peer: None, document: document.map(String::from) }
}

/// Shrinks, and sees to it that no plan is run twice and that the result does what is said of it.
fn shrunk(plan: &Plan, budget: Budget, fails: impl Fn(&Plan) -> bool) -> Shrunk {
    let mut seen = BTreeSet::new();
    let run = |plan: &Plan| {
        assert!(seen.insert(serde_json::to_string(plan).expect("a plan is JSON")), "the same plan twice");
        verdict(fails(plan))
    };
    let shrunk = shrink(plan, "lost", budget, |_| {}, run).expect("it fails");
    assert!(fails(&shrunk.plan));
    assert_eq!(shrunk.runs as usize, seen.len());
    shrunk
}

fn operations(plan: &Plan) -> impl Iterator<Item = &Operation> {
    plan.rounds.iter().flat_map(|round| &round.operations)
}

fn faults(plan: &Plan) -> impl Iterator<Item = &Fault> {
    plan.rounds.iter().flat_map(|round| &round.faults)
}

/// Fewer operations than plans have by default, so that more plans can be shrunk.
fn small(seed: u64) -> Plan {
    plan(seed, &PlanOptions { operations: 60, ..PlanOptions::default() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_elements_that_matter_remain_and_no_others(
        seed in 0..10_000_u64,
        some_operations in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
        some_faults in proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let plan = small(seed);
        let all_operations: Vec<_> = operations(&plan).map(|operation| operation.number).collect();
        let all_faults: Vec<_> = faults(&plan).map(|fault| fault.number).collect();
        let wanted: BTreeSet<_> = some_operations.iter().map(|place| *place.get(&all_operations)).collect();
        let hurt: BTreeSet<_> = if all_faults.is_empty() {
            BTreeSet::new()
        } else {
            some_faults.iter().map(|place| *place.get(&all_faults)).collect()
        };
        let fails = |plan: &Plan| {
            let operations: BTreeSet<_> = operations(plan).map(|operation| operation.number).collect();
            let faults: BTreeSet<_> = faults(plan).map(|fault| fault.number).collect();
            operations.is_superset(&wanted) && faults.is_superset(&hurt)
        };
        let shrunk = shrunk(&plan, PLENTY, fails);
        prop_assert!(shrunk.is_minimal);
        let size = Size::of(&shrunk.plan);
        prop_assert_eq!((size.operations, size.faults), (wanted.len(), hurt.len()));
        prop_assert_eq!(shrunk.plan.rounds.len(), 1);
        // Faults between peers need them; operations alone need one.
        prop_assert!(size.peers <= 2 || !hurt.is_empty());
        prop_assert!(shrunk.runs < 1_500, "{} runs", shrunk.runs);
    }

    #[test]
    fn it_is_the_same_every_time_and_keeps_to_its_budget(seed in 0..10_000_u64, runs_max in 1..120_u32) {
        let plan = small(seed);
        let fails = |plan: &Plan| Size::of(plan).operations >= 7;
        let budget = Budget { runs_max, ..PLENTY };
        let first = shrunk(&plan, budget, fails);
        prop_assert!(first.runs <= runs_max);
        prop_assert_eq!(first.plan, shrunk(&plan, budget, fails).plan);
    }
}

/// Two peers write to one document, one of them while a fault keeps the two apart.
fn is_concurrent(plan: &Plan) -> bool {
    let writes = |operation: &Operation| match &operation.action {
        Action::Put { document, .. } | Action::Edit { document, .. } => Some(document.clone()),
        Action::Bulk { documents } => documents.first().map(|(document, _)| document.clone()),
        _ => None,
    };
    let parts = |kind: &FaultKind, left: PeerNumber, right: PeerNumber| match kind {
        FaultKind::Silence { directions } => directions.iter().any(|way| (way.from, way.to) == (left, right)),
        FaultKind::Cut { pairs } => pairs.contains(&(left.min(right), left.max(right))),
        _ => false,
    };
    let is_there = |peer: PeerNumber| plan.peers[peer.index()].joins_ms.is_some();
    plan.rounds.iter().any(|round| {
        round.faults.iter().any(|fault| {
            let meets = |operation: &&Operation| {
                is_there(operation.peer)
                    && (fault.at_ms..fault.at_ms + fault.for_ms).contains(&operation.at_ms)
            };
            round.operations.iter().filter(meets).any(|one| {
                round.operations.iter().filter(meets).any(|two| {
                    writes(one).is_some()
                        && writes(one) == writes(two)
                        && parts(&fault.kind, one.peer, two.peer)
                })
            })
        })
    })
}

#[test]
fn a_typical_bug_becomes_two_peers_two_operations_and_one_fault() {
    let plans = (0..200).map(small).filter(is_concurrent);
    let mut count = 0;
    for plan in plans.take(25) {
        let shrunk = shrunk(&plan, Budget { runs_max: 3_000, ..PLENTY }, is_concurrent);
        let size = Size { peers: 2, operations: 2, faults: 1 };
        assert_eq!(Size::of(&shrunk.plan), size, "of seed {}: {:#?}", plan.seed, shrunk.plan);
        let text = serde_json::to_string(&shrunk.plan).expect("a plan is JSON");
        assert!(text.len() < 700, "{text}");
        let round = &shrunk.plan.rounds[0];
        assert!(operations(&shrunk.plan).all(|operation| operation.at_ms < round.length_ms));
        count += 1;
    }
    assert_eq!(count, 25);
}

#[test]
fn what_cannot_be_merged_stays_apart() {
    let plan = plan(5, &PlanOptions::default());
    // Three documents at three peers: numbers, names and content are free.
    let fails = |plan: &Plan| {
        let puts = operations(plan).filter_map(|operation| match &operation.action {
            Action::Put { document, value } => Some((document, operation.peer, value)),
            _ => None,
        });
        let puts: Vec<_> = puts.collect();
        let documents: BTreeSet<_> = puts.iter().map(|put| put.0).collect();
        let peers: BTreeSet<_> = puts.iter().map(|put| put.1).collect();
        documents.len() >= 3
            && peers.len() >= 3
            && puts.iter().filter(|put| put.2.get("title").is_some()).count() >= 2
    };
    assert!(fails(&plan));
    let shrunk = shrunk(&plan, PLENTY, fails);
    assert_eq!(Size::of(&shrunk.plan), Size { peers: 3, operations: 3, faults: 0 });
    let actions: Vec<_> = operations(&shrunk.plan).map(|operation| &operation.action).collect();
    let documents = actions.iter().map(|action| match action {
        Action::Put { document, .. } => document.as_str(),
        other => panic!("{other:?} is no put"),
    });
    assert_eq!(documents.collect::<Vec<_>>(), ["a", "b", "c"]);
    let values = actions.iter().filter(|action| match action {
        Action::Put { value, .. } => *value == serde_json::json!({ "title": "" }),
        _ => false,
    });
    assert_eq!(values.count(), 2, "{actions:?}");
}

#[test]
fn the_document_of_the_violation_is_tried_first() {
    let plan = plan(1, &PlanOptions::default());
    let run = |plan: &Plan| {
        let is_hot = |operation: &&Operation| matches!(&operation.action, Action::Put { document, .. } | Action::Edit { document, .. } if document == "hot-0");
        match operations(plan).filter(is_hot).count() >= 2 {
            true => Verdict::Violated(violation("lost", Some("hot-0"))),
            false => Verdict::Held,
        }
    };
    let shrunk = shrink(&plan, "lost", Budget { runs_max: 10, ..PLENTY }, |_| {}, run).expect("it fails");
    assert!(!shrunk.is_minimal);
    let is_about_it = |operation: &Operation| match &operation.action {
        Action::Put { document, .. } | Action::Edit { document, .. } | Action::Delete { document } => {
            document == "hot-0"
        }
        Action::Bulk { documents } => documents.iter().all(|(document, _)| document == "hot-0"),
        Action::Settle { .. } => true,
    };
    assert!(operations(&shrunk.plan).all(is_about_it));
}

#[test]
fn another_failure_is_not_the_same() {
    let plan = plan(1, &PlanOptions::default());
    let expected = || "lost".to_owned();
    let error = shrink(&plan, "lost", PLENTY, |_| {}, |_| Verdict::Held).expect_err("it holds");
    assert_eq!(error, ShrinkError::Holds { expected: expected() });
    let other = |_: &Plan| Verdict::Violated(violation("diverged", None));
    let error = shrink(&plan, "lost", PLENTY, |_| {}, other).expect_err("it fails otherwise");
    assert_eq!(error, ShrinkError::FailsOtherwise { expected: expected(), found: "diverged".into() });
    // Fewer operations fail too, but with something else.
    let run = |plan: &Plan| match Size::of(plan).operations {
        200 => verdict(true),
        _ => other(plan),
    };
    let shrunk = shrink(&plan, "lost", PLENTY, |_| {}, run).expect("it fails");
    assert_eq!(Size::of(&shrunk.plan).operations, 200);
}
