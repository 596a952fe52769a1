//! Stamps and the hybrid logical clock that hands them out.
//!
//! Source: Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks" (2014). Knows no system
//! clock: the time of day is an argument.

use core::fmt;

/// Bits of a stamp that count within one millisecond.
const COUNTER_BITS: u32 = 16;

/// A stamp as the wire or a disk holds it that no clock could have handed out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the stamp {0} is not below 2^63")]
pub struct MalformedStamp(pub u64);

/// When a write was made: 48 bits of Unix milliseconds and a 16-bit counter, below 2^63.
///
/// Strictly increasing per incarnation. Comparing stamps of different incarnations orders concurrent
/// writes for a conflict handler; it never decides causality.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Stamp(u64);

impl Stamp {
    /// Before every write.
    pub const ZERO: Self = Self(0);
    /// The last stamp that is well-formed.
    pub const MAX: Self = Self((1 << 63) - 1);

    /// Checks that the number is below 2^63.
    pub const fn new(number: u64) -> Result<Self, MalformedStamp> {
        if number > Self::MAX.0 { Err(MalformedStamp(number)) } else { Ok(Self(number)) }
    }

    /// The first stamp of a millisecond. Times after the year 6400 count as that year.
    pub const fn at_unix_ms(unix_ms: u64) -> Self {
        let last = Self::MAX.0 >> COUNTER_BITS;
        Self((if unix_ms > last { last } else { unix_ms }) << COUNTER_BITS)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The millisecond since 1970 in which, by the writer's clock, the write was made.
    pub const fn unix_ms(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The next stamp, or `None` after the last.
    const fn next(self) -> Option<Self> {
        if self.0 < Self::MAX.0 { Some(Self(self.0 + 1)) } else { None }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.unix_ms(), self.0 & ((1 << COUNTER_BITS) - 1))
    }
}

/// Hands out the stamps of one incarnation.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// A stamp larger than every one handed out before, and larger than `seen` unless that lies beyond
    /// `ahead_max`, the latest stamp that may move this clock. Handed out for good, even if the write it was
    /// meant for fails. `None` once the stamps of 2^63 are used up, which no honest clock lives to see.
    pub fn tick(&mut self, unix_ms: u64, seen: Stamp, ahead_max: Stamp) -> Option<Stamp> {
        let after_seen = if seen <= ahead_max { seen.next()? } else { Stamp::ZERO };
        let after_last = if planted!(StampGivenTwice) { Stamp::ZERO } else { self.last.next()? };
        let stamp = after_last.max(Stamp::at_unix_ms(unix_ms)).max(after_seen);
        self.last = stamp;
        Some(stamp)
    }

    /// The last stamp handed out, zero before the first.
    pub fn last(&self) -> Stamp {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_increase_though_the_clock_stands_still_or_runs_back() {
        let mut clock = Clock::default();
        let stamps = [5, 5, 4, 9].map(|ms| clock.tick(ms, Stamp::ZERO, Stamp::MAX).expect("below 2^63"));
        assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(stamps[3].unix_ms(), 9);
    }

    #[test]
    fn a_stamp_too_far_ahead_does_not_move_the_clock() {
        let mut clock = Clock::default();
        let ahead_max = Stamp::at_unix_ms(1_000);
        let near = clock.tick(10, Stamp::at_unix_ms(900), ahead_max).expect("below 2^63");
        assert!(near > Stamp::at_unix_ms(900));
        let far = clock.tick(10, Stamp::at_unix_ms(2_000), ahead_max).expect("below 2^63");
        assert!(far > near && far < ahead_max);
    }

    #[test]
    fn numbers_from_2_to_the_63_are_malformed() {
        assert_eq!(Stamp::new(1 << 63), Err(MalformedStamp(1 << 63)));
        assert_eq!(Stamp::new((1 << 63) - 1), Ok(Stamp::MAX));
    }
}
