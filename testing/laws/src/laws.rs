//! What a user says about a handler, and the search for histories that break a law.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerloom_core::{ConflictHandler, State, json};
use serde_json::Value;

use crate::checks::{self, Evidence, Verdict, judge};
use crate::counterexample::Counterexample;
use crate::dice::Dice;
use crate::documents::{Documents, DocumentsError};
use crate::exhaustive;
use crate::generate::{Focus, Generator};
use crate::history::History;
use crate::interleavings::{Depth, explored};
use crate::law::{Law, Skip};
use crate::pointer::MalformedPointer;
use crate::processes::{self, OtherProcesses, PROCESSES, ProcessError};
use crate::regressions::{self, RegressionsError};
use crate::report::{Outcome, Report, Row, grouped};
use crate::shrink::{Removable, shrink};
use crate::subject::{Deletion, Panicked, Subject};

/// Random cases for each law, unless it is said otherwise.
const CASES: u64 = 256;
/// How many cases are drawn for each that a law says something about, at most.
const DRAWN_PER_CASE_MAX: u64 = 8;
/// From how many random cases on the sessions are searched thoroughly, too.
const THOROUGH_CASES: u64 = 10_000;
/// The most histories that other processes are asked about.
const ASKED_MAX: usize = 20_000;
/// With how many versions in conflict calls are timed.
const TIMED_HEADS: [usize; 2] = [2, 64];

/// The laws for one handler: what is declared of it, on which documents it is tried, and how often.
///
/// [`conflict_laws!`](crate::conflict_laws) makes tests of one; a program runs it itself:
///
/// ```
/// use peerloom_core::LastWriteWins;
/// use peerloom_laws::{Deletion, Law, Laws};
/// use proptest::prelude::{Just, Strategy, any};
/// use serde_json::json;
///
/// let notes = (0..3, any::<bool>()).prop_map(|(text, done)| json!({ "text": text, "done": done }));
/// let report = Laws::for_handler(LastWriteWins)
///     .documents(notes)
///     .deletion(Deletion::LastWriteWins)
///     .skip([Law::DisjointEdits.because("the last write wins as a whole")])
///     .cases(32)
///     .run()?;
/// assert!(report.holds(), "{report}");
/// # Ok::<(), peerloom_laws::LawsError>(())
/// ```
#[derive(Clone)]
pub struct Laws {
    name: String,
    subject: Subject,
    documents: Option<Documents>,
    malformed: Option<MalformedPointer>,
    cases: u64,
    seed: u64,
    skips: Vec<Skip>,
    regressions: Option<PathBuf>,
    processes: Option<OtherProcesses>,
}

/// Why a handler could not be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LawsError {
    /// No documents were given.
    #[error("there are no documents to try the handler on: give some with documents")]
    NoDocuments,
    /// The documents that were given are none.
    #[error("the documents cannot be used")]
    Documents(#[from] DocumentsError),
    /// What is combined is not said by JSON pointers.
    #[error("combines names a place that cannot be")]
    Combines(#[from] MalformedPointer),
    /// The file with the regressions cannot be used.
    #[error("the regressions cannot be used")]
    Regressions(#[from] RegressionsError),
    /// Other processes could not be asked.
    #[error("other processes cannot be asked")]
    Processes(#[from] ProcessError),
    /// A variable of the environment is not what it must be.
    #[error("the environment variable {name} is {value:?}, and not a number")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
    },
}

impl Laws {
    /// Laws for this handler, with nothing declared.
    pub fn for_handler(handler: impl ConflictHandler) -> Self {
        let subject = Subject {
            handler: Arc::new(handler),
            combines: Vec::new(),
            deletion: Deletion::NotDeclared,
            merges_fields: true,
            equality: Arc::new(|left, right| left == right),
            validity: None,
            cost_max: Duration::from_millis(100),
        };
        Self {
            name: subject.handler.id().to_string(),
            subject,
            documents: None,
            malformed: None,
            cases: CASES,
            seed: 0,
            skips: Vec::new(),
            regressions: None,
            processes: None,
        }
    }

    /// Names them. The table says so. The default is the id of the handler.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The documents that histories begin with. Must be given.
    #[must_use]
    pub fn documents(mut self, documents: impl Into<Documents>) -> Self {
        let documents = documents.into();
        self.subject.validity = documents.validity();
        self.documents = Some(documents);
        self
    }

    /// Declares what becomes of a document that is deleted here and edited there. The default promises nothing.
    #[must_use]
    pub fn deletion(mut self, deletion: Deletion) -> Self {
        self.subject.deletion = deletion;
        self
    }

    /// Declares where the handler makes values that nobody wrote, such as sums or joined lists: as JSON pointers, in which `*` stands for any
    /// step. `""` is the whole document.
    #[must_use]
    pub fn combines<P: AsRef<str>>(mut self, places: impl IntoIterator<Item = P>) -> Self {
        for place in places {
            match place.as_ref().parse() {
                Ok(place) => self.subject.combines.push(place),
                Err(error) => self.malformed = Some(error),
            }
        }
        self
    }

    /// How many random cases each law is tried on, beside the small scope. The default is 256. The environment variable `CASES`
    /// counts more than this. From 10,000 on, sessions are searched for minutes, too.
    #[must_use]
    pub fn cases(mut self, cases: u64) -> Self {
        self.cases = cases;
        self
    }

    /// The seed of the random cases, which are the same for the same seed. The default is 0. The environment variable `SEED` counts
    /// more than this.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// When two documents count as equal, for instance whatever their `updated_at` is. An equivalence relation. The default is equality.
    #[must_use]
    pub fn equality(mut self, equal: impl Fn(&Value, &Value) -> bool + Send + Sync + 'static) -> Self {
        self.subject.equality = Arc::new(equal);
        self
    }

    /// Leaves laws out, each for a reason that stands in the table.
    ///
    /// Without [`Law::DisjointEdits`], [`Law::LaterWrites`] is only about deleted documents that are written again: whoever lets a last
    /// write win as a whole lets it win with what it left alone.
    #[must_use]
    pub fn skip(mut self, skips: impl IntoIterator<Item = Skip>) -> Self {
        self.skips.extend(skips);
        self.subject.merges_fields = self.skips.iter().all(|skip| skip.law != Law::DisjointEdits);
        self
    }

    /// How long a call may take with 64 versions in conflict, on an idle machine. The default is 100 ms, which no handler needs.
    #[must_use]
    pub fn cost_max(mut self, cost_max: Duration) -> Self {
        self.subject.cost_max = cost_max;
        self
    }

    /// The file in which histories that broke a law are kept, and from which they are tried first. Without it none are kept.
    #[must_use]
    pub fn regressions(mut self, path: impl Into<PathBuf>) -> Self {
        self.regressions = Some(path.into());
        self
    }

    /// Asks other processes, too, for the law of purity: this program, started again with these arguments, must come to judge the same laws
    /// (those of the same name). Without it purity is tried in this process only.
    #[must_use]
    pub fn in_other_processes<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.processes = Some(OtherProcesses { arguments });
        self
    }

    /// Judges the handler by all laws. In a process that is asked for another one, answers and ends the process.
    pub fn run(&self) -> Result<Report, LawsError> {
        if processes::is_any_asked() {
            if processes::is_asked(&self.name) {
                processes::answer(&self.subject)?;
                std::process::exit(0);
            }
            // Another one's turn.
            return Ok(Report { name: self.name.clone(), rows: Vec::new() });
        }
        let rows: Result<Vec<Row>, LawsError> = Law::ALL.into_iter().map(|law| self.check(law)).collect();
        Ok(Report { name: self.name.clone(), rows: rows? })
    }

    /// Judges the handler by one law.
    pub fn check(&self, law: Law) -> Result<Row, LawsError> {
        let began = Instant::now();
        if let Some(skip) = self.skips.iter().find(|skip| skip.law == law) {
            return Ok(row(law, Outcome::Skipped(skip.reason.clone()), 0, String::new(), began));
        }
        if let Some(malformed) = &self.malformed {
            return Err(malformed.clone().into());
        }
        if processes::is_any_asked() {
            if law == Law::Purity && processes::is_asked(&self.name) {
                processes::answer(&self.subject)?;
            }
            return Ok(row(
                law,
                Outcome::Skipped("this process answers another one".into()),
                0,
                String::new(),
                began,
            ));
        }
        let documents = self.documents.as_ref().ok_or(LawsError::NoDocuments)?;
        let generator = Generator::new(documents.source()?, documents.validity());
        match checks::check(law) {
            Some((focus, _)) => self.search(law, focus, &generator, began),
            None if law == Law::CostPerCall => Ok(self.time(&generator, began)),
            None => {
                let depth = if self.count()? >= THOROUGH_CASES { Depth::Thorough } else { Depth::Usual };
                Ok(explored(&self.subject, &generator, depth, began))
            }
        }
    }

    fn count(&self) -> Result<u64, LawsError> {
        Ok(variable("CASES")?.unwrap_or(self.cases))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn search(
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
        let (count, seed) = (self.count()?, variable("SEED")?.unwrap_or(self.seed));
        let sample = generator
            .source
            .samples
            .iter()
            .max_by_key(|sample| sample.as_object().map(|fields| fields.len()));
        let sample = sample.expect("there is at least one");
        let small = exhaustive::pairs(&generator.shape, sample)
            .chain(exhaustive::triples(&generator.shape, sample))
            .chain(exhaustive::settlings(&generator.shape, sample));
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
            outcome = Some(self.shrunk(law, generator, history, evidence));
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
            return Ok(row(law, Outcome::Broken(Box::new(counterexample)), cases, tried, began));
        }
        let outcome = match tally.applied {
            0 if tally.panicked > 0 => Outcome::Skipped("the handler panics: see totality".into()),
            0 => Outcome::Skipped("no history of these documents is about it".into()),
            _ => Outcome::Held,
        };
        Ok(row(law, outcome, tally.cases(), tally.tried(), began))
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
        evidence: Evidence,
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
            _ => Counterexample::new(law, &self.subject, history, &evidence),
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

    fn time(&self, generator: &Generator, began: Instant) -> Row {
        let state = |document: &Value| State {
            body: json::to_canonical(document).unwrap_or_default(),
            ..State::default()
        };
        let bodies: Vec<State> = generator.source.samples.iter().map(state).collect();
        let timed: Result<Vec<Duration>, Panicked> =
            TIMED_HEADS.iter().map(|heads| checks::cost(&self.subject, &bodies, *heads)).collect();
        let Ok(timed) = timed else {
            let outcome = Outcome::Skipped("the handler panics: see totality".into());
            return row(Law::CostPerCall, outcome, 0, String::new(), began);
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
        row(Law::CostPerCall, outcome, TIMED_HEADS.len() as u64, told, began)
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

fn row(law: Law, outcome: Outcome, cases: u64, tried: String, began: Instant) -> Row {
    Row { law, outcome, cases, tried, elapsed: began.elapsed() }
}

fn variable(name: &'static str) -> Result<Option<u64>, LawsError> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let value = value.to_string_lossy().into_owned();
    value.parse().map(Some).map_err(|_| LawsError::Variable { name, value })
}
