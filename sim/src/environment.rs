//! The clock, the randomness and the tasks of a simulated peer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peerloom::{BoxFuture, Environment, Now};

use crate::plan::{Draw, PeerNumber};
use crate::tasks::Tasks;

/// Where the wall clocks of all peers start: in 2027.
pub(crate) const UNIX_MS: u64 = 1_800_000_000_000;

/// Tells how much simulated time has passed since the beginning.
pub(crate) type Elapsed = Arc<dyn Fn() -> Duration + Send + Sync>;

/// A wall clock that jumps and stands still when the plan says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct WallClock {
    state: Arc<Mutex<WallState>>,
}

#[derive(Debug, Default)]
struct WallState {
    ahead_ms: i64,
    frozen_at: Option<Duration>,
}

impl WallClock {
    pub(crate) fn jump(&self, by_ms: i64) {
        let mut state = self.lock();
        state.ahead_ms = state.ahead_ms.saturating_add(by_ms);
    }

    pub(crate) fn freeze(&self, now: Duration) {
        self.lock().frozen_at.get_or_insert(now);
    }

    /// Goes on with the right time, as a clock does that was set by the network.
    pub(crate) fn thaw(&self) {
        self.lock().frozen_at = None;
    }

    fn unix_ms(&self, now: Duration) -> u64 {
        let state = self.lock();
        let elapsed = state.frozen_at.unwrap_or(now);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        UNIX_MS.saturating_add(elapsed_ms).saturating_add_signed(state.ahead_ms)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, WallState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The environment of one lifetime of a peer.
///
/// Its randomness is keyed by the peer and the instant: what one peer draws does not depend on how much was drawn before.
#[derive(Clone)]
pub(crate) struct SimEnvironment {
    pub(crate) seed: u64,
    pub(crate) peer: PeerNumber,
    pub(crate) elapsed: Elapsed,
    pub(crate) wall: WallClock,
    pub(crate) tasks: Tasks,
    pub(crate) drawn: Arc<Drawn>,
}

/// How often randomness was drawn at one instant.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    at_us: AtomicU64,
    times: AtomicU64,
}

impl Drawn {
    /// How often it was at this instant before.
    pub(crate) fn count_at(&self, now_us: u64) -> u64 {
        // What draws from one of these runs on one thread, so that nothing comes between.
        if self.at_us.swap(now_us, Ordering::Relaxed) != now_us {
            self.times.store(0, Ordering::Relaxed);
        }
        self.times.fetch_add(1, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for SimEnvironment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SimEnvironment").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Environment for SimEnvironment {
    fn now(&self) -> Now {
        let monotonic = (self.elapsed)();
        Now { monotonic, unix_ms: self.wall.unix_ms(monotonic) }
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        let now = (self.elapsed)().as_micros() as u64;
        let time = self.drawn.count_at(now);
        Draw::new(self.seed, ("randomness", self.peer, now, time)).fill(buffer);
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(self.tasks.managed(task));
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(deadline.saturating_sub((self.elapsed)())))
    }
}
