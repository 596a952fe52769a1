//! What there is to draw, whichever the form: lanes, the documents and their versions, messages as arrows, and the stretches in
//! which a peer stood still or a fault lasted.
//!
//! Knows nothing of pixels, rows and characters.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use super::slice::{Messages, causal_slice, place_of, state_of};
use super::versions::{History, histories};
use crate::plan::{Fault, FaultKind, PeerNumber};
use crate::trace::{Event, MessageNumber, What};

/// The most documents that can be chosen from, the violation's and then those with the most commits.
pub(super) const DOCUMENTS_MAX: usize = 200;

/// All that a report draws.
pub(super) struct Story<'a> {
    pub(super) report: &'a Report,
    /// The number of lanes.
    pub(super) lanes: usize,
    /// The documents to choose from. The first is drawn unless another is chosen.
    pub(super) histories: Vec<History<'a>>,
    /// The documents of the run, also those that cannot be chosen.
    pub(super) documents_total: usize,
    pub(super) arrows: Vec<Arrow<'a>>,
    pub(super) stretches: Vec<Stretch<'a>>,
    /// The faults of the plan by number.
    pub(super) faults: BTreeMap<u32, &'a Fault>,
    messages: Messages,
}

/// A message on its way.
pub(super) struct Arrow<'a> {
    pub(super) message: MessageNumber,
    pub(super) from: PeerNumber,
    pub(super) to: PeerNumber,
    /// The event of sending.
    pub(super) sent: usize,
    /// The event of arriving. `None` if it never did.
    pub(super) delivered: Option<usize>,
    pub(super) abnormal: &'a str,
}

/// A time in which something lasted, from an event to another.
pub(super) struct Stretch<'a> {
    pub(super) kind: StretchKind,
    /// The lanes that it touches.
    pub(super) lanes: Vec<usize>,
    pub(super) from: usize,
    /// `None` if it lasts to the end.
    pub(super) to: Option<usize>,
    /// What it is, for people.
    pub(super) says: &'a str,
}

/// What lasted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StretchKind {
    /// The peer did not run.
    Down,
    /// The peer stood still.
    Paused,
    /// A fault of what is around the peers.
    Fault,
}

impl<'a> Story<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let events = &report.trace.events;
        let lanes = lanes(report);
        let faults = report.plan.rounds.iter().flat_map(|round| &round.faults);
        let faults = faults.map(|fault| (fault.number, fault)).collect();
        let documents = documents(report);
        let chosen = &documents[..documents.len().min(DOCUMENTS_MAX)];
        let mut stretches = absences(events, lanes);
        stretches.extend(faults_that_last(events, &faults, lanes));
        Self {
            report,
            lanes,
            histories: histories(events, &faults, chosen, lanes),
            documents_total: documents.len(),
            arrows: arrows(events),
            stretches,
            faults,
            messages: Messages::of(&report.trace),
        }
    }

    pub(super) fn events(&self) -> &'a [Event] {
        &self.report.trace.events
    }

    /// The events to begin with: those that can have led to the violation, or all if there is none.
    pub(super) fn slice(&self) -> BTreeSet<usize> {
        match &self.report.violation {
            Some(violation) => causal_slice(&self.report.trace, violation),
            None => (0..self.events().len()).collect(),
        }
    }

    /// The events behind the state of one document at every peer, up to the violation.
    pub(super) fn slice_of(&self, document: &str) -> BTreeSet<usize> {
        let end = self.violation_at();
        let past = end.map_or(self.events().len(), |end| end + 1);
        let mut slice = state_of(&self.report.trace, &self.messages, document, None, past);
        slice.extend(end);
        slice
    }

    /// The event of the report's violation.
    pub(super) fn violation_at(&self) -> Option<usize> {
        place_of(&self.report.trace, self.report.violation.as_ref()?)
    }
}

/// As many as the plan has peers, or more if the trace knows of more.
fn lanes(report: &Report) -> usize {
    let seen = report.trace.events.iter().filter_map(|event| {
        let other = match &event.what {
            What::Sent { to, .. } | What::Connected { to } | What::Disconnected { to } => Some(*to),
            What::Delivered { from, .. } => Some(*from),
            What::FaultBegan { peers, .. } => peers.iter().max().copied(),
            _ => None,
        };
        event.peer.max(other).map(|peer| peer.index() + 1)
    });
    seen.max().unwrap_or_default().max(report.plan.peers.len())
}

/// The documents of the run: the violation's first, then by commits.
fn documents(report: &Report) -> Vec<&str> {
    let mut commits: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &report.trace.events {
        if let What::Committed { documents } = &event.what {
            for committed in documents {
                *commits.entry(&committed.document).or_default() += 1;
            }
        }
    }
    let violated = report.violation.as_ref().and_then(|violation| violation.document.as_deref());
    if let Some(document) = violated {
        commits.entry(document).or_default();
    }
    let mut documents: Vec<&str> = commits.keys().copied().collect();
    documents.sort_by_key(|document| {
        (Some(*document) != violated, std::cmp::Reverse(commits[document]), *document)
    });
    documents
}

fn arrows(events: &[Event]) -> Vec<Arrow<'_>> {
    let mut arrows: Vec<Arrow<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        match (&event.what, event.peer) {
            (What::Sent { message, to, abnormal, .. }, Some(from)) => {
                places.insert(*message, arrows.len());
                arrows.push(Arrow {
                    message: *message,
                    from,
                    to: *to,
                    sent: index,
                    delivered: None,
                    abnormal,
                });
            }
            (What::Delivered { message, .. }, Some(to)) => {
                let Some(place) = places.get(message) else { continue };
                let first = &mut arrows[*place];
                if first.delivered.is_none() {
                    first.delivered = Some(index);
                } else {
                    let (from, sent, abnormal) = (first.from, first.sent, first.abnormal);
                    let delivered = Some(index);
                    arrows.push(Arrow { message: *message, from, to, sent, delivered, abnormal });
                }
            }
            _ => {}
        }
    }
    arrows
}

/// When each peer did not run or stood still.
fn absences(events: &[Event], lanes: usize) -> Vec<Stretch<'_>> {
    let mut stretches = Vec::new();
    let mut open: Vec<Option<(StretchKind, usize, &str)>> = (0..lanes)
        .map(|lane| begins_absent(events, lane).then_some((StretchKind::Down, 0, "not here yet")))
        .collect();
    for (index, event) in events.iter().enumerate() {
        let Some(peer) = event.peer else { continue };
        let lane = peer.index();
        let next = match event.what {
            What::Started | What::Resumed => None,
            What::Stopped => Some((StretchKind::Down, index, "stopped")),
            What::Crashed { .. } => Some((StretchKind::Down, index, "crashed")),
            What::Paused => Some((StretchKind::Paused, index, "paused")),
            _ => continue,
        };
        if let Some((kind, from, says)) = std::mem::replace(&mut open[lane], next) {
            stretches.push(Stretch { kind, lanes: vec![lane], from, to: Some(index), says });
        }
    }
    for (lane, open) in open.into_iter().enumerate() {
        if let Some((kind, from, says)) = open {
            stretches.push(Stretch { kind, lanes: vec![lane], from, to: None, says });
        }
    }
    stretches
}

/// Whether a peer is not there when a trace begins: the first that is heard of it is that it starts, or nothing ever is.
fn begins_absent(events: &[Event], lane: usize) -> bool {
    let first = events.iter().find(|event| event.peer.is_some_and(|peer| peer.index() == lane));
    first.is_none_or(|event| event.what == What::Started)
}

fn faults_that_last<'a>(
    events: &'a [Event],
    faults: &BTreeMap<u32, &Fault>,
    lanes: usize,
) -> Vec<Stretch<'a>> {
    let mut stretches: Vec<Stretch<'a>> = Vec::new();
    let mut open: BTreeMap<u32, usize> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        match &event.what {
            What::FaultBegan { fault, says, peers } => {
                open.insert(*fault, stretches.len());
                let lanes = if peers.is_empty() {
                    (0..lanes).collect()
                } else {
                    peers.iter().map(|peer| peer.index()).collect()
                };
                stretches.push(Stretch { kind: StretchKind::Fault, lanes, from: index, to: None, says });
            }
            What::FaultEnded { fault } => {
                if let Some(place) = open.remove(fault) {
                    stretches[place].to = Some(index);
                }
            }
            _ => {}
        }
    }
    // What takes no time has no stretch, and where a peer does not run, its lane shows it already.
    let unended: BTreeSet<usize> =
        open.iter().filter(|(fault, _)| is_sudden(faults.get(fault))).map(|(_, place)| *place).collect();
    let kept = stretches.into_iter().enumerate().filter(|(place, _)| !unended.contains(place));
    kept.map(|(_, stretch)| stretch).collect()
}

fn is_sudden(fault: Option<&&Fault>) -> bool {
    fault.is_some_and(|fault| {
        matches!(
            fault.kind,
            FaultKind::Reset { .. }
                | FaultKind::Mangle { .. }
                | FaultKind::Backup { .. }
                | FaultKind::Clone { .. }
                | FaultKind::ClockJump { .. }
                | FaultKind::FailCommit { .. }
                | FaultKind::FailRead { .. }
        )
    })
}
