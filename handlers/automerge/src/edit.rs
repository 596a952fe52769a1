//! Making and reading bodies that are Automerge documents.

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, AutoCommit, AutomergeError, ObjId, ObjType, ROOT, ReadDoc, Value};
use bytes::Bytes;

/// Why a body could not be read or edited.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The body is not an Automerge document, or a damaged one.
    #[error("the body is not an Automerge document: {detail}")]
    Unreadable {
        /// What Automerge said.
        detail: String,
    },
    /// The document has no text of this name.
    #[error("the document has no text {field:?}: make it with empty_text")]
    NoText {
        /// The name that was asked for.
        field: String,
    },
    /// Automerge refused the change.
    #[error("the change was refused: {detail}")]
    Refused {
        /// What Automerge said.
        detail: String,
    },
}

/// The body of a document with one empty text at its root.
///
/// The same bytes on every replica, so that two who make the same document at the same time write into one text. Texts that they
/// make in any other way are two, of which only one is shown.
pub fn empty_text(field: &str) -> Bytes {
    // Everybody's first change must be the same change: same actor, same time.
    let mut document = AutoCommit::new().with_actor(ActorId::from([0_u8; 16]));
    document.put_object(ROOT, field, ObjType::Text).expect("an empty map takes any key");
    document.commit_with(CommitOptions::default().with_time(0));
    document.save_nocompress().into()
}

/// The body after a change of the document.
///
/// It is written under a random actor of its own: two edits of the same body by one actor would be two changes of the same name,
/// which no document can hold together.
///
/// # Errors
///
/// [`EditError::Unreadable`] if the body is no Automerge document, [`EditError::Refused`] with what `change` returned.
///
/// ```
/// use peerloom_automerge::automerge::marks::{ExpandMark, Mark};
/// use peerloom_automerge::automerge::{ROOT, ReadDoc, transaction::Transactable};
/// use peerloom_automerge::{edit, edit_text, empty_text};
///
/// let note = edit_text(&empty_text("note"), "note", "Buy milk.")?;
/// let bold = edit(&note, |document| {
///     let (_, text) = document.get(ROOT, "note")?.expect("it was made above");
///     document.mark(&text, Mark::new("bold".into(), true, 4, 8), ExpandMark::Both)
/// })?;
/// # assert_ne!(note, bold);
/// # Ok::<(), peerloom_automerge::EditError>(())
/// ```
pub fn edit(
    body: &Bytes,
    change: impl FnOnce(&mut AutoCommit) -> Result<(), AutomergeError>,
) -> Result<Bytes, EditError> {
    let mut document = load(body)?;
    change(&mut document).map_err(|error| refused(&error))?;
    Ok(document.save().into())
}

/// The body after a text was changed to `new`: the insertions and deletions that this takes merge with those of others.
///
/// Whoever knows what the user did, keystroke by keystroke, says it in [`edit`] instead: it merges better than a difference.
///
/// # Errors
///
/// If the body is no Automerge document, or has no such text at its root.
pub fn edit_text(body: &Bytes, field: &str, new: &str) -> Result<Bytes, EditError> {
    let mut document = load(body)?;
    let text = find(&document, field)?;
    document.update_text(&text, new).map_err(|error| refused(&error))?;
    Ok(document.save().into())
}

/// A text at the root of a document, without its marks.
///
/// # Errors
///
/// If the body is no Automerge document, or has no such text at its root.
pub fn text(body: &Bytes, field: &str) -> Result<String, EditError> {
    let document = load(body)?;
    let text = find(&document, field)?;
    document.text(text).map_err(|error| refused(&error))
}

fn load(body: &Bytes) -> Result<AutoCommit, EditError> {
    AutoCommit::load(body).map_err(|error| EditError::Unreadable { detail: error.to_string() })
}

fn find(document: &AutoCommit, field: &str) -> Result<ObjId, EditError> {
    match document.get(ROOT, field) {
        Ok(Some((Value::Object(ObjType::Text), text))) => Ok(text),
        _ => Err(EditError::NoText { field: field.to_owned() }),
    }
}

fn refused(error: &AutomergeError) -> EditError {
    EditError::Refused { detail: error.to_string() }
}
