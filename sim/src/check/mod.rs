//! Checks: what must be true of a room, asked all the time.

mod invariant;
mod provenance;
mod replication;

pub use invariant::{Invariant, invariant};
pub use provenance::Provenance;
pub use replication::{Contexts, ListedConflicts, SoundCheckpoints, SoundKnowledge};

use crate::outcome::Violation;
use crate::world::{Commit, State};

/// Something that must be true of a room. Every run starts with a fresh clone.
pub trait Check: CloneCheck + Send + Sync + 'static {
    /// Asked after every commit.
    ///
    /// # Errors
    ///
    /// What is wrong. The run ends with it.
    fn committed(&mut self, world: &State, commit: &Commit<'_>) -> Result<(), Violation> {
        let _ = (world, commit);
        Ok(())
    }

    /// Asked whenever the room has settled: everything is healed, everybody runs and holds the same.
    ///
    /// # Errors
    ///
    /// What is wrong. The run ends with it.
    fn settled(&mut self, world: &State) -> Result<(), Violation> {
        let _ = world;
        Ok(())
    }

    /// Asked once, at the end.
    ///
    /// # Errors
    ///
    /// What is wrong.
    fn over(&mut self, world: &State) -> Result<(), Violation> {
        let _ = world;
        Ok(())
    }
}

/// Cloning behind a pointer. Implemented for every check that is [`Clone`].
pub trait CloneCheck {
    /// A clone of its own.
    fn boxed(&self) -> Box<dyn Check>;
}

impl<C: Check + Clone> CloneCheck for C {
    fn boxed(&self) -> Box<dyn Check> {
        Box::new(self.clone())
    }
}

/// The invariants of replication, and the provenance of everything that anybody holds.
///
/// That a room converges, falls silent and stays within its bounds is checked in every run, whichever checks it has.
pub fn standard_checks() -> impl Check + Clone {
    (Contexts::default(), SoundKnowledge::default(), SoundCheckpoints, ListedConflicts, Provenance)
}

macro_rules! all_of {
    ($($name:ident),+) => {
        impl<$($name: Check + Clone),+> Check for ($($name,)+) {
            fn committed(&mut self, world: &State, commit: &Commit<'_>) -> Result<(), Violation> {
                #[allow(non_snake_case, reason = "one for each")]
                let ($($name,)+) = self;
                $($name.committed(world, commit)?;)+
                Ok(())
            }

            fn settled(&mut self, world: &State) -> Result<(), Violation> {
                #[allow(non_snake_case, reason = "one for each")]
                let ($($name,)+) = self;
                $($name.settled(world)?;)+
                Ok(())
            }

            fn over(&mut self, world: &State) -> Result<(), Violation> {
                #[allow(non_snake_case, reason = "one for each")]
                let ($($name,)+) = self;
                $($name.over(world)?;)+
                Ok(())
            }
        }
    };
}

all_of!(A, B);
all_of!(A, B, C);
all_of!(A, B, C, D);
all_of!(A, B, C, D, E);
