//! Deterministic simulation of rooms of Peerloom peers.

mod outcome;
pub mod plan;
pub mod trace;

pub use outcome::{Figures, Outcome, Verdict, Violation};
pub use plan::Plan;
pub use trace::Trace;
