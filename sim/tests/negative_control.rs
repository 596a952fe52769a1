//! The negative control: a protocol with a known defect, which the simulator must find, and Peerloom under the same plans.

use peerloom_rxdb_mesh::{MasterWins, tokens_for};
use peerloom_sim::plan::{Action, Latency, Operation, PeerNumber, PeerPlan, Plan, Round, Topology};
use peerloom_sim::{Outcome, RunOptions, Rxdb, Scenario, Verdict};
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
