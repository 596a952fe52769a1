//! Faults that overlap: one that ends does not end another of its kind.

use peerloom_sim::plan::{
    Action, Fault, FaultKind, Latency, Operation, PeerNumber, PeerPlan, Plan, Round, Topology,
};
use peerloom_sim::trace::What;
use peerloom_sim::{Fabric, Recording, RunOptions, Scenario, Trace, Verdict};
use serde_json::json;

const PEER: PeerNumber = PeerNumber(0);

/// The trace of a run in which one fault lasts from the first to the third second and the other from the second to the eighth, and a
/// user writes in the fifth.
fn overlapping(first: FaultKind, second: FaultKind) -> Trace {
    let fault = |number, at_ms, for_ms, kind| Fault { number, at_ms, for_ms, kind };
    let action = Action::Put { document: "note".to_owned(), value: json!("hello") };
    let plan = Plan {
        seed: 1,
        peers: vec![PeerPlan { joins_ms: Some(0), clock_ahead_ms: 0 }; 2],
        topology: Topology::Mesh,
        latency: Latency { base_ms: 5, jitter_ms: 0 },
        handler_panics_one_in: None,
        rounds: vec![Round {
            length_ms: 10_000,
            operations: vec![Operation { number: 0, at_ms: 5_000, peer: PEER, action }],
            faults: vec![fault(0, 1_000, 2_000, first), fault(1, 2_000, 6_000, second)],
        }],
    };
    let options = RunOptions { fabric: Fabric::Virtual, recording: Recording::Events };
    let outcome = Scenario::new("overlap").run(&plan, options);
    assert!(matches!(outcome.verdict, Verdict::Held), "{:?}", outcome.verdict);
    outcome.trace.expect("events are kept")
}

fn at_ms(trace: &Trace, is_it: impl Fn(&What) -> bool) -> Vec<u64> {
    trace.events.iter().filter(|event| is_it(&event.what)).map(|event| event.at_us / 1000).collect()
}

#[test]
fn a_pause_does_not_end_with_another() {
    let trace = overlapping(FaultKind::Pause { peer: PEER }, FaultKind::Pause { peer: PEER });
    assert_eq!(at_ms(&trace, |what| *what == What::Resumed), [8_000]);
}

#[test]
fn a_full_device_stays_full_as_long_as_any_fault_says() {
    let trace = overlapping(FaultKind::Full { peer: PEER }, FaultKind::Full { peer: PEER });
    assert_eq!(at_ms(&trace, |what| matches!(what, What::Failed { .. })).len(), 1);
}

#[test]
fn a_storage_is_as_slow_as_the_worst_fault_says() {
    let slow = |by_ms| FaultKind::SlowStorage { peer: PEER, by_ms };
    for (first, second) in [(10, 2_000), (1_500, 2_000), (4_000, 2_000)] {
        let trace = overlapping(slow(first), slow(second));
        let called = at_ms(&trace, |what| matches!(what, What::Called { .. }));
        let acknowledged = at_ms(&trace, |what| matches!(what, What::Acknowledged { .. }));
        assert!(acknowledged[0] - called[0] >= 2_000, "{first} ms, then {second} ms");
    }
}
