//! Histories: how a document came to be in conflict, from its first content on.
//!
//! A history says what users did, and no more: heads, contexts and annotations are what the real rules and the handler
//! make of it, each time it is played.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::edit::Edit;

/// A replica in a history. It is written as a letter.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Who {
    /// The first replica.
    A,
    /// The second.
    B,
    /// The third.
    C,
}

impl Who {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Who {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// Which state of the document a writer had read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// What its replica shows.
    #[default]
    Now,
    /// What its replica showed before it last took something over: a form that was open meanwhile.
    Before,
}

/// Something that happens to a document.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Step {
    /// Somebody writes.
    Write {
        /// Where.
        by: Who,
        /// When, by the clock of that replica, in milliseconds after the document was made there.
        clock_ms: i64,
        /// What the writer had read.
        #[serde(default, skip_serializing_if = "is_now")]
        reading: Reading,
        /// The changes, in one write.
        edits: Vec<Edit>,
    },
    /// A replica takes over everything that another one has.
    Take {
        /// Who takes.
        by: Who,
        /// From whom.
        from: Who,
    },
}

/// How a document came to be as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Its content when all three replicas had it first.
    pub first: Value,
    /// Whether it was there at first, or is made by those who write it.
    #[serde(default, skip_serializing_if = "is_there")]
    pub origin: Origin,
    /// What happened then, in this order.
    pub steps: Vec<Step>,
}

/// Where a history begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// All replicas have the document.
    #[default]
    There,
    /// Nobody has it, so that each writer makes it.
    Nowhere,
}

impl History {
    /// A document to which nothing has happened yet.
    pub(crate) fn untouched(first: Value) -> Self {
        Self { first, origin: Origin::There, steps: Vec::new() }
    }

    /// Everybody writes at the hour that is given here, in milliseconds, instead.
    pub(crate) fn at(&self, clock_ms: impl Fn(Who) -> i64) -> Self {
        let mut history = self.clone();
        for step in &mut history.steps {
            if let Step::Write { by, clock_ms: at, .. } = step {
                *at = clock_ms(*by);
            }
        }
        history
    }

    pub(crate) fn deletes(&self) -> bool {
        let deletes = |edit: &Edit| matches!(edit, Edit::Delete | Edit::DeleteKeepingContent);
        self.steps.iter().any(|step| matches!(step, Step::Write { edits, .. } if edits.iter().any(deletes)))
    }

    pub(crate) fn writers(&self) -> Vec<Who> {
        let writes =
            |who: &Who| self.steps.iter().any(|step| matches!(step, Step::Write { by, .. } if by == who));
        Who::ALL.into_iter().filter(writes).collect()
    }

    /// Whether no replica hears of another before the end.
    pub(crate) fn is_apart(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Step::Take { .. }))
    }
}

fn is_now(reading: &Reading) -> bool {
    *reading == Reading::Now
}

fn is_there(origin: &Origin) -> bool {
    *origin == Origin::There
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { by, clock_ms, reading, edits } => {
                let edits: Vec<String> = edits.iter().map(ToString::to_string).collect();
                let edits =
                    if edits.is_empty() { "writes it without a change".into() } else { edits.join(", ") };
                let reading = match reading {
                    Reading::Now => "",
                    Reading::Before => ", on top of what it had read before",
                };
                write!(formatter, "{by}, by its clock at {clock_ms} ms, {edits}{reading}")
            }
            Self::Take { by, from } => write!(formatter, "{by} takes over what {from} has"),
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::There => {
                writeln!(formatter, "  A, B and C have {}", self.first)?;
            }
            Origin::Nowhere => {
                writeln!(formatter, "  nobody has the document; who writes it starts from {}", self.first)?;
            }
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(formatter, "  {}. {step}", number + 1)?;
        }
        Ok(())
    }
}
