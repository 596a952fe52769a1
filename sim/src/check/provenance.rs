//! Where everything that anybody holds comes from, and where every write went.
//!
//! The observer remembers each write with what its writer had seen. A write may leave the heads of a document only because another
//! one superseded it whose writer had seen it, and nothing may stand there that nobody wrote.

use peerloom::Dot;
use peerloom::core::{Head, Record};

use super::Check;
use crate::outcome::Violation;
use crate::plan::PeerNumber;
use crate::world::{Change, Commit, State, fingerprint};

/// No write is lost, none comes back, none is made up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Provenance;

impl Check for Provenance {
    fn committed(&mut self, world: &State, commit: &Commit<'_>) -> Result<(), Violation> {
        for change in commit.changes {
            explained(world, commit.peer, &change.after)?;
            kept(world, commit.peer, change)?;
        }
        Ok(())
    }

    /// Every write stands in the document, or was superseded by one whose writer had seen it.
    fn settled(&mut self, world: &State) -> Result<(), Violation> {
        let Some(peer) = world.peers.iter().position(|peer| peer.running) else { return Ok(()) };
        for ((incarnation, stamp), fact) in &world.facts {
            let dot = Dot { incarnation: *incarnation, stamp: *stamp };
            let held = world.peers[peer].holdings.documents.get(&fact.document);
            let record = held.and_then(|held| held.record.as_ref());
            let stands =
                record.is_some_and(|record| record.document.heads().iter().any(|head| head.dot == dot));
            let gone = || record.is_some_and(|record| superseded(world, record, dot));
            if !fact.forgotten && !stands && !gone() {
                let says = format!("a write of {} is on no replica, and nobody superseded it", fact.peer);
                let violation = Violation::of("no write is lost", says).about(fact.document.as_str());
                return Err(violation.at(PeerNumber(peer as u16)));
            }
        }
        Ok(())
    }
}

/// Every head is a write that somebody made, with the content that was written.
fn explained(world: &State, peer: PeerNumber, record: &Record) -> Result<(), Violation> {
    for Head { dot, state } in record.document.heads() {
        let fact = world.facts.get(&(dot.incarnation, dot.stamp));
        let same = fact.is_some_and(|fact| fact.document == record.id && fact.state == fingerprint(state));
        if !same {
            let says = "it holds content that nobody wrote there";
            return Err(Violation::of("content is explained", says).at(peer).about(record.id.as_str()));
        }
    }
    Ok(())
}

/// Heads that went were superseded, and heads that came had not been there before.
fn kept(world: &State, peer: PeerNumber, change: &Change) -> Result<(), Violation> {
    let Some(before) = &change.before else { return Ok(()) };
    let id = change.after.id.as_str();
    let heads = |record: &Record| record.document.heads().iter().map(|head| head.dot).collect::<Vec<_>>();
    let (old, new) = (heads(before), heads(&change.after));
    for dot in old.iter().filter(|dot| !new.contains(dot)) {
        if !superseded(world, &change.after, *dot) {
            let says = "a version went that no writer had seen";
            return Err(Violation::of("no write is lost", says).at(peer).about(id));
        }
    }
    for dot in new.iter().filter(|dot| !old.contains(dot)) {
        if dot.is_in(before.document.context()) {
            let says = "a version came back that had been superseded";
            return Err(Violation::of("no write comes back", says).at(peer).about(id));
        }
    }
    Ok(())
}

/// Whether a write that the record includes was made by somebody who had seen `dot`.
fn superseded(world: &State, record: &Record, dot: Dot) -> bool {
    let facts = world.facts_of.get(&record.id).map_or(&[][..], Vec::as_slice);
    let included = facts.iter().filter(|by| **by != dot && by.is_in(record.document.context()));
    let mut seen = included.filter_map(|by| world.facts.get(&(by.incarnation, by.stamp)));
    seen.any(|fact| fact.saw(dot))
}
