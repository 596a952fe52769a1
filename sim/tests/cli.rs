//! The command line, seen from outside: what it prints and its exit status.
//!
//! This program is both the tests and, when it is given a command, the program under test.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use peerloom_sim::plan::{Draw, Faults, mix};
use peerloom_sim::{Scenario, invariant, sometimes};
use serde_json::{Value, json};

/// Which scenario the program under test has.
const SCENARIO: &str = "SCENARIO_UNDER_TEST";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(SCENARIO) {
        return peerloom_sim::cli(scenario(&name));
    }
    let tests: &[(&str, fn())] = &[
        ("a_scenario_that_holds_exits_with_0", a_scenario_that_holds_exits_with_0),
        ("a_violation_becomes_a_line_to_copy", a_violation_becomes_a_line_to_copy),
        ("a_campaign_shrinks_what_it_finds", a_campaign_shrinks_what_it_finds),
        ("a_file_is_shrunk", a_file_is_shrunk),
        ("a_file_is_shown_in_three_forms", a_file_is_shown_in_three_forms),
        ("what_ran_too_little_is_incomplete", what_ran_too_little_is_incomplete),
        ("what_differs_is_not_deterministic", what_differs_is_not_deterministic),
        ("a_swarm_is_the_same_in_two_processes", a_swarm_is_the_same_in_two_processes),
        ("wrong_arguments_and_files_are_incomplete", wrong_arguments_and_files_are_incomplete),
    ];
    // What `cargo test` passes: names to look for.
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in tests {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            println!("test {name}");
            test();
        }
    }
    ExitCode::SUCCESS
}

fn scenario(name: &str) -> Scenario {
    let small = Scenario::new(name)
        .peers(2..=3)
        .operations(20)
        .rounds(1..=1, 5_000..=5_000)
        .workload(mix().insert(1).edit(1).hot_documents(0.2))
        .faults(Faults::none());
    match name {
        "held" => small,
        "violated" => small.check(invariant("few documents", |world| {
            let most = world.peers.iter().map(|peer| peer.holdings.documents.len()).max().unwrap_or(0);
            sometimes!(most == 2, "two documents");
            if most > 3 { Err(format!("{most} documents")) } else { Ok(()) }
        })),
        "swarm" => Scenario::new(name).peers(3..=4).operations(60).rounds(1..=1, 10_000..=15_000),
        // The keys of hash maps are drawn once per process.
        "different" => {
            let keys = RandomState::new();
            small.documents(move |_: &mut Draw| -> Value { json!({ "n": keys.hash_one(1) % (1 << 50) }) })
        }
        other => panic!("no scenario {other}"),
    }
}

/// What a command came to.
struct Ran {
    status: Option<i32>,
    output: String,
}

/// A directory in which commands are run.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn run(&self, scenario: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(arguments).env(SCENARIO, scenario).current_dir(self.0.path());
        Self::ran(&mut command)
    }

    /// Runs the line that was printed to be copied.
    fn run_line(&self, scenario: &str, line: &str) -> Ran {
        let mut command = Command::new("sh");
        command.args(["-c", line]).env(SCENARIO, scenario).current_dir(self.0.path());
        Self::ran(&mut command)
    }

    fn ran(command: &mut Command) -> Ran {
        let output = command.output().expect("it starts");
        let text = [output.stdout, output.stderr].concat();
        Ran { status: output.status.code(), output: String::from_utf8_lossy(&text).into_owned() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }
}

impl Ran {
    #[track_caller]
    fn has(self, status: i32, texts: &[&str]) -> Self {
        assert_eq!(self.status, Some(status), "{}", self.output);
        for text in texts {
            assert!(self.output.contains(text), "no `{text}` in:\n{}", self.output);
        }
        self
    }

    /// The lines to copy.
    fn replay_lines(&self) -> Vec<&str> {
        self.output.lines().filter(|line| line.contains(" replay target/")).collect()
    }
}

fn operations(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).expect("a replay file");
    let replay: Value = serde_json::from_str(&text).expect("JSON");
    let rounds = replay["plan"]["rounds"].as_array().expect("rounds").iter();
    rounds.map(|round| round["operations"].as_array().expect("operations").len()).sum()
}

fn a_scenario_that_holds_exits_with_0() {
    let place = Place::new();
    place.run("held", &["run", "--seed", "1"]).has(0, &["held", "20 operations acknowledged"]);
    place.run("held", &["fuzz", "--seeds", "4", "--jobs", "2"]).has(0, &["4 seeds from 0", "0 failures"]);
    place.run("held", &["check-determinism", "--seed", "1"]).has(0, &["both runs have the digest"]);
    assert!(!place.path("target").exists());
}

fn a_violation_becomes_a_line_to_copy() {
    let place = Place::new();
    let ran =
        place.run("violated", &["run", "--seed", "7"]).has(1, &["VIOLATED: few documents: 4 documents"]);
    let lines = ran.replay_lines();
    assert_eq!(lines.len(), 1, "{}", ran.output);
    let again = place.run_line("violated", lines[0]).has(1, &["VIOLATED: few documents"]);
    assert!(!again.output.contains("has changed"), "{}", again.output);
    // Of another program.
    place.run("held", &["replay", "target/sim/violated-7.json"]).has(2, &["of the scenario `violated`"]);
    // With the bug mended, which is another outcome than the one recorded.
    let path = place.path("target/sim/violated-7.json");
    let text = std::fs::read_to_string(&path).expect("a replay file");
    std::fs::write(&path, text.replace("\"violated\"", "\"held\"")).expect("a replay file");
    place
        .run("held", &["replay", "target/sim/violated-7.json"])
        .has(0, &["held", "recorded was another outcome: few documents failed"]);
}

fn a_campaign_shrinks_what_it_finds() {
    let place = Place::new();
    let ran = place
        .run(
            "violated",
            &["fuzz", "--from", "5", "--seeds", "3", "--jobs", "1", "--must-reach", "two documents"],
        )
        .has(1, &["3 failures", "reached in 3 of 3 runs: two documents"]);
    // It is told as it is found, and then made small.
    let found = ran.output.find("seed 5: VIOLATED: few documents").expect("it is told");
    let shrunk = ran.output.find("seed 5: shrunk to 1 peers, 4 operations").expect("it is made small");
    assert!(found < shrunk && ran.output[found..shrunk].contains("20 operations"), "{}", ran.output);
    let lines = ran.replay_lines();
    assert_eq!(lines.len(), 3, "{}", ran.output);
    // The first of a kind is made small, and the others are kept as they are.
    assert_eq!(operations(&place.path("target/sim/violated-5.json")), 4);
    assert_eq!(operations(&place.path("target/sim/violated-6.json")), 20);
    place.run_line("violated", lines[0]).has(1, &["4 operations", "VIOLATED: few documents"]);
}

fn a_file_is_shrunk() {
    let place = Place::new();
    place.run("violated", &["run", "--seed", "7"]).has(1, &[]);
    let file = "target/sim/violated-7.json";
    place
        .run("violated", &["shrink", file, "-o", "small.json", "--shrink-runs", "3"])
        .has(1, &["the budget is spent"]);
    place
        .run("violated", &["shrink", file, "-o", "small.json"])
        .has(1, &["to 1 peers, 4 operations, 0 faults"]);
    assert_eq!(operations(&place.path("small.json")), 4);
    assert_eq!(operations(&place.path(file)), 20);
    place.run("violated", &["replay", "small.json"]).has(1, &["VIOLATED: few documents"]);
}

fn a_file_is_shown_in_three_forms() {
    let place = Place::new();
    place.run("violated", &["run", "--seed", "7"]).has(1, &[]);
    let file = "target/sim/violated-7.json";
    for (name, text) in
        [("page.html", "<!doctype html>"), ("page.svg", "<svg"), ("page.txt", "few documents")]
    {
        place.run("violated", &["report", file, "-o", name]).has(1, &[name]);
        let written = std::fs::read_to_string(place.path(name)).expect("a report").to_lowercase();
        assert!(written.contains(text), "no {text} in {name}");
    }
    place.run("violated", &["report", file]).has(1, &["few documents"]);
    place.run("violated", &["report", file, "-o", "page.pdf"]).has(2, &["page.pdf is no form of report"]);
}

fn what_ran_too_little_is_incomplete() {
    let place = Place::new();
    place.run("held", &["fuzz", "--for", "0s"]).has(2, &["0 seeds"]);
    place.run("held", &["fuzz", "--for", "0s", "--seeds", "9"]).has(2, &["time was over before all seeds"]);
    place
        .run("held", &["fuzz", "--seeds", "1", "--must-reach", "the moon"])
        .has(2, &["NOT REACHED: the moon"]);
}

fn what_differs_is_not_deterministic() {
    let place = Place::new();
    place
        .run("different", &["check-determinism", "--seed", "1"])
        .has(3, &["the first difference is event", "put document-0"]);
}

fn a_swarm_is_the_same_in_two_processes() {
    let place = Place::new();
    for (fabric, seeds) in [("virtual", ["3", "4"]), ("turmoil", ["3", "4"]), ("webrtc", ["5", "6"])] {
        for seed in seeds {
            place.run("swarm", &["check-determinism", "--seed", seed, "--fabric", fabric]).has(0, &[]);
        }
    }
}

fn wrong_arguments_and_files_are_incomplete() {
    let place = Place::new();
    place.run("held", &["run"]).has(2, &["--seed"]);
    place.run("held", &["fuzz", "--for", "10"]).has(2, &["such as 90s"]);
    place.run("held", &["replay", "nothing.json"]).has(2, &["cannot read nothing.json: "]);
    std::fs::write(place.path("noise.json"), "noise").expect("a file");
    place.run("held", &["shrink", "noise.json"]).has(2, &["noise.json is not a replay file"]);
}
