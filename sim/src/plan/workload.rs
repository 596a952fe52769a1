//! What users do: a mix of operations, drawn into a plan.

use std::collections::BTreeSet;
use std::ops::{Bound, RangeBounds};

use serde_json::Value;

use super::compose::Room;
use super::{Action, Draw, Operation, PeerNumber};
use crate::documents::Documents;

/// How much of each operation users do, and to which documents.
///
/// ```
/// use peerloom_sim::plan::mix;
///
/// let workload = mix().insert(3).edit(6).delete(2).bulk(1..200, 1).settle(1).hot_documents(0.6);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    insert: u32,
    edit: u32,
    delete: u32,
    bulk: u32,
    bulk_documents: (u32, u32),
    settle: u32,
    hot_share: f64,
}

/// An empty mix: give weights to what users shall do.
pub fn mix() -> Workload {
    Workload { insert: 0, edit: 0, delete: 0, bulk: 0, bulk_documents: (1, 1), settle: 0, hot_share: 0.0 }
}

impl Default for Workload {
    /// Mostly edits, and mostly of a few documents, which is where conflicts are.
    fn default() -> Self {
        mix().insert(3).edit(6).delete(2).bulk(1..200, 1).settle(1).hot_documents(0.6)
    }
}

impl Workload {
    /// The weight of writing a document over whatever is there, mostly a new one.
    #[must_use]
    pub fn insert(self, weight: u32) -> Self {
        Self { insert: weight, ..self }
    }

    /// The weight of changing some fields of a document. Until a document is there, an edit inserts it.
    #[must_use]
    pub fn edit(self, weight: u32) -> Self {
        Self { edit: weight, ..self }
    }

    /// The weight of deleting a document.
    #[must_use]
    pub fn delete(self, weight: u32) -> Self {
        Self { delete: weight, ..self }
    }

    /// The weight of writing many documents at once, and how many they are. Small numbers are likelier than large ones.
    ///
    /// # Panics
    ///
    /// If there is no number above zero in the range, or if it has no end.
    #[must_use]
    pub fn bulk(self, documents: impl RangeBounds<u32>, weight: u32) -> Self {
        let low = match documents.start_bound() {
            Bound::Included(low) => *low,
            Bound::Excluded(low) => low.saturating_add(1),
            Bound::Unbounded => 1,
        };
        let high = match documents.end_bound() {
            Bound::Included(high) => *high,
            Bound::Excluded(high) => high.saturating_sub(1),
            Bound::Unbounded => panic!("a bulk of any size fits in no plan"),
        };
        let low = low.max(1);
        assert!(low <= high, "a bulk has at least one document");
        Self { bulk: weight, bulk_documents: (low, high), ..self }
    }

    /// The weight of settling a conflict, if there is one.
    #[must_use]
    pub fn settle(self, weight: u32) -> Self {
        Self { settle: weight, ..self }
    }

    /// The share of operations that go to a few hot documents, from 0 to 1. All others go to the documents there are.
    ///
    /// # Panics
    ///
    /// If it is less than 0 or more than 1.
    #[must_use]
    pub fn hot_documents(self, share: f64) -> Self {
        assert!((0.0..=1.0).contains(&share), "a share is from 0 to 1, not {share}");
        Self { hot_share: share, ..self }
    }

    /// So many operations, by round. Each depends on the seed, its number and the documents that were named before.
    pub(super) fn operations(
        &self,
        room: &Room,
        count: u32,
        documents: &dyn Documents,
    ) -> Vec<Vec<Operation>> {
        let mut rounds = vec![Vec::new(); room.rounds_ms.len()];
        if self.weight() == 0 {
            return rounds;
        }
        let mut instants: Vec<_> = (0..count).map(|place| instant(room, place)).collect();
        instants.sort_unstable();
        let mut known = Known::default();
        for (number, (round, at_ms)) in (0..).zip(instants) {
            let peer = peer(room, number, round, at_ms);
            let action = self.action(room.seed, number, documents, &mut known);
            rounds[round].push(Operation { number, at_ms, peer, action });
        }
        rounds
    }

    fn weight(&self) -> u64 {
        [self.insert, self.edit, self.delete, self.bulk, self.settle].into_iter().map(u64::from).sum()
    }

    fn action(&self, seed: u64, number: u32, documents: &dyn Documents, known: &mut Known) -> Action {
        let mut draw = Draw::new(seed, ("operation", number));
        let value = || documents.document(&mut Draw::new(seed, ("value", number)));
        let mut choice = draw.below(self.weight());
        let mut chosen = |weight: u32| match choice.checked_sub(weight.into()) {
            None => true,
            Some(rest) => {
                choice = rest;
                false
            }
        };
        if chosen(self.insert) {
            let document = self.hot(seed, &mut draw).unwrap_or_else(|| format!("document-{number}"));
            known.remember(&document);
            Action::Put { document, value: value() }
        } else if chosen(self.edit) {
            let document = self.there(seed, number, &mut draw, known);
            let fields = fields(&mut draw, value());
            if known.remember(&document) || fields.is_empty() {
                return Action::Put { document, value: value() };
            }
            Action::Edit { document, fields, ponders_ms: ponders_ms(&mut draw) }
        } else if chosen(self.delete) {
            Action::Delete { document: self.there(seed, number, &mut draw, known) }
        } else if chosen(self.bulk) {
            Action::Bulk { documents: self.many(seed, number, &mut draw, documents, known) }
        } else {
            Action::Settle { nth: draw.below(8) as u32 }
        }
    }

    /// One of the hot documents, if this is to be one. Conflicts need few of them, resolution needs more than one.
    fn hot(&self, seed: u64, draw: &mut Draw) -> Option<String> {
        let count = Draw::new(seed, "hot documents").between(1, 4);
        let which = draw.below(count);
        draw.chance(self.hot_share).then(|| format!("hot-{which}"))
    }

    /// A document that is probably there.
    fn there(&self, seed: u64, number: u32, draw: &mut Draw, known: &Known) -> String {
        match self.hot(seed, draw) {
            Some(hot) => hot,
            None if known.documents.is_empty() => format!("document-{number}"),
            None => draw.one_of(&known.documents).clone(),
        }
    }

    /// The documents of a bulk: one in four that is there, and otherwise new ones.
    fn many(
        &self,
        seed: u64,
        number: u32,
        draw: &mut Draw,
        documents: &dyn Documents,
        known: &mut Known,
    ) -> Vec<(String, Value)> {
        let (low, high) = self.bulk_documents;
        let count = draw.mostly_small(low.into(), high.into());
        let mut many = Vec::new();
        let mut chosen = BTreeSet::new();
        for place in 0..count {
            let old = draw.chance(0.25).then(|| self.there(seed, number, draw, known));
            // A commit writes each document once.
            let old = old.filter(|old| chosen.insert(old.clone()));
            let document = old.unwrap_or_else(|| format!("document-{number}-{place}"));
            many.push((document, documents.document(&mut Draw::new(seed, ("value", number, place)))));
        }
        for (document, _) in &many {
            known.remember(document);
        }
        many
    }
}

/// When an operation happens: its round and the time in it. Half of them come in bursts, so that writes meet.
fn instant(room: &Room, place: u32) -> (usize, u64) {
    const BURST_MS: u64 = 500;
    let mut draw = Draw::new(room.seed, ("instant", place));
    let round = draw.below(room.rounds_ms.len() as u64) as usize;
    let last_ms = room.rounds_ms[round].saturating_sub(1);
    if draw.chance(0.5) {
        return (round, draw.between(0, last_ms));
    }
    let bursts = Draw::new(room.seed, ("bursts", round)).between(1, 5);
    let burst = Draw::new(room.seed, ("burst", round, draw.below(bursts))).between(0, last_ms);
    (round, (burst + draw.below(BURST_MS)).min(last_ms))
}

fn peer(room: &Room, number: u32, round: usize, at_ms: u64) -> PeerNumber {
    *Draw::new(room.seed, ("user", number)).one_of(&room.present(round, at_ms))
}

/// The documents that operations have named.
#[derive(Default)]
struct Known {
    documents: Vec<String>,
    set: BTreeSet<String>,
}

impl Known {
    /// Remembers that a document is there. Whether it was not known.
    fn remember(&mut self, document: &str) -> bool {
        let new = self.set.insert(document.into());
        if new {
            self.documents.push(document.into());
        }
        new
    }
}

/// One or two fields of a document, or all of what is no object. None of an empty object.
fn fields(draw: &mut Draw, value: Value) -> Vec<(String, Value)> {
    let Value::Object(mut fields) = value else {
        return vec![("value".into(), value)];
    };
    let mut chosen = Vec::new();
    for _ in 0..draw.between(1, 2) {
        let names: Vec<_> = fields.keys().cloned().collect();
        if !names.is_empty() {
            let name = draw.one_of(&names);
            chosen.push((name.clone(), fields.remove(name).expect("its name is from the list")));
        }
    }
    chosen
}

/// Most users save at once; some think long enough for anything to happen meanwhile.
fn ponders_ms(draw: &mut Draw) -> u64 {
    if draw.chance(0.5) { 0 } else { draw.mostly_small(1, 8_000) }
}

#[cfg(test)]
mod tests {
    use super::{Draw, Value, fields, mix};
    use crate::plan::{Action, Faults, PlanOptions, plan};

    #[test]
    fn a_bulk_needs_a_size() {
        let sized = |workload: super::Workload| workload.bulk_documents;
        assert_eq!(sized(mix().bulk(1..200, 1)), (1, 199));
        assert_eq!(sized(mix().bulk(..=7, 1)), (1, 7));
        for range in [0..0, 0..1, 5..5] {
            assert!(std::panic::catch_unwind(|| mix().bulk(range.clone(), 1)).is_err(), "{range:?}");
        }
        assert!(std::panic::catch_unwind(|| mix().bulk(3.., 1)).is_err());
    }

    #[test]
    fn fields_are_of_the_document_and_differ() {
        let value = serde_json::json!({ "a": 1, "b": [2], "c": null });
        for key in 0..50 {
            let fields = fields(&mut Draw::new(1, key), value.clone());
            assert!(fields.iter().all(|(name, field)| value[name] == *field));
            assert!(fields.len() == 1 || (fields.len() == 2 && fields[0].0 != fields[1].0));
        }
        assert!(fields(&mut Draw::new(1, 0), serde_json::json!({})).is_empty());
        assert_eq!(fields(&mut Draw::new(1, 0), Value::from(7)), [("value".into(), 7.into())]);
    }

    #[test]
    fn weights_are_shares() {
        let options = PlanOptions {
            operations: 4_000,
            workload: mix().insert(3).edit(0).delete(1).settle(1),
            faults: Faults::none(),
            ..PlanOptions::default()
        };
        let plan = plan(1, &options);
        let share = |wanted: fn(&Action) -> bool| {
            let operations = plan.rounds.iter().flat_map(|round| &round.operations);
            operations.filter(|operation| wanted(&operation.action)).count()
        };
        assert!((2_250..2_550).contains(&share(|action| matches!(action, Action::Put { .. }))));
        assert!((700..900).contains(&share(|action| matches!(action, Action::Delete { .. }))));
        assert_eq!(share(|action| matches!(action, Action::Edit { .. } | Action::Bulk { .. })), 0);
    }
}
