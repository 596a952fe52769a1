//! Documents and handlers for the tests.

// Each test binary uses its part of them.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;

use peerloom_rxdb_mesh::{
    MasterWins, Mesh, RxdbConflictHandler, Settings, Write, deep_equal, mesh_with_roles,
};
use serde_json::{Value, json};

/// Each peer is the master of the next.
pub const RING: [(usize, usize); 3] = [(0, 1), (1, 2), (2, 0)];
/// A is the master of both others, and B of C.
pub const LADDER: [(usize, usize); 3] = [(0, 1), (1, 2), (0, 2)];

pub fn master_wins() -> Arc<dyn RxdbConflictHandler> {
    Arc::new(MasterWins)
}

/// The state with the highest `at` wins, on both sides alike.
pub fn newest() -> Arc<dyn RxdbConflictHandler> {
    struct Newest;
    impl RxdbConflictHandler for Newest {
        fn is_equal(&self, a: &Value, b: &Value) -> bool {
            deep_equal(a, b)
        }
        fn resolve(&self, real: &Value, new: &Value, _: Option<&Value>) -> Value {
            let rank = |state: &Value| (state["at"].as_u64(), state.to_string());
            if rank(real) >= rank(new) { real.clone() } else { new.clone() }
        }
    }
    Arc::new(Newest)
}

/// Takes everything for the same, so it never pushes over what is there.
pub fn all_equal() -> Arc<dyn RxdbConflictHandler> {
    struct AllEqual;
    impl RxdbConflictHandler for AllEqual {
        fn is_equal(&self, _: &Value, _: &Value) -> bool {
            true
        }
        fn resolve(&self, real: &Value, _: &Value, _: Option<&Value>) -> Value {
            real.clone()
        }
    }
    Arc::new(AllEqual)
}

pub fn note(text: &str, at: u64) -> Value {
    json!({ "id": "note", "text": text, "at": at })
}

/// Peers that have the note "start".
pub fn mesh(masters: &[(usize, usize)], handler: &Arc<dyn RxdbConflictHandler>) -> Mesh {
    mesh_with_roles(masters, &[note("start", 0)], &Settings::default(), handler).unwrap()
}

/// Writes the text with an `at` above the one that is there.
pub fn edit(peer: usize, text: &'static str) -> Write {
    Write::edit(peer, "note", move |seen| {
        note(text, seen.and_then(|seen| seen["at"].as_u64()).map_or(0, |at| at + 1))
    })
}

pub fn text(mesh: &Mesh, peer: usize) -> &str {
    mesh.peer(peer).state("note").and_then(|state| state["text"].as_str()).unwrap()
}
