//! Makes a plan that fails small, and keeps it failing in the same way.
//!
//! Takes out rounds, peers, faults and operations by delta debugging, and then makes what is left plainer: see `parts.rs` and
//! `values.rs`. Knows nothing of how a plan is run.

mod ddmin;
mod parts;
mod values;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::outcome::{Verdict, Violation};
use crate::plan::{FaultKind, PeerNumber, Plan};

/// How much may be spent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// How many runs, at most.
    pub runs_max: u32,
    /// How long, at most. The run that is going on when it is over is the last. If this is what ends it, the result depends on how
    /// fast the machine is.
    pub time_max: Duration,
}

impl Default for Budget {
    /// 3,000 runs, which is several times what a typical failure needs, or two minutes.
    fn default() -> Self {
        Self { runs_max: 3_000, time_max: Duration::from_secs(120) }
    }
}

/// How far it got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Runs so far.
    pub runs: u32,
    /// The smallest plan so far.
    pub size: Size,
}

/// How large a plan is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size {
    /// Peers that join or are made.
    pub peers: usize,
    /// Operations.
    pub operations: usize,
    /// Faults.
    pub faults: usize,
}

impl Size {
    /// The size of a plan.
    pub fn of(plan: &Plan) -> Self {
        let is_there = |number: usize| {
            let is_made =
                |kind: &FaultKind| matches!(kind, FaultKind::Clone { into, .. } if into.index() == number);
            let mut faults = plan.rounds.iter().flat_map(|round| &round.faults);
            plan.peers[number].joins_ms.is_some() || faults.any(|fault| is_made(&fault.kind))
        };
        Self {
            peers: (0..plan.peers.len()).filter(|number| is_there(*number)).count(),
            operations: plan.rounds.iter().map(|round| round.operations.len()).sum(),
            faults: plan.rounds.iter().map(|round| round.faults.len()).sum(),
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { peers, operations, faults } = self;
        write!(formatter, "{peers} peers, {operations} operations, {faults} faults")
    }
}

/// A plan that was made small.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan that fails in the same way.
    pub plan: Plan,
    /// How it fails.
    pub violation: Violation,
    /// How many runs it took.
    pub runs: u32,
    /// Whether nothing more can be taken out. If not, the budget was spent.
    pub is_minimal: bool,
}

/// Why a plan cannot be made small.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShrinkError {
    /// Nothing fails.
    #[error("the plan holds: `{expected}` did not fail again, so there is nothing to shrink")]
    Holds {
        /// The signature that was expected.
        expected: String,
    },
    /// Something else fails.
    #[error("the plan fails with `{found}` and not with `{expected}`: shrink it under that signature")]
    FailsOtherwise {
        /// The signature that was expected.
        expected: String,
        /// The signature that was found.
        found: String,
    },
}

/// Makes a plan small that fails with a signature.
///
/// Gives the same plan every time unless time runs out, and never runs the same plan twice. `progress` is told after every run.
///
/// # Errors
///
/// If the plan itself does not fail with that signature.
pub fn shrink(
    plan: &Plan,
    signature: &str,
    budget: Budget,
    mut progress: impl FnMut(Progress),
    mut run: impl FnMut(&Plan) -> Verdict,
) -> Result<Shrunk, ShrinkError> {
    let started = Instant::now();
    let mut plan = plan.clone();
    sort(&mut plan);
    let violation = match run(&plan) {
        Verdict::Held => return Err(ShrinkError::Holds { expected: signature.into() }),
        Verdict::Violated(violation) if violation.signature() == signature => violation,
        Verdict::Violated(violation) => {
            let found = violation.signature().into();
            return Err(ShrinkError::FailsOtherwise { expected: signature.into(), found });
        }
    };
    let mut search = Search {
        budget,
        started,
        seen: HashMap::from([(fingerprint(&plan), Some(violation.clone()))]),
        best: plan,
        violation,
        runs: 1,
        is_spent: false,
        progress: &mut progress,
        run: &mut run,
    };
    let is_minimal = search.all();
    Ok(Shrunk { plan: search.best, violation: search.violation, runs: search.runs, is_minimal })
}

/// The search for a small plan.
struct Search<'a> {
    budget: Budget,
    started: Instant,
    /// The smallest plan that fails, and how it fails.
    best: Plan,
    violation: Violation,
    runs: u32,
    is_spent: bool,
    /// How the plans that were run fail, if they do.
    seen: HashMap<u128, Option<Violation>>,
    progress: &'a mut dyn FnMut(Progress),
    run: &'a mut dyn FnMut(&Plan) -> Verdict,
}

impl Search<'_> {
    /// Takes out and simplifies until neither does anything. Whether it came to that.
    fn all(&mut self) -> bool {
        // A step may undo the conditions of one before, so there are several passes, but never for ever.
        const PASSES_MAX: u32 = 12;
        for _ in 0..PASSES_MAX {
            let before = self.best.clone();
            self.take_out();
            self.simplify();
            if self.is_spent {
                return false;
            }
            if self.best == before {
                return true;
            }
        }
        false
    }

    /// Whether a plan fails in the same way. If so, it is the best from now on.
    fn accept(&mut self, mut candidate: Plan) -> bool {
        sort(&mut candidate);
        let print = fingerprint(&candidate);
        if !self.seen.contains_key(&print) {
            self.is_spent |=
                self.runs >= self.budget.runs_max || self.started.elapsed() >= self.budget.time_max;
            if self.is_spent {
                return false;
            }
            self.runs += 1;
            let violation = match (self.run)(&candidate) {
                Verdict::Violated(violation) => Some(violation),
                Verdict::Held => None,
            };
            let same = violation.filter(|violation| violation.signature() == self.violation.signature());
            self.seen.insert(print, same);
            (self.progress)(Progress { runs: self.runs, size: Size::of(&self.best) });
        }
        let Some(violation) = &self.seen[&print] else { return false };
        self.violation = violation.clone();
        self.best = candidate;
        true
    }

    /// Tries a change to the best plan.
    fn change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        self.accept(candidate)
    }

    /// Makes as many of these changes as possible: all at once, or else each half for itself.
    fn change_many(&mut self, changes: &[Change]) {
        if changes.is_empty() || self.is_spent {
            return;
        }
        let all = |plan: &mut Plan| changes.iter().for_each(|change| change.0(plan));
        if !self.change(all) && changes.len() > 1 {
            let (left, right) = changes.split_at(changes.len() / 2);
            self.change_many(left);
            self.change_many(right);
        }
    }

    fn peers(&self) -> impl DoubleEndedIterator<Item = PeerNumber> + use<> {
        (0..self.best.peers.len() as u16).map(PeerNumber)
    }
}

/// Something that makes a plan plainer. Made again, it does nothing.
struct Change(Box<dyn Fn(&mut Plan)>);

impl Change {
    fn new(change: impl Fn(&mut Plan) + 'static) -> Self {
        Self(Box::new(change))
    }
}

/// Brings operations and faults into the order of time.
fn sort(plan: &mut Plan) {
    for round in &mut plan.rounds {
        round.operations.sort_by_key(|operation| operation.at_ms);
        round.faults.sort_by_key(|fault| fault.at_ms);
    }
}

/// What tells plans apart. 128 bits, because a collision would pass off a plan that holds as one that fails.
fn fingerprint(plan: &Plan) -> u128 {
    let text = serde_json::to_vec(plan).expect("a plan is JSON");
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, &text).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

#[cfg(test)]
mod tests;
