//! Peerloom over the real signaling server and the real WebRTC stack, under a swarm of faults.
//!
//! `SEEDS=200` runs more of them, `FROM=500` others. `cargo xtask fuzz --fabric webrtc` goes on for as long as it is told.

use std::collections::BTreeSet;

use peerloom_sim::plan::{Faults, Hazard, Topology, mix};
use peerloom_sim::{Fabric, Outcome, Recording, RunOptions, Scenario, Verdict};

fn small(faults: Faults) -> Scenario {
    let users = mix().insert(3).edit(6).delete(2).bulk(1..50, 1).hot_documents(0.6);
    Scenario::new("webrtc")
        .peers(2..=3)
        .operations(30)
        .rounds(1..=1, 10_000..=15_000)
        .workload(users)
        .faults(faults)
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
}

fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let options = RunOptions { fabric: Fabric::WebRtc, recording: Recording::Digest };
    let outcome = scenario.run(&scenario.plan(seed), options);
    if let Verdict::Violated(violation) = &outcome.verdict {
        panic!("seed {seed}: {violation}");
    }
    outcome
}

/// Runs seeds until each mark was reached.
fn reaches(scenario: &Scenario, marks: &[&str], seeds_max: u64) {
    let mut missed: BTreeSet<&str> = marks.iter().copied().collect();
    for seed in 0..seeds_max {
        for mark in run(scenario, seed).figures.marks {
            missed.remove(mark.as_str());
        }
        if missed.is_empty() {
            return;
        }
    }
    panic!("{seeds_max} runs never had {missed:?}");
}

#[test]
fn a_swarm_of_faults_breaks_nothing() {
    let from = number("FROM", 0);
    for seed in from..from + number("SEEDS", 2) {
        run(&small(Faults::swarm()), seed);
    }
}

#[test]
fn a_signaling_server_that_goes_and_comes_back_breaks_nothing() {
    let faults = Faults::only([Hazard::SignalingDown, Hazard::SignalingSilence, Hazard::PowerCut])
        .rate(Hazard::SignalingDown, 8.0)
        .rate(Hazard::SignalingSilence, 8.0)
        .rate(Hazard::PowerCut, 8.0);
    let marks = [
        "a signaling server that comes back",
        "a stale list of the signaling server",
        "two connections to one peer",
    ];
    reaches(&small(faults).topologies([Topology::Mesh]), &marks, 20);
}

#[test]
fn lost_late_and_changed_datagrams_break_nothing() {
    let hazards = [Hazard::Jitter, Hazard::Loss, Hazard::Mangle, Hazard::Slow, Hazard::Partition];
    let faults = hazards[1..].iter().fold(Faults::only(hazards), |faults, hazard| faults.rate(*hazard, 8.0));
    let marks = ["a lost datagram", "a mangled datagram", "a datagram for which a slow way has no room"];
    reaches(&small(faults), &marks, 20);
}

#[test]
fn a_run_is_the_same_each_time() {
    let scenario = small(Faults::swarm());
    assert_eq!(run(&scenario, 1).digest, run(&scenario, 1).digest);
    assert_ne!(run(&scenario, 1).digest, run(&scenario, 2).digest);
}
