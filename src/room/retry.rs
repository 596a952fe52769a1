//! When to connect again: exponential backoff with jitter.

use std::time::Duration;

/// How long to wait before connecting to a peer again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Retry {
    /// The wait after the first failure. Default 500 ms.
    pub initial: Duration,
    /// The longest wait. Each failure doubles it up to here. Default 30 seconds. A connection that lived this long counts as a success.
    pub max: Duration,
    /// The longest wait after a refusal that stands until somebody does something about it: another topic key or version, a peer that
    /// the application does not admit. The first such wait is `max`, and each further refusal doubles it up to here. Default 1 hour.
    pub refused_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            refused_max: Duration::from_secs(3600),
        }
    }
}

impl Retry {
    /// The wait after so many failures in a row, from half to the whole of the doubled one, by `jitter` of 0 to 255.
    pub(super) fn wait(&self, failures: u32, jitter: u8) -> Duration {
        spread(doubled(self.initial, failures).min(self.max), jitter)
    }

    /// The wait after so many lasting refusals in a row.
    pub(super) fn refused_wait(&self, refusals: u32, jitter: u8) -> Duration {
        spread(doubled(self.max, refusals).min(self.refused_max.max(self.max)), jitter)
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(20))
}

fn spread(wait: Duration, jitter: u8) -> Duration {
    wait / 2 + wait / 2 * u32::from(jitter) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_are_spread_over_their_upper_half() {
        let retry = Retry {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
            refused_max: Duration::from_secs(5),
        };
        let longest: Vec<u128> = (1..7).map(|failures| retry.wait(failures, 255).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(retry.wait(1, 0), Duration::from_millis(50));
        assert_eq!(retry.wait(u32::MAX, 255), Duration::from_secs(1));
        let longest: Vec<u64> = (1..6).map(|refusals| retry.refused_wait(refusals, 255).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 5, 5]);
    }
}
