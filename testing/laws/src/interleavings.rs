//! The real sessions in every order of everything that happens in them, with the handler under test.
//!
//! The sessions, replicas and rules are those of `peerloom-core`, and the driver around them is `peerloom-model`. What is too
//! large to be searched is walked through at random, and the report says which of both it was.

use std::time::Instant;

use crate::generate::Generator;
use crate::law::Law;
#[cfg(not(feature = "interleavings"))]
use crate::report::Outcome;
use crate::report::Row;
use crate::subject::Subject;

/// How much is searched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Depth {
    /// Seconds.
    Usual,
    /// Minutes.
    Thorough,
}

#[cfg(not(feature = "interleavings"))]
pub(crate) fn explored(_: &Subject, _: &Generator, _: Depth, began: Instant) -> Row {
    let outcome = Outcome::Skipped("built without the feature interleavings".into());
    Row::new(Law::EveryInterleaving, outcome, 0, String::new(), began)
}

#[cfg(feature = "interleavings")]
pub(crate) use explored::explored;

#[cfg(feature = "interleavings")]
mod explored {
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    use bytes::Bytes;
    use peerloom_core::{ConflictHandler, Dot, Head, State, json};
    use peerloom_model::{Content, HANDLED, Report, Scope, Search, Users, explore_with};
    use serde_json::Value;

    use super::{Depth, Generator, Instant, Law, Row, Subject};
    use crate::checks::Evidence;
    use crate::counterexample::Counterexample;
    use crate::exhaustive::few_documents;
    use crate::history::History;
    use crate::report::{Outcome, grouped};

    /// How many states of a triangle are walked through. It has more than four million.
    const WALKED_STATES: NonZeroUsize = NonZeroUsize::new(10_000).expect("above zero");
    const WALKED_STATES_THOROUGH: NonZeroUsize = NonZeroUsize::new(500_000).expect("above zero");

    pub(crate) fn explored(subject: &Subject, generator: &Generator, depth: Depth, began: Instant) -> Row {
        let sample = &generator.source.samples[0];
        let users = Users::new(Arc::new(LastWriteOnPanic(subject.clone())), contents(generator, sample));
        let (mut told, mut states) = (Vec::new(), 0);
        for scope in HANDLED {
            let report = explore(&users, scope, depth);
            states += report.unique_states;
            let seen = if report.finished { "exhaustive over" } else { "walks through" };
            told.push(format!("{}: {seen} {} states", report.scope, grouped(report.unique_states as u64)));
            if let Some(finding) = report.findings.first() {
                let what =
                    format!("in a {}, \"{}\" fails:\n{}", report.scope, finding.property, finding.story);
                let evidence = Evidence { what, ..Evidence::default() };
                let history = History::untouched(sample.clone());
                let broken = Counterexample::new(Law::EveryInterleaving, subject, history, &evidence);
                return row(Outcome::Broken(Box::new(broken)), states, &told, began);
            }
        }
        row(Outcome::Held, states, &told, began)
    }

    fn explore(users: &Users, scope: &Scope, depth: Depth) -> Report {
        let mut scope = scope.clone();
        if scope.edges.len() > 2 {
            let states = if depth == Depth::Thorough { WALKED_STATES_THOROUGH } else { WALKED_STATES };
            return explore_with(users.clone(), scope, Search::Walks { seed: 0 }, Some(states));
        }
        if scope.replicas > 2 && depth == Depth::Usual {
            // A twelfth of the states of three.
            scope.budget.writes = 2;
        }
        explore_with(users.clone(), scope, Search::Deepest, None)
    }

    fn row(outcome: Outcome, states: usize, told: &[String], began: Instant) -> Row {
        Row::new(Law::EveryInterleaving, outcome, states as u64, told.join(", "), began)
    }

    /// Some of the few documents, and a deletion.
    fn contents(generator: &Generator, sample: &Value) -> Vec<Content> {
        let documents = few_documents(&generator.shape, sample);
        let step = (documents.len() / 4).max(1);
        let written = documents.iter().rev().step_by(step).map(|document| Content {
            deleted: false,
            body: json::to_canonical(document).unwrap_or_default(),
        });
        let mut contents: Vec<Content> = written.take(4).collect();
        contents.insert(contents.len().min(3), Content { deleted: true, body: Bytes::new() });
        contents
    }

    /// Production goes on with the last write where a handler panics.
    struct LastWriteOnPanic(Subject);

    impl ConflictHandler for LastWriteOnPanic {
        fn id(&self) -> &str {
            self.0.handler.id()
        }

        fn resolve(&self, heads: &[Head]) -> State {
            self.0.resolve(heads).unwrap_or_else(|_| heads[heads.len() - 1].state.clone())
        }

        fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Bytes {
            self.0.annotate(seen, next, dot).unwrap_or_default()
        }
    }
}
