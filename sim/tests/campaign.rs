//! Peerloom under a swarm of faults, seed after seed, on both fabrics.
//!
//! `SEEDS=2000` runs more of them, `FROM=500` others. `cargo xtask fuzz` goes on for as long as it is told.

use std::collections::BTreeSet;
use std::ops::Range;

use peerloom_sim::plan::{Faults, mix};
use peerloom_sim::{Fabric, Outcome, Recording, RunOptions, Scenario, Verdict};

/// What a campaign of this size must have met, or it proves less than it seems to.
const MUST_REACH: [&str; 11] = [
    "a cloned device",
    "a commit of unknown fate",
    "a conflict during a first sync",
    "a conflict handler that panics",
    "a crash between a page and its commit",
    "a crash within a commit",
    "a mangled message",
    "a peer that had to be opened again",
    "a read failed",
    "a restored backup",
    "a wiped device",
];

fn swarm() -> Scenario {
    let users = mix().insert(3).edit(6).delete(2).bulk(1..200, 1).settle(1).hot_documents(0.6);
    Scenario::new("swarm").peers(3..=6).workload(users).faults(Faults::swarm())
}

fn seeds(default: u64) -> Range<u64> {
    let number = |name, or| std::env::var(name).map_or(or, |text| text.parse().expect("a number"));
    let from = number("FROM", 0);
    from..from + number("SEEDS", default)
}

fn run(scenario: &Scenario, seed: u64, fabric: Fabric, recording: Recording) -> Outcome {
    let outcome = scenario.run(&scenario.plan(seed), RunOptions { fabric, recording });
    if let Verdict::Violated(violation) = &outcome.verdict {
        panic!("seed {seed} on {fabric}: {violation}");
    }
    outcome
}

#[test]
fn a_swarm_of_faults_breaks_nothing() {
    let (scenario, seeds) = (swarm(), seeds(200));
    let mut reached = BTreeSet::new();
    for seed in seeds.clone() {
        reached.extend(run(&scenario, seed, Fabric::Virtual, Recording::Digest).figures.marks);
    }
    if seeds.end - seeds.start >= 200 {
        let missed: Vec<_> = MUST_REACH.iter().filter(|mark| !reached.contains(**mark)).collect();
        assert!(missed.is_empty(), "the campaign never had {missed:?}");
    }
}

#[test]
fn a_swarm_of_faults_breaks_nothing_on_turmoil() {
    let small = swarm().peers(3..=4).operations(60).rounds(1..=1, 10_000..=15_000);
    for seed in seeds(3) {
        run(&small, seed, Fabric::Turmoil, Recording::Digest);
    }
}

#[test]
fn a_digest_does_not_depend_on_what_is_kept() {
    let digests = [Recording::Digest, Recording::Events, Recording::Payloads]
        .map(|recording| run(&swarm(), 7, Fabric::Virtual, recording).digest);
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:x?}");
}

#[test]
fn a_room_without_faults_settles_at_once() {
    let calm = swarm().faults(Faults::none());
    for seed in 0..10 {
        let figures = run(&calm, seed, Fabric::Virtual, Recording::Digest).figures;
        assert_eq!((figures.acknowledged, figures.losses_expected), (200, 0), "seed {seed}");
    }
}
