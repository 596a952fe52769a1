//! The changefeed: sequences, checkpoints, and the history that tells whether a checkpoint still fits.

use alloc::vec::Vec;

use crate::broken::{self, Rule};
use crate::id::Incarnation;

/// Position of a change in one store's changefeed. Zero means "before the first change".
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sequence(u64);

impl Sequence {
    /// Before the first change.
    pub const ZERO: Self = Self(0);

    /// A sequence from its number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The sequence after this one.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a store does not live to commit 2^64 changes"))
    }

    /// The sequence before this one. Zero stays zero.
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// How far somebody read a changefeed.
///
/// That the sequence exists does not make it fit: a restore moves documents back to positions that the reader
/// had passed. It fits only if the feed's history still contains the *end* it had when the page was read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Checkpoint {
    /// The incarnation that committed `end`.
    pub incarnation: Incarnation,
    /// The end of the feed when the page was read.
    pub end: Sequence,
    /// How far the feed was read. Never beyond `end`.
    pub sequence: Sequence,
}

/// At which sequence each incarnation of a store began. Forgets the oldest first.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct History {
    /// Ascending, in sequence and in time.
    begun: Vec<(Sequence, Incarnation)>,
}

impl History {
    /// Puts the history together from entries in ascending order of their sequence.
    pub fn new(begun: Vec<(Sequence, Incarnation)>) -> Self {
        assert!(begun.is_sorted_by(|left, right| left.0 < right.0), "incarnations begin one after the other");
        Self { begun }
    }

    /// Notes that an incarnation commits from `first` on. Returns the oldest entries beyond `incarnations_max`,
    /// which are forgotten.
    pub fn begin(
        &mut self,
        first: Sequence,
        incarnation: Incarnation,
        incarnations_max: usize,
    ) -> Vec<(Sequence, Incarnation)> {
        assert!(
            self.begun.last().is_none_or(|last| last.0 < first),
            "incarnations begin one after the other"
        );
        self.begun.push((first, incarnation));
        let forgotten = self.begun.len().saturating_sub(incarnations_max.max(1));
        self.begun.drain(..forgotten).collect()
    }

    /// The entries, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Sequence, Incarnation)> + '_ {
        self.begun.iter().copied()
    }

    /// The incarnation that committed last.
    pub fn last(&self) -> Option<Incarnation> {
        self.begun.last().map(|last| last.1)
    }

    /// Whether this store's feed was ever written by that incarnation, as far as it remembers.
    pub fn contains(&self, incarnation: Incarnation) -> bool {
        self.begun.iter().any(|entry| entry.1 == incarnation)
    }

    /// The checkpoint of a reader who has read up to `sequence` of a feed that ends at `end`. `None` for an empty
    /// feed, of which nothing can be read.
    pub fn checkpoint(&self, end: Sequence, sequence: Sequence) -> Option<Checkpoint> {
        assert!(sequence <= end, "nobody reads beyond the end");
        let end = if broken::is(Rule::CheckpointEnd) { sequence } else { end };
        let (_, incarnation) = self.begun.iter().rev().find(|entry| entry.0 <= end)?;
        Some(Checkpoint { incarnation: *incarnation, end, sequence })
    }

    /// Where a reader with this checkpoint goes on in a feed that ends at `end`: at zero if it does not fit.
    pub fn position(&self, checkpoint: Option<Checkpoint>, end: Sequence) -> Sequence {
        if broken::is(Rule::CheckpointFits) {
            return checkpoint.map(|checkpoint| checkpoint.sequence).unwrap_or_default();
        }
        let fits = |checkpoint: Checkpoint| {
            let index = self.begun.iter().position(|entry| entry.1 == checkpoint.incarnation)?;
            let first = self.begun[index].0;
            let last = self.begun.get(index + 1).map_or(end, |following| following.0.previous());
            let last = if planted!(HistoryOffByOne) { last.next() } else { last };
            (first <= checkpoint.end && checkpoint.end <= last && checkpoint.sequence <= checkpoint.end)
                .then_some(checkpoint.sequence)
        };
        checkpoint.and_then(fits).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Incarnation = Incarnation::new(1);
    const SECOND: Incarnation = Incarnation::new(2);

    fn history() -> History {
        let mut history = History::default();
        history.begin(Sequence::new(1), FIRST, 8);
        history.begin(Sequence::new(5), SECOND, 8);
        history
    }

    #[test]
    fn a_checkpoint_fits_while_its_end_is_in_the_history() {
        let end = Sequence::new(9);
        let checkpoint =
            history().checkpoint(Sequence::new(4), Sequence::new(3)).expect("the feed is not empty");
        assert_eq!(checkpoint.incarnation, FIRST);
        assert_eq!(history().position(Some(checkpoint), end), Sequence::new(3));
    }

    #[test]
    fn a_checkpoint_whose_end_was_rolled_back_means_from_the_start() {
        let mut before = History::default();
        before.begin(Sequence::new(1), FIRST, 8);
        let checkpoint =
            before.checkpoint(Sequence::new(7), Sequence::new(2)).expect("the feed is not empty");
        // Restored to sequence 4, then written by another incarnation.
        assert_eq!(history().position(Some(checkpoint), Sequence::new(9)), Sequence::ZERO);
    }

    #[test]
    fn a_forgotten_incarnation_means_from_the_start() {
        let mut history = history();
        let checkpoint = history.checkpoint(Sequence::new(4), Sequence::new(3));
        history.begin(Sequence::new(10), Incarnation::new(3), 2);
        assert_eq!(history.position(checkpoint, Sequence::new(12)), Sequence::ZERO);
    }
}
