//! Runs seeds of one scenario against a planted bug until a check fails.

use std::time::Duration;

use peerloom::core::planted::{Bug, plant};
use peerloom_sim::plan::{Faults, Hazard, Topology};
use peerloom_sim::{Fabric, RunOptions, Scenario, Verdict};

/// The scenario in which every bug must show that has no fabric of its own: a swarm of faults, and otherwise the defaults.
pub(crate) fn scenario() -> Scenario {
    Scenario::new("planted bugs")
}

/// The scenario in which a bug must show, and what it runs on.
pub(crate) fn stage(bug: Bug) -> (Scenario, Fabric) {
    match bug {
        Bug::ListOfRejoinIgnored | Bug::EndedLineNotRedialed => (scenario_of_connections(), Fabric::WebRtc),
        _ => (scenario(), Fabric::Virtual),
    }
}

/// The scenario for bugs in the making of connections: few writes, and much that parts peers from each other and from the server.
pub(crate) fn scenario_of_connections() -> Scenario {
    let hazards = [
        Hazard::Partition,
        Hazard::Reset,
        Hazard::Kill,
        Hazard::PowerCut,
        Hazard::LateJoin,
        Hazard::Loss,
        Hazard::SignalingDown,
        Hazard::SignalingSilence,
    ];
    let faults = hazards.iter().fold(Faults::only(hazards), |faults, hazard| match hazard {
        Hazard::LateJoin => faults,
        hazard => faults.rate(*hazard, 8.0),
    });
    Scenario::new("planted bugs of connections")
        .peers(2..=3)
        .operations(30)
        .rounds(1..=1, 20_000..=30_000)
        .topologies([Topology::Mesh])
        .faults(faults)
}

/// How a bug was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The first seed whose plan shows it.
    pub(crate) seed: u64,
    /// The check that failed.
    pub(crate) check: String,
}

/// A search for one bug.
#[derive(Debug)]
pub(crate) struct Hunt {
    /// What was found, if anything.
    pub(crate) found: Option<Found>,
    /// How many seeds were run.
    pub(crate) seeds: u64,
    /// The time of the processor that it took.
    pub(crate) took: Duration,
}

/// Runs the seeds from 0 until a check fails, or until `patience` of the processor's time is used up.
pub(crate) fn hunt(bug: Bug, patience: Duration) -> Hunt {
    let ((scenario, fabric), began) = (stage(bug), processor_time());
    let mut seeds = 0;
    loop {
        let found = check_that_fails(&scenario, fabric, seeds, Some(bug));
        let found = found.map(|check| Found { seed: seeds, check });
        seeds += 1;
        let took = processor_time() - began;
        if found.is_some() || took >= patience {
            return Hunt { found, seeds, took };
        }
    }
}

/// The check that fails when the plan of a seed is run with a bug, or with none.
pub(crate) fn check_that_fails(
    scenario: &Scenario,
    fabric: Fabric,
    seed: u64,
    bug: Option<Bug>,
) -> Option<String> {
    let _planted = bug.map(plant);
    let options = RunOptions { fabric, ..RunOptions::default() };
    match scenario.run(&scenario.plan(seed), options).verdict {
        Verdict::Held => None,
        Verdict::Violated(violation) => Some(violation.signature().to_owned()),
    }
}

/// For how long this thread has run so far. Where the system does not tell, time on the wall stands for it.
#[allow(clippy::disallowed_methods, reason = "the time of a campaign is real")]
fn processor_time() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;

    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = statistics.and_then(|text| text.split_whitespace().next()?.parse().ok());
    nanoseconds.map_or_else(|| BEGAN.elapsed(), Duration::from_nanos)
}
