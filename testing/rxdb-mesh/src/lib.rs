//! RxDB's role-based replication as a deterministic model, and a search for what goes wrong in its meshes.
//!
//! For simulations that need a protocol with a known defect, and for RxDB users who want to know whether a conflict handler of theirs
//! settles in a mesh. After RxDB 17.6.0's WebRTC replication: which of two peers is the master is decided by a hash of their storage
//! tokens; a fork remembers for each master what it believes the master to have, pushes on top of that, and lets the handler
//! resolve what is refused. What a peer gets over one link, it offers over its others. Nothing here has a clock, a socket or a
//! thread, and it does not speak RxDB's JSON.
//!
//! - [`Peer`] is one peer: inputs in, outputs out.
//! - [`Mesh`] is some of them with the messages in between, delivered one by one, in any order, or by a seed.
//! - [`Explorer`] tries all orders and finds the shortest way to a loop, to a divergence, or to a lost write.
//! - [`check`] does that with a handler in pairs, lines and triangles.
//!
//! ```
//! use std::sync::Arc;
//! use peerloom_rxdb_mesh::{
//!     Explorer, MasterWins, RxdbConflictHandler, Settings, Sought, Write, mesh_with_roles,
//! };
//! use serde_json::json;
//!
//! // Each peer is the master of the next.
//! let ring = [(0, 1), (1, 2), (2, 0)];
//! let handler: Arc<dyn RxdbConflictHandler> = Arc::new(MasterWins);
//! let note = |text: &str| json!({ "id": "note", "text": text });
//! let mesh = mesh_with_roles(&ring, &[note("start")], &Settings::default(), &handler)?;
//!
//! // Two of them write at the same time.
//! let writes = vec![Write::concurrent(0, "note", note("a")), Write::concurrent(1, "note", note("b"))];
//! let outcome = Explorer::new(mesh, writes).sought(Sought::Loop).explore()?;
//! println!("{}", outcome.finding().expect("the default handler never settles").trace);
//! # Ok::<(), peerloom_rxdb_mesh::PeerError>(())
//! ```

mod check;
mod explore;
mod fingerprint;
mod handler;
mod lasso;
mod mesh;
mod message;
mod outcome;
mod peer;
mod roles;
mod trace;

pub use check::{Asymmetry, CheckOptions, Explored, Topology, Verdict, check, mesh_with_roles};
pub use explore::{Action, Explorer, Limits, Write};
pub use fingerprint::Fingerprint;
pub use handler::{MasterWins, RxdbConflictHandler, deep_equal};
pub use mesh::{Direction, Mesh, NotSettled, Step, peer_name};
pub use message::{Answer, Change, Changes, Checkpoint, Message, Request, WriteRow};
pub use outcome::{Escape, Finding, Outcome, Sought, Violation};
pub use peer::{ForkStart, Input, LinkId, Output, Peer, PeerError, Settings};
pub use roles::{Role, role, tokens_for};
pub use trace::Trace;
