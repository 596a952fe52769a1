//! The story: a bug found, made small, explained, fixed, and the fix put to the same test.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use peerloom_sim::shrink::{Budget, Size, shrink};
use peerloom_sim::{Plan, Recording, Report, RunOptions, Scenario, Verdict, Violation};
use simulate_your_adapter::Flaw;
use simulate_your_adapter::simulated::scenario;

/// How many seeds are tried.
const SEEDS: u64 = 200;
const COLUMNS: usize = 100;

fn main() -> anyhow::Result<ExitCode> {
    if std::env::args().len() > 1 {
        return Ok(peerloom_sim::cli(scenario(Some(Flaw::ForgetsTheName))));
    }
    tell(Flaw::ForgetsTheName)?;

    println!("\nOther lines that are easily forgotten, and what finds them:");
    for flaw in Flaw::ALL.into_iter().filter(|flaw| *flaw != Flaw::ForgetsTheName) {
        let (seed, plan, _) = find(&scenario(Some(flaw)))?;
        let (wrong, line) = flaw.explained();
        println!("  {wrong}\n      found with seed {seed} ({}), missing: {line}", Size::of(&plan));
    }

    let fixed = scenario(None);
    fixed.run_seeds(0..SEEDS);
    println!("\nThe adapter without any of them holds in all of the seeds 0 to {}.", SEEDS - 1);
    Ok(ExitCode::SUCCESS)
}

fn tell(flaw: Flaw) -> anyhow::Result<()> {
    let scenario = scenario(Some(flaw));
    let (wrong, line) = flaw.explained();
    println!("The adapter {wrong}. Its conformance tests pass.\n");

    let (seed, plan, violation) = find(&scenario)?;
    println!("Found with seed {seed}: {violation}");
    let budget = Budget { runs_max: 1_000, time_max: Duration::from_secs(60) };
    let run = |plan: &Plan| scenario.run(plan, RunOptions::default()).verdict;
    let small = shrink(&plan, violation.signature(), budget, |_| {}, run)?;
    println!("Made small: from {} to {}\n", Size::of(&plan), Size::of(&small.plan));

    let options = RunOptions { recording: Recording::Payloads, ..RunOptions::default() };
    let outcome = scenario.run(&small.plan, options);
    let Verdict::Violated(violation) = outcome.verdict else { bail!("the same plan has another outcome") };
    let report = Report {
        scenario: scenario.name().to_owned(),
        plan: small.plan,
        trace: outcome.trace.context("a run keeps its events if it is asked to")?,
        violation: Some(violation),
        figures: outcome.figures,
        replay: format!("cargo run -p simulate-your-adapter -- run --seed {seed}"),
    };
    println!("{}", report.to_text(COLUMNS));

    println!(
        "The commits after the compaction were synced, in the new file. The name of that file was not: when the"
    );
    println!(
        "power went, the old log came back under it, which ends where it was compacted. One line is missing:\n"
    );
    println!("      self.files.rename(&new_name, &self.name)?;\n    + {line}");
    Ok(())
}

/// The first seed that loses a document. In others a checkpoint is lost, which is as bad, and less of a story.
fn find(scenario: &Scenario) -> anyhow::Result<(u64, Plan, Violation)> {
    for seed in 0..SEEDS {
        let plan = scenario.plan(seed);
        if let Verdict::Violated(violation) = scenario.run(&plan, RunOptions::default()).verdict
            && violation.document.is_some()
        {
            return Ok((seed, plan, violation));
        }
    }
    bail!("nothing fails in {SEEDS} seeds")
}
