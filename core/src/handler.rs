//! Conflict handlers: what applications see when several writes stand beside each other.
//!
//! A handler never decides what replicates. It folds the heads of a document into a view, on every replica for
//! itself, and creates no write and no traffic by doing so.

use bytes::Bytes;

use crate::document::{Dot, Head, State};

/// Folds concurrent writes into the view that applications see.
///
/// # To ensure that replicas agree
///
/// Every replica holds the same heads once it has converged, and passes them in the same order. If the handler
/// is pure, all views are equal. It must read no clock, no randomness, no file and no iteration order of a hash
/// map, and must not depend on which replica it runs on, which it is never told.
///
/// A handler that panics costs its own view only: the last write wins there, and replication goes on.
pub trait ConflictHandler: Send + Sync + 'static {
    /// Names the handler in the handshake, and the views it made in the store. Changes with its behaviour:
    /// a store remakes its views when it is opened with another id. 1 to 255 bytes.
    fn id(&self) -> &str;

    /// The view of a document with these heads: two or more, in canonical order, oldest stamp first.
    fn resolve(&self, heads: &[Head]) -> State;

    /// The annotations of a local write: `seen` is the state that the writer had read, if any, `next` what it
    /// writes, with empty annotations.
    fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Bytes;
}

/// The write with the highest stamp wins; between equal stamps, the higher incarnation. The default.
///
/// The other versions are not lost: they stay heads until a later write supersedes them, and applications can list them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LastWriteWins;

impl ConflictHandler for LastWriteWins {
    fn id(&self) -> &str {
        "last-write-wins"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        heads.last().expect("a conflict has heads").state.clone()
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}
