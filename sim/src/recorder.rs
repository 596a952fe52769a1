//! Writes the trace of a run, and digests it.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::plan::PeerNumber;
use crate::trace::{Event, Trace, What};

/// How much of a run is kept.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Recording {
    /// The digest alone, for campaigns.
    #[default]
    Digest,
    /// All events.
    Events,
    /// All events, and what is in the messages.
    Payloads,
}

pub(crate) struct Recorder {
    recording: Recording,
    /// Without keys, so that two processes digest alike.
    hasher: DefaultHasher,
    trace: Trace,
}

impl Recorder {
    pub(crate) fn new(recording: Recording) -> Self {
        Self { recording, hasher: DefaultHasher::new(), trace: Trace::default() }
    }

    pub(crate) fn wants_events(&self) -> bool {
        self.recording >= Recording::Events
    }

    pub(crate) fn wants_payloads(&self) -> bool {
        self.recording >= Recording::Payloads
    }

    /// An event whose digest is that of its parts, whether it is kept or not.
    pub(crate) fn record(&mut self, at_us: u64, peer: Option<PeerNumber>, what: What) {
        (at_us, peer).hash(&mut self.hasher);
        match &what {
            // What people read depends on how much is kept; what happened does not.
            What::Committed { documents } => {
                documents.iter().map(|document| document.version).collect::<Vec<_>>().hash(&mut self.hasher);
            }
            What::Sent { message, to, bytes, .. } => (message, to, bytes).hash(&mut self.hasher),
            What::Called { operation, .. } => operation.hash(&mut self.hasher),
            What::Told { .. } => {}
            what => what.hash(&mut self.hasher),
        }
        if self.wants_events() {
            self.trace.events.push(Event { at_us, peer, what });
        }
    }

    /// A commit, where events are not kept: the digest is the same.
    pub(crate) fn note(&mut self, at_us: u64, peer: PeerNumber, versions: &[u64]) {
        (at_us, Some(peer)).hash(&mut self.hasher);
        versions.to_vec().hash(&mut self.hasher);
    }

    pub(crate) fn finish(self) -> (u64, Option<Trace>) {
        let kept = self.wants_events().then_some(self.trace);
        (self.hasher.finish(), kept)
    }
}
