//! Deterministic simulation of rooms of Peerloom peers: finds what breaks them, makes it small, and shows it.
//!
//! A [`Scenario`] says what is simulated: a storage adapter, a conflict handler, documents, what users do and what goes wrong. A *seed* becomes a
//! [`Plan`], in which everything that will be done is explicit. A *run* plays the plan with the peers' real software on a simulated network,
//! heals the room after each round and waits for it to settle, while an observer outside of the room checks every commit. The same plan
//! gives the same trace, byte for byte, in every process.
//!
//! ```
//! use peerloom_sim::{Faults, Scenario, mix};
//! use peerloom::FieldWise;
//!
//! Scenario::new("todos")
//!     .peers(3..=4)
//!     .handler(FieldWise)
//!     .workload(mix().insert(3).edit(6).delete(2).bulk(1..200, 1).hot_documents(0.6))
//!     .faults(Faults::swarm())
//!     .run_seeds(0..5);
//! ```
//!
//! [`cli`] makes a program of a scenario, with the commands `run`, `fuzz`, `replay`, `shrink`, `report` and `check-determinism`. What it
//! finds is a [replay file](replay), which [`shrink`](mod@shrink) makes small and a [`Report`] shows as a page, a picture or text.
//!
//! # Setting up
//!
//! Tokio can be seeded only with an unstable flag, without which this crate does not compile. Put this into `.cargo/config.toml` of your
//! workspace:
//!
//! ```toml
//! [build]
//! rustflags = ["--cfg", "tokio_unstable"]
//! ```
//!
//! # What is checked
//!
//! [`standard_checks`] are the invariants of replication: a context never shrinks, equal contexts have equal heads, nothing is committed
//! for a context that is covered, knowledge is sound, checkpoints cover what is there; and the *provenance* of everything that anybody
//! holds: no write is lost, none comes back, none is made up. In every run, whichever checks it has: users read their writes, what
//! was acknowledged is there after a restart, nothing panics, operations return, the room converges after healing, then falls silent, with
//! one connection between any two who are linked; what is under way is bounded, and traffic stays in proportion. [`invariant`] and
//! [`Check`] add what must be true of your application.
//!
//! A write is lost as planned if the plan destroys the only device that had it; [`Figures::losses_expected`] counts these.
//!
//! # Three fabrics
//!
//! [`Fabric::Virtual`] runs all peers on one runtime with a paused clock, which jumps to whatever happens next: a thousand and more runs a
//! minute. On [`Fabric::Turmoil`] every peer is a host of `turmoil`, and its messages travel over simulated TCP. On [`Fabric::WebRtc`]
//! peers find each other through the real signaling server, a host that they reach by TCP, and talk by the real WebRTC stack over UDP:
//! some twenty runs a minute for each processor. All play the same plans.
//!
//! The last needs the feature `webrtc`, which is on by default. Whose simulations do without it spares most of the compiling by
//! `default-features = false`.
//!
//! On the last, the plan does its worst below WebRTC. Datagrams are late, out of order, lost, changed, held, or too many for a slow way; a cut
//! and a reset also end connections with notice. The signaling server stops, is killed or loses power, and comes back with empty
//! rooms; peers and the server cease to reach each other, so that lists are out of date and a peer is met twice. Faults that have no
//! place on a fabric ([`Hazard::Loss`], [`Hazard::SignalingDown`] and [`Hazard::SignalingSilence`] on the other two) are skipped, which
//! the trace tells.
//!
//! **What is the same each time.** On every fabric, a plan gives the same trace in every process: each message with its size, each
//! connection, commit and answer, with its instant to the microsecond. On [`Fabric::WebRtc`] that is not true of the datagrams beneath,
//! because DTLS takes its keys, certificates and signatures from the system and nobody can seed them. Their contents differ, and those of a
//! handshake in size by a few bytes; they are not part of the trace. Nothing that the simulator decides depends on what differs.
//!
//! # A storage adapter of your own
//!
//! [`simulating_an_adapter`] says how to put one to the test, on a [`Disk`] that loses in a power cut what was not synced.
//!
//! # What is not simulated
//!
//! Threads: an operation of a storage adapter runs to its end before anything else happens, so races within an adapter are for other
//! tools. A content that changes on its way and still makes sense: transports must keep that from happening. Loss of single messages:
//! transports deliver in order, or the connection ends. With WebRTC: STUN, TURN, several addresses, and TLS to the signaling server.

#[cfg(not(any(tokio_unstable, doc, doctest)))]
compile_error!(
    "peerloom-sim seeds tokio, which needs `rustflags = [\"--cfg\", \"tokio_unstable\"]` under `[build]` in .cargo/config.toml"
);

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
#[cfg_attr(not(feature = "webrtc"), allow(dead_code, reason = "datagrams are there for WebRTC"))]
mod network;
mod outcome;
pub mod plan;
mod recorder;
pub mod replay;
mod report;
mod scenario;
pub mod shrink;
#[doc = include_str!("../docs/simulating-an-adapter.md")]
pub mod simulating_an_adapter {}
mod stage;
mod storage;
mod subject;
mod tasks;
pub mod trace;
mod world;

pub use check::{
    Check, CloneCheck, Contexts, Invariant, ListedConflicts, Provenance, SoundCheckpoints, SoundKnowledge,
    invariant, standard_checks,
};
pub use cli::cli;
pub use device::StorageEnvironment;
pub use disk::{Disk, DiskFile};
pub use documents::{Documents, Examples, ExamplesError, Todos, from_examples, from_strategy};
pub use fabric::Fabric;
pub use outcome::{Figures, Outcome, Verdict, Violation};
pub use plan::{Faults, Hazard, Plan, Workload, mix};
pub use recorder::Recording;
pub use report::{Report, causal_slice};
pub use scenario::{RunOptions, Scenario};
pub use subject::{PeerContext, Running, Rxdb, Subject, TOPIC};
pub use trace::Trace;
pub use world::{Change, Commit, Fact, Held, Holdings, PeerView, State};
