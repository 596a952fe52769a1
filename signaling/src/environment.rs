//! The clock and the randomness that the server uses, injected so that a simulator can choose them.

use std::time::{Duration, SystemTime};

use crate::rooms::Now;

/// Where the server gets the time and randomness from. With one that repeats itself, on a tokio runtime with a paused
/// clock, the server does.
pub trait Environment: Send + Sync + 'static {
    /// The time now. The monotonic clock must keep pace with tokio's.
    fn now(&self) -> Now;

    /// A random number, for a peer's id.
    fn random_u64(&self) -> u64;
}

/// The real thing: tokio's clock, the system's wall clock and randomness.
#[derive(Clone, Copy, Debug)]
pub struct SystemEnvironment {
    started: tokio::time::Instant,
}

impl SystemEnvironment {
    /// An environment whose monotonic clock starts now.
    pub fn new() -> Self {
        Self { started: tokio::time::Instant::now() }
    }
}

impl Default for SystemEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

impl Environment for SystemEnvironment {
    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { monotonic: self.started.elapsed(), unix }
    }

    fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the system has randomness");
        u64::from_ne_bytes(bytes)
    }
}
