//! What came of the laws: the table.

use std::fmt;
use std::time::{Duration, Instant};

use crate::counterexample::{Counterexample, aligned};
use crate::law::Law;

/// What came of one law.
#[derive(Clone, Debug)]
pub struct Row {
    /// The law.
    pub law: Law,
    /// What came of it.
    pub outcome: Outcome,
    /// Cases that were tried and that the law says something about.
    pub cases: u64,
    /// What was tried, for people.
    pub tried: String,
    /// How long it took.
    pub elapsed: Duration,
}

impl Row {
    pub(crate) fn new(law: Law, outcome: Outcome, cases: u64, tried: String, began: Instant) -> Self {
        Self { law, outcome, cases, tried, elapsed: began.elapsed() }
    }
}

/// What came of a law.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It held in all cases.
    Held,
    /// It was broken.
    Broken(Box<Counterexample>),
    /// It was not asked, for this reason.
    Skipped(String),
}

/// The table of all laws.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name of these laws, or of the handler.
    pub name: String,
    /// One row for each law.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether no law was broken.
    pub fn holds(&self) -> bool {
        self.broken().next().is_none()
    }

    /// The counterexamples of the laws that were broken.
    pub fn broken(&self) -> impl Iterator<Item = &Counterexample> {
        self.rows.iter().filter_map(|row| match &row.outcome {
            Outcome::Broken(counterexample) => Some(&**counterexample),
            Outcome::Held | Outcome::Skipped(_) => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = |row: &Row| match &row.outcome {
            Outcome::Held => "held",
            Outcome::Broken(_) => "BROKEN",
            Outcome::Skipped(_) => "skipped",
        };
        let about = |row: &Row| match &row.outcome {
            Outcome::Skipped(reason) => reason.clone(),
            Outcome::Held | Outcome::Broken(_) => row.tried.clone(),
        };
        let mut rows = vec![["law", "", "cases tried, or why not"].map(str::to_string).to_vec()];
        rows.extend(
            self.rows.iter().map(|row| vec![row.law.to_string(), verdict(row).to_string(), about(row)]),
        );
        writeln!(formatter, "{}", self.name)?;
        formatter.write_str(&aligned(&rows))
    }
}

/// A number as people read it: `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
