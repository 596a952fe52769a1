//! Where sealing and opening are done: a little at once, more of it on a thread where blocking is fine.

use std::panic::resume_unwind;

use peerloom_core::StorageError;

/// How many bytes are sealed or opened without a change of thread: that costs 60 to 120 microseconds, and these take 30 to 80.
const AT_ONCE_BYTES_MAX: usize = 64 << 10;

/// What a record or a value costs besides its bytes, in bytes.
const EACH_BYTES: usize = 512;

/// Does work on so many things that have so many bytes together.
pub(crate) async fn offload<T: Send + 'static>(
    things: usize,
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StorageError> {
    match bytes.saturating_add(things.saturating_mul(EACH_BYTES)) <= AT_ONCE_BYTES_MAX {
        true => Ok(work()),
        false => on_a_thread(work).await,
    }
}

/// Does work of any length.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => StorageError::Io { detail: "the runtime is shutting down".into() },
    })
}
