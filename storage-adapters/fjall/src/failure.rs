//! What went wrong in fjall, in the words of the contract.

use peerloom_core::StorageError;
use peerloom_on_disk::of_read_or_system;

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
