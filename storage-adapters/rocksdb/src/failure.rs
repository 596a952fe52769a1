//! What went wrong in RocksDB, in the words of the contract.

use peerloom_core::StorageError;
use rocksdb::ErrorKind;

/// An error of RocksDB. The C interface passes on the kind, and the rest only as text.
pub(crate) fn of_rocksdb(error: &rocksdb::Error) -> StorageError {
    let text = error.to_string();
    if text.contains("No space left") || text.contains("Disk quota exceeded") {
        return StorageError::Full;
    }
    // What is missing or ends too early was there and longer before.
    let lost = text.contains("No such file") || text.contains("file is too short");
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::NotFound | ErrorKind::InvalidArgument => {
            StorageError::Corrupt { detail: text }
        }
        _ if lost => StorageError::Corrupt { detail: text },
        _ => StorageError::Io { detail: text },
    }
}

/// An error of opening: the lock that RocksDB itself takes on a database is somebody else's if it cannot be had.
pub(crate) fn of_opening(error: &rocksdb::Error, place: &std::path::Path) -> StorageError {
    let text = error.to_string();
    match text.contains("lock ") || text.contains("LOCK") {
        true if text.contains("hold") || text.contains("unavailable") => {
            StorageError::Locked { place: place.display().to_string() }
        }
        _ => of_rocksdb(error),
    }
}
