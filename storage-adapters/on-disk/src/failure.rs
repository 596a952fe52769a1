//! What went wrong with the file system, in the words of the contract.

use std::io::{self, ErrorKind};

use peerloom_core::StorageError;

/// An error of the file system.
pub fn of_system(error: &io::Error) -> StorageError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::Io { detail: error.to_string() },
    }
}

/// An error of reading what was written before: a file that is missing or ends too early was there and longer then.
pub fn of_read_or_system(error: &io::Error) -> StorageError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::InvalidData => {
            StorageError::Corrupt { detail: error.to_string() }
        }
        _ => of_system(error),
    }
}
