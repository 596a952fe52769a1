//! Tests a conflict handler before it ships, and shows on which document it is wrong.

mod checks;
mod counterexample;
mod dice;
mod documents;
mod edit;
mod exhaustive;
mod generate;
mod history;
mod interleavings;
mod law;
mod laws;
mod pointer;
mod processes;
mod regressions;
mod report;
mod room;
mod schema;
mod shape;
mod shrink;
mod subject;
mod tests;

pub use counterexample::Counterexample;
pub use documents::{Documents, DocumentsError, from_examples, from_schema, from_type};
pub use edit::Edit;
pub use history::{History, Origin, Reading, Step, Who};
pub use law::{Law, Skip};
pub use laws::{Laws, LawsError};
pub use pointer::{MalformedPointer, Pointer};
pub use processes::ProcessError;
pub use regressions::RegressionsError;
#[doc(hidden)]
pub use regressions::beside as regressions_beside;
pub use report::{Outcome, Report, Row};
pub use schema::SchemaError;
pub use subject::Deletion;
#[doc(hidden)]
pub use tests::{Table, test, test_arguments};
