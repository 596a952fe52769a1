//! What a run must have kept: the oracles of the executable model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerloom_core::*;

use super::{Random, Room};

/// A write that was made, and what its writer had seen.
#[derive(Clone, Debug)]
pub struct Fact {
    pub shelf: usize,
    pub id: DocumentId,
    pub dot: Dot,
    pub seen: Context,
}

/// The heads that anybody holds, and per document the join of all contexts.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    heads: BTreeSet<(usize, DocumentId, Incarnation, Stamp)>,
    contexts: BTreeMap<(usize, DocumentId), Context>,
}

impl Room {
    pub fn holdings(&self) -> Holdings {
        let mut holdings = Holdings::default();
        for node in &self.nodes {
            for (shelf, of) in node.shelves.iter().enumerate() {
                for record in of.disk.records() {
                    let context = holdings.contexts.entry((shelf, record.id.clone())).or_default();
                    context.join(record.document.context());
                    let named =
                        |head: &Head| (shelf, record.id.clone(), head.dot.incarnation, head.dot.stamp);
                    holdings.heads.extend(record.document.heads().iter().map(named));
                }
            }
        }
        holdings
    }

    /// Every write that a replica's stored knowledge covers is in its copy of that document.
    pub fn assert_sound(&self, node: usize, shelf: usize) {
        let of = &self.nodes[node].shelves[shelf];
        let stored = Replica::load(ReplicaLimits::default(), Incarnation::new(0), of.disk.metadata());
        let stored = stored.expect("sound metadata");
        let knowledge = &stored.snapshot().knowledge;
        for fact in self.facts.iter().filter(|fact| fact.shelf == shelf) {
            if knowledge.stamp(fact.dot.incarnation) >= fact.dot.stamp {
                let copy = of.disk.read(&fact.id);
                let included = copy.is_some_and(|copy| fact.dot.is_in(copy.document.context()));
                assert!(included, "unsound: node {node} claims {fact:?}");
            }
        }
    }

    /// What stands at or before a stored checkpoint in the feed it belongs to is in the reader's store.
    pub fn assert_checkpoints(&self) {
        for (reader, node) in self.nodes.iter().enumerate() {
            for (shelf, of) in node.shelves.iter().enumerate() {
                for (remote, source) in self.nodes.iter().enumerate() {
                    let Some(value) = of.disk.entry(&checkpoint_key(&source.id(), None)) else { continue };
                    let feed = &source.shelves[shelf];
                    let opened = Incarnation::new(0);
                    let stored = Replica::load(ReplicaLimits::default(), opened, feed.disk.metadata());
                    let snapshot = stored.expect("sound metadata").snapshot().clone();
                    let position = snapshot.position(checkpoint_from_value(&value));
                    for record in feed.disk.records().filter(|record| record.sequence <= position) {
                        let copy = of.disk.read(&record.id);
                        let included = copy
                            .is_some_and(|copy| copy.document.context().covers(record.document.context()));
                        assert!(included, "node {reader} passed {record:?} of node {remote} at {position:?}");
                    }
                }
            }
        }
    }

    /// Whoever is caught up has made everything durable at the peer that it was told of.
    pub fn assert_caught_up_is_true(&mut self, end: usize) {
        if !self.ends[end].session.is_caught_up() {
            return;
        }
        for place in 0..self.ends[end].shared.len() {
            let (shelf, terms) = self.ends[end].shared[place];
            let (node, peer) = (&self.nodes[self.ends[end].node], &self.nodes[self.ends[end ^ 1].node]);
            let name = &node.shelves[shelf].name;
            let pulls =
                |(number, terms): &(usize, super::Terms)| terms.pulls && peer.shelves[*number].name == *name;
            let Some((theirs, _)) = self.ends[end ^ 1].shared.iter().find(|shared| pulls(shared)) else {
                continue;
            };
            let shared = Event::Shared { collection: CollectionIndex(place) };
            if !terms.serves || terms.filter.is_some() || !self.ends[end].events.contains(&shared) {
                continue;
            }
            let (told, mut verified) = self.ends[end].told[place];
            let log = node.shelves[shelf].disk.log();
            while let Some((_, id, context)) = log.get(verified).filter(|entry| entry.0 <= told) {
                let copy = peer.shelves[*theirs].disk.read(id);
                let included = copy.is_some_and(|copy| copy.document.context().covers(context));
                assert!(included, "end {end} says it is caught up, but {id} is not at the peer");
                verified += 1;
            }
            self.ends[end].told[place].1 = verified;
        }
    }

    /// All replicas agree, on documents and on views, and nothing was lost or came back since `before`.
    pub fn assert_converged(&self, before: &Holdings) {
        let after = self.holdings();
        for (number, node) in self.nodes.iter().enumerate() {
            for (shelf, of) in node.shelves.iter().enumerate() {
                let content = |shelf: &super::Shelf| -> Vec<_> {
                    shelf
                        .disk
                        .records()
                        .map(|r| (r.id.clone(), r.document.clone(), r.view().clone()))
                        .collect()
                };
                let (first, this) = (content(&self.nodes[0].shelves[shelf]), content(of));
                assert!(first == this, "diverged: node 0 holds\n{first:#?}\nnode {number} holds\n{this:#?}");
            }
        }
        for (shelf, id, incarnation, stamp) in before.heads.difference(&after.heads) {
            let dot = Dot { incarnation: *incarnation, stamp: *stamp };
            let superseded = self.facts.iter().any(|fact| {
                fact.shelf == *shelf && fact.id == *id && fact.dot != dot && dot.is_in(&fact.seen)
            });
            assert!(superseded, "lost: {dot:?} of {id}");
        }
        let revived: Vec<_> = after.heads.difference(&before.heads).collect();
        assert!(revived.is_empty(), "revived: {revived:?}");
        assert_eq!(before.contexts, after.contexts, "contexts only join");
        for node in 0..self.nodes.len() {
            (0..self.nodes[node].shelves.len()).for_each(|shelf| self.assert_sound(node, shelf));
        }
        self.assert_checkpoints();
    }

    /// Every session says it is caught up, and from now on nothing but signs of life is sent.
    pub fn assert_idle(&mut self) {
        for end in self.live() {
            let session = &self.ends[end].session;
            assert!(session.is_caught_up(), "end {end} settled without being caught up");
        }
        let before: Vec<u64> = self.ends.iter().map(|end| end.frames_sent).collect();
        self.run_for(Duration::from_secs(90));
        let after: Vec<u64> = self.ends.iter().map(|end| end.frames_sent).collect();
        assert_eq!(before, after, "an idle room sends only signs of life");
    }

    /// Lets things happen for a while in any order, with time passing now and then.
    pub fn churn(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.random.chance(4) {
                self.now += Duration::from_millis(self.random.next() % 400);
            }
            let until = self.now + Duration::from_millis(300);
            self.step(until);
        }
    }

    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}
