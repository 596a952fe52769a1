//! What a user says about a handler, and what it is to be judged by.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerloom_core::ConflictHandler;
use serde_json::Value;

use crate::checks;
use crate::documents::{Documents, DocumentsError};
use crate::generate::Generator;
use crate::interleavings::{Depth, explored};
use crate::law::{Law, Skip};
use crate::pointer::MalformedPointer;
use crate::processes::{self, OtherProcesses, ProcessError};
use crate::regressions::RegressionsError;
use crate::report::{Outcome, Report, Row};
use crate::subject::{Deletion, Subject};
use crate::trials::Trials;

/// From how many random cases on the sessions are searched thoroughly, too.
const THOROUGH_CASES: u64 = 10_000;

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
    pub(crate) name: String,
    pub(crate) subject: Subject,
    documents: Option<Documents>,
    malformed: Option<MalformedPointer>,
    pub(crate) trials: Trials,
    skips: Vec<Skip>,
    pub(crate) regressions: Option<PathBuf>,
    pub(crate) processes: Option<OtherProcesses>,
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
            trials: Trials::default(),
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
    /// step. `""` is the whole document. Lists there count as sets: neither their order nor duplicates matter.
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
        self.trials.cases = cases;
        self
    }

    /// The seed of the random cases, which are the same for the same seed. The default is 0. The environment variable `SEED` counts
    /// more than this.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.trials.seed = seed;
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
            return Ok(Row::new(law, Outcome::Skipped(skip.reason.clone()), 0, String::new(), began));
        }
        if let Some(malformed) = &self.malformed {
            return Err(malformed.clone().into());
        }
        if processes::is_any_asked() {
            if law == Law::Purity && processes::is_asked(&self.name) {
                processes::answer(&self.subject)?;
            }
            return Ok(Row::new(
                law,
                Outcome::Skipped("this process answers another one".into()),
                0,
                String::new(),
                began,
            ));
        }
        let documents = self.documents.as_ref().ok_or(LawsError::NoDocuments)?;
        let generator = Generator::new(documents.source()?, documents.validity());
        match checks::focus(law) {
            Some(focus) => self.search(law, focus, &generator, began),
            None if law == Law::CostPerCall => Ok(self.time(&generator, began)),
            None => {
                let is_thorough = self.trials.now()?.cases >= THOROUGH_CASES;
                let depth = if is_thorough { Depth::Thorough } else { Depth::Usual };
                Ok(explored(&self.subject, &generator, depth, began))
            }
        }
    }
}
