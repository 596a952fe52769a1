//! Conflict handlers: what applications see when several writes stand beside each other.
//!
//! A handler never decides what replicates. It folds the heads of a document into a view, on every replica for
//! itself, and creates no write and no traffic by doing so.
//!
//! | file | what |
//! |---|---|
//! | `last_write_wins.rs` | the last version as it is |
//! | `field_wise.rs`, `stamped.rs` | every field for itself, and the stamps that takes |
//! | `union.rs` | arrays as sets |
//! | `counter.rs` | numbers that add up |
//! | `per_field.rs`, `pointer.rs` | another rule for each field |
//! | `deletion.rs` | deletions that always win, or never |
//! | `merge_with.rs` | closures |
//! | `combine.rs` | what the handlers of JSON have in common |

mod combine;
mod counter;
mod deletion;
mod field_wise;
mod last_write_wins;
mod merge_with;
mod per_field;
mod pointer;
mod stamped;
mod union;

use bytes::Bytes;

pub use combine::{Combine, FieldHead, FieldState};
pub use counter::Counter;
pub use deletion::{DeleteWins, EditWins};
pub use field_wise::FieldWise;
pub use last_write_wins::LastWriteWins;
pub use merge_with::{MergeJson, MergeWith};
pub use per_field::PerField;
pub use pointer::PointerError;
pub use union::Union;

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
