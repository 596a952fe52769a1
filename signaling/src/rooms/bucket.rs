//! A token bucket: how many messages a peer may still send.
//!
//! Kept as one instant, the time at which the bucket is full again (the generic cell rate algorithm, ITU-T I.371).

use std::time::Duration;

use super::Limits;

#[derive(Debug, Default)]
pub(super) struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Takes `cost` messages out. False, and nothing taken, if there are not as many in it.
    pub(super) fn take(&mut self, now: Duration, cost: u32, limits: &Limits) -> bool {
        let each = Duration::from_secs(1) / limits.messages_per_second.get();
        let full_at = self.full_at.max(now) + each * cost;
        let fits = full_at - now <= each * limits.messages_burst.get();
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_a_burst_and_fills_at_its_rate() {
        let limits = Limits {
            messages_per_second: 10.try_into().unwrap(),
            messages_burst: 3.try_into().unwrap(),
            ..Limits::default()
        };
        let mut bucket = Bucket::default();
        let taken = |bucket: &mut Bucket, ms| {
            (0..10).take_while(|_| bucket.take(Duration::from_millis(ms), 1, &limits)).count()
        };
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 99), 0);
        assert_eq!(taken(&mut bucket, 200), 2);
        assert_eq!(taken(&mut bucket, 10_000), 3);
        assert!(!bucket.take(Duration::from_secs(20), 4, &limits), "more than it ever holds");
    }
}
