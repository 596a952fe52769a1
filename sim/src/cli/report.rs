//! Writes what happened in a replayed run in the form that a file's name asks for.

use std::path::{Path, PathBuf};

use super::{Failure, Status, replay_line};
use crate::outcome::Verdict;
use crate::recorder::Recording;
use crate::replay::Replay;
use crate::report::Report;
use crate::scenario::{RunOptions, Scenario};

/// How wide text is where the terminal does not say.
const COLUMNS: usize = 120;

enum Form {
    Html,
    Svg,
    Text,
}

pub(super) fn report(scenario: &Scenario, file: &Path, output: Option<&Path>) -> Result<Status, Failure> {
    // Before a run that may take a while.
    let form = output.map_or(Ok(Form::Text), Form::of)?;
    let replay = Replay::load(file, scenario.name())?;
    let options = RunOptions { fabric: replay.fabric, recording: Recording::Payloads };
    let outcome = scenario.run(&replay.plan, options);
    let (status, violation) = match outcome.verdict {
        Verdict::Held => (Status::Held, None),
        Verdict::Violated(violation) => (Status::Violated, Some(violation)),
    };
    let report = Report {
        scenario: replay.scenario,
        plan: replay.plan,
        trace: outcome.trace.expect("events were asked for"),
        violation,
        figures: outcome.figures,
        replay: replay_line(file),
    };
    let text = match form {
        Form::Html => report.to_html(),
        Form::Svg => report.to_svg(),
        Form::Text => report.to_text(columns()),
    };
    match output {
        Some(path) => {
            std::fs::write(path, text).map_err(|source| Failure::Unwritable { path: path.into(), source })?;
            println!("{}", path.display());
        }
        None => print!("{text}"),
    }
    Ok(status)
}

impl Form {
    fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => Ok(Self::Html),
            Some("svg") => Ok(Self::Svg),
            Some("txt") => Ok(Self::Text),
            _ => Err(Failure::Form(PathBuf::from(path))),
        }
    }
}

fn columns() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(COLUMNS)
}
