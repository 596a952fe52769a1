//! A scenario: what is simulated, under which plans, and what must be true.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use peerloom::{ConflictHandler, LastWriteWins, Storage};

use crate::check::{Check, standard_checks};
use crate::device::StorageEnvironment;
use crate::documents::Documents;
use crate::fabric::{self, Fabric};
use crate::marks;
use crate::outcome::{Outcome, Verdict};
use crate::plan::{Faults, Plan, PlanOptions, Topology, Workload, plan};
use crate::recorder::Recording;
use crate::replay::Replay;
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
    pub(crate) settles_within: Duration,
}

/// How long a healed room may take to settle. Longer than it takes to notice a dead connection (40 s of silence), to give up a
/// handshake (10 s) and to connect again (30 s), twice over.
const SETTLES_WITHIN: Duration = Duration::from_secs(200);

/// What is simulated, under which plans, and what must be true.
#[derive(Clone)]
pub struct Scenario {
    name: Arc<str>,
    storage: MakeStorage,
    handler: Arc<dyn ConflictHandler>,
    /// In place of Peerloom.
    subject: Option<Arc<dyn Subject>>,
    checks: Arc<Vec<Box<dyn Check>>>,
    plans: PlanOptions,
    settles_within: Duration,
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
            plans: PlanOptions::default(),
            settles_within: SETTLES_WITHIN,
        }
    }

    /// How many peers. Default 3 to 6.
    #[must_use]
    pub fn peers(mut self, peers: RangeInclusive<usize>) -> Self {
        self.plans.peers = peers;
        self
    }

    /// How many operations in a run. Default 200.
    #[must_use]
    pub fn operations(mut self, operations: u32) -> Self {
        self.plans.operations = operations;
        self
    }

    /// How many rounds, and how long each is in milliseconds. Default 2 to 3 of 20 to 30 seconds.
    #[must_use]
    pub fn rounds(mut self, rounds: RangeInclusive<usize>, round_ms: RangeInclusive<u64>) -> Self {
        (self.plans.rounds, self.plans.round_ms) = (rounds, round_ms);
        self
    }

    /// Who may be connected to whom: one of these. Default all of them.
    #[must_use]
    pub fn topologies(mut self, topologies: impl IntoIterator<Item = Topology>) -> Self {
        self.plans.topologies = topologies.into_iter().collect();
        self
    }

    /// What is in the documents. Default [`Todos`](crate::Todos).
    #[must_use]
    pub fn documents(mut self, documents: impl Documents + 'static) -> Self {
        self.plans.documents = Arc::new(documents);
        self
    }

    /// What users do.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.plans.workload = workload;
        self
    }

    /// What goes wrong. Default [`Faults::swarm`].
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.plans.faults = faults;
        self
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
    ///
    /// All peers of all runs share this one value, as is right for a handler that is pure; one that keeps something between its calls makes
    /// runs depend on each other. A handler that panics at a conflict fails the run.
    #[must_use]
    pub fn handler(self, handler: impl ConflictHandler) -> Self {
        Self { handler: Arc::new(handler), ..self }
    }

    /// Other software in the place of Peerloom.
    #[must_use]
    pub fn subject(self, subject: impl Subject) -> Self {
        Self { subject: Some(Arc::new(subject)), ..self }
    }

    /// How long a healed room may take until everybody holds the same, in simulated time. Default 200 seconds: time enough to notice dead
    /// connections and to make new ones, twice over.
    #[must_use]
    pub fn settles_within(self, settles_within: Duration) -> Self {
        Self { settles_within, ..self }
    }

    /// Adds something that must be true. Without any, [`standard_checks`] are made; the first one takes their place, so add them, too.
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

    /// The plan of a seed.
    pub fn plan(&self, seed: u64) -> Plan {
        plan(seed, &self.plans)
    }

    /// Runs the plans of many seeds on [`Fabric::Virtual`], for use in a test.
    ///
    /// # Panics
    ///
    /// At the first violation, with what is wrong, the seed, and a [replay file](crate::replay) that holds the plan, under
    /// `target/sim` of the directory that the test runs in.
    pub fn run_seeds(&self, seeds: Range<u64>) {
        for seed in seeds {
            let plan = self.plan(seed);
            let outcome = self.run(&plan, RunOptions::default());
            if let Verdict::Violated(violation) = &outcome.verdict {
                let path = PathBuf::from(format!("target/sim/{}-{seed}.json", self.name));
                let saved = match Replay::new(&self.name, Fabric::Virtual, plan, &outcome).save(&path) {
                    Ok(()) => format!("; the plan is in {}", path.display()),
                    Err(error) => format!("; its plan could not be saved: {error}"),
                };
                panic!("{} does not hold with seed {seed}: {violation}{saved}", self.name);
            }
        }
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
        let casting =
            Casting { subject, checks, recording: options.recording, settles_within: self.settles_within };
        let world = fabric::run(options.fabric, plan, casting);
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
