//! The choices of a run: the same seed makes the same ones, in every process and with every version of this crate.
//!
//! Documents come from proptest's strategies, which get their randomness from here.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A source of choices: SplitMix64 (Steele, Lea, Flood 2014), whose state is the seed itself.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The dice of one case of a run.
    pub(crate) fn of_case(seed: u64, law: usize, case: u64) -> Self {
        let mut dice = Self(seed ^ (law as u64) << 56);
        Self(dice.next() ^ case.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below this one, which is above zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these, of which there is at least one.
    pub(crate) fn one_of<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len())]
    }

    /// A value of a strategy, or `None` if it refuses too often.
    pub(crate) fn draw<S: Strategy>(&mut self, strategy: &S) -> Option<S::Value> {
        let mut seed = [0; 32];
        for part in seed.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let config = Config { failure_persistence: None, ..Config::default() };
        let tree = strategy.new_tree(&mut TestRunner::new_with_rng(config, random)).ok()?;
        Some(tree.current())
    }
}
