//! Takes rounds, peers, faults and operations out of a plan.

use super::Search;
use super::ddmin::ddmin;
use crate::plan::{Action, Direction, FaultKind, PeerNumber, PeerPlan, Plan, Round};

/// To try every peer at the place of every other is worth it for what people will read, and too much for what they will not.
const OPERATIONS_TO_MOVE_MAX: usize = 30;

impl Search<'_> {
    /// Takes out what is not needed, the coarse first.
    pub(super) fn take_out(&mut self) {
        let rounds = self.best.rounds.clone();
        self.take_out_of(rounds, |plan, rounds| plan.rounds = rounds.to_vec());
        self.keep_one_document();
        self.take_out_peers();
        self.take_out_faults();
        self.take_out_operations();
        self.move_operations();
        self.join_rounds();
    }

    /// Keeps of these items what is needed. `replace` puts some of them in the place of all.
    pub(super) fn take_out_of<T: Clone>(&mut self, items: Vec<T>, replace: impl Fn(&mut Plan, &[T])) {
        let base = self.best.clone();
        ddmin(items, |kept| {
            let mut candidate = base.clone();
            replace(&mut candidate, kept);
            self.accept(candidate)
        });
    }

    /// Most failures are about one document, and nearly everything else is about others.
    fn keep_one_document(&mut self) {
        let Some(wanted) = self.violation.document.clone() else { return };
        self.change(|plan| {
            for operation in plan.rounds.iter_mut().flat_map(|round| &mut round.operations) {
                if let Action::Bulk { documents } = &mut operation.action {
                    documents.retain(|(document, _)| *document == wanted);
                }
            }
            for round in &mut plan.rounds {
                round.operations.retain(|operation| match &operation.action {
                    Action::Put { document, .. }
                    | Action::Edit { document, .. }
                    | Action::Delete { document } => *document == wanted,
                    Action::Bulk { documents } => !documents.is_empty(),
                    Action::Settle { .. } => true,
                });
            }
        });
    }

    /// First so that those after it move up. What is drawn for them depends on their numbers, so that may hide the failure: then
    /// a gap stays, which is a peer that never joins.
    fn take_out_peers(&mut self) {
        for peer in self.peers().rev() {
            if self.best.peers.len() > 1 && !self.change(|plan| remove_peer(plan, peer)) {
                self.change(|plan| {
                    map_peers(plan, |other| (other != peer).then_some(other));
                    plan.peers[peer.index()] = PeerPlan::default();
                });
            }
        }
    }

    fn take_out_faults(&mut self) {
        let rounds = self.best.rounds.iter().enumerate();
        let faults =
            rounds.flat_map(|(place, round)| round.faults.iter().map(move |fault| (place, fault.clone())));
        self.take_out_of(faults.collect(), |plan, kept| {
            plan.rounds.iter_mut().for_each(|round| round.faults.clear());
            for (place, fault) in kept {
                plan.rounds[*place].faults.push(fault.clone());
            }
        });
    }

    fn take_out_operations(&mut self) {
        let rounds = self.best.rounds.iter().enumerate();
        let operations =
            rounds.flat_map(|(place, round)| round.operations.iter().map(move |one| (place, one.clone())));
        self.take_out_of(operations.collect(), |plan, kept| {
            plan.rounds.iter_mut().for_each(|round| round.operations.clear());
            for (place, operation) in kept {
                plan.rounds[*place].operations.push(operation.clone());
            }
        });
    }

    /// Lets one peer do what another did, so that the other can go.
    fn move_operations(&mut self) {
        let operations: usize = self.best.rounds.iter().map(|round| round.operations.len()).sum();
        if operations > OPERATIONS_TO_MOVE_MAX {
            return;
        }
        for from in self.peers().rev() {
            let others = self.peers().filter(|into| *into != from);
            for into in others {
                let is_done = self.change(|plan| {
                    map_peers(plan, |peer| Some(if peer == from { into } else { peer }));
                    remove_peer(plan, from);
                });
                if is_done {
                    break;
                }
            }
        }
    }

    /// Makes one round of two, so that the room need not settle in between.
    fn join_rounds(&mut self) {
        for place in (1..self.best.rounds.len()).rev() {
            self.change(|plan| {
                let later = plan.rounds.remove(place);
                append(&mut plan.rounds[place - 1], later);
            });
        }
    }
}

fn append(round: &mut Round, later: Round) {
    let operations = later.operations.into_iter();
    let faults = later.faults.into_iter();
    let start_ms = round.length_ms;
    round.operations.extend(operations.map(|mut operation| {
        operation.at_ms = operation.at_ms.saturating_add(start_ms);
        operation
    }));
    round.faults.extend(faults.map(|mut fault| {
        fault.at_ms = fault.at_ms.saturating_add(start_ms);
        fault
    }));
    round.length_ms = round.length_ms.saturating_add(later.length_ms);
}

/// Takes out a peer with all that it does and all that happens to it. Those after it move up.
fn remove_peer(plan: &mut Plan, gone: PeerNumber) {
    map_peers(plan, |peer| match peer.cmp(&gone) {
        std::cmp::Ordering::Less => Some(peer),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(PeerNumber(peer.0 - 1)),
    });
    plan.peers.remove(gone.index());
}

/// Puts peers in the place of others in operations and faults. What concerned a peer without a successor goes.
fn map_peers(plan: &mut Plan, successor: impl Fn(PeerNumber) -> Option<PeerNumber>) {
    for round in &mut plan.rounds {
        round.operations.retain_mut(|operation| match successor(operation.peer) {
            Some(peer) => {
                operation.peer = peer;
                true
            }
            None => false,
        });
        round.faults.retain_mut(|fault| match map_kind(&fault.kind, &successor) {
            Some(kind) => {
                fault.kind = kind;
                true
            }
            None => false,
        });
    }
}

fn map_kind(kind: &FaultKind, one: &impl Fn(PeerNumber) -> Option<PeerNumber>) -> Option<FaultKind> {
    let way = |way: &Direction| {
        let (from, to) = (one(way.from)?, one(way.to)?);
        (from != to).then_some(Direction { from, to })
    };
    let ways = |directions: &[Direction]| {
        let directions: Vec<_> = directions.iter().filter_map(way).collect();
        (!directions.is_empty()).then_some(directions)
    };
    let pair = |left: &PeerNumber, right: &PeerNumber| {
        let (left, right) = (one(*left)?, one(*right)?);
        (left != right).then_some((left, right))
    };
    Some(match kind {
        FaultKind::Delay { directions, by_ms } => {
            FaultKind::Delay { directions: ways(directions)?, by_ms: *by_ms }
        }
        FaultKind::Slow { directions, bytes_per_second } => {
            FaultKind::Slow { directions: ways(directions)?, bytes_per_second: *bytes_per_second }
        }
        FaultKind::Hold { directions } => FaultKind::Hold { directions: ways(directions)? },
        FaultKind::Silence { directions } => FaultKind::Silence { directions: ways(directions)? },
        FaultKind::Loss { directions, percent } => {
            FaultKind::Loss { directions: ways(directions)?, percent: *percent }
        }
        FaultKind::SignalingDown { outage } => FaultKind::SignalingDown { outage: *outage },
        FaultKind::SignalingSilence { peer } => FaultKind::SignalingSilence { peer: one(*peer)? },
        FaultKind::Cut { pairs } => {
            let pairs: Vec<_> = pairs.iter().filter_map(|(left, right)| pair(left, right)).collect();
            FaultKind::Cut { pairs: (!pairs.is_empty()).then_some(pairs)? }
        }
        FaultKind::Reset { left, right } => {
            let (left, right) = pair(left, right)?;
            FaultKind::Reset { left, right }
        }
        FaultKind::HalfOpen { direction } => FaultKind::HalfOpen { direction: way(direction)? },
        FaultKind::Mangle { direction, how } => FaultKind::Mangle { direction: way(direction)?, how: *how },
        FaultKind::Clone { peer, into } => {
            let (peer, into) = pair(peer, into)?;
            FaultKind::Clone { peer, into }
        }
        FaultKind::Leave { peer } => FaultKind::Leave { peer: one(*peer)? },
        FaultKind::Crash { peer, manner } => FaultKind::Crash { peer: one(*peer)?, manner: *manner },
        FaultKind::Pause { peer } => FaultKind::Pause { peer: one(*peer)? },
        FaultKind::Backup { peer } => FaultKind::Backup { peer: one(*peer)? },
        FaultKind::Restore { peer } => FaultKind::Restore { peer: one(*peer)? },
        FaultKind::Wipe { peer } => FaultKind::Wipe { peer: one(*peer)? },
        FaultKind::ClockJump { peer, by_ms } => FaultKind::ClockJump { peer: one(*peer)?, by_ms: *by_ms },
        FaultKind::ClockFreeze { peer } => FaultKind::ClockFreeze { peer: one(*peer)? },
        FaultKind::FailCommit { peer, after, fate } => {
            FaultKind::FailCommit { peer: one(*peer)?, after: *after, fate: *fate }
        }
        FaultKind::FailRead { peer, after } => FaultKind::FailRead { peer: one(*peer)?, after: *after },
        FaultKind::Full { peer } => FaultKind::Full { peer: one(*peer)? },
        FaultKind::SlowStorage { peer, by_ms } => FaultKind::SlowStorage { peer: one(*peer)?, by_ms: *by_ms },
    })
}
