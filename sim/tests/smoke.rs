use peerloom_sim::plan::*;
use peerloom_sim::*;

#[test]
fn a_quiet_room_settles() {
    let plan = Plan {
        seed: 1,
        peers: vec![PeerPlan { joins_ms: Some(0), clock_ahead_ms: 0 }; 3],
        topology: Topology::Mesh,
        latency: Latency { base_ms: 10, jitter_ms: 5 },
        handler_panics_one_in: None,
        rounds: vec![Round {
            length_ms: 5000,
            operations: (0..50)
                .map(|number| Operation {
                    number,
                    at_ms: u64::from(number) * 50,
                    peer: PeerNumber((number % 3) as u16),
                    action: Action::Put { document: format!("d{}", number % 7), value: number.into() },
                })
                .collect(),
            faults: vec![],
        }],
    };
    let scenario = Scenario::new("smoke");
    let outcome = scenario.run(&plan, RunOptions { recording: Recording::Payloads, ..Default::default() });
    for event in &outcome.trace.as_ref().unwrap().events {
        println!("{:>9} {:?} {:?}", event.at_us, event.peer.map(|p| p.0), event.what);
    }
    println!("{:?} {:?}", outcome.verdict, outcome.figures);
    assert_eq!(outcome.verdict, Verdict::Held);
    let again = scenario.run(&plan, RunOptions::default());
    assert_eq!(outcome.digest, again.digest);
}

#[test]
fn swarm() {
    let scenario = Scenario::new("swarm");
    let number =
        |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (from, count) = (number("FROM", 0), number("COUNT", 20));
    let started = std::time::Instant::now();
    let mut bad = 0;
    for seed in from..from + count {
        let began = std::time::Instant::now();
        let outcome = scenario.run(&scenario.plan(seed), RunOptions::default());
        let f = &outcome.figures;
        if count < 30 || outcome.verdict != Verdict::Held {
            println!(
                "{seed}: {:?} in {} ms: sim {} s, acked {}, lost {}, messages {}, bytes {}, settled {} ms",
                outcome.verdict,
                began.elapsed().as_millis(),
                f.simulated_ms / 1000,
                f.acknowledged,
                f.losses_expected,
                f.messages,
                f.bytes,
                f.settled_ms_max
            );
        }
        bad += i32::from(outcome.verdict != Verdict::Held);
    }
    println!("{bad} bad, {} ms per seed", started.elapsed().as_millis() as u64 / count);
}

#[test]
fn look() {
    let Ok(seed) = std::env::var("LOOK") else { return };
    let scenario = Scenario::new("swarm");
    let plan = scenario.plan(seed.parse().unwrap());
    println!("{:?} {:?} {:?}", plan.topology, plan.peers, plan.latency);
    let outcome = scenario.run(&plan, RunOptions { recording: Recording::Payloads, ..Default::default() });
    for event in &outcome.trace.as_ref().unwrap().events {
        println!("{:>9} {:?} {:?}", event.at_us, event.peer.map(|p| p.0), event.what);
    }
    println!("{:?} {:?}", outcome.verdict, outcome.figures);
}
