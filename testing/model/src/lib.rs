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
//! [`without`]; a counterexample must then be found.

mod explore;
mod frames;
mod model;
mod oracles;
mod room;
mod rules;
mod scopes;
mod shared;
mod step;
mod store;
mod story;
mod writes;

pub use explore::{Finding, Report, Search, explore};
pub use model::{Landmark, Scope, Start, Waits};
pub use peerloom_core::broken::Rule;
pub use room::Budget;
pub use rules::{RULES, rule_named, without};
pub use scopes::{LARGE, SMALL, catching};
