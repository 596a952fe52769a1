//! The time as the core is told it.

use core::time::Duration;

/// The time at one instant, by both clocks. The core reads no clock; whoever calls it passes this.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Now {
    /// Time since some fixed instant, never running back. For time-outs.
    pub monotonic: Duration,
    /// Milliseconds since 1970 by the wall clock, which may jump. For stamps.
    pub unix_ms: u64,
}
