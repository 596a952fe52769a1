//! Automerge documents as bodies, so that concurrent edits of text, rich text, lists and maps merge.
//!
//! **Choose it** for documents that several people write in at once: notes, articles, drawings. **Choose another** for records of fields, for which
//! `FieldWise` of `peerloom-core` is smaller and faster: an Automerge document holds its whole history, so a body only ever grows, and each conflict
//! reads the history of every version.
//!
//! # Why Automerge
//!
//! Of the well-kept libraries (`automerge`, `loro` and `yrs`, all under the MIT licence and all released this year), it is the one whose
//! changes are named by their hash, and whose file format is specified (<https://automerge.org/automerge-binary-format-spec>). What
//! several versions hold together is then a plain set of changes. It can be put in one order on every replica, so that views are the same bytes
//! by construction and not by observation; a copied or restored writer that makes two changes of one name is noticed, where others would
//! silently differ; and programs in other languages can read what is on disk. It builds from 47 crates, `yrs` from 40, `loro` from 143.
//! What speaks against it: all history is kept, where `yrs` forgets what was deleted.
//!
//! ```
//! use peerloom_automerge::{MergeAutomerge, edit_text, empty_text, text};
//! use peerloom_core::{ConflictHandler, Dot, Head, Incarnation, Stamp, State};
//!
//! let base = edit_text(&empty_text("note"), "note", "Buy milk.")?;
//! let ann = edit_text(&base, "note", "Buy oat milk.")?;
//! let bob = edit_text(&base, "note", "Buy milk and bread.")?;
//!
//! let heads = [ann, bob].into_iter().zip(1..).map(|(body, number)| Head {
//!     dot: Dot { incarnation: Incarnation::new(number), stamp: Stamp::new(number).unwrap() },
//!     state: State { body, ..State::default() },
//! });
//! let view = MergeAutomerge.resolve(&heads.collect::<Vec<_>>());
//! assert_eq!(text(&view.body, "note")?, "Buy oat milk and bread.");
//! # Ok::<(), peerloom_automerge::EditError>(())
//! ```
//!
//! In a collection, the content is `peerloom::Binary`, and the handler is set with `.handler(MergeAutomerge)`.

mod edit;
mod merge;

/// The library itself, in the version that this crate is built with.
pub use automerge;
pub use edit::{EditError, edit, edit_text, empty_text, text};
pub use merge::MergeAutomerge;
