//! The file of a store: a log of commits, which is written anew when most of it is history.
//!
//! A header, then one entry for each commit, as [`entry`] has them. A new log has one entry with all that the store holds. It is made
//! beside the old one and renamed over it, so that at every instant one of the two is whole. That is the idea, and four lines
//! of it are easily forgotten: see [`Flaw`].

use std::io::{self, ErrorKind};

use bytes::Bytes;
use custom_storage::entry;
use custom_storage::log::failure;
use peerloom_core::{Batch, CommitError, StorageError};

use crate::files::{Files, LogFile};
use crate::storage::Flaw;

const MAGIC: &[u8] = b"peerloom example log that is compacted, ";
const VERSION: &[u8] = b"1\n";

/// An open log, locked for as long as this lives.
pub struct Log<F: Files> {
    files: F,
    name: String,
    flaw: Option<Flaw>,
    file: F::File,
    /// Locked in place of the log itself, which is another file after each compaction.
    _lock: F::File,
    bytes: u64,
    bytes_when_compacted: u64,
    /// Something failed, and what is on the disk is not known.
    failed: bool,
}

impl<F: Files> Log<F> {
    /// Opens a log, creates it if there is none, and hands every whole batch to `replay`.
    pub fn open(
        files: F,
        name: String,
        flaw: Option<Flaw>,
        mut replay: impl FnMut(Batch),
    ) -> Result<Self, StorageError> {
        let lock = lock(&files, &name)?;
        let mut file = files.open(&name).map_err(|error| failure(&error))?;
        let mut content = file.read().map_err(|error| failure(&error))?;
        let header = [MAGIC, VERSION].concat();
        if content.len() < header.len() && header.starts_with(&content) {
            // New, or its creation was cut short.
            let created = file.truncate(0).and_then(|()| file.append(&header)).and_then(|()| file.sync());
            created.and_then(|()| files.sync_names()).map_err(|error| failure(&error))?;
            content.clone_from(&header);
        }
        if !content.starts_with(&header) {
            let detail = "it does not begin with the header of this version".into();
            return Err(StorageError::Foreign { place: name, detail });
        }
        let mut bytes = content.len() as u64;
        let mut rest = Bytes::from(content).split_off(header.len());
        while let Some(batch) = entry::take(&mut rest) {
            replay(entry::decode(batch)?);
        }
        bytes -= rest.len() as u64;
        // A crash has torn the last entry. What is appended behind a torn entry is never read again.
        if !rest.is_empty() && flaw != Some(Flaw::LeavesTornEnd) {
            file.truncate(bytes).and_then(|()| file.sync()).map_err(|error| failure(&error))?;
        }
        let bytes_when_compacted = header.len() as u64;
        Ok(Self { files, name, flaw, file, _lock: lock, bytes, bytes_when_compacted, failed: false })
    }

    /// Appends a batch. When this returns, it is on the disk.
    pub fn append(&mut self, batch: &Batch) -> Result<(), CommitError> {
        if self.failed {
            let detail = "an earlier commit failed; the store must be reopened".into();
            return Err(CommitError::NotApplied(StorageError::Io { detail }));
        }
        let entry = entry::encode(batch).map_err(CommitError::NotApplied)?;
        self.bytes += entry.len() as u64;
        let mut written = self.file.append(&entry);
        // Writing hands bytes to the operating system. They are on the disk when it says so.
        if self.flaw != Some(Flaw::AcknowledgesEarly) {
            written = written.and_then(|()| self.file.sync());
        }
        self.note_failure(written)
    }

    /// Whether most of it is history.
    pub fn is_long(&self, compact_bytes_min: u64) -> bool {
        self.bytes > compact_bytes_min && self.bytes > 2 * self.bytes_when_compacted
    }

    /// Writes it anew, with nothing but this.
    pub fn compact(&mut self, everything: &Batch) -> Result<(), CommitError> {
        let compacted = self.write_anew(everything);
        self.note_failure(compacted)
    }

    fn write_anew(&mut self, everything: &Batch) -> io::Result<()> {
        let entry = entry::encode(everything).map_err(|_| ErrorKind::StorageFull)?;
        let new_name = new_name(&self.name);
        let mut new = self.files.open(&new_name)?;
        new.truncate(0)?;
        new.append(&[MAGIC, VERSION, &entry].concat())?;
        // A file system may write the new name to the disk long before the bytes.
        if self.flaw != Some(Flaw::RenamesBeforeSync) {
            new.sync()?;
        }
        self.files.rename(&new_name, &self.name)?;
        // The name is no part of the file, but of its directory. Without this, a power cut may bring back the old log, and with it the
        // past: all later commits are safely on the disk, in a file that has no name.
        if self.flaw != Some(Flaw::ForgetsTheName) {
            self.files.sync_names()?;
        }
        self.file = new;
        self.bytes = (MAGIC.len() + VERSION.len() + entry.len()) as u64;
        self.bytes_when_compacted = self.bytes;
        Ok(())
    }

    /// Once an operation has failed, nobody knows how much of it arrives.
    fn note_failure(&mut self, done: io::Result<()>) -> Result<(), CommitError> {
        self.failed |= done.is_err();
        done.map_err(|error| CommitError::Unknown(failure(&error)))
    }
}

/// Deletes a log that nobody has open. One that does not exist is deleted already.
pub fn delete<F: Files>(files: &F, name: &str) -> Result<(), StorageError> {
    let _lock = lock(files, name)?;
    let removed = files.remove(name).and_then(|()| files.remove(&new_name(name)));
    removed.and_then(|()| files.sync_names()).map_err(|error| failure(&error))
}

fn lock<F: Files>(files: &F, name: &str) -> Result<F::File, StorageError> {
    let lock = files.open(&format!("{name}.lock")).map_err(|error| failure(&error))?;
    match lock.lock() {
        Ok(()) => Ok(lock),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(StorageError::Locked { place: name.to_owned() })
        }
        Err(error) => Err(failure(&error)),
    }
}

fn new_name(name: &str) -> String {
    format!("{name}.new")
}
