//! Randomness by name: a draw depends on the seed and on what is decided, so that two processes draw alike.

/// A stream of random numbers that belongs to one decision: splitmix64, by Steele, Lea and Flood (2014).
pub(crate) struct Draw {
    state: u64,
}

impl Draw {
    /// The stream for a decision, named by numbers.
    pub(crate) fn new(seed: u64, names: &[u64]) -> Self {
        let mut draw = Self { state: seed };
        for name in names {
            draw.state = draw.number() ^ name;
        }
        draw
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is above zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}
