//! Where the documents come from: examples, a JSON Schema, a serde type, or any strategy of proptest.

use std::path::PathBuf;
use std::sync::Arc;

use peerloom_core::json::{self, JsonError};
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Strategy};
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::dice::Dice;
use crate::schema::{self, SchemaError};

/// Tells whether a document is one that the application could have written, and if not, why.
pub(crate) type Validity = Arc<dyn Fn(&Value) -> Result<(), String> + Send + Sync>;

/// How many documents are looked at to learn which values stand where.
const SAMPLES: usize = 48;

/// The documents that the histories of a law begin with, and whose values users write.
///
/// [`from_examples`], [`from_schema`] and [`from_type`] make one, and every `Strategy<Value = serde_json::Value>` is one.
#[derive(Clone)]
pub struct Documents {
    strategy: Result<BoxedStrategy<Value>, DocumentsError>,
    validity: Option<Validity>,
}

/// Why there are no documents.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentsError {
    /// The pattern for example files is malformed.
    #[error("{pattern:?} is no pattern for files: {detail}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        detail: String,
    },
    /// No file is there.
    #[error(
        "no file matches {pattern} in {directory}: a pattern is relative to where the tests run, the directory of the package"
    )]
    NoExamples {
        /// The pattern.
        pattern: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read the example {path}: {detail}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// A file that is no document.
    #[error("the example {path} is not the JSON of a document")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// A schema that documents cannot be made from.
    #[error("no documents can be made from the schema")]
    Schema(#[from] SchemaError),
    /// The strategy makes none.
    #[error("the strategy refuses every document: its filters are too strict")]
    Refused,
    /// A document that is no JSON object has no fields to edit.
    #[error("{document} is no JSON object: a document is an object with fields")]
    NoObject {
        /// What it is.
        document: Value,
    },
}

/// Documents as in these files: one JSON object in each. The pattern is one for [`glob`](https://docs.rs/glob), such as
/// `tests/todos/*.json`, relative to the directory of the package, which is where cargo runs tests.
///
/// What is in every example is taken for required and is never left out, except by the law of totality. So give at least two
/// examples, with optional fields in one of them and not in the other.
pub fn from_examples(pattern: impl AsRef<str>) -> Documents {
    let examples = read_examples(pattern.as_ref());
    Documents { strategy: examples.map(|examples| select(examples).boxed()), validity: None }
}

/// Documents that this JSON Schema allows.
///
/// Supported are the keywords that say what a document is made of, references within the schema among them; one that only forbids,
/// such as `not` or `if`, is an error, because documents could break it.
pub fn from_schema(schema: &Value) -> Documents {
    let strategy = schema::documents(schema).map_err(DocumentsError::from);
    Documents { strategy, validity: None }
}

/// Documents that serde reads as a `T`, by the schema that [`schemars`] derives for it.
///
/// What the handler makes of valid documents must be one that serde reads, too: that is part of the law of closure.
///
/// ```
/// # use schemars::JsonSchema;
/// # use serde::Deserialize;
/// #[derive(Deserialize, JsonSchema)]
/// struct Todo {
///     title: String,
///     done: bool,
/// }
/// let todos = peerloom_laws::from_type::<Todo>();
/// ```
pub fn from_type<T: JsonSchema + DeserializeOwned>() -> Documents {
    // Documents are what serde reads, so fields with a default may be missing.
    let schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    let reads = |value: &Value| match T::deserialize(value) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    Documents { validity: Some(Arc::new(reads)), ..from_schema(&schema) }
}

impl<S: Strategy<Value = Value> + 'static> From<S> for Documents {
    fn from(strategy: S) -> Self {
        Self { strategy: Ok(strategy.boxed()), validity: None }
    }
}

impl Documents {
    /// Says which documents are valid. What the handler makes of valid documents must be valid, too.
    #[must_use]
    pub fn valid_if(
        mut self,
        validity: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.validity = Some(Arc::new(validity));
        self
    }

    pub(crate) fn validity(&self) -> Option<Validity> {
        self.validity.clone()
    }

    pub(crate) fn source(&self) -> Result<Source, DocumentsError> {
        let strategy = self.strategy.clone()?;
        let mut dice = Dice::new(0);
        let drawn = (0..SAMPLES).filter_map(|_| dice.draw(&strategy));
        let is_valid = |document: &Value| self.validity.as_ref().is_none_or(|valid| valid(document).is_ok());
        let samples: Vec<Value> = drawn.filter(is_valid).collect();
        if samples.is_empty() {
            return Err(DocumentsError::Refused);
        }
        match samples.iter().find(|document| !document.is_object()) {
            Some(document) => Err(DocumentsError::NoObject { document: document.clone() }),
            None => Ok(Source { strategy, samples }),
        }
    }
}

/// Documents that were found to be some.
pub(crate) struct Source {
    strategy: BoxedStrategy<Value>,
    /// Some of them, at least one.
    pub(crate) samples: Vec<Value>,
}

impl Source {
    /// One of them.
    pub(crate) fn draw(&self, dice: &mut Dice) -> Value {
        let drawn = if dice.once_in(2) { dice.draw(&self.strategy) } else { None };
        drawn.filter(Value::is_object).unwrap_or_else(|| dice.one_of(&self.samples).clone())
    }
}

fn read_examples(pattern: &str) -> Result<Vec<Value>, DocumentsError> {
    let paths = glob::glob(pattern).map_err(|error| DocumentsError::Pattern {
        pattern: pattern.to_string(),
        detail: error.to_string(),
    })?;
    let mut examples = Vec::new();
    for path in paths {
        let path = path.map_err(|error| DocumentsError::Unreadable {
            path: error.path().to_path_buf(),
            detail: error.error().to_string(),
        })?;
        let text = std::fs::read(&path)
            .map_err(|error| DocumentsError::Unreadable { path: path.clone(), detail: error.to_string() })?;
        examples.push(json::parse(&text).map_err(|source| DocumentsError::Malformed { path, source })?);
    }
    if examples.is_empty() {
        let directory = std::env::current_dir().unwrap_or_default();
        return Err(DocumentsError::NoExamples { pattern: pattern.to_string(), directory });
    }
    Ok(examples)
}
