//! Collections: documents of one kind, read and written here and replicated in the rooms that share them.

mod content;
mod gathered;
mod handle;
mod open;
mod request;
mod shared;
mod watch;
mod writer;

pub use content::{Binary, Content, ContentError};
pub use handle::{Collection, Conflict, ConflictPage, Draft, Entry, Page, Version};
pub use open::CollectionBuilder;
pub(crate) use open::{Core, OpenCollections};
pub(crate) use shared::{Mark, Progress, SessionNumber};
pub use watch::{Change, Changes};
#[cfg(feature = "rxdb")]
pub(crate) use writer::read_metadata;
