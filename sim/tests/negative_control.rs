//! The negative control: a protocol with a known defect, which the simulator must find, and Peerloom under the same plans.

use std::time::Duration;

use peerloom_rxdb_mesh::{MasterWins, tokens_for};
use peerloom_sim::plan::{Action, Latency, Operation, PeerNumber, PeerPlan, Plan, Round, Topology};
use peerloom_sim::shrink::{Budget, shrink};
use peerloom_sim::{Outcome, Recording, Report, RunOptions, Rxdb, Scenario, Verdict};
use serde_json::json;

/// Each peer is the master of the next.
const RING: [(usize, usize); 3] = [(0, 1), (1, 2), (2, 0)];

fn rxdb(masters: &[(usize, usize)]) -> Scenario {
    let tokens = tokens_for(3, masters).expect("such tokens are found");
    Scenario::new("rxdb").subject(Rxdb::new(tokens, MasterWins))
}

/// Two peers write one document at the same time.
fn two_writers(seed: u64) -> Plan {
    let write = |number: u32, peer: u16, text: &str| Operation {
        number,
        at_ms: 1000,
        peer: PeerNumber(peer),
        action: Action::Put { document: "note".to_owned(), value: json!({ "text": text }) },
    };
    Plan {
        seed,
        peers: vec![PeerPlan { joins_ms: Some(0), clock_ahead_ms: 0 }; 3],
        topology: Topology::Mesh,
        latency: Latency { base_ms: 10, jitter_ms: 10 },
        handler_panics_one_in: None,
        rounds: vec![Round {
            length_ms: 2000,
            operations: vec![write(0, 0, "a"), write(1, 1, "b")],
            faults: Vec::new(),
        }],
    }
}

fn run(scenario: &Scenario, plan: &Plan) -> Outcome {
    scenario.run(plan, RunOptions::default())
}

#[test]
fn masters_in_a_ring_chase_each_other_for_ever() {
    let endless =
        (0..10).filter(|seed| run(&rxdb(&RING), &two_writers(*seed)).verdict != Verdict::Held).count();
    assert!(endless > 0, "the simulator must find the loop");
}

#[test]
fn peerloom_settles_under_the_same_plans() {
    for seed in 0..10 {
        let outcome = run(&Scenario::new("peerloom"), &two_writers(seed));
        assert_eq!(outcome.verdict, Verdict::Held, "seed {seed}");
    }
}

#[test]
fn the_loop_is_made_small_and_drawn() {
    let scenario = rxdb(&RING).settles_within(Duration::from_secs(3));
    let loops = |plan: &Plan| run(&scenario, plan).verdict;
    let (plan, violation) = (0..10)
        .find_map(|seed| match loops(&two_writers(seed)) {
            Verdict::Violated(violation) => Some((two_writers(seed), violation)),
            Verdict::Held => None,
        })
        .expect("the simulator finds the loop");
    let small =
        shrink(&plan, violation.signature(), Budget::default(), |_| {}, loops).expect("it fails again").plan;
    assert_eq!(small.peers.len(), 3, "two peers settle");
    let recorded = scenario.run(&small, RunOptions { recording: Recording::Payloads, ..Default::default() });
    let Verdict::Violated(violation) = recorded.verdict else {
        panic!("the small plan fails like the large one")
    };
    let report = Report {
        scenario: scenario.name().to_owned(),
        plan: small,
        trace: recorded.trace.expect("events were asked for"),
        violation: Some(violation),
        figures: recorded.figures,
        replay: String::new(),
    };
    let text = report.to_text(100);
    assert!(["peer-0", "peer-1", "peer-2"].iter().all(|lane| text.contains(lane)), "{text}");
    assert!(report.to_svg().contains("peer-2") && report.to_html().contains("peer-2"));
}
