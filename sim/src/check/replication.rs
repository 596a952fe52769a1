//! The invariants of replication: contexts, knowledge, checkpoints.

use std::collections::BTreeMap;

use bytes::Bytes;
use peerloom::core::{
    CONFLICT_PREFIX, DocumentId, Incarnation, Replica, Stamp, checkpoint_from_value, checkpoint_key,
};
use peerloom::{Dot, ReplicaLimits};

use super::Check;
use crate::outcome::Violation;
use crate::plan::PeerNumber;
use crate::world::{Change, Commit, Holdings, State, fingerprint};

/// A context never shrinks, equal contexts have equal heads, and nothing is committed for a context that is covered.
#[derive(Clone, Debug, Default)]
pub struct Contexts {
    /// The heads that a context stands for, per document. All in numbers.
    heads: BTreeMap<(DocumentId, u64), u64>,
}

impl Check for Contexts {
    fn committed(&mut self, _world: &State, commit: &Commit<'_>) -> Result<(), Violation> {
        for change in commit.changes {
            let (id, after) = (&change.after.id, &change.after.document);
            let violation =
                |check: &str, says: &str| Err(Violation::of(check, says).at(commit.peer).about(id.as_str()));
            if let Some(before) = &change.before {
                if !after.context().covers(before.document.context()) {
                    return violation(
                        "a context never shrinks",
                        "a commit took writes out of a document's context",
                    );
                }
                if !change.remade && before.document.context().covers(after.context()) {
                    return violation(
                        "no commit without news",
                        "a commit wrote a document whose context was covered",
                    );
                }
            }
            let dots: Vec<Dot> = after.heads().iter().map(|head| head.dot).collect();
            let heads = fingerprint(&dots);
            let known = self.heads.entry((id.clone(), fingerprint(after.context()))).or_insert(heads);
            if *known != heads {
                return violation(
                    "equal contexts have equal heads",
                    "two copies include the same writes and show others",
                );
            }
        }
        Ok(())
    }
}

/// For every write covered by a replica's knowledge, its copy of the document includes that write.
#[derive(Clone, Debug, Default)]
pub struct SoundKnowledge {
    /// Up to where the knowledge of each peer was checked.
    checked: BTreeMap<PeerNumber, BTreeMap<Incarnation, Stamp>>,
}

impl Check for SoundKnowledge {
    fn committed(&mut self, world: &State, commit: &Commit<'_>) -> Result<(), Violation> {
        let holdings = &world.peers[commit.peer.index()].holdings;
        let checked = self.checked.entry(commit.peer).or_default();
        for (incarnation, stamp) in &holdings.knowledge {
            let from = checked.insert(*incarnation, *stamp).unwrap_or(Stamp::ZERO);
            // Less than before: the device was wiped or restored, and what it had then is no longer claimed.
            if from < *stamp {
                covers(world, commit.peer, holdings, *incarnation, from, *stamp)?;
            }
        }
        Ok(())
    }

    fn settled(&mut self, world: &State) -> Result<(), Violation> {
        for (index, peer) in world.peers.iter().enumerate() {
            for (incarnation, stamp) in &peer.holdings.knowledge {
                let number = PeerNumber(index as u16);
                covers(world, number, &peer.holdings, *incarnation, Stamp::ZERO, *stamp)?;
            }
        }
        Ok(())
    }
}

fn covers(
    world: &State,
    peer: PeerNumber,
    holdings: &Holdings,
    incarnation: Incarnation,
    from: Stamp,
    to: Stamp,
) -> Result<(), Violation> {
    use std::ops::Bound::{Excluded, Included};
    let range = (Excluded((incarnation, from)), Included((incarnation, to)));
    for ((_, stamp), fact) in world.facts.range(range) {
        let held = holdings.documents.get(&fact.document).and_then(|held| held.record.as_ref());
        if held.is_none_or(|record| record.document.context().stamp(incarnation) < *stamp) {
            let says = format!("it claims a write of {} that its copy does not include", fact.peer);
            return Err(Violation::of("knowledge is sound", says).at(peer).about(fact.document.as_str()));
        }
    }
    Ok(())
}

/// A checkpoint covers only what its owner holds: whatever stands before it in the feed that it belongs to, the reader includes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoundCheckpoints;

impl Check for SoundCheckpoints {
    fn committed(&mut self, world: &State, commit: &Commit<'_>) -> Result<(), Violation> {
        if !commit.moved_checkpoint {
            return Ok(());
        }
        let reader = &world.peers[commit.peer.index()].holdings;
        for (index, remote) in world.peers.iter().enumerate() {
            let source = PeerNumber(index as u16);
            let Some(replica) = remote.replica.filter(|_| source != commit.peer) else { continue };
            let Some(value) = reader.metadata.get(&checkpoint_key(&replica, None)) else { continue };
            passed_over(reader, &remote.holdings, value, source)
                .map_err(|violation| violation.at(commit.peer))?;
        }
        Ok(())
    }
}

fn passed_over(
    reader: &Holdings,
    feed: &Holdings,
    checkpoint: &Bytes,
    source: PeerNumber,
) -> Result<(), Violation> {
    let entries = feed.metadata.iter().map(|(key, value)| (key.clone(), value.clone()));
    let Ok(replica) = Replica::load(ReplicaLimits::default(), Incarnation::new(0), entries) else {
        return Ok(());
    };
    let position = replica.snapshot().position(checkpoint_from_value(checkpoint));
    for (id, held) in &feed.documents {
        let Some(record) = held.record.as_ref().filter(|record| record.sequence <= position) else {
            continue;
        };
        let copy = reader.documents.get(id).and_then(|held| held.record.as_ref());
        if !copy.is_some_and(|copy| copy.document.context().covers(record.document.context())) {
            let says = format!("its checkpoint in the feed of {source} is beyond a document that it lacks");
            return Err(Violation::of("checkpoints cover what is there", says).about(id.as_str()));
        }
    }
    Ok(())
}

/// The store lists exactly the documents of which several versions stand beside each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListedConflicts;

impl Check for ListedConflicts {
    fn committed(&mut self, world: &State, commit: &Commit<'_>) -> Result<(), Violation> {
        let metadata = &world.peers[commit.peer.index()].holdings.metadata;
        for Change { after, .. } in commit.changes {
            let key: Bytes = [CONFLICT_PREFIX, after.id.as_bytes()].concat().into();
            let says = match (after.document.in_conflict(), metadata.contains_key(&key)) {
                (true, false) => "a document in conflict is not in the list of conflicts",
                (false, true) => "a document that is settled is in the list of conflicts",
                _ => continue,
            };
            return Err(Violation::of("conflicts are listed", says).at(commit.peer).about(after.id.as_str()));
        }
        Ok(())
    }
}
