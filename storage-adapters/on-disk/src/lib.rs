//! What storage adapters share that keep their stores on a disk through a library whose calls block.
//!
//! A [`Directory`] holds a database per store: a failed write, damage or a lock in one never touches another, and deleting
//! one is a rename. [`OnDisk`] is the handle to an open one, with the thread through which all of its operations pass. What is left to
//! an adapter is [`Tables`]: every operation as a plain call that blocks, and the errors of its library in the words of
//! the contract.

mod directory;
mod durability;
mod failure;
mod feed;
mod feed_end;
mod metadata;
mod page;
mod store;

pub use directory::{Directory, Layout};
pub use durability::Durability;
pub use failure::{of_read_or_system, of_system};
pub use feed::{decode_entry, encode_entry, sequence_of_key};
pub use feed_end::FeedEnd;
pub use metadata::metadata_page;
pub use page::Page;
pub use store::{OnDisk, Tables};
