//! Where the content of documents comes from: examples, a function, a `proptest` strategy, or todos.

use std::path::PathBuf;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::Serialize;
use serde_json::{Value, json};

use crate::causes::with_causes;
use crate::plan::Draw;

/// A source of documents. Edits take their fields from it as well, so that they stay plausible.
///
/// Any function from a [`Draw`] to a [`Value`] is one.
///
/// ```
/// use peerloom_sim::plan::Draw;
/// use peerloom_sim::Documents;
/// use serde_json::json;
///
/// let counters = |draw: &mut Draw| json!({ "count": draw.below(10) });
/// assert!(counters.document(&mut Draw::new(1, "first"))["count"].as_u64() < Some(10));
/// ```
pub trait Documents: Send + Sync {
    /// A document that depends on the draw and on nothing else: equal draws give equal documents.
    fn document(&self, draw: &mut Draw) -> Value;
}

impl<F: Fn(&mut Draw) -> Value + Send + Sync> Documents for F {
    fn document(&self, draw: &mut Draw) -> Value {
        self(draw)
    }
}

/// Small todos, with a nested object and a list. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Todos;

impl Documents for Todos {
    fn document(&self, draw: &mut Draw) -> Value {
        const TITLES: [&str; 6] =
            ["buy milk", "water the plants", "appeler Zoé", "電話する", "", "say \"hi\""];
        const PEOPLE: [&str; 4] = ["Ada", "Barbara", "Edsger", "Leslie"];
        const TAGS: [&str; 5] = ["home", "work", "urgent", "later", "shopping"];
        let tags: Vec<_> = (0..draw.below(4)).map(|_| *draw.one_of(&TAGS)).collect();
        json!({
            "title": draw.one_of(&TITLES),
            "done": draw.chance(0.3),
            "priority": draw.below(5),
            "estimate": draw.below(40) as f64 / 4.0,
            "assigned": { "to": draw.one_of(&PEOPLE), "by": draw.one_of(&PEOPLE) },
            "tags": tags,
        })
    }
}

/// The documents in all files that match a pattern such as `todos/*.json`, seen from the current directory. An array in a
/// file is so many documents, everything else is one.
///
/// # Panics
///
/// Where [`Examples::read`] fails, with its error.
pub fn from_examples(pattern: &str) -> Examples {
    Examples::read(pattern).unwrap_or_else(|error| panic!("{}", with_causes(&error)))
}

/// Documents that somebody wrote.
#[derive(Clone, Debug)]
pub struct Examples {
    documents: Vec<Value>,
}

/// Why there are no examples.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExamplesError {
    /// It is not a pattern.
    #[error("`{pattern}` is not a pattern of file names")]
    Pattern {
        /// The text.
        pattern: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No document was found.
    #[error("no document in `{pattern}`, seen from {}", directory.display())]
    Nothing {
        /// The pattern.
        pattern: String,
        /// The current directory.
        directory: PathBuf,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not JSON.
    #[error("{} is not JSON", path.display())]
    NotJson {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Examples {
    /// The documents in all files that match the pattern, in the order of the files' names.
    ///
    /// # Errors
    ///
    /// If the pattern is not one, if a file cannot be read or is not JSON, or if there is no document.
    pub fn read(pattern: &str) -> Result<Self, ExamplesError> {
        let paths = glob::glob(pattern)
            .map_err(|source| ExamplesError::Pattern { pattern: pattern.into(), source: source.into() })?;
        let mut documents = Vec::new();
        for path in paths {
            let path = path.map_err(|error| ExamplesError::Unreadable {
                path: error.path().into(),
                source: error.into(),
            })?;
            if path.is_dir() {
                continue;
            }
            let text = std::fs::read(&path)
                .map_err(|source| ExamplesError::Unreadable { path: path.clone(), source })?;
            match serde_json::from_slice(&text).map_err(|source| ExamplesError::NotJson { path, source })? {
                Value::Array(several) => documents.extend(several),
                one => documents.push(one),
            }
        }
        if documents.is_empty() {
            let directory = std::env::current_dir().unwrap_or_default();
            return Err(ExamplesError::Nothing { pattern: pattern.into(), directory });
        }
        Ok(Self { documents })
    }
}

impl Documents for Examples {
    fn document(&self, draw: &mut Draw) -> Value {
        draw.one_of(&self.documents).clone()
    }
}

/// What a `proptest` strategy makes, as JSON. The draw seeds the strategy's randomness, so the same seed gives the same
/// documents as long as strategy and `proptest` stay the same.
///
/// Drawing a document panics if the strategy gives up (a filter that rejects nearly everything) or if its value has no form
/// in JSON (a map whose keys are not strings).
pub fn from_strategy<S>(strategy: S) -> impl Documents
where
    S: Strategy + Send + Sync,
    S::Value: Serialize,
{
    move |draw: &mut Draw| {
        let mut seed = [0; 32];
        draw.fill(&mut seed);
        // The default takes these from environment variables, and a plan depends on its seed alone.
        let config = Config {
            failure_persistence: None,
            max_default_size_range: 100,
            max_flat_map_regens: 1_000_000,
            max_local_rejects: 65_536,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let tree = strategy
            .new_tree(&mut TestRunner::new_with_rng(config, rng))
            .unwrap_or_else(|reason| panic!("the strategy gives no document: {reason}"));
        serde_json::to_value(tree.current())
            .unwrap_or_else(|error| panic!("the strategy's value is no JSON: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{Documents, Examples, ExamplesError, Todos, from_strategy};
    use crate::plan::Draw;

    fn drawn(documents: &dyn Documents, key: u32) -> serde_json::Value {
        documents.document(&mut Draw::new(1, key))
    }

    #[test]
    fn examples_are_documents_and_arrays_of_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let pattern = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(directory.path().join("one.json"), r#"{ "is": 1 }"#).expect("a file");
        std::fs::write(directory.path().join("two.json"), r#"[{ "is": 2 }, "three"]"#).expect("a file");
        std::fs::write(directory.path().join("bad.txt"), "{").expect("a file");

        let examples = Examples::read(&pattern("*.json")).expect("examples");
        assert_eq!(examples.documents, [json!({ "is": 1 }), json!({ "is": 2 }), json!("three")]);
        assert!((0..50).any(|key| drawn(&examples, key) == "three"));

        let error = |name| Examples::read(&pattern(name)).expect_err(name);
        assert!(matches!(error("*.yaml"), ExamplesError::Nothing { .. }));
        assert!(matches!(error("bad.*"), ExamplesError::NotJson { .. }));
        assert!(matches!(error("***"), ExamplesError::Pattern { .. }));
    }

    #[test]
    fn a_strategy_depends_on_the_draw_alone() {
        let documents =
            from_strategy((any::<u64>(), ".*").prop_map(|(id, name)| json!({ "id": id, "name": name })));
        assert_eq!(drawn(&documents, 1), drawn(&documents, 1));
        assert_ne!(drawn(&documents, 1), drawn(&documents, 2));
    }

    #[test]
    fn todos_are_objects_that_differ() {
        assert!(drawn(&Todos, 1).is_object());
        assert_ne!(drawn(&Todos, 1), drawn(&Todos, 2));
    }
}
