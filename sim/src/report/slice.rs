//! The backward causal slice: of all that happened, what can have led to a violation.
//!
//! Happened-before (Lamport 1978) alone keeps nearly everything in a room where everybody talks all the time. So where a
//! violation is about a document, the slice follows the *state of that document*: a commit of it, what it was made from at the same
//! peer, and either the user's operation behind it or the message that can have brought it, from a sender who had it by then.
//!
//! Knows nothing of how a slice is shown, and nothing of the plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::outcome::Violation;
use crate::plan::PeerNumber;
use crate::trace::{MessageNumber, Trace, What, WriteName};

/// The indexes of the events of `trace` that can have influenced `violation`, the violation itself included.
///
/// A violation about a document keeps what made that document's state at the violation's peer, or at every peer if it names none;
/// every acknowledged write of the document, wherever it was made, because checks compare with what users were promised; what was done to
/// messages that may have carried it; and the comings, goings and faults of the peers that take part. A violation that names
/// no document keeps the whole causal past of its peer, or without one everything up to itself.
///
/// A message counts as a carrier if its description names the document. Where it has none, the last message before the commit from
/// each peer that had the state already is taken: as near as the trace lets one come.
pub fn causal_slice(trace: &Trace, violation: &Violation) -> BTreeSet<usize> {
    let messages = Messages::of(trace);
    let end = place_of(trace, violation);
    let past = end.map_or(trace.events.len(), |end| end + 1);
    let mut slice = match (&violation.document, violation.peer) {
        (Some(document), peer) => state_of(trace, &messages, document, peer, past),
        (None, Some(peer)) => causal_past(trace, &messages, peer, past),
        (None, None) => (0..past).collect(),
    };
    slice.extend(end);
    slice
}

/// The index of the event that says that a check failed in this way.
pub(super) fn place_of(trace: &Trace, violation: &Violation) -> Option<usize> {
    trace.events.iter().position(|event| matches!(&event.what, What::Violated(it) if it == violation))
}

/// What made the state of `document` before `past`, at one peer or at all.
pub(super) fn state_of(
    trace: &Trace,
    messages: &Messages,
    document: &str,
    peer: Option<PeerNumber>,
    past: usize,
) -> BTreeSet<usize> {
    Walk::new(trace, messages, document, past).back_from(peer)
}

/// Where messages were sent and where they arrived.
pub(super) struct Messages {
    sent: BTreeMap<MessageNumber, usize>,
    delivered: BTreeMap<MessageNumber, Vec<usize>>,
}

impl Messages {
    pub(super) fn of(trace: &Trace) -> Self {
        let mut messages = Self { sent: BTreeMap::new(), delivered: BTreeMap::new() };
        for (index, event) in trace.events.iter().enumerate() {
            match &event.what {
                What::Sent { message, .. } => drop(messages.sent.insert(*message, index)),
                What::Delivered { message, .. } => {
                    messages.delivered.entry(*message).or_default().push(index);
                }
                _ => {}
            }
        }
        messages
    }
}

/// Everything before `past` that happened before the last event of `peer`, by program order and messages.
fn causal_past(trace: &Trace, messages: &Messages, peer: PeerNumber, past: usize) -> BTreeSet<usize> {
    let mut reach = Reach::default();
    reach.raise(peer, past);
    let mut slice = BTreeSet::new();
    for (index, event) in trace.events.iter().enumerate().take(past).rev() {
        let Some(here) = event.peer else {
            slice.insert(index);
            continue;
        };
        if !reach.covers(here, index) || matches!(event.what, What::Violated(_)) {
            continue;
        }
        slice.insert(index);
        if let What::Delivered { message, from } = &event.what
            && let Some(sending) = messages.sent.get(message)
        {
            reach.raise(*from, sending + 1);
        }
    }
    slice
}

/// For each peer, before which index its events matter.
#[derive(Default)]
struct Reach(BTreeMap<PeerNumber, usize>);

impl Reach {
    fn raise(&mut self, peer: PeerNumber, before: usize) {
        let reached = self.0.entry(peer).or_default();
        *reached = before.max(*reached);
    }

    fn covers(&self, peer: PeerNumber, index: usize) -> bool {
        self.0.get(&peer).is_some_and(|before| index < *before)
    }
}

/// What a commit in the slice is still to be explained by, until the commit before it is met.
#[derive(Default)]
struct Unexplained<'a> {
    /// The writes that it brought. Empty if it only took some away.
    writes: Vec<&'a WriteName>,
    /// Who is known to have sent something that may have been the cause, though it does not say what was in it.
    guessed: BTreeSet<PeerNumber>,
}

/// One walk through a trace, from its end to its beginning, for one document.
struct Walk<'a> {
    trace: &'a Trace,
    document: &'a str,
    past: usize,
    messages: &'a Messages,
    /// Where each peer first had each write of the document.
    had: BTreeMap<(PeerNumber, &'a WriteName), usize>,
    /// Where each peer first had the document at all.
    had_any: BTreeMap<PeerNumber, usize>,
    /// The heads that each commit of the document found.
    heads_before: BTreeMap<usize, &'a [WriteName]>,
    operations: BTreeSet<u32>,
    reach: Reach,
    slice: BTreeSet<usize>,
}

impl<'a> Walk<'a> {
    fn new(trace: &'a Trace, messages: &'a Messages, document: &'a str, past: usize) -> Self {
        let mut walk = Self {
            trace,
            document,
            past,
            messages,
            had: BTreeMap::new(),
            had_any: BTreeMap::new(),
            heads_before: BTreeMap::new(),
            operations: BTreeSet::new(),
            reach: Reach::default(),
            slice: BTreeSet::new(),
        };
        walk.read_forward();
        walk
    }

    fn read_forward(&mut self) {
        let mut heads: BTreeMap<PeerNumber, &'a [WriteName]> = BTreeMap::new();
        for (index, event) in self.trace.events.iter().enumerate().take(self.past) {
            match &event.what {
                What::Called { operation, says } if mentions(says, self.document) => {
                    self.operations.insert(*operation);
                }
                What::Acknowledged { operation, writes } if self.is_among(writes) => {
                    self.operations.insert(*operation);
                }
                _ => {}
            }
            let (Some(peer), Some(committed)) = (event.peer, self.heads_committed(&event.what)) else {
                continue;
            };
            self.heads_before.insert(index, heads.insert(peer, committed).unwrap_or_default());
            self.had_any.entry(peer).or_insert(index);
            for head in committed {
                self.had.entry((peer, head)).or_insert(index);
            }
        }
    }

    fn back_from(mut self, peer: Option<PeerNumber>) -> BTreeSet<usize> {
        match peer {
            Some(peer) => self.reach.raise(peer, self.past),
            None => {
                for peer in self.trace.events.iter().filter_map(|event| event.peer) {
                    self.reach.raise(peer, self.past);
                }
            }
        }
        let mut unexplained: BTreeMap<PeerNumber, Unexplained<'a>> = BTreeMap::new();
        for index in (0..self.past).rev() {
            if let Some(peer) = self.trace.events[index].peer {
                self.step(index, peer, unexplained.entry(peer).or_default());
            }
        }
        self.add_the_room();
        self.slice
    }

    fn step(&mut self, index: usize, peer: PeerNumber, unexplained: &mut Unexplained<'a>) {
        let what = &self.trace.events[index].what;
        if let What::Acknowledged { writes, .. } = what
            && self.is_among(writes)
        {
            self.reach.raise(peer, index + 1);
        }
        if let What::Sent { message, to, says, abnormal, .. } = what {
            self.keep_abnormal(index, peer, *message, *to, says, abnormal);
        }
        if !self.reach.covers(peer, index) {
            return;
        }
        let kept = match what {
            What::Committed { .. } => match self.heads_committed(what) {
                Some(heads) => {
                    let before = self.heads_before.get(&index).copied().unwrap_or_default();
                    let writes = heads.iter().filter(|head| !before.contains(head)).collect();
                    *unexplained = Unexplained { writes, guessed: BTreeSet::new() };
                    true
                }
                None => false,
            },
            What::Delivered { message, from } => self.may_explain(*message, *from, unexplained),
            What::Called { operation, .. }
            | What::Acknowledged { operation, .. }
            | What::Failed { operation, .. } => self.operations.contains(operation),
            What::Told { says } | What::Skipped { says } => mentions(says, self.document),
            What::Panicked { .. } => true,
            _ => false,
        };
        if kept {
            self.slice.insert(index);
        }
    }

    /// Whether a message may have brought what is still to be explained at its receiver. If so, follows it to its sender.
    fn may_explain(
        &mut self,
        message: MessageNumber,
        from: PeerNumber,
        unexplained: &mut Unexplained<'a>,
    ) -> bool {
        let Some(&sending) = self.messages.sent.get(&message) else { return false };
        let What::Sent { says, .. } = &self.trace.events[sending].what else { return false };
        let is_before_sending = |first: Option<&usize>| first.is_some_and(|first| *first < sending);
        let had_it = if unexplained.writes.is_empty() {
            is_before_sending(self.had_any.get(&from))
        } else {
            unexplained.writes.iter().any(|write| is_before_sending(self.had.get(&(from, *write))))
        };
        let carried_it =
            if says.is_empty() { unexplained.guessed.insert(from) } else { mentions(says, self.document) };
        if !had_it || !carried_it {
            return false;
        }
        self.slice.insert(sending);
        self.reach.raise(from, sending + 1);
        true
    }

    /// Keeps a message that did not arrive as it should, if it may have carried the document to a peer that matters from then on.
    fn keep_abnormal(
        &mut self,
        index: usize,
        from: PeerNumber,
        message: MessageNumber,
        to: PeerNumber,
        says: &str,
        abnormal: &str,
    ) {
        let had_it = self.had_any.get(&from).is_some_and(|first| *first < index);
        let deliveries = self.messages.delivered.get(&message).into_iter().flatten();
        let deliveries: Vec<usize> = deliveries.copied().filter(|index| *index < self.past).collect();
        let went_wrong = !abnormal.is_empty() || deliveries.is_empty();
        let may_carry = mentions(says, self.document) || (says.is_empty() && !abnormal.is_empty());
        if had_it && went_wrong && may_carry && self.reach.covers(to, index) {
            self.slice.insert(index);
            self.slice.extend(deliveries);
            self.reach.raise(from, index + 1);
        }
    }

    /// Adds the phases, and what befell the peers that take part, once it is known who does.
    fn add_the_room(&mut self) {
        let first = self.slice.first().copied().unwrap_or_default();
        let mut ends = BTreeMap::new();
        for (index, event) in self.trace.events.iter().enumerate().take(self.past) {
            if let What::FaultEnded { fault } = &event.what {
                ends.insert(*fault, index);
            }
        }
        let mut faults = BTreeSet::new();
        for (index, event) in self.trace.events.iter().enumerate().take(self.past) {
            let kept = match &event.what {
                What::Phase(_) => true,
                What::FaultBegan { fault, peers, .. } => {
                    let matters =
                        peers.is_empty() || peers.iter().any(|peer| self.reach.covers(*peer, index));
                    let over = ends.get(fault).is_some_and(|end| *end < first);
                    matters && !over && faults.insert(*fault)
                }
                What::FaultEnded { fault } => faults.contains(fault),
                What::Started | What::Stopped | What::Crashed { .. } | What::Paused | What::Resumed => {
                    event.peer.is_some_and(|peer| self.reach.covers(peer, index))
                }
                _ => false,
            };
            if kept {
                self.slice.insert(index);
            }
        }
    }

    fn heads_committed(&self, what: &'a What) -> Option<&'a [WriteName]> {
        let What::Committed { documents } = what else { return None };
        let committed = documents.iter().find(|committed| committed.document == self.document);
        committed.map(|committed| committed.heads.as_slice())
    }

    fn is_among(&self, writes: &[WriteName]) -> bool {
        writes.iter().any(|write| write.document == self.document)
    }
}

/// Whether a description names a document, as a word of its own.
fn mentions(says: &str, document: &str) -> bool {
    let joins = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    !document.is_empty()
        && says.match_indices(document).any(|(at, found)| {
            let before = says[..at].chars().next_back();
            let after = says[at + found.len()..].chars().next();
            !before.is_some_and(joins) && !after.is_some_and(joins)
        })
}
