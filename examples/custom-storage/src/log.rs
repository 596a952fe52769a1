//! The file: a header, then one entry for each commit, appended and never changed.
//!
//! The header is `peerloom example log 1` and a line feed, and the entries are those of [`entry`]. One that is not
//! whole is what a crash left of a commit that never returned, if it is the last: opening cuts it off. In the middle
//! of the file it would be damage, but a log cannot tell the two apart, so what follows is given up as well.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use peerloom_core::{Batch, CommitError, StorageError};

use crate::entry;

const MAGIC: &[u8] = b"peerloom example log ";
const VERSION: u32 = 1;
/// The version and the end of the line: one digit will do for an example.
const HEADER_BYTES: usize = MAGIC.len() + 2;

/// An open log. The file is locked, against other programs as well, for as long as this lives.
pub struct Log {
    file: File,
    /// Where the next entry begins.
    end: u64,
    /// A write failed, and what the file holds behind `end` is not known.
    failed: bool,
}

impl Log {
    /// Opens a log, creates it if there is none, and hands every whole batch to `replay`.
    pub fn open(path: &Path, mut replay: impl FnMut(Batch)) -> Result<Self, StorageError> {
        let place = || path.display().to_string();
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(|error| failure(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::Locked { place: place() }),
            Err(TryLockError::Error(error)) => return Err(failure(&error)),
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|error| failure(&error))?;
        let header = [MAGIC, format!("{VERSION}\n").as_bytes()].concat();
        if content.len() < header.len() && header.starts_with(&content) {
            // New, or its creation was cut short.
            write_at(&mut file, 0, &header).map_err(|error| failure(&error))?;
            sync_directory(path).map_err(|error| failure(&error))?;
            content = header;
        }
        check_header(&content, place)?;
        let mut end = content.len() as u64;
        let mut rest = Bytes::from(content).split_off(HEADER_BYTES);
        while let Some(batch) = entry::take(&mut rest) {
            replay(entry::decode(batch)?);
        }
        end -= rest.len() as u64;
        if !rest.is_empty() {
            file.set_len(end).and_then(|()| file.sync_all()).map_err(|error| failure(&error))?;
        }
        Ok(Self { file, end, failed: false })
    }

    /// Appends a batch. When this returns, it is on the disk.
    pub fn append(&mut self, batch: &Batch) -> Result<(), CommitError> {
        if self.failed {
            let detail = "an earlier commit failed; the store must be reopened".into();
            return Err(CommitError::NotApplied(StorageError::Io { detail }));
        }
        let entry = entry::encode(batch).map_err(CommitError::NotApplied)?;
        // Once bytes were handed over, nobody knows how many of them arrive.
        if let Err(error) = write_at(&mut self.file, self.end, &entry) {
            self.failed = true;
            return Err(CommitError::Unknown(failure(&error)));
        }
        self.end += entry.len() as u64;
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Closing the file would do, but for a process that is being forked at this moment: it holds the file
        // open as well until it runs its own program. If this fails, closing still follows.
        let _ = self.file.unlock();
    }
}

/// Deletes a log that nobody has open. One that does not exist is deleted already.
pub fn delete(path: &Path) -> Result<(), StorageError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failure(&error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StorageError::Locked { place: path.display().to_string() });
        }
        Err(TryLockError::Error(error)) => return Err(failure(&error)),
    }
    fs::remove_file(path).and_then(|()| sync_directory(path)).map_err(|error| failure(&error))
}

/// An error of the file system, in the words of the contract.
pub fn failure(error: &io::Error) -> StorageError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::Io { detail: error.to_string() },
    }
}

fn check_header(content: &[u8], place: impl Fn() -> String) -> Result<(), StorageError> {
    let Some(version) = content.strip_prefix(MAGIC) else {
        return Err(StorageError::Foreign { place: place(), detail: "it begins with something else".into() });
    };
    match version.first().and_then(|digit| char::from(*digit).to_digit(10)) {
        Some(VERSION) => Ok(()),
        Some(found) => Err(StorageError::Newer { found, supported: VERSION }),
        None => Err(StorageError::Corrupt { detail: "the log has no version".into() }),
    }
}

fn write_at(file: &mut File, position: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(position))?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Makes a file's entry in its directory durable. Other systems than Unix have no such call, and do so
/// themselves.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if cfg!(unix) => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}
