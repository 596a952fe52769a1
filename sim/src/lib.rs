//! Deterministic simulation of rooms of Peerloom peers.

mod outcome;
pub mod plan;
mod report;
pub mod trace;

pub use outcome::{Figures, Outcome, Verdict, Violation};
pub use plan::Plan;
pub use report::{Report, causal_slice};
pub use trace::Trace;
