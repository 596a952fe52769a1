//! The histories that broke a law once, in a file beside the test. They are tried first, until somebody deletes them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::law::Law;

/// How many are kept for each law.
const KEPT_MAX: usize = 8;

/// A counterexample as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Regression {
    law: Law,
    /// What was wrong, for people.
    found: String,
    history: History,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegressionsError {
    /// It cannot be read.
    #[error("cannot read the regressions in {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{path} does not hold regressions: mend it, or delete it to start afresh")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("cannot keep the counterexample in {path}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// The histories that are kept for a law.
pub(crate) fn kept(path: &Path, law: Law) -> Result<Vec<History>, RegressionsError> {
    let kept = read(path)?.into_iter().filter(|regression| regression.law == law);
    Ok(kept.map(|regression| regression.history).collect())
}

/// Keeps a history, unless it is kept already or there are enough of them.
pub(crate) fn keep(path: &Path, law: Law, found: &str, history: &History) -> Result<(), RegressionsError> {
    let mut all = read(path)?;
    let of_law = all.iter().filter(|regression| regression.law == law);
    if of_law.clone().any(|regression| regression.history == *history) || of_law.count() >= KEPT_MAX {
        return Ok(());
    }
    all.push(Regression { law, found: found.to_string(), history: history.clone() });
    all.sort_by_key(|regression| regression.law);
    let text = serde_json::to_string_pretty(&all).expect("histories are JSON") + "\n";
    // Tests run beside each other, so that a reader must find the old file or the new one.
    let written = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&written, text)
        .and_then(|()| std::fs::rename(&written, path))
        .map_err(|source| RegressionsError::Unwritable { path: path.to_path_buf(), source })
}

fn read(path: &Path) -> Result<Vec<Regression>, RegressionsError> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|source| RegressionsError::Malformed { path: path.to_path_buf(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(RegressionsError::Unreadable { path: path.to_path_buf(), source }),
    }
}

/// The file beside a test: `tests/todos.rs` with the laws `todo_laws` has `tests/todo_laws.regressions.json`.
///
/// The compiler names source files relative to the workspace or to the package, whichever it was started in.
#[doc(hidden)]
pub fn beside(package: &str, source: &str, name: &str) -> PathBuf {
    let package = Path::new(package);
    let found = package.ancestors().map(|above| above.join(source)).find(|path| path.exists());
    let source = found.unwrap_or_else(|| package.join(source));
    source.with_file_name(format!("{name}.regressions.json"))
}
