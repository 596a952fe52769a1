//! How many rooms a minute the simulator plays on one core: five peers, 200 operations and a swarm of faults in 60 simulated seconds, and
//! as long as it takes to heal and to be seen quiet.

use std::time::Instant;

use anyhow::bail;
use peerloom_sim::{Fabric, Recording, RunOptions, Scenario, Verdict};

use crate::report::{Figure, Target};

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let scenario = Scenario::new("bench").peers(5..=5).operations(200).rounds(2..=2, 30_000..=30_000);
    Ok(vec![
        per_minute(&scenario, Fabric::Virtual, 200)?.target(Target::AtLeast(1_000.0)),
        per_minute(&scenario, Fabric::Turmoil, 10)?.target(Target::AtLeast(30.0)),
    ])
}

fn per_minute(scenario: &Scenario, fabric: Fabric, seeds: u64) -> anyhow::Result<Figure> {
    let (started, mut simulated_ms) = (Instant::now(), 0);
    for seed in 0..seeds {
        let outcome = scenario.run(&scenario.plan(seed), RunOptions { fabric, recording: Recording::Digest });
        if let Verdict::Violated(violation) = outcome.verdict {
            bail!("seed {seed} on {fabric}: {violation}");
        }
        simulated_ms += outcome.figures.simulated_ms;
    }
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let mean = simulated_ms / 1000 / seeds;
    let what = format!("rooms of five, 60 s of faults ({mean} s with healing), on {fabric}, per minute");
    Ok(Figure::new(what, seeds as f64 / minutes, ""))
}
