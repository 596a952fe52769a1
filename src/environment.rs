//! The clock, the randomness and the spawning that a node uses, injected so that a simulator can choose them.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use peerloom_core::Now;

/// A future that can be given away.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where a node gets the time and randomness from, and what runs its tasks.
///
/// Everything in Peerloom that is not decided by its inputs comes from here: with an environment that repeats itself, a node does.
pub trait Environment: Send + Sync + 'static {
    /// The time now, by a monotonic clock and by the wall clock.
    fn now(&self) -> Now;

    /// Fills a buffer with randomness that nobody can predict.
    fn fill_random(&self, buffer: &mut [u8]);

    /// Runs a task in the background.
    fn spawn(&self, task: BoxFuture<()>);

    /// Returns once the monotonic clock has reached `deadline`.
    fn sleep_until(&self, deadline: Duration) -> BoxFuture<()>;
}

/// The real thing: tokio's clock and tasks, the system's wall clock and randomness.
///
/// Must be made inside a tokio runtime. Follows tokio's paused clock in tests.
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
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now { monotonic: self.started.elapsed(), unix_ms }
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the system has randomness");
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep_until(self.started + deadline))
    }
}

/// A random number from an environment.
pub(crate) fn random_u64(environment: &dyn Environment) -> u64 {
    let mut bytes = [0; 8];
    environment.fill_random(&mut bytes);
    u64::from_be_bytes(bytes)
}
