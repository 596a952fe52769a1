//! Three peers and two writers, under two protocols: `cargo run -p mesh-loop`.
//!
//! RxDB decides who is right for each pair of peers, by a hash of their storage tokens. Where these choices form a ring, two
//! concurrent edits chase each other for ever: each peer passes on what its master told it, and its own fork passes back what it
//! had before. The simulator finds such a room, makes it small, and draws it. Peerloom keeps both versions in the same plan, and everybody
//! shows the same one.
//!
//! RxDB is played by a model of its protocol, see the crate `peerloom-rxdb-mesh`.

use std::time::Duration;

use anyhow::{Context, bail};
use peerloom_rxdb_mesh::{MasterWins, tokens_for};
use peerloom_sim::plan::{Faults, Plan, Topology, mix};
use peerloom_sim::shrink::{Budget, shrink};
use peerloom_sim::trace::What;
use peerloom_sim::{Recording, Report, RunOptions, Rxdb, Scenario, Verdict};

/// Each peer is the master of the next, and the last one of the first.
const RING: [(usize, usize); 3] = [(0, 1), (1, 2), (2, 0)];

/// How many seeds are tried before the example gives up.
const SEEDS_MAX: u64 = 200;

/// How many lines of a run are shown: a loop has no end.
const LINES_SHOWN: usize = 26;

const COLUMNS: usize = 118;

fn main() -> anyhow::Result<()> {
    let (rxdb, peerloom) = (rxdb()?, scenario("peerloom"));
    let (seed, plan) = find_loop(&rxdb)?;
    println!("# RxDB's protocol, its default conflict handler, masters in a ring\n");
    println!("Seed {seed} does not settle. Its smallest form, a letter for each version of the document:\n");
    show(&rxdb, &plan)?;
    println!("\n# Peerloom, the same plan\n");
    show(&peerloom, &plan)
}

/// Users who write the same document at three peers, and nothing that goes wrong.
fn scenario(name: &str) -> Scenario {
    Scenario::new(name)
        .peers(3..=3)
        .operations(6)
        .rounds(1..=1, 1_000..=1_000)
        .topologies([Topology::Mesh])
        .workload(mix().insert(1).edit(2).hot_documents(1.0))
        .faults(Faults::none())
        .settles_within(Duration::from_secs(3))
}

fn rxdb() -> anyhow::Result<Scenario> {
    let tokens = tokens_for(3, &RING).context("no tokens make these roles")?;
    Ok(scenario("rxdb").subject(Rxdb::new(tokens, MasterWins)))
}

/// The first seed whose room does not settle, and its plan made small.
fn find_loop(scenario: &Scenario) -> anyhow::Result<(u64, Plan)> {
    let verdict = |plan: &Plan| scenario.run(plan, RunOptions::default()).verdict;
    for seed in 0..SEEDS_MAX {
        let plan = scenario.plan(seed);
        if let Verdict::Violated(violation) = verdict(&plan) {
            let shrunk = shrink(&plan, violation.signature(), Budget::default(), |_| {}, verdict)?;
            return Ok((seed, shrunk.plan));
        }
    }
    bail!("no loop in {SEEDS_MAX} seeds")
}

fn show(scenario: &Scenario, plan: &Plan) -> anyhow::Result<()> {
    let recording = RunOptions { recording: Recording::Payloads, ..RunOptions::default() };
    let outcome = scenario.run(plan, recording);
    // The messages in between would fill pages. What users and their documents do tells the story.
    let mut trace = outcome.trace.context("the events were recorded")?;
    trace.events.retain(|event| match &event.what {
        What::Called { .. } | What::Phase(_) => true,
        What::Committed { documents } => !documents.is_empty(),
        _ => false,
    });
    let report = Report {
        scenario: scenario.name().to_owned(),
        plan: plan.clone(),
        trace,
        // With it, only what led to it would be shown, and not the circles.
        violation: None,
        figures: outcome.figures,
        replay: "cargo run -p mesh-loop".to_owned(),
    };
    let text = report.to_text(COLUMNS);
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.is_empty()).skip(1).collect();
    lines.iter().take(LINES_SHOWN).for_each(|line| println!("{line}"));
    if lines.len() > LINES_SHOWN {
        println!("… and so on, {} lines more", lines.len() - LINES_SHOWN);
    }
    match outcome.verdict {
        Verdict::Held => {
            println!("\nEverybody holds all versions, shows the same one, and has nothing more to say.");
        }
        Verdict::Violated(violation) => println!("\nIt never settles: {violation}."),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_is_found_made_small_and_absent_from_peerloom() {
        let (_, plan) = find_loop(&rxdb().expect("tokens")).expect("a loop");
        let operations: usize = plan.rounds.iter().map(|round| round.operations.len()).sum();
        assert!(
            plan.peers.len() == 3 && operations <= 4,
            "{} peers, {operations} operations",
            plan.peers.len()
        );
        let outcome = scenario("peerloom").run(&plan, RunOptions::default());
        assert_eq!(outcome.verdict, Verdict::Held);
    }
}
