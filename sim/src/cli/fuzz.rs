//! A campaign: seed after seed on several threads, until a bound is reached.
//!
//! Each run is a thread's own, with a runtime of its own, so that threads share nothing but the count of seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, FuzzOptions, Status, replay_line, replay_path};
use crate::causes::with_causes;
use crate::fabric::Fabric;
use crate::outcome::{Outcome, Verdict, Violation};
use crate::plan::Plan;
use crate::recorder::Recording;
use crate::replay::{Replay, ReplayError};
use crate::scenario::{RunOptions, Scenario};
use crate::shrink::{Size, shrink};

/// How long it goes on if no bound is given.
const TIME_DEFAULT: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) fn fuzz(scenario: &Scenario, options: &FuzzOptions) -> Result<Status, Failure> {
    let campaign = Campaign::new(scenario, options);
    let interrupted = interruption();
    let jobs = options.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| campaign.work(interrupted));
        }
    });
    campaign.bar.finish_and_clear();
    let was_interrupted = interrupted.load(Ordering::Relaxed);
    campaign.tally.into_inner().unwrap_or_else(PoisonError::into_inner).conclude(options, was_interrupted)
}

struct Campaign<'a> {
    scenario: &'a Scenario,
    options: &'a FuzzOptions,
    fabric: Fabric,
    started: Instant,
    time: Option<std::time::Duration>,
    bar: ProgressBar,
    tally: Mutex<Tally>,
}

/// What a campaign has come to so far.
struct Tally {
    started: Instant,
    seeds_begun: u64,
    runs: u64,
    simulated_ms: u64,
    acknowledged: u64,
    losses_expected: u64,
    failures: u64,
    /// In how many runs each mark was reached.
    marks: BTreeMap<String, u64>,
    /// What failed so far. Only the first failure of a kind is made small.
    signatures: BTreeSet<String>,
    /// Why a replay file was not written, if one was not.
    unwritten: Option<ReplayError>,
}

impl<'a> Campaign<'a> {
    fn new(scenario: &'a Scenario, options: &'a FuzzOptions) -> Self {
        let time = options.time.or_else(|| options.seeds.is_none().then_some(TIME_DEFAULT));
        let bar = match (options.seeds, time) {
            (Some(seeds), _) => ProgressBar::new(seeds),
            (None, time) => ProgressBar::new(time.unwrap_or_default().as_secs()),
        };
        let style =
            ProgressStyle::with_template("{bar:30} {elapsed} {msg}").expect("the template is well-formed");
        bar.set_style(style);
        let started = Instant::now();
        let tally = Tally {
            started,
            seeds_begun: 0,
            runs: 0,
            simulated_ms: 0,
            acknowledged: 0,
            losses_expected: 0,
            failures: 0,
            marks: BTreeMap::new(),
            signatures: BTreeSet::new(),
            unwritten: None,
        };
        let fabric = options.fabric.into();
        Self { scenario, options, fabric, started, time, bar, tally: Mutex::new(tally) }
    }

    /// Takes seeds and runs them until there is a reason to end.
    fn work(&self, interrupted: &AtomicBool) {
        while let Some(seed) = self.next_seed(interrupted) {
            let plan = self.scenario.plan(seed);
            let outcome = self.run(&plan);
            let is_first = self.tally(|tally| tally.count(&outcome));
            self.show_progress();
            if let Verdict::Violated(violation) = &outcome.verdict {
                // Told and kept as it is first: making it small takes minutes, and may be interrupted.
                self.say(&format!("seed {seed}: VIOLATED: {violation} ({})", Size::of(&plan)));
                let shrunk = is_first.then(|| {
                    self.save(seed, plan.clone(), &outcome);
                    self.shrunk(&plan, violation)
                });
                let (plan, outcome) = match shrunk.flatten() {
                    Some((small, outcome)) => {
                        self.say(&format!("seed {seed}: shrunk to {}", Size::of(&small)));
                        (small, outcome)
                    }
                    None => (plan, outcome),
                };
                if let Some(path) = self.save(seed, plan, &outcome) {
                    self.say(&replay_line(&path));
                }
            }
        }
    }

    fn next_seed(&self, interrupted: &AtomicBool) -> Option<u64> {
        let is_over = interrupted.load(Ordering::Relaxed)
            || self.time.is_some_and(|time| self.started.elapsed() >= time);
        self.tally(|tally| {
            let is_done = self.options.seeds.is_some_and(|seeds| tally.seeds_begun >= seeds)
                || tally.failures >= self.options.failures_max.get();
            let seed = self.options.from.checked_add(tally.seeds_begun).filter(|_| !is_over && !is_done)?;
            tally.seeds_begun += 1;
            Some(seed)
        })
    }

    fn run(&self, plan: &Plan) -> Outcome {
        self.scenario.run(plan, RunOptions { fabric: self.fabric, recording: Recording::Digest })
    }

    /// The plan made small, and what it comes to.
    fn shrunk(&self, plan: &Plan, violation: &Violation) -> Option<(Plan, Outcome)> {
        let budget = self.options.budget.into();
        let run = |plan: &Plan| self.run(plan).verdict;
        let progress = |_| self.show_progress();
        match shrink(plan, violation.signature(), budget, progress, run) {
            Ok(shrunk) => {
                let outcome = self.run(&shrunk.plan);
                Some((shrunk.plan, outcome))
            }
            Err(error) => {
                // Not the same twice: the file has the whole plan, and `check-determinism` will tell.
                self.say(&format!("seed {}: {error}", plan.seed));
                None
            }
        }
    }

    /// Writes the replay file of a seed, over the one that may be there. Where it is, if that went well.
    fn save(&self, seed: u64, plan: Plan, outcome: &Outcome) -> Option<PathBuf> {
        let path: PathBuf = replay_path(&self.options.directory, self.scenario, seed);
        match Replay::new(self.scenario.name(), self.fabric, plan, outcome).save(&path) {
            Ok(()) => Some(path),
            Err(error) => {
                self.tally(|tally| tally.unwritten = Some(error));
                None
            }
        }
    }

    fn show_progress(&self) {
        let (runs, failures) = self.tally(|tally| (tally.runs, tally.failures));
        let elapsed = self.started.elapsed().as_secs_f64();
        self.bar.set_position(if self.options.seeds.is_some() { runs } else { elapsed as u64 });
        let per_second = runs as f64 / elapsed.max(f64::EPSILON);
        self.bar.set_message(format!("{runs} seeds, {per_second:.1} per second, {failures} failures"));
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }

    fn tally<T>(&self, with: impl FnOnce(&mut Tally) -> T) -> T {
        with(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tally {
    /// Counts a run. Whether it is the first that fails in its way.
    fn count(&mut self, outcome: &Outcome) -> bool {
        self.runs += 1;
        self.simulated_ms += outcome.figures.simulated_ms;
        self.acknowledged += outcome.figures.acknowledged;
        self.losses_expected += outcome.figures.losses_expected;
        for mark in &outcome.figures.marks {
            *self.marks.entry(mark.clone()).or_default() += 1;
        }
        match &outcome.verdict {
            Verdict::Held => false,
            Verdict::Violated(violation) => {
                self.failures += 1;
                self.signatures.insert(violation.signature().to_owned())
            }
        }
    }

    /// Says what it all came to.
    fn conclude(self, options: &FuzzOptions, was_interrupted: bool) -> Result<Status, Failure> {
        let seconds = self.started.elapsed().as_secs_f64();
        println!(
            "{} seeds from {} in {seconds:.1} s, {:.1} per second: {} failures",
            self.runs,
            options.from,
            self.runs as f64 / seconds.max(f64::EPSILON),
            self.failures,
        );
        println!(
            "{:.1} hours simulated, {} operations acknowledged, {} lost with a device as planned",
            self.simulated_ms as f64 / 3_600_000.0,
            self.acknowledged,
            self.losses_expected,
        );
        for (mark, runs) in &self.marks {
            println!("reached in {runs} of {} runs: {mark}", self.runs);
        }
        let missed: Vec<_> =
            options.must_reach.iter().filter(|mark| !self.marks.contains_key(*mark)).collect();
        for mark in &missed {
            println!("NOT REACHED: {mark}");
        }
        if self.failures > 0 {
            // What failed is told above, also if a file is missing.
            if let Some(error) = &self.unwritten {
                eprintln!("error: {}", with_causes(error));
            }
            return Ok(Status::Violated);
        }
        let is_short = options.seeds.is_some_and(|seeds| self.runs < seeds);
        if was_interrupted {
            println!("interrupted");
        } else if is_short {
            println!("time was over before all seeds were run");
        }
        let is_complete = self.runs > 0 && !was_interrupted && !is_short && missed.is_empty();
        Ok(if is_complete { Status::Held } else { Status::Incomplete })
    }
}

/// Set once the user interrupts the program. A second time, it ends at once.
fn interruption() -> &'static AtomicBool {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    // Without the thread, an interruption ends the program as it always does.
    let _ = std::thread::Builder::new().name("interruption".into()).spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                if tokio::signal::ctrl_c().await.is_ok() && !INTERRUPTED.swap(true, Ordering::Relaxed) {
                    eprintln!("finishing the runs that are going on; once more to stop at once");
                    if tokio::signal::ctrl_c().await.is_ok() {
                        std::process::exit(2);
                    }
                }
            });
        }
    });
    &INTERRUPTED
}
