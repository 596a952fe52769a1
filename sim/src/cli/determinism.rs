//! Whether a seed is the same run every time: two fresh processes of this program compare what happened.
//!
//! Two runs in one process would share what is drawn once per process, such as the keys of hash maps.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use clap::ValueEnum;

use super::{FabricName, Failure, Status};
use crate::fabric::Fabric;
use crate::recorder::Recording;
use crate::scenario::{RunOptions, Scenario};

pub(super) fn check(scenario: &Scenario, seed: u64, fabric: FabricName) -> Result<Status, Failure> {
    let (first, second) = (digest(seed, fabric, None)?, digest(seed, fabric, None)?);
    if first == second {
        println!("{}, seed {seed}: both runs have the digest {first}", scenario.name());
        return Ok(Status::Held);
    }
    println!("{}, seed {seed}: one run has the digest {first}, the other {second}", scenario.name());
    let directory = tempfile::tempdir().map_err(Failure::Events)?;
    let files = [directory.path().join("first"), directory.path().join("second")];
    for file in &files {
        digest(seed, fabric, Some(file))?;
    }
    match first_difference(&files[0], &files[1]).map_err(Failure::Events)? {
        Some(Difference { place, left, right }) => {
            println!("the first difference is event {place}:");
            println!("  {}", left.as_deref().unwrap_or("(the end)"));
            println!("  {}", right.as_deref().unwrap_or("(the end)"));
        }
        None => println!("two more runs with their events kept do not differ: it happens now and then"),
    }
    Ok(Status::NotDeterministic)
}

/// One half of it: runs the seed, writes its events if there is a file for them, and prints the digest.
pub(super) fn trace(
    scenario: &Scenario,
    seed: u64,
    fabric: Fabric,
    events: Option<&Path>,
) -> Result<Status, Failure> {
    let recording = if events.is_some() { Recording::Payloads } else { Recording::Digest };
    let outcome = scenario.run(&scenario.plan(seed), RunOptions { fabric, recording });
    if let (Some(path), Some(trace)) = (events, &outcome.trace) {
        let write = || {
            let mut file = BufWriter::new(File::create(path)?);
            for event in &trace.events {
                serde_json::to_writer(&mut file, event)?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        write().map_err(Failure::Events)?;
    }
    println!("{:016x}", outcome.digest);
    Ok(Status::Held)
}

/// The digest that another process comes to.
fn digest(seed: u64, fabric: FabricName, events: Option<&Path>) -> Result<String, Failure> {
    let program = std::env::current_exe().map_err(Failure::Child)?;
    let fabric = fabric.to_possible_value().expect("no fabric is hidden");
    let mut command = Command::new(program);
    command.args(["trace", "--seed", &seed.to_string(), "--fabric", fabric.get_name()]);
    if let Some(path) = events {
        command.arg("--events").arg(path);
    }
    let output = command.stderr(Stdio::inherit()).output().map_err(Failure::Child)?;
    if !output.status.success() {
        return Err(Failure::ChildFailed(output.status));
    }
    // A handler or storage of the user may print too; the digest comes last.
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// The first line in which two files differ.
#[derive(Debug, Eq, PartialEq)]
struct Difference {
    place: usize,
    left: Option<String>,
    right: Option<String>,
}

fn first_difference(left: &Path, right: &Path) -> std::io::Result<Option<Difference>> {
    let mut left = BufReader::new(File::open(left)?).lines();
    let mut right = BufReader::new(File::open(right)?).lines();
    for place in 0.. {
        match (left.next().transpose()?, right.next().transpose()?) {
            (None, None) => break,
            (left, right) if left == right => {}
            (left, right) => return Ok(Some(Difference { place, left, right })),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{Difference, first_difference};

    #[test]
    fn the_first_difference_is_found_and_so_is_an_early_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let long = file("long", "a\nb\nc\n");
        let other = file("other", "a\nx\nc\n");
        let short = file("short", "a\nb\n");
        let difference = |left, right| first_difference(left, right).expect("both can be read");
        assert_eq!(difference(&long, &long), None);
        let at = |place, left: Option<&str>, right: Option<&str>| {
            Some(Difference { place, left: left.map(String::from), right: right.map(String::from) })
        };
        assert_eq!(difference(&long, &other), at(1, Some("b"), Some("x")));
        assert_eq!(difference(&short, &long), at(2, None, Some("c")));
    }
}
