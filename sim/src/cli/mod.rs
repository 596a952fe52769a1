//! The command line over a scenario: run, fuzz, replay, shrink, report.
//!
//! Decides nothing about runs. What a command came to is its exit status, so that scripts need not read what it says.

mod determinism;
mod fuzz;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::causes::with_causes;
use crate::fabric::Fabric;
use crate::outcome::{Outcome, Verdict};
use crate::recorder::Recording;
use crate::replay::{Replay, ReplayError};
use crate::scenario::{RunOptions, Scenario};
use crate::shrink::{Budget, Progress, ShrinkError, Size, shrink};

/// Makes a program of a scenario, to be called from its `main`: reads the arguments, does what they say and tells what came of it.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     peerloom_sim::cli(peerloom_sim::Scenario::new("todos"))
/// }
/// ```
///
/// The exit status tells of the runs, whatever else a command does: 0 if everything held, 1 if a check failed, 2 if that is not known (wrong arguments, a file that cannot be read,
/// an interrupted campaign, a bound or mark that was not reached), and 3 if two runs of one seed differ.
#[expect(clippy::needless_pass_by_value, reason = "it is the whole program, which ends with it")]
pub fn cli(scenario: Scenario) -> ExitCode {
    let arguments = Arguments::parse();
    let status = match arguments.command {
        Command::Run { seed, fabric } => run(&scenario, seed, fabric.into()),
        Command::Fuzz(options) => fuzz::fuzz(&scenario, &options),
        Command::Replay { file, fabric } => replay(&scenario, &file, fabric.map(Fabric::from)),
        Command::Shrink { file, output, budget } => {
            shrink_file(&scenario, &file, output.as_deref().unwrap_or(&file), budget.into())
        }
        Command::Report { file, output } => report::report(&scenario, &file, output.as_deref()),
        Command::CheckDeterminism { seed, fabric } => determinism::check(&scenario, seed, fabric),
        Command::Trace { seed, fabric, events } => {
            determinism::trace(&scenario, seed, fabric.into(), events.as_deref())
        }
    };
    match status {
        Ok(status) => status.into(),
        Err(failure) => {
            eprintln!("error: {}", with_causes(&failure));
            Status::Incomplete.into()
        }
    }
}

/// Simulates a room of peers under faults, and finds what breaks it.
#[derive(Parser)]
#[command(after_help = "Exit status: 0 held, 1 violated, 2 incomplete, 3 not deterministic.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one seed.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// What it runs on.
        #[arg(long, default_value = "virtual")]
        fabric: FabricName,
    },
    /// Runs seed after seed, and shrinks what fails.
    Fuzz(FuzzOptions),
    /// Runs a replay file.
    Replay {
        /// The file.
        file: PathBuf,
        /// What it runs on, if not on what it was recorded on.
        #[arg(long)]
        fabric: Option<FabricName>,
    },
    /// Makes a replay file small, and keeps it failing in the same way.
    Shrink {
        /// The file.
        file: PathBuf,
        /// Where the small one goes. It takes the place of the file unless told.
        #[arg(short, long)]
        output: Option<PathBuf>,
        #[command(flatten)]
        budget: BudgetOptions,
    },
    /// Shows what happens in a replay file.
    Report {
        /// The file.
        file: PathBuf,
        /// Where it goes: a page to click through (.html), a picture (.svg) or text (.txt). Text for the terminal unless told.
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Runs a seed in two fresh processes and compares what happens.
    CheckDeterminism {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// What it runs on.
        #[arg(long, default_value = "virtual")]
        fabric: FabricName,
    },
    /// Runs a seed and prints the digest of its trace: one half of `check-determinism`.
    #[command(hide = true)]
    Trace {
        #[arg(long)]
        seed: u64,
        #[arg(long, default_value = "virtual")]
        fabric: FabricName,
        /// Where its events go, a line each.
        #[arg(long)]
        events: Option<PathBuf>,
    },
}

#[derive(Args)]
struct FuzzOptions {
    /// For how long, such as 90s, 10m or 2h. One minute if neither this nor `--seeds` is given.
    #[arg(long = "for", value_parser = duration)]
    time: Option<Duration>,
    /// How many seeds. With `--for`, it is incomplete if the time is over before.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many runs at a time. As many as there are processors unless told.
    #[arg(long)]
    jobs: Option<std::num::NonZeroUsize>,
    /// What they run on.
    #[arg(long, default_value = "virtual")]
    fabric: FabricName,
    /// After how many failures it ends.
    #[arg(long, default_value = "10")]
    failures_max: std::num::NonZeroU64,
    /// A mark that must be reached, or else it is incomplete. May be given several times.
    #[arg(long)]
    must_reach: Vec<String>,
    /// Where replay files go.
    #[arg(long, default_value = "target/sim")]
    directory: PathBuf,
    #[command(flatten)]
    budget: BudgetOptions,
}

#[derive(Args, Clone, Copy)]
struct BudgetOptions {
    /// How many runs to spend on making one failure small.
    #[arg(long, default_value_t = Budget::default().runs_max)]
    shrink_runs: u32,
    /// How long to spend on making one failure small.
    #[arg(long, value_parser = duration, default_value = "2m")]
    shrink_for: Duration,
}

impl From<BudgetOptions> for Budget {
    fn from(options: BudgetOptions) -> Self {
        Self { runs_max: options.shrink_runs, time_max: options.shrink_for }
    }
}

/// A fabric, as an argument: what is public of the crate has nothing of `clap` in it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FabricName {
    Virtual,
    Turmoil,
    #[cfg(feature = "webrtc")]
    #[value(name = "webrtc")]
    WebRtc,
}

impl From<FabricName> for Fabric {
    fn from(name: FabricName) -> Self {
        match name {
            FabricName::Virtual => Self::Virtual,
            FabricName::Turmoil => Self::Turmoil,
            #[cfg(feature = "webrtc")]
            FabricName::WebRtc => Self::WebRtc,
        }
    }
}

/// What a command came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Status {
    Held,
    Violated,
    Incomplete,
    NotDeterministic,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Held => 0,
            Status::Violated => 1,
            Status::Incomplete => 2,
            Status::NotDeterministic => 3,
        })
    }
}

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Shrink(#[from] ShrinkError),
    #[error("{} is of a run in which everything held, so there is nothing to shrink", .0.display())]
    NothingFailed(PathBuf),
    #[error("{} is no form of report: its name must end with .html, .svg or .txt", .0.display())]
    Form(PathBuf),
    #[error("cannot write {}", path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
    #[error("cannot start this program a second time")]
    Child(#[source] std::io::Error),
    #[error("the run in another process ended with {0}")]
    ChildFailed(std::process::ExitStatus),
    #[error("cannot keep the events of a run")]
    Events(#[source] std::io::Error),
}

fn run(scenario: &Scenario, seed: u64, fabric: Fabric) -> Result<Status, Failure> {
    let plan = scenario.plan(seed);
    println!("seed {seed}: {}", Size::of(&plan));
    let outcome = scenario.run(&plan, RunOptions { fabric, recording: Recording::Digest });
    print_outcome(&outcome);
    let Verdict::Violated(_) = outcome.verdict else { return Ok(Status::Held) };
    let path = replay_path(Path::new("target/sim"), scenario, seed);
    Replay::new(scenario.name(), fabric, plan, &outcome).save(&path)?;
    println!("{}", replay_line(&path));
    Ok(Status::Violated)
}

fn replay(scenario: &Scenario, file: &Path, fabric: Option<Fabric>) -> Result<Status, Failure> {
    let replay = Replay::load(file, scenario.name())?;
    let fabric = fabric.unwrap_or(replay.fabric);
    println!("seed {}: {}", replay.plan.seed, Size::of(&replay.plan));
    let outcome = scenario.run(&replay.plan, RunOptions { fabric, recording: Recording::Digest });
    print_outcome(&outcome);
    let found = match &outcome.verdict {
        Verdict::Held => None,
        Verdict::Violated(violation) => Some(violation.signature().to_owned()),
    };
    let name = |signature: &Option<String>| signature.clone().unwrap_or_else(|| "nothing".into());
    if found != replay.expected.signature {
        println!("recorded was another outcome: {} failed", name(&replay.expected.signature));
    } else if fabric == replay.fabric && outcome.digest != replay.expected.digest {
        println!("the outcome is the one recorded, the way to it is not: something has changed since");
    }
    Ok(if found.is_some() { Status::Violated } else { Status::Held })
}

fn shrink_file(scenario: &Scenario, file: &Path, output: &Path, budget: Budget) -> Result<Status, Failure> {
    let replay = Replay::load(file, scenario.name())?;
    let Some(signature) = &replay.expected.signature else {
        return Err(Failure::NothingFailed(file.into()));
    };
    let bar = indicatif::ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    let options = RunOptions { fabric: replay.fabric, recording: Recording::Digest };
    let before = Size::of(&replay.plan);
    let progress = |Progress { runs, size }| bar.set_message(format!("{runs} runs: {size}"));
    let shrunk =
        shrink(&replay.plan, signature, budget, progress, |plan| scenario.run(plan, options).verdict)?;
    bar.finish_and_clear();
    let outcome = scenario.run(&shrunk.plan, options);
    println!("from {before} to {} in {} runs", Size::of(&shrunk.plan), shrunk.runs);
    if !shrunk.is_minimal {
        println!("the budget is spent: more can perhaps be taken out");
    }
    print_outcome(&outcome);
    Replay::new(scenario.name(), replay.fabric, shrunk.plan, &outcome).save(output)?;
    println!("{}", replay_line(output));
    Ok(Status::Violated)
}

fn print_outcome(outcome: &Outcome) {
    match &outcome.verdict {
        Verdict::Held => println!("held"),
        Verdict::Violated(violation) => println!("VIOLATED: {violation}"),
    }
    let figures = &outcome.figures;
    println!(
        "{} s simulated, {} operations acknowledged, {} commits, {} messages, {} bytes, digest {:016x}",
        figures.simulated_ms / 1_000,
        figures.acknowledged,
        figures.commits,
        figures.messages,
        figures.bytes,
        outcome.digest,
    );
}

/// Where the replay file of a seed goes. A scenario's name may be any text, and a file's may not.
fn replay_path(directory: &Path, scenario: &Scenario, seed: u64) -> PathBuf {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = scenario.name().chars().map(plain).collect();
    directory.join(format!("{name}-{seed}.json"))
}

/// The line to copy into a terminal.
fn replay_line(path: &Path) -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    format!("{} replay {}", quoted(&program.to_string_lossy()), quoted(&path.to_string_lossy()))
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:@,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A time such as 500ms, 90s, 10m or 2h.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is a number and ms, s, m or h, such as 90s".into()),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{number}` is not a number of {unit}"))?;
    number.checked_mul(factor_ms).map(Duration::from_millis).ok_or_else(|| "that is too long".into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::{Arguments, duration, quoted};

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "10", "m", "-1s", "1 s", "1d", "99999999999999999h", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_to_be_copied_is_quoted_where_it_must() {
        assert_eq!(quoted("target/sim/todos-17.json"), "target/sim/todos-17.json");
        assert_eq!(quoted("my dir/it's"), r"'my dir/it'\''s'");
    }
}
