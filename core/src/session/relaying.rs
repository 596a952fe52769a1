//! Which origins' writes a peer is expected to get another way, so that they need not be relayed to him.
//!
//! Learnt as in Plumtree: Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees" (2007). An origin is relayed at once unless
//! the peer hears from it directly or has got something of it twice, and again at once when he asks for it.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::id::Incarnation;

/// How what comes from one origin is relayed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Relay {
    Eager,
    Lazy,
}

/// What is known of the ways to one peer.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Relaying {
    /// Origins that the peer hears from directly.
    direct: BTreeSet<Incarnation>,
    /// Counts more than `direct`.
    learnt: BTreeMap<Incarnation, Relay>,
}

impl Relaying {
    /// The peer says whom it hears from directly now, and from whom no longer. Of more origins than `origins_max` nothing is noted, so
    /// that they are relayed at once.
    pub(super) fn updated(
        &mut self,
        connected: &[Incarnation],
        disconnected: &[Incarnation],
        origins_max: usize,
    ) {
        let room = origins_max.saturating_sub(self.direct.len());
        self.direct.extend(connected.iter().take(room));
        for origin in disconnected {
            self.direct.remove(origin);
            // What was learnt while the peer heard the origin says nothing now.
            self.learnt.remove(origin);
        }
    }

    /// The peer asks for what comes from these origins.
    pub(super) fn grafted(&mut self, origins: &[Incarnation], origins_max: usize) {
        self.learn(origins, Relay::Eager, origins_max);
    }

    /// The peer has got something of these origins twice.
    pub(super) fn pruned(&mut self, origins: &[Incarnation], origins_max: usize) {
        self.learn(origins, Relay::Lazy, origins_max);
    }

    /// Whether the peer is expected to get another way what comes from this origin.
    pub(super) fn is_lazy(&self, origin: Incarnation) -> bool {
        match self.learnt.get(&origin) {
            Some(learnt) => *learnt == Relay::Lazy,
            None => self.direct.contains(&origin),
        }
    }

    fn learn(&mut self, origins: &[Incarnation], relay: Relay, origins_max: usize) {
        for origin in origins {
            if self.learnt.len() < origins_max || self.learnt.contains_key(origin) {
                self.learnt.insert(*origin, relay);
            }
        }
    }
}
