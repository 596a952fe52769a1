//! Two ways to run a scenario: on the real clock, to measure time, or on a virtual one, to measure bytes.
//!
//! On the virtual clock nothing takes time but waiting, and randomness comes from a counter, so that a scenario sends the same
//! bytes in every run on every machine.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peerloom::{BoxFuture, Environment, Now, Storage, SystemEnvironment};
use tokio::runtime::Builder;
use tokio::time::Instant;

/// Which clock a scenario runs on.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    Real,
    Virtual(VirtualEnvironment),
}

impl Clock {
    /// Opens a node on this clock.
    pub(crate) async fn open(&self, storage: impl Storage) -> anyhow::Result<peerloom::Node> {
        let builder = peerloom::Node::builder(storage);
        Ok(match self {
            Self::Real => builder.environment(SystemEnvironment::new()).open().await?,
            Self::Virtual(environment) => builder.environment(environment.clone()).open().await?,
        })
    }
}

/// Runs a scenario on the real clock and one thread.
pub(crate) fn real<T, F: Future<Output = anyhow::Result<T>>>(
    scenario: impl FnOnce(Clock) -> F,
) -> anyhow::Result<T> {
    Builder::new_current_thread().enable_time().build()?.block_on(async { scenario(Clock::Real).await })
}

/// Runs a scenario on the real clock and the runtime that `#[tokio::main]` gives an application.
pub(crate) fn real_on_all_cores<T, F: Future<Output = anyhow::Result<T>>>(
    scenario: impl FnOnce(Clock) -> F,
) -> anyhow::Result<T> {
    Builder::new_multi_thread().enable_time().build()?.block_on(async { scenario(Clock::Real).await })
}

/// Runs a scenario on a virtual clock and one thread.
pub(crate) fn simulated<T, F: Future<Output = anyhow::Result<T>>>(
    scenario: impl FnOnce(Clock) -> F,
) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async { scenario(Clock::Virtual(VirtualEnvironment::new())).await })
}

/// An environment that repeats itself. Clones share clock and randomness.
#[derive(Clone, Debug)]
pub(crate) struct VirtualEnvironment {
    started: Instant,
    drawn: Arc<AtomicU64>,
}

impl VirtualEnvironment {
    fn new() -> Self {
        Self { started: Instant::now(), drawn: Arc::default() }
    }
}

impl Environment for VirtualEnvironment {
    fn now(&self) -> Now {
        /// The year 2026, so that numbers are as long as in life.
        const STARTED_UNIX_MS: u64 = 1_767_225_600_000;
        let monotonic = self.started.elapsed();
        Now { monotonic, unix_ms: STARTED_UNIX_MS + monotonic.as_millis() as u64 }
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
            chunk.copy_from_slice(&scattered(drawn).to_be_bytes()[..chunk.len()]);
        }
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep_until(self.started + deadline))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a number that looks random, different for each `number`.
pub(crate) fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
