//! The commands that work with documents. None of them cares whether the peer is being served.

mod documents;
mod export;
mod import;
mod room;

pub(crate) use documents::{Listing, conflicts, delete, get, list, put};
pub(crate) use export::export;
pub(crate) use import::import;
pub(crate) use room::{catch_up, status, watch};

/// How many documents are asked for at a time.
const PAGE_DOCUMENTS: u32 = 1000;
