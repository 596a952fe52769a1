//! A storage adapter of one's own: all it takes is the documentation of [`Storage`](peerloom_core::Storage)
//! and [`Store`](peerloom_core::Store).
//!
//! Each store is one file, a log to which every commit appends one entry and waits for the disk. Opening
//! reads it from the start into maps, and from then on reads never touch the file. That is simple and safe,
//! and fit for what fits into memory; the log is never compacted, so a document that is rewritten often keeps
//! growing the file.
//!
//! - [`log`](mod@log) is the file: entries, and what a crash left of the last one.
//! - [`entry`] are the bytes of a commit, with their checksum.
//! - [`contents`] are the maps: what a batch does to them, and what is found in them.
//! - [`storage`] is the adapter: names, locks, and the order of operations.

pub mod contents;
pub mod entry;
pub mod log;
pub mod storage;

pub use storage::LogFiles;
