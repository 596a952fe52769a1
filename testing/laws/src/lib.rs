#![doc = include_str!("../../../docs/writing-a-conflict-handler.md")]
//!
//! # This crate
//!
//! [`conflict_laws!`] makes tests, [`Laws`] judges a handler in a program, and [`Law`] says what is asked. Documents come from
//! [`from_examples`], [`from_schema`], [`from_type`] or a strategy of [`proptest`](https://docs.rs/proptest).
//!
//! [`rxdb_safe`] judges a handler of RxDB's instead.
//!
//! Histories are played with the real rules of `peerloom-core`, and the sessions that [`Law::EveryInterleaving`] explores are the real
//! ones, too (feature `interleavings`, on by default). What is not in here: whether a handler is what its users want, storage, networks,
//! and faults in either.

// How a handler is judged.
mod law;
mod laws;
mod report;
mod tests;

// What it is tried on.
mod dice;
mod documents;
mod edit;
mod exhaustive;
mod generate;
mod history;
mod pointer;
mod schema;
mod shape;

// How it is tried.
mod checks;
mod interleavings;
mod processes;
mod room;
mod rxdb;
mod search;
mod subject;
mod trials;

// What is shown and kept of it.
mod counterexample;
mod regressions;
mod shrink;

pub use counterexample::Counterexample;
pub use documents::{Documents, DocumentsError, from_examples, from_schema, from_type};
pub use edit::Edit;
pub use history::{History, Origin, Reading, Step, Who};
pub use law::{Law, Skip};
// What `rxdb_safe` takes and returns.
pub use laws::{Laws, LawsError};
pub use peerloom_rxdb_mesh::{Asymmetry, Finding, MasterWins, RxdbConflictHandler, Topology};
pub use pointer::{MalformedPointer, Pointer};
pub use processes::ProcessError;
pub use regressions::RegressionsError;
#[doc(hidden)]
pub use regressions::beside as regressions_beside;
pub use report::{Outcome, Report, Row};
pub use rxdb::{RxdbExplored, RxdbFault, RxdbReport, RxdbSafety, rxdb_safe};
pub use schema::SchemaError;
pub use subject::Deletion;
#[doc(hidden)]
pub use tests::{Table, test, test_arguments};
