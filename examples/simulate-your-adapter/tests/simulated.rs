//! What the simulator finds in the adapter, and that it finds nothing once it is fixed.

use peerloom_sim::{RunOptions, Verdict};
use simulate_your_adapter::Flaw;
use simulate_your_adapter::simulated::scenario;

#[test]
fn every_flaw_is_found_as_an_acknowledged_write_that_is_lost() {
    for flaw in Flaw::ALL {
        let scenario = scenario(Some(flaw));
        let verdicts = (0..100).map(|seed| scenario.run(&scenario.plan(seed), RunOptions::default()).verdict);
        let mut violations = verdicts.filter_map(|verdict| match verdict {
            // Some lose a checkpoint first.
            Verdict::Violated(violation) => violation.document.is_some().then_some(violation),
            Verdict::Held => None,
        });
        let violation = violations.next().unwrap_or_else(|| panic!("{flaw:?} is not found"));
        assert_eq!(violation.check, "what was acknowledged is durable", "{flaw:?}: {violation}");
        assert!(violation.peer.is_some(), "{flaw:?}: {violation}");
    }
}

#[test]
fn the_adapter_without_flaws_holds() {
    scenario(None).run_seeds(0..100);
}
