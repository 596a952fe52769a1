//! Deterministic simulation of rooms of Peerloom peers.

mod causes;
mod check;
mod cli;
mod device;
mod director;
mod disk;
mod documents;
mod environment;
mod fabric;
pub mod marks;
mod network;
mod outcome;
pub mod plan;
mod recorder;
pub mod replay;
mod report;
mod scenario;
pub mod shrink;
mod stage;
mod storage;
mod subject;
mod tasks;
pub mod trace;
mod world;

pub use check::{
    Check, CloneCheck, Contexts, Invariant, Provenance, SoundCheckpoints, SoundKnowledge, invariant,
    standard_checks,
};
pub use cli::cli;
pub use device::StorageEnvironment;
pub use disk::{Disk, DiskFile};
pub use documents::{Documents, Examples, ExamplesError, Todos, from_examples, from_strategy};
pub use fabric::Fabric;
pub use outcome::{Figures, Outcome, Verdict, Violation};
pub use plan::Plan;
pub use recorder::Recording;
pub use report::{Report, causal_slice};
pub use scenario::{RunOptions, Scenario};
pub use subject::{PeerContext, Running, Rxdb, Subject, TOPIC};
pub use trace::Trace;
pub use world::{Change, Commit, Fact, Held, Holdings, PeerView, State};
