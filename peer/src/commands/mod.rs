//! The commands. Those that work with documents do not care whether the peer is being served.

mod documents;
mod export;
mod import;
mod invitations;
mod room;

pub(crate) use documents::{Listing, conflicts, delete, get, list, put};
pub(crate) use export::export;
pub(crate) use import::import;
pub(crate) use invitations::{invite, join};
pub(crate) use room::{catch_up, status, watch};

/// How many documents are asked for at a time.
const PAGE_DOCUMENTS: u32 = 1000;
