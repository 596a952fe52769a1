//! The project's commands: `cargo xtask help` lists them.
//!
//! Runs cargo and prints every command it runs, so that each can be repeated by hand. Sets neither RUSTFLAGS nor a profile: both
//! are the workspace's, and others would compile every dependency again.

mod needs;

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use needs::Scope;

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Shows Peerloom at work: three replicas, 1,707 real documents, conflicts, a crash; `--webrtc` in three processes
    #[command(disable_help_flag = true)]
    Demo {
        /// Passed on to the demo; `--help` lists its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs every test, after checking that what the build needs is there
    Test {
        /// Passed on to `cargo test --workspace --all-features`, for example a part of a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Proves what peers promise as processes over WebRTC, at full size: 100,000 documents, kills, a link that is down for a
    /// minute. Takes minutes; the tests run the same with less
    Prove {
        /// Passed on to the tests, for example a part of a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Kills processes that write and replicate on every storage, and looks at what is left on their disks: 50 rounds unless told.
    /// `--rounds 500` takes some minutes for each storage
    #[command(disable_help_flag = true)]
    Crash {
        /// Passed on to the campaign; `--help` lists its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs the benchmarks; `webrtc` is the one of the transport
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the benchmarks; `--help` lists their options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Explores every interleaving of small rooms; `--scope large` takes minutes
    #[command(disable_help_flag = true)]
    Model {
        /// Passed on to the model checker; `--help` lists its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Simulates rooms under a swarm of faults, a minute unless told; `--planted` proves that it finds planted bugs
    #[command(disable_help_flag = true)]
    Fuzz {
        /// Passed on to the simulator; `--help` lists its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measures rooms of Peerloom and real RxDB peers: how fast they pull, what wins, what settles
    #[command(disable_help_flag = true)]
    Rxdb {
        /// Passed on to the measurement; `--help` lists its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Gives everything that reads bytes of others what a fuzzer makes up, after what it found before. Installs cargo-fuzz
    /// if it is not there
    FuzzBytes {
        /// For how long each target is fuzzed
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        seconds: u32,
        /// Which targets, by the names of the files in `fuzz/fuzz_targets`; without it, all
        #[arg(long, value_name = "NAME")]
        target: Vec<String>,
    },
    /// Checks formatting, lints and documentation; a warning is an error
    Check,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Demo { arguments } => demo(arguments),
        Task::Test { arguments } => {
            needs::provide(Scope::Everything)?;
            let mut command = Command::new(cargo_program());
            command.args(["test", "--workspace", "--all-features"]).args(arguments);
            if needs::provide_wishes()? {
                command.env("BROWSER_TESTS", "required");
            }
            if needs::provide_rxdb()? {
                command.env("RXDB_TESTS", "required");
            }
            run(command)
        }
        Task::Prove { arguments } => {
            needs::provide(Scope::Everything)?;
            let mut command = Command::new(cargo_program());
            command.args(["test", "--workspace", "--all-features", "--test", "proofs", "--"]).args(arguments);
            command.env("DOCUMENTS", "100000").env("OUTAGE_SECONDS", "60");
            run(command)
        }
        Task::Fuzz { arguments } => {
            needs::provide(Scope::Basic)?;
            let (planted, others): (Vec<_>, Vec<_>) =
                arguments.into_iter().partition(|argument| argument == "--planted");
            let example: &[&str] =
                if planted.is_empty() { &["todos", "--", "fuzz"] } else { &["planted-bugs", "--"] };
            cargo(&[&["run", "--package", "peerloom-sim", "--example"], example].concat(), &others)
        }
        Task::Crash { arguments } => run_of_everything("peerloom-crash", &arguments),
        Task::Bench { arguments } => bench(arguments),
        Task::Model { arguments } => {
            needs::provide(Scope::Basic)?;
            cargo(&["run", "--package", "peerloom-model", "--"], &arguments)
        }
        Task::Rxdb { arguments } => {
            needs::provide(Scope::Basic)?;
            anyhow::ensure!(needs::provide_rxdb()?, "RxDB is not there");
            cargo(&["run", "--package", "rxdb-rooms", "--"], &arguments)
        }
        Task::FuzzBytes { seconds, target } => fuzz_bytes(seconds, target),
        Task::Check => check(),
    }
}

/// Runs the demo: in one process, which is quick to build, or in three.
fn demo(arguments: Vec<String>) -> anyhow::Result<()> {
    let (webrtc, others): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|argument| argument == "--webrtc");
    let program = if webrtc.is_empty() { "earthquakes" } else { "three-processes" };
    if others.iter().any(|argument| argument.ends_with("rocksdb")) {
        return run_of_everything(program, &others);
    }
    needs::provide(Scope::Basic)?;
    if webrtc.is_empty() {
        return cargo(&["run", "--package", program, "--"], &others);
    }
    let packages = ["peerloom-peer", "peerloom-signaling", program];
    let build: Vec<&str> = ["build", "--bins"]
        .into_iter()
        .chain(packages.iter().flat_map(|package| ["--package", package]))
        .collect();
    cargo(&build, &[])?;
    run_built(program, &others)
}

/// Runs the benchmarks that are named, or all. That of WebRTC is one of its package, and alone it needs no RocksDB.
fn bench(arguments: Vec<String>) -> anyhow::Result<()> {
    let is_all = arguments.is_empty();
    let (webrtc, others): (Vec<_>, Vec<_>) = arguments.into_iter().partition(|argument| argument == "webrtc");
    if is_all || !others.is_empty() {
        run_of_everything("peerloom-benches", &others)?;
    }
    if is_all || !webrtc.is_empty() {
        needs::provide(Scope::Basic)?;
        let fixed = ["bench", "--package", "peerloom-webrtc", "--profile", "dev", "--bench", "loopback"];
        cargo(&fixed, &[])?;
    }
    Ok(())
}

/// Replays what was found, as the tests do, and fuzzes on.
fn fuzz_bytes(seconds: u32, chosen: Vec<String>) -> anyhow::Result<()> {
    needs::provide(Scope::Fuzzer)?;
    cargo(&["test", "--package", "peerloom-hostile-bytes"], &[])?;
    needs::provide_cargo_fuzz()?;
    let targets = if chosen.is_empty() { fuzz_targets()? } else { chosen };
    let time = format!("-max_total_time={seconds}");
    for target in targets {
        let corpus = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(root().join(&corpus)).context(corpus.clone())?;
        let regressions = format!("fuzz/regressions/{target}");
        let mut command = Command::new(cargo_program());
        command.args(["fuzz", "run", &target, &corpus, &regressions]);
        command.args(["--", &time, "-max_len=65536", "-rss_limit_mb=512", "-timeout=10"]);
        // Sanitizers and coverage are options of nightly compilers alone. With this the present one takes them, too, and nobody
        // has to install a second.
        command.env("RUSTC_BOOTSTRAP", "1");
        run(command).with_context(|| {
            format!(
                "what breaks {target} is in fuzz/artifacts/{target}: mend it, and keep it in {regressions}"
            )
        })?;
    }
    Ok(())
}

fn fuzz_targets() -> anyhow::Result<Vec<String>> {
    let directory = root().join("fuzz/fuzz_targets");
    let files = directory.read_dir().with_context(|| directory.display().to_string())?;
    let mut targets = Vec::new();
    for file in files {
        targets.push(file?.path().file_stem().context("a target has a name")?.to_string_lossy().into_owned());
    }
    targets.sort();
    Ok(targets)
}

/// Builds the whole workspace, as the tests do, and runs one of its programs.
///
/// A build of that program's package alone would choose other features for what bindgen depends on, and compile RocksDB again.
fn run_of_everything(program: &str, arguments: &[String]) -> anyhow::Result<()> {
    needs::provide(Scope::Everything)?;
    cargo(&["build", "--workspace", "--all-features", "--bins"], &[])?;
    run_built(program, arguments)
}

/// Runs a program that was built, and lies beside this one.
fn run_built(program: &str, arguments: &[String]) -> anyhow::Result<()> {
    let this = env::current_exe().context("where this program lies")?;
    let mut command = Command::new(this.with_file_name(format!("{program}{}", env::consts::EXE_SUFFIX)));
    command.args(arguments);
    run(command)
}

fn check() -> anyhow::Result<()> {
    needs::provide(Scope::Everything)?;
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-features", "--all-targets", "--", "--deny", "warnings"], &[])?;
    // A workspace of its own. What its programs do is in `testing/hostile-bytes`, which the tests run.
    cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"], &[])?;
    cargo(&["clippy", "--manifest-path", "fuzz/Cargo.toml", "--", "--deny", "warnings"], &[])?;
    let mut documentation = Command::new(cargo_program());
    documentation
        .args(["doc", "--workspace", "--all-features", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    run(documentation)
}

fn cargo(fixed: &[&str], passed_on: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new(cargo_program());
    command.args(fixed).args(passed_on);
    run(command)
}

/// The cargo that runs this program.
fn cargo_program() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Prints a command and runs it in the workspace's root.
fn run(mut command: Command) -> anyhow::Result<()> {
    command.current_dir(root());
    let line = line(&command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("`{line}` could not be started"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// The workspace's root, or where the program was started if it was not by cargo.
fn root() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| ".".into(), |package| PathBuf::from(package).join(".."))
}

/// A command as one would type it.
fn line(command: &Command) -> String {
    let variables =
        command.get_envs().filter_map(|(name, value)| Some(format!("{}={}", name.display(), quoted(value?))));
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    variables.chain(words.map(quoted)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains(char::is_whitespace) {
        format!("{word:?}")
    } else {
        word.into_owned()
    }
}
