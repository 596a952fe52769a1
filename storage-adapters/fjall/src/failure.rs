//! What went wrong, in the words of the contract.

use std::io::{self, ErrorKind};

use peerloom_core::StorageError;

/// An error of the file system.
pub(crate) fn of_system(error: &io::Error) -> StorageError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::Io { detail: error.to_string() },
    }
}

/// An error of fjall. Everything but a failed call to the system means that the files are not as fjall left them.
pub(crate) fn of_fjall(error: &fjall::Error) -> StorageError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            of_read_or_system(error)
        }
        fjall::Error::Poisoned => StorageError::Io { detail: "an earlier write failed".into() },
        error => StorageError::Corrupt { detail: error.to_string() },
    }
}

/// A file that is missing or ends too early was there and longer before.
fn of_read_or_system(error: &io::Error) -> StorageError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::InvalidData => {
            StorageError::Corrupt { detail: error.to_string() }
        }
        _ => of_system(error),
    }
}
