//! A check from a closure.

use std::sync::Arc;

use super::Check;
use crate::outcome::Violation;
use crate::world::{Commit, State};

/// A check made by [`invariant`].
#[derive(Clone)]
pub struct Invariant {
    name: Arc<str>,
    holds: Arc<Ask>,
}

type Ask = dyn Fn(&State) -> Result<(), String> + Send + Sync;

/// A check that asks `holds` after every commit and at the end.
///
/// ```
/// use peerloom_sim::invariant;
///
/// let few = invariant("few documents", |world| {
///     let most = world.peers.iter().map(|peer| peer.holdings.documents.len()).max();
///     if most > Some(100_000) { Err(format!("{most:?} documents")) } else { Ok(()) }
/// });
/// ```
pub fn invariant(
    name: &str,
    holds: impl Fn(&State) -> Result<(), String> + Send + Sync + 'static,
) -> Invariant {
    Invariant { name: name.into(), holds: Arc::new(holds) }
}

impl Invariant {
    fn ask(&self, world: &State) -> Result<(), Violation> {
        (self.holds)(world).map_err(|says| Violation::of(&*self.name, says))
    }
}

impl Check for Invariant {
    fn committed(&mut self, world: &State, commit: &Commit<'_>) -> Result<(), Violation> {
        self.ask(world).map_err(|violation| violation.at(commit.peer))
    }

    fn over(&mut self, world: &State) -> Result<(), Violation> {
        self.ask(world)
    }
}
