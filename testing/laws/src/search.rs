//! The search for histories that break a law: first those that did so once, then a small scope without gaps, then random ones.

use std::time::{Duration, Instant};

use peerloom_core::{State, json};
use serde_json::Value;

use crate::checks::{self, Evidence, Verdict, judge};
use crate::counterexample::Counterexample;
use crate::dice::Dice;
use crate::exhaustive;
use crate::generate::{Focus, Generator};
use crate::history::History;
use crate::law::Law;
use crate::laws::{Laws, LawsError};
use crate::processes::{OtherProcesses, PROCESSES};
use crate::regressions;
use crate::report::{Outcome, Row, grouped};
use crate::shrink::{Removable, shrink};
use crate::subject::Panicked;
use crate::trials::Trials;

/// How many cases are drawn for each that a law says something about, at most.
const DRAWN_PER_CASE_MAX: u64 = 8;
/// The most histories that other processes are asked about.
const ASKED_MAX: usize = 20_000;
/// With how many versions in conflict calls are timed.
const TIMED_HEADS: [usize; 2] = [2, 64];

impl Laws {
    pub(crate) fn search(
        &self,
        law: Law,
        focus: Focus,
        generator: &Generator,
        began: Instant,
    ) -> Result<Row, LawsError> {
        let mut tally = Tally::default();
        let kept = match &self.regressions {
            Some(path) => regressions::kept(path, law)?,
            None => Vec::new(),
        };
        let Trials { cases: count, seed } = self.trials.now()?;
        let sample = generator
            .source
            .samples
            .iter()
            .max_by_key(|sample| sample.as_object().map(|fields| fields.len()));
        let sample = sample.expect("there is at least one");
        // Growth is a matter of two and not of whose clock is behind, and takes many rounds to see.
        let is_growth = law == Law::BoundedGrowth;
        let small = exhaustive::pairs(&generator.shape, sample)
            .step_by(if is_growth { exhaustive::CLOCKS } else { 1 })
            .chain(
                exhaustive::triples(&generator.shape, sample)
                    .chain(exhaustive::settlings(&generator.shape, sample))
                    .filter(|_| !is_growth),
            );
        let mut asked: Vec<History> = Vec::new();
        let mut found = None;
        for (history, kind) in kept
            .into_iter()
            .map(|history| (history, Kind::Kept))
            .chain(small.map(|history| (history, Kind::Small)))
        {
            found = self.try_on(law, history, kind, &mut tally, &mut asked);
            if found.is_some() {
                break;
            }
        }
        let mut drawn = 0;
        while found.is_none() && tally.random < count && drawn < count * DRAWN_PER_CASE_MAX {
            let mut dice = Dice::of_case(seed, law as usize, drawn);
            drawn += 1;
            let history = generator.history(focus, &mut dice);
            found = self.try_on(law, history, Kind::Random, &mut tally, &mut asked);
        }
        let mut outcome = None;
        if let Some((history, evidence)) = found {
            outcome = Some(self.shrunk(law, generator, history, &evidence));
        } else if let (Law::Purity, Some(processes)) = (law, &self.processes) {
            asked.truncate(ASKED_MAX);
            outcome = self.ask(processes, generator, &asked)?;
            tally.processes = PROCESSES;
        }
        if let Some(counterexample) = outcome {
            if let Some(path) = &self.regressions {
                regressions::keep(path, law, &counterexample.what, &counterexample.history)?;
            }
            let (cases, tried) = (tally.cases(), tally.tried());
            return Ok(Row::new(law, Outcome::Broken(Box::new(counterexample)), cases, tried, began));
        }
        let outcome = match tally.applied {
            0 if tally.panicked > 0 => Outcome::Skipped("the handler panics: see totality".into()),
            0 => Outcome::Skipped("no history of these documents is about it".into()),
            _ => Outcome::Held,
        };
        Ok(Row::new(law, outcome, tally.cases(), tally.tried(), began))
    }

    fn try_on(
        &self,
        law: Law,
        history: History,
        kind: Kind,
        tally: &mut Tally,
        asked: &mut Vec<History>,
    ) -> Option<(History, Evidence)> {
        let judged = judge(law, &self.subject, &history);
        tally.count(kind, &judged);
        match judged {
            Ok(Verdict::Broken(evidence)) => return Some((history, evidence)),
            Ok(Verdict::Holds) if law == Law::Purity => asked.push(history),
            _ => {}
        }
        None
    }

    fn shrunk(
        &self,
        law: Law,
        generator: &Generator,
        history: History,
        evidence: &Evidence,
    ) -> Counterexample {
        let removable = if law == Law::Totality { Removable::Everything } else { Removable::Optional };
        let is_broken =
            |history: &History| matches!(judge(law, &self.subject, history), Ok(Verdict::Broken(_)));
        let small = shrink(history.clone(), &generator.shape, removable, |smaller| {
            smaller.iter().position(is_broken)
        });
        match judge(law, &self.subject, &small) {
            Ok(Verdict::Broken(evidence)) => Counterexample::new(law, &self.subject, small, &evidence),
            // It depends on luck. The first one has been seen at least once.
            _ => Counterexample::new(law, &self.subject, history, evidence),
        }
    }

    fn ask(
        &self,
        processes: &OtherProcesses,
        generator: &Generator,
        histories: &[History],
    ) -> Result<Option<Counterexample>, LawsError> {
        let different =
            |histories: &[History]| processes.first_difference(&self.name, &self.subject, histories);
        let Some(index) = different(histories)? else { return Ok(None) };
        let small = shrink(histories[index].clone(), &generator.shape, Removable::Optional, |smaller| {
            // What cannot be asked any more is not known to be broken.
            different(smaller).unwrap_or_default()
        });
        let what = "another process, with another time zone, language and hash seed, says something else"
            .to_string();
        let evidence = Evidence { what, ..Evidence::default() };
        Ok(Some(Counterexample::new(Law::Purity, &self.subject, small, &evidence)))
    }

    /// Times calls.
    pub(crate) fn time(&self, generator: &Generator, began: Instant) -> Row {
        let state = |document: &Value| State {
            body: json::to_canonical(document).unwrap_or_default(),
            ..State::default()
        };
        let bodies: Vec<State> = generator.source.samples.iter().map(state).collect();
        let timed: Result<Vec<Duration>, Panicked> =
            TIMED_HEADS.iter().map(|heads| checks::cost(&self.subject, &bodies, *heads)).collect();
        let Ok(timed) = timed else {
            let outcome = Outcome::Skipped("the handler panics: see totality".into());
            return Row::new(Law::CostPerCall, outcome, 0, String::new(), began);
        };
        let told: Vec<String> = timed
            .iter()
            .zip(TIMED_HEADS)
            .map(|(time, heads)| format!("{time:.1?} with {heads} versions"))
            .collect();
        let told = told.join(", ");
        let outcome = match timed.iter().any(|time| *time > self.subject.cost_max) {
            false => Outcome::Held,
            true => {
                let what =
                    format!("a call takes {told}, and {:.1?} is the most it may", self.subject.cost_max);
                let history = History::untouched(generator.source.samples[0].clone());
                let evidence = Evidence { what, ..Evidence::default() };
                Outcome::Broken(Box::new(Counterexample::new(
                    Law::CostPerCall,
                    &self.subject,
                    history,
                    &evidence,
                )))
            }
        };
        Row::new(Law::CostPerCall, outcome, TIMED_HEADS.len() as u64, told, began)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Kept,
    Small,
    Random,
}

/// What was tried so far.
#[derive(Clone, Debug, Default)]
struct Tally {
    kept: u64,
    /// Only those that the law is about, and so with the random ones.
    small: u64,
    random: u64,
    applied: u64,
    panicked: u64,
    processes: usize,
}

impl Tally {
    fn count(&mut self, kind: Kind, judged: &Result<Verdict, Panicked>) {
        let applied = !matches!(judged, Ok(Verdict::DoesNotApply) | Err(_));
        self.applied += u64::from(applied);
        self.panicked += u64::from(judged.is_err());
        match kind {
            Kind::Kept => self.kept += 1,
            Kind::Small => self.small += u64::from(applied),
            Kind::Random => self.random += u64::from(applied),
        }
    }

    fn cases(&self) -> u64 {
        self.kept + self.small + self.random
    }

    fn tried(&self) -> String {
        let mut parts = Vec::new();
        if self.kept > 0 {
            parts.push(format!("{} kept", self.kept));
        }
        if self.small > 0 {
            parts.push(format!("exhaustive over {}", grouped(self.small)));
        }
        parts.push(format!("{} random", grouped(self.random)));
        if self.processes > 0 {
            parts.push(format!("again in {} other processes", self.processes));
        }
        parts.join(", ")
    }
}
