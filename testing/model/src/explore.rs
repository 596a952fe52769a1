//! Runs the checker on a scope and tells what it found.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, UniformChooser};

use crate::model::{Action, RoomModel, Scope};
use crate::oracles::SETTLES;
use crate::room::Room;
use crate::story;
use crate::users::Users;

/// How a scope is searched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Search {
    /// All states, the nearest first: finds the shortest counterexample, and keeps all states at the rim in memory.
    Nearest,
    /// All states, the deepest first, in little memory.
    Deepest,
    /// Random walks, for what is too large to be searched. The same seed gives the same walks.
    Walks {
        /// The seed.
        seed: u64,
    },
}

/// A counterexample.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The property that does not hold.
    pub property: &'static str,
    /// How many steps lead there.
    pub steps: usize,
    /// The steps, one line for each.
    pub story: String,
}

/// What an exploration did and found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name of the scope.
    pub scope: &'static str,
    /// States generated, the same ones again included.
    pub states: usize,
    /// Different states.
    pub unique_states: usize,
    /// The longest path.
    pub depth: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether everything was seen. Random walks never know.
    pub finished: bool,
    /// Properties that do not hold, the shortest story first.
    pub findings: Vec<Finding>,
    /// What should have been reached and was not.
    pub missed: Vec<&'static str>,
}

impl Report {
    /// States per second.
    pub fn pace(&self) -> u64 {
        (self.states as f64 / self.elapsed.as_secs_f64().max(1e-9)) as u64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:<34} {:>9} states {:>9} unique {:>4} deep {:>7.1} s {:>7} states/s  ",
            self.scope,
            self.states,
            self.unique_states,
            self.depth,
            self.elapsed.as_secs_f64(),
            self.pace()
        )?;
        if let Some(finding) = self.findings.first() {
            return write!(formatter, "\"{}\" fails after {} steps", finding.property, finding.steps);
        }
        formatter.write_str(if self.finished { "holds" } else { "holds so far" })?;
        let missed = self.missed.join(", ");
        if missed.is_empty() { Ok(()) } else { write!(formatter, ", but never reached: {missed}") }
    }
}

/// Searches a scope until everything was seen, or something was found that does not hold, or the time is over.
pub fn explore(scope: Scope, search: Search, threads: usize, limit: Option<Duration>) -> Report {
    let (name, began) = (scope.name, Instant::now());
    let walks = matches!(search, Search::Walks { .. });
    // Walks would begin anew for ever; they have the checker's own limit.
    let until = limit.filter(|_| !walks).map(|limit| began + limit);
    let builder = RoomModel::new(scope, Users::default(), until)
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures);
    let builder = match limit.filter(|_| walks) {
        Some(limit) => builder.timeout(limit),
        None => builder,
    };
    let mut report = match search {
        Search::Nearest => report(name, began, &builder.spawn_bfs().join()),
        Search::Deepest => report(name, began, &builder.spawn_dfs().join()),
        Search::Walks { seed } => report(name, began, &builder.spawn_simulation(seed, UniformChooser).join()),
    };
    report.finished = !walks && limit.is_none_or(|limit| report.elapsed < limit);
    report
}

/// Like [`explore`] in one thread, with users who run a conflict handler of their own and write documents of their own.
///
/// Ends after about so many states, if it is said, wherever it is then. Random walks need it said.
pub fn explore_with(users: Users, scope: Scope, search: Search, states_max: Option<NonZeroUsize>) -> Report {
    let (name, began) = (scope.name, Instant::now());
    let mut builder = RoomModel::new(scope, users, None).checker().finish_when(HasDiscoveries::AnyFailures);
    if let Some(states_max) = states_max {
        builder = builder.target_state_count(states_max.get());
    }
    let mut report = match search {
        Search::Nearest => report(name, began, &builder.spawn_bfs().join()),
        Search::Deepest => report(name, began, &builder.spawn_dfs().join()),
        Search::Walks { seed } => report(name, began, &builder.spawn_simulation(seed, UniformChooser).join()),
    };
    let walks = matches!(search, Search::Walks { .. });
    report.finished = !walks && states_max.is_none_or(|states_max| report.states < states_max.get());
    report
}

fn report(scope: &'static str, began: Instant, checker: &impl Checker<RoomModel>) -> Report {
    let elapsed = began.elapsed();
    let (model, discoveries) = (checker.model(), checker.discoveries());
    let properties = model.properties();
    let failures = properties.iter().filter(|property| property.expectation.discovery_is_failure());
    let mut findings: Vec<Finding> = failures
        .filter_map(|property| {
            let path = discoveries.get(property.name)?.clone();
            Some(finding(model, property.name, &path.into_vec()))
        })
        .collect();
    findings.sort_by_key(|finding| finding.steps);
    let landmarks = properties.iter().filter(|property| !property.expectation.discovery_is_failure());
    let missed = landmarks.map(|property| property.name).filter(|name| !discoveries.contains_key(name));
    Report {
        scope,
        states: checker.state_count(),
        unique_states: checker.unique_state_count(),
        depth: checker.max_depth(),
        elapsed,
        finished: false,
        findings,
        missed: missed.collect(),
    }
}

fn finding(model: &RoomModel, property: &'static str, path: &[(Room, Option<Action>)]) -> Finding {
    let actions = path.iter().filter_map(|(_, action)| *action);
    let mut steps: Vec<_> = actions.zip(path.iter().skip(1).map(|(room, _)| room.clone())).collect();
    if property == SETTLES {
        let mut room = path.last().expect("a path has a first state").0.clone();
        // As far as it is of interest: a room that never rests goes round in circles.
        while steps.len() < path.len() + 60
            && room.failure.is_none()
            && let Some(action) = model.step_to_quiet(&room)
        {
            room = model.after(&room, action);
            steps.push((action, room.clone()));
        }
    }
    Finding { property, steps: steps.len(), story: story::tell(model, &steps, &path[0].0) }
}
