//! The history of writes as the model knows it, apart from the code under test: who wrote what, having seen what.

use std::collections::BTreeMap;
use std::fmt;

use peerloom_core::{Dot, Incarnation};

/// The most writes of one replica that a set tells apart.
const WRITES_PER_REPLICA: usize = 8;

/// The name of a write: the replica, and which of its writes it is. The same whatever happened elsewhere in between.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct WriteName(u8);

impl WriteName {
    pub(crate) fn new(replica: usize, number: usize) -> Self {
        assert!(number < WRITES_PER_REPLICA, "a scope has few writes");
        Self((replica * WRITES_PER_REPLICA + number) as u8)
    }
}

/// `a1` is the first write of replica A. It is what the write puts in the document, too.
impl fmt::Display for WriteName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (replica, number) = (self.0 as usize / WRITES_PER_REPLICA, self.0 as usize % WRITES_PER_REPLICA);
        write!(formatter, "{}{}", replica_name(replica).to_lowercase(), number + 1)
    }
}

impl WriteName {
    /// Writes are counted through three replicas: their first ones, then their second ones.
    pub(crate) fn index(self) -> usize {
        let (replica, number) = (self.0 as usize / WRITES_PER_REPLICA, self.0 as usize % WRITES_PER_REPLICA);
        number * 3 + replica
    }
}

/// A set of writes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Writes(u32);

impl Writes {
    pub(crate) fn with(self, write: WriteName) -> Self {
        Self(self.0 | 1 << write.0)
    }

    pub(crate) fn has(self, write: WriteName) -> bool {
        self.0 & 1 << write.0 != 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn in_common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Writes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            (0..32).map(WriteName).filter(|name| self.has(*name)).map(|name| name.to_string()).collect();
        formatter.write_str(&names.join(" "))
    }
}

/// One write.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Fact {
    pub(crate) document: usize,
    pub(crate) dot: Dot,
    /// The writes that its writer had seen.
    pub(crate) seen: Writes,
}

/// Every write that was ever made, and those among them that must survive.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Chronicle {
    pub(crate) facts: BTreeMap<WriteName, Fact>,
    /// Durable on a replica that was not rolled back since, or somewhere else.
    pub(crate) owed: Writes,
}

impl Chronicle {
    pub(crate) fn of(&self, document: usize) -> impl Iterator<Item = (WriteName, &Fact)> {
        self.facts.iter().filter(move |(_, fact)| fact.document == document).map(|(name, fact)| (*name, fact))
    }

    /// Of these writes of one document, those that no other of them had seen, in canonical order.
    pub(crate) fn heads(&self, included: Writes) -> Vec<(Dot, WriteName)> {
        let among = || self.facts.iter().filter(|(name, _)| included.has(**name));
        let superseded = among().fold(Writes::default(), |seen, (_, fact)| seen.and(fact.seen));
        let heads = among().filter(|(name, _)| !superseded.has(**name));
        let mut heads: Vec<_> = heads.map(|(name, fact)| (fact.dot, *name)).collect();
        heads.sort_by_key(|(dot, _)| dot.canonical());
        heads
    }
}

pub(crate) fn replica_name(replica: usize) -> String {
    char::from(b'A' + replica as u8).to_string()
}

/// Incarnations are numbered, so that equal histories make equal states.
pub(crate) fn incarnation(replica: usize, opening: u8) -> Incarnation {
    Incarnation::new((replica as u64) << 8 | u64::from(opening))
}

/// `A2` is the second opening of replica A.
pub(crate) fn incarnation_name(number: u64) -> String {
    format!("{}{}", replica_name((number >> 8) as usize), number & 0xff)
}
