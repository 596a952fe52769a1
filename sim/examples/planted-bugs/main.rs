//! Plants one bug after the other in Peerloom and lets the simulator look for it: a table of how long each stays unseen.
//!
//! ```text
//! cargo run -p peerloom-sim --example planted-bugs -- [--jobs N] [--seconds S] [BUG]...
//! ```
//!
//! Ends with 1 if a bug was not found within its time of the processor, by default 60 seconds.

mod campaign;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use peerloom::core::planted::Bug;
use peerloom_sim::Fabric;

use campaign::{Found, Hunt, check_that_fails, hunt, scenario, scenario_of_connections};

#[derive(Parser)]
struct Arguments {
    /// How many bugs are looked for at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// For how many seconds of the processor's time each is looked for.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// In how many seeds nothing may be found without a bug, and in a fiftieth of them on WebRTC. That is looked at first.
    #[arg(long, default_value_t = 200)]
    sound: u64,
    /// Only these bugs.
    bugs: Vec<String>,
}

fn main() -> ExitCode {
    let Arguments { jobs, seconds, sound, bugs: names } = Arguments::parse();
    let name = |bug: &Bug| format!("{bug:?}");
    if let Some(unknown) = names.iter().find(|wanted| !Bug::ALL.iter().any(|bug| name(bug) == **wanted)) {
        eprintln!("there is no bug {unknown}");
        return ExitCode::from(2);
    }
    let wanted = |bug: &&Bug| names.is_empty() || names.contains(&name(bug));
    let bugs: Vec<Bug> = Bug::ALL.iter().filter(wanted).copied().collect();
    // A run on WebRTC takes as long as fifty others.
    for (scenario, fabric, seeds) in
        [(scenario(), Fabric::Virtual, sound), (scenario_of_connections(), Fabric::WebRtc, sound / 50)]
    {
        for seed in 0..seeds {
            if let Some(check) = check_that_fails(&scenario, fabric, seed, None) {
                eprintln!("without any bug, seed {seed} finds on {fabric}: {check}");
            }
        }
    }
    // What a planted bug makes the simulated software say is no concern of the table.
    std::panic::set_hook(Box::new(|_| {}));
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(0));
    println!("| bug | seeds | CPU seconds | found by |\n|---|--:|--:|---|");
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let hunted = hunt(*bug, Duration::from_secs(seconds));
                    println!("{}", row(*bug, &hunted));
                    if hunted.found.is_none() {
                        *missed.lock().expect("nobody panics while counting") += 1;
                    }
                }
            });
        }
    });
    ExitCode::from(u8::from(*missed.lock().expect("nobody panics while counting") > 0))
}

fn row(bug: Bug, hunted: &Hunt) -> String {
    let found = match &hunted.found {
        Some(Found { seed, check }) => format!("{check} (seed {seed})"),
        None => "**not found**".to_owned(),
    };
    format!("| {bug:?} | {} | {:.1} | {found} |", hunted.seeds, hunted.took.as_secs_f64())
}
