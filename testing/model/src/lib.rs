//! A model checker for the replication core: every interleaving of small rooms.
//!
//! The replicas, sessions and rules are the real ones of `peerloom-core`; the model is only the driver around them, which
//! performs effects, carries frames and lets things go wrong. [stateright](https://docs.rs/stateright) explores all
//! orders in which its steps can happen, within the bounds of a [`Scope`], and checks in every state what must hold.
//!
//! Time stands still and no delay is left, so whatever may happen later is due at once, and *how much* later is covered
//! by the order of the steps. What depends on real delays, on many documents or on large rooms is for the simulator.
//!
//! To prove that the properties notice what they should, each rule of the design can be removed from core with
//! `without` (feature `broken-rules`); a counterexample must then be found.

mod explore;
mod frames;
mod model;
mod oracles;
mod room;
#[cfg(feature = "broken-rules")]
mod rules;
mod scopes;
mod shared;
mod step;
mod store;
mod story;
mod users;
mod writes;

pub use explore::{Finding, Report, Search, explore, explore_with};
pub use model::{Landmark, Scope, Start, Waits};
#[cfg(feature = "broken-rules")]
pub use peerloom_core::broken::Rule;
pub use room::Budget;
#[cfg(feature = "broken-rules")]
pub use rules::{RULES, rule_named, without};
#[cfg(feature = "broken-rules")]
pub use scopes::catching;
pub use scopes::{HANDLED, LARGE, SMALL};
pub use users::{Content, Users};
