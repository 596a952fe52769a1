//! A scenario: what is simulated, under which plans, and what must be true.

use std::sync::Arc;

use peerloom::{ConflictHandler, LastWriteWins, Storage};

use crate::check::{Check, standard_checks};
use crate::device::StorageEnvironment;
use crate::fabric::{Fabric, run_virtual};
use crate::marks;
use crate::outcome::{Outcome, Verdict};
use crate::plan::Plan;
use crate::recorder::Recording;
use crate::subject::{MakeStorage, Peerloom, Subject};

/// How a plan is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// On what.
    pub fabric: Fabric,
    /// How much of it is kept.
    pub recording: Recording,
}

/// What one run takes with it.
pub(crate) struct Casting {
    pub(crate) subject: Arc<dyn Subject>,
    pub(crate) checks: Vec<Box<dyn Check>>,
    pub(crate) recording: Recording,
}

/// What is simulated, under which plans, and what must be true.
#[derive(Clone)]
pub struct Scenario {
    name: Arc<str>,
    storage: MakeStorage,
    handler: Arc<dyn ConflictHandler>,
    /// In place of Peerloom.
    subject: Option<Arc<dyn Subject>>,
    checks: Arc<Vec<Box<dyn Check>>>,
}

impl Scenario {
    /// A scenario of todos on memory storage, last write wins, with the standard checks.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            storage: Arc::new(|environment| Arc::new(environment.memory())),
            handler: Arc::new(LastWriteWins),
            subject: None,
            checks: Arc::new(Vec::new()),
        }
    }

    /// The storage of every peer, made at each of its starts. What it keeps outside of the [`StorageEnvironment`] survives what it must
    /// not survive.
    #[must_use]
    pub fn storage<S: Storage>(
        self,
        open: impl Fn(&StorageEnvironment) -> S + Send + Sync + 'static,
    ) -> Self {
        Self { storage: Arc::new(move |environment| Arc::new(open(environment))), ..self }
    }

    /// The conflict handler of every peer. Default [`LastWriteWins`].
    #[must_use]
    pub fn handler(self, handler: impl ConflictHandler) -> Self {
        Self { handler: Arc::new(handler), ..self }
    }

    /// Other software in the place of Peerloom.
    #[must_use]
    pub fn subject(self, subject: impl Subject) -> Self {
        Self { subject: Some(Arc::new(subject)), ..self }
    }

    /// Adds something that must be true. Without any, [`standard_checks`] are made.
    #[must_use]
    pub fn check(self, check: impl Check) -> Self {
        let mut checks: Vec<Box<dyn Check>> = self.checks.iter().map(|check| (**check).boxed()).collect();
        checks.push(Box::new(check));
        Self { checks: Arc::new(checks), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a plan to its end, or to the first violation.
    pub fn run(&self, plan: &Plan, options: RunOptions) -> Outcome {
        marks::take();
        let subject = self.subject.clone().unwrap_or_else(|| {
            Arc::new(Peerloom { storage: self.storage.clone(), handler: self.handler.clone() })
        });
        let mut checks: Vec<Box<dyn Check>> = self.checks.iter().map(|check| (**check).boxed()).collect();
        if checks.is_empty() {
            checks.push(Box::new(standard_checks()));
        }
        let casting = Casting { subject, checks, recording: options.recording };
        let world = match options.fabric {
            Fabric::Virtual | Fabric::Turmoil => run_virtual(plan, casting),
        };
        let mut state = world.take();
        state.figures.marks = marks::take();
        let verdict = state.violation.map_or(Verdict::Held, Verdict::Violated);
        let (digest, trace) = state.recorder.finish();
        Outcome { verdict, figures: state.figures, digest, trace }
    }
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scenario").field("name", &self.name).finish_non_exhaustive()
    }
}
