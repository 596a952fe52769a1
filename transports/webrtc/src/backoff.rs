//! Waits that double, spread by chance so that those who failed together do not try again together.

use std::time::Duration;

/// The wait after so many failures in a row: from half to the whole of the doubled one, by `jitter` of 0 to 255.
pub(crate) fn wait(initial: Duration, max: Duration, failures: u32, jitter: u8) -> Duration {
    let doubled = initial.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max);
    doubled / 2 + doubled / 2 * u32::from(jitter) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_are_spread_over_their_upper_half() {
        let (initial, max) = (Duration::from_millis(500), Duration::from_secs(15));
        let longest: Vec<u128> =
            (1..8).map(|failures| wait(initial, max, failures, 255).as_millis()).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        assert_eq!(wait(initial, max, 1, 0), Duration::from_millis(250));
        assert_eq!(wait(initial, max, u32::MAX, 255), max);
    }
}
