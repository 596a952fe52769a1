//! Automerge's handler under the simulator's swarm.
//!
//! `SEEDS=1000` runs more seeds.

mod as_json;

use peerloom_sim::plan::{Faults, mix};
use peerloom_sim::{RunOptions, Scenario, Verdict};

use as_json::AsJson;

#[test]
fn automerge_holds() {
    // Few documents and many users of each, so that conflicts are the rule.
    let users = mix().insert(2).edit(8).delete(2).bulk(1..20, 1).settle(2).hot_documents(0.9);
    let scenario =
        Scenario::new("automerge").operations(60).workload(users).faults(Faults::swarm()).handler(AsJson);
    let seeds: u64 = std::env::var("SEEDS").map_or(10, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        let verdict = scenario.run(&scenario.plan(seed), RunOptions::default()).verdict;
        assert_eq!(verdict, Verdict::Held, "seed {seed}");
    }
}
