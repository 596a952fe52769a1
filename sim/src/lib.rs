//! Deterministic simulation of rooms of Peerloom peers.

mod causes;
mod documents;
mod outcome;
pub mod plan;
pub mod shrink;
pub mod trace;

pub use documents::{Documents, Examples, ExamplesError, Todos, from_examples, from_strategy};
pub use outcome::{Figures, Outcome, Verdict, Violation};
pub use plan::Plan;
pub use trace::Trace;
