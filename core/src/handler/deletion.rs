//! What becomes of a document that one deletes while another edits it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::ConflictHandler;
use super::combine::short_id;
use crate::document::{Dot, Head, State};

/// A document that anybody deletes is deleted, whatever others write at the same time.
///
/// **Choose it** where a deletion must be final: withdrawn consent, revoked access. **Choose another** where work may be lost by it: the edits
/// are still there as versions of the conflict, but nobody sees them. Who writes having seen the deletion, brings the document back.
///
/// ```
/// use peerloom_core::{ConflictHandler, DeleteWins, FieldWise};
/// assert_eq!(DeleteWins::new(FieldWise).id(), "delete-wins(field-wise)");
/// ```
#[derive(Clone, Debug)]
pub struct DeleteWins<H> {
    inner: H,
    id: String,
}

impl<H: ConflictHandler> DeleteWins<H> {
    /// Leaves versions that are not deleted to another handler.
    pub fn new(inner: H) -> Self {
        let id = short_id(format!("delete-wins({})", inner.id()));
        Self { inner, id }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<H: ConflictHandler> ConflictHandler for DeleteWins<H> {
    fn id(&self) -> &str {
        &self.id
    }

    fn resolve(&self, heads: &[Head]) -> State {
        match heads.iter().rfind(|head| head.state.deleted) {
            Some(deletion) => deletion.state.clone(),
            None => self.inner.resolve(heads),
        }
    }

    fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Bytes {
        self.inner.annotate(seen, next, dot)
    }
}

/// A document that anybody writes while another deletes it stays.
///
/// **Choose it** where work must not be lost by a deletion elsewhere: notes, orders. **Choose another** where deleting must be final: a replica that
/// was away for long and edited a document brings it back.
///
/// ```
/// use peerloom_core::{ConflictHandler, EditWins, FieldWise};
/// assert_eq!(EditWins::new(FieldWise).id(), "edit-wins(field-wise)");
/// ```
#[derive(Clone, Debug)]
pub struct EditWins<H> {
    inner: H,
    id: String,
}

impl<H: ConflictHandler> EditWins<H> {
    /// Leaves versions that are not deleted to another handler.
    pub fn new(inner: H) -> Self {
        let id = short_id(format!("edit-wins({})", inner.id()));
        Self { inner, id }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<H: ConflictHandler> ConflictHandler for EditWins<H> {
    fn id(&self) -> &str {
        &self.id
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let edits: Vec<Head> = heads.iter().filter(|head| !head.state.deleted).cloned().collect();
        match edits.as_slice() {
            [] => heads.last().expect("a conflict has heads").state.clone(),
            // A handler is asked of two or more.
            [edit] => edit.state.clone(),
            edits => self.inner.resolve(edits),
        }
    }

    fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Bytes {
        self.inner.annotate(seen, next, dot)
    }
}
