//! Version vectors: per incarnation, the highest stamp that is included.
//!
//! [`Context`] says which writes one document includes, [`Knowledge`] which writes a whole collection does.
//! They are two types, because joining one into the other would claim writes that nobody has.

use core::fmt;
use core::ops::Deref;

use smallvec::SmallVec;

use crate::id::Incarnation;
use crate::stamp::Stamp;

/// A sorted map from incarnation to the highest stamp included, all lower ones with it.
///
/// A sorted vector rather than a tree: nearly all have one to three entries, copying one is one `memcpy`, and
/// comparing two is one walk over both. The only entry of most documents lies in it, without an allocation.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct VersionVector {
    entries: SmallVec<[(Incarnation, Stamp); 1]>,
}

impl VersionVector {
    /// How many incarnations have an entry.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it includes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The highest stamp of an incarnation that is included, zero for none.
    pub fn stamp(&self, incarnation: Incarnation) -> Stamp {
        match self.position(incarnation) {
            Ok(position) => self.entries[position].1,
            Err(_) => Stamp::ZERO,
        }
    }

    /// Where the entry of an incarnation stands in [`Self::iter`].
    pub fn index_of(&self, incarnation: Incarnation) -> Option<usize> {
        self.position(incarnation).ok()
    }

    /// The entries in the order of their incarnations.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Incarnation, Stamp)> + Clone + '_ {
        self.entries.iter().copied()
    }

    /// Whether everything in `other` is included here.
    pub fn covers(&self, other: &Self) -> bool {
        self.lacks(other).next().is_none()
    }

    /// The entries of `other` that are not included here.
    pub fn lacks<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (Incarnation, Stamp)> + 'a {
        // A short vector is looked up in a long one, two of like length are walked side by side.
        let walk = other.entries.len() * 8 >= self.entries.len();
        let mut mine = self.entries.as_slice();
        other.entries.iter().copied().filter(move |&(incarnation, stamp)| {
            if !walk {
                return self.stamp(incarnation) < stamp;
            }
            while let [first, rest @ ..] = mine
                && first.0 < incarnation
            {
                mine = rest;
            }
            !mine.first().is_some_and(|first| first.0 == incarnation && first.1 >= stamp)
        })
    }

    /// The highest stamp of all.
    pub fn newest(&self) -> Stamp {
        self.iter().map(|(_, stamp)| stamp).max().unwrap_or_default()
    }

    /// Includes an incarnation up to a stamp. Returns whether that was new.
    fn advance(&mut self, incarnation: Incarnation, stamp: Stamp) -> bool {
        match self.position(incarnation) {
            Ok(position) if self.entries[position].1 >= stamp => return false,
            Ok(position) => self.entries[position].1 = stamp,
            Err(_) if stamp == Stamp::ZERO => return false,
            Err(position) => self.entries.insert(position, (incarnation, stamp)),
        }
        true
    }

    /// Includes everything in `other`. Returns whether anything was new.
    fn join(&mut self, other: &Self) -> bool {
        if self.is_empty() {
            self.clone_from(other);
            return !other.is_empty();
        }
        if other.len() <= 4 {
            return other
                .iter()
                .fold(false, |new, (incarnation, stamp)| self.advance(incarnation, stamp) | new);
        }
        if self.covers(other) {
            return false;
        }
        let mut joined = SmallVec::with_capacity(self.len() + other.len());
        let (mut mine, mut theirs) = (self.entries.iter().peekable(), other.entries.iter().peekable());
        while let (Some(&&left), Some(&&right)) = (mine.peek(), theirs.peek()) {
            joined.push(match left.0.cmp(&right.0) {
                core::cmp::Ordering::Less => left,
                core::cmp::Ordering::Greater => right,
                core::cmp::Ordering::Equal => (left.0, left.1.max(right.1)),
            });
            if left.0 <= right.0 {
                mine.next();
            }
            if right.0 <= left.0 {
                theirs.next();
            }
        }
        joined.extend(mine.copied());
        joined.extend(theirs.copied());
        self.entries = joined;
        true
    }

    fn position(&self, incarnation: Incarnation) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&incarnation, |entry| entry.0)
    }
}

impl fmt::Debug for VersionVector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl FromIterator<(Incarnation, Stamp)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (Incarnation, Stamp)>>(entries: I) -> Self {
        let mut entries: SmallVec<[_; 1]> =
            entries.into_iter().filter(|entry| entry.1 > Stamp::ZERO).collect();
        // The highest stamp of an incarnation first, so that the others go.
        if !entries.is_sorted_by(|left, right| left.0 < right.0) {
            entries.sort_unstable_by(|left, right| left.0.cmp(&right.0).then(right.1.cmp(&left.1)));
            entries.dedup_by_key(|entry| entry.0);
        }
        Self { entries }
    }
}

macro_rules! version_vector {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Default, Eq, Hash, PartialEq)]
        pub struct $name(VersionVector);

        impl $name {
            /// Includes an incarnation up to a stamp. Returns whether that was new.
            pub fn advance(&mut self, incarnation: Incarnation, stamp: Stamp) -> bool {
                self.0.advance(incarnation, stamp)
            }

            /// Includes everything in `other`. Returns whether anything was new.
            pub fn join(&mut self, other: &Self) -> bool {
                self.0.join(&other.0)
            }
        }

        impl Deref for $name {
            type Target = VersionVector;

            fn deref(&self) -> &VersionVector {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }

        impl FromIterator<(Incarnation, Stamp)> for $name {
            fn from_iter<I: IntoIterator<Item = (Incarnation, Stamp)>>(entries: I) -> Self {
                Self(entries.into_iter().collect())
            }
        }
    };
}

version_vector! {
    /// Every write that one document includes, superseded ones too. Never shrinks.
    Context
}

version_vector! {
    /// The writes of a whole collection: for every write covered, the holder's copy of that document includes it.
    Knowledge
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn vector() -> impl Strategy<Value = Context> {
        proptest::collection::vec((0u64..12, 0u64..6), 0..12).prop_map(|entries| {
            let entry = |(number, stamp)| (Incarnation::new(number), Stamp::new(stamp).expect("small"));
            entries.into_iter().map(entry).collect()
        })
    }

    proptest! {
        #[test]
        fn a_join_includes_both_and_nothing_else(left in vector(), right in vector()) {
            let mut joined = left.clone();
            let changed = joined.join(&right);
            prop_assert_eq!(changed, !left.covers(&right));
            prop_assert!(joined.covers(&left) && joined.covers(&right));
            for (incarnation, stamp) in joined.iter() {
                prop_assert_eq!(stamp, left.stamp(incarnation).max(right.stamp(incarnation)));
            }
            let mut other_way = right.clone();
            other_way.join(&left);
            prop_assert_eq!(joined, other_way);
        }

        #[test]
        fn what_is_lacking_is_what_a_join_would_add(left in vector(), right in vector()) {
            let lacking: Vec<_> = left.lacks(&right).collect();
            let expected: Vec<_> = right.iter().filter(|&(i, stamp)| left.stamp(i) < stamp).collect();
            prop_assert_eq!(lacking, expected);
        }
    }
}
