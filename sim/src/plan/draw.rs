//! Randomness by name: a draw depends on the seed and on what is decided, and on nothing drawn before.

use std::hash::{Hash, Hasher};

/// A stream of random numbers that belongs to one decision.
///
/// Two draws with the same seed and key are equal, whatever else was drawn. Not for secrets.
#[derive(Clone, Debug)]
pub struct Draw {
    state: u64,
}

impl Draw {
    /// The stream for a decision. The key says what is decided: a word for the kind, and which one.
    pub fn new(seed: u64, key: impl Hash) -> Self {
        let mut hasher = Fnv::default();
        seed.hash(&mut hasher);
        key.hash(&mut hasher);
        let mut draw = Self { state: hasher.finish() };
        // FNV's last bytes reach the low bits only; one step spreads them.
        draw.state = draw.number();
        draw
    }

    /// Any number: splitmix64, by Steele, Lea and Flood (2014).
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    ///
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below zero");
        self.number() % bound
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high - low).saturating_add(1))
    }

    /// A number from `low` to `high`, both included, of which small ones are likelier: each order of magnitude above `low`
    /// is about as likely as the next.
    pub fn mostly_small(&mut self, low: u64, high: u64) -> u64 {
        let span = high - low;
        let bits = self.between(0, u64::from(u64::BITS - span.leading_zeros()));
        let mask = 1_u64.checked_shl(bits as u32).map_or(u64::MAX, |power| power - 1);
        low + (self.number() & mask).min(span)
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what a float holds.
        ((self.number() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// One of a list.
    ///
    /// # Panics
    ///
    /// If the list is empty.
    pub fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// FNV-1a (Fowler, Noll, Vo): the standard library's hasher may change between versions, and replay files outlive them.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Draw;

    #[test]
    fn a_draw_depends_on_its_key_alone() {
        let first = Draw::new(7, ("latency", 3)).number();
        assert_eq!(first, Draw::new(7, ("latency", 3)).number());
        assert_ne!(first, Draw::new(7, ("latency", 4)).number());
        assert_ne!(first, Draw::new(8, ("latency", 3)).number());
    }

    #[test]
    fn mostly_small_reaches_both_ends_and_prefers_the_low_one() {
        let drawn: Vec<_> = (0..1_000).map(|key| Draw::new(1, key).mostly_small(1, 200)).collect();
        assert_eq!(drawn.iter().min(), Some(&1));
        assert_eq!(drawn.iter().max(), Some(&200));
        assert!(drawn.iter().filter(|number| **number <= 14).count() > 500);
        assert_eq!(Draw::new(1, 1).mostly_small(7, 7), 7);
        assert!((0..100).all(|key| Draw::new(1, key).mostly_small(0, u64::MAX) < u64::MAX));
    }

    #[test]
    fn chances_are_as_said() {
        let hits = (0..10_000).filter(|key| Draw::new(1, key).chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits} of 10,000 at one in four");
    }
}
