//! The replay file: a run that anybody can repeat, in one small file of JSON.
//!
//! It holds the plan and not the seed alone, because what a seed becomes changes with the scenario, and because a plan that was
//! shrunk is of no seed any more.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fabric::Fabric;
use crate::outcome::{Outcome, Verdict};
use crate::plan::Plan;

/// The form of the file that this version writes and reads.
const FORMAT: u32 = 1;

/// The version of Peerloom that runs.
const PEERLOOM: &str = env!("CARGO_PKG_VERSION");

/// A run to be repeated. Valid within a minor version of Peerloom.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    format: u32,
    peerloom: String,
    /// The name of the scenario.
    pub scenario: String,
    /// What it ran on.
    pub fabric: Fabric,
    /// What it came to.
    pub expected: Expected,
    /// What is done.
    pub plan: Plan,
}

/// What a run came to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The signature of the violation, or nothing if everything held.
    pub signature: Option<String>,
    /// What was wrong, for people.
    pub says: String,
    /// The digest of the trace.
    #[serde(with = "hexadecimal")]
    pub digest: u64,
}

/// Why a replay file is not written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no replay file.
    #[error("{} is not a replay file", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file has another form.
    #[error("{} has form {found}, and this program reads form {FORMAT}: use the version that wrote it", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// Its form.
        found: u32,
    },
    /// The file is of another minor version, in which the same plan is another run.
    #[error(
        "{} is of Peerloom {found} and this is {PEERLOOM}, where the same plan is another run: replay it with {found}, or run seed {seed} again",
        path.display()
    )]
    Version {
        /// Which.
        path: PathBuf,
        /// The version that wrote it.
        found: String,
        /// The seed of its plan.
        seed: u64,
    },
    /// The file is of another scenario.
    #[error("{} is of the scenario `{found}`, and this program simulates `{simulated}`", path.display())]
    Scenario {
        /// Which.
        path: PathBuf,
        /// Its scenario.
        found: String,
        /// The scenario of the program.
        simulated: String,
    },
}

impl Replay {
    /// A run and what it came to.
    pub fn new(scenario: &str, fabric: Fabric, plan: Plan, outcome: &Outcome) -> Self {
        let (signature, says) = match &outcome.verdict {
            Verdict::Held => (None, String::new()),
            Verdict::Violated(violation) => (Some(violation.signature().to_owned()), violation.says.clone()),
        };
        Self {
            format: FORMAT,
            peerloom: PEERLOOM.into(),
            scenario: scenario.into(),
            fabric,
            expected: Expected { signature, says, digest: outcome.digest },
            plan,
        }
    }

    /// Writes the file, and the directories above it.
    ///
    /// # Errors
    ///
    /// If the file or a directory cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ReplayError> {
        let unwritable = |source| ReplayError::Unwritable { path: path.into(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(unwritable)?;
        }
        let mut text = serde_json::to_string_pretty(self).expect("a replay is JSON");
        text.push('\n');
        std::fs::write(path, text).map_err(unwritable)
    }

    /// Reads the file of a run of a scenario.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is no replay file, or is of another version or scenario.
    pub fn load(path: &Path, scenario: &str) -> Result<Self, ReplayError> {
        let malformed = |source| ReplayError::Malformed { path: path.into(), source };
        let text =
            std::fs::read(path).map_err(|source| ReplayError::Unreadable { path: path.into(), source })?;
        // Another version may have other fields, and what to do about that is not to mend the file.
        let header: Header = serde_json::from_slice(&text).map_err(malformed)?;
        if header.format != FORMAT {
            return Err(ReplayError::Format { path: path.into(), found: header.format });
        }
        if minor(&header.peerloom) != minor(PEERLOOM) {
            let Header { peerloom: found, plan: Seed { seed }, .. } = header;
            return Err(ReplayError::Version { path: path.into(), found, seed });
        }
        let replay: Self = serde_json::from_slice(&text).map_err(malformed)?;
        if replay.scenario != scenario {
            let (found, simulated) = (replay.scenario, scenario.into());
            return Err(ReplayError::Scenario { path: path.into(), found, simulated });
        }
        Ok(replay)
    }
}

/// What every version can read.
#[derive(Deserialize)]
struct Header {
    format: u32,
    peerloom: String,
    plan: Seed,
}

#[derive(Deserialize)]
struct Seed {
    seed: u64,
}

/// Major and minor version.
fn minor(version: &str) -> Option<(&str, &str)> {
    let (major, rest) = version.split_once('.')?;
    let (minor, _) = rest.split_once('.')?;
    Some((major, minor))
}

/// A number as text, because half of the programs that read JSON round large ones.
mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{PEERLOOM, Replay, ReplayError};
    use crate::fabric::Fabric;
    use crate::outcome::{Figures, Outcome, Verdict, Violation};
    use crate::plan::{PlanOptions, plan};

    fn replay() -> Replay {
        let violation =
            Violation { check: "lost".into(), says: "it is gone".into(), peer: None, document: None };
        let verdict = Verdict::Violated(violation);
        let outcome = Outcome { verdict, figures: Figures::default(), digest: u64::MAX - 1, trace: None };
        Replay::new("todos", Fabric::Virtual, plan(17, &PlanOptions::default()), &outcome)
    }

    /// A file with this content, in a directory that is kept while it is used.
    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("replay.json");
        std::fs::write(&path, text).expect("a file");
        (directory, path)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("target/sim/todos-17.json");
        replay().save(&path).expect("saved");
        assert_eq!(Replay::load(&path, "todos").expect("loaded"), replay());
    }

    #[test]
    fn what_cannot_be_replayed_says_why() {
        let text = serde_json::to_string(&replay()).expect("JSON");
        let error = |text: &str, scenario: &str| {
            let (_directory, path) = file(text);
            Replay::load(&path, scenario).expect_err("no replay")
        };
        let of_version = |version: &str| text.replace(&format!("\"{PEERLOOM}\""), &format!("\"{version}\""));

        assert!(matches!(error("{", "todos"), ReplayError::Malformed { .. }));
        assert!(matches!(
            error(&text.replace("\"seed\"", "\"sed\""), "todos"),
            ReplayError::Malformed { .. }
        ));
        assert!(matches!(error(&text, "counters"), ReplayError::Scenario { .. }));
        assert!(matches!(
            error(&text.replace("\"format\":1", "\"format\":2"), "todos"),
            ReplayError::Format { found: 2, .. }
        ));
        // Fields that this version does not know are no reason to call the file malformed.
        let newer = of_version("99.0.0").replace("\"scenario\"", "\"mood\":1,\"scenario\"");
        let version = error(&newer, "todos");
        assert!(matches!(&version, ReplayError::Version { found, seed: 17, .. } if found == "99.0.0"));
        assert!(version.to_string().ends_with("replay it with 99.0.0, or run seed 17 again"));
        let missing = PathBuf::from("/nowhere/replay.json");
        assert!(matches!(Replay::load(&missing, "todos"), Err(ReplayError::Unreadable { .. })));
    }

    #[test]
    fn a_patch_of_the_same_minor_version_will_do() {
        let (major, rest) = PEERLOOM.split_once('.').expect("a version");
        let (minor, _) = rest.split_once('.').expect("a version");
        let text = serde_json::to_string(&replay()).expect("JSON");
        let patched = text.replace(&format!("\"{PEERLOOM}\""), &format!("\"{major}.{minor}.999\""));
        assert_ne!(text, patched);
        let (_directory, path) = file(&patched);
        assert_eq!(Replay::load(&path, "todos").expect("loaded").plan, replay().plan);
    }
}
