//! What a run came to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::PeerNumber;
use crate::trace::Trace;

/// What a run came to, with the evidence.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether everything held.
    pub verdict: Verdict,
    /// What was counted.
    pub figures: Figures,
    /// A digest of the whole trace: equal for equal traces.
    pub digest: u64,
    /// All events, if they were asked for.
    pub trace: Option<Trace>,
}

/// Whether everything held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Every check held.
    Held,
    /// A check failed.
    Violated(Violation),
}

/// A check that failed.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Violation {
    /// The name of the check.
    pub check: String,
    /// What is wrong, for people.
    pub says: String,
    /// The peer at which it shows, if it is one.
    pub peer: Option<PeerNumber>,
    /// The document that it is about, if it is one.
    pub document: Option<String>,
}

impl Violation {
    /// What two failures of the same kind share: shrinking keeps it. The name of the check, because documents and peers may change.
    pub fn signature(&self) -> &str {
        &self.check
    }
}

/// What was counted in a run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Figures {
    /// How long it lasted, in milliseconds of simulated time.
    pub simulated_ms: u64,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Acknowledged writes whose only copy went with a device that was wiped or restored: the loss that the plan asked for.
    pub losses_expected: u64,
    /// Commits.
    pub commits: u64,
    /// Messages sent.
    pub messages: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Bytes that every peer would have to be sent at least, once each document to each peer that lacked it.
    pub bytes_ideal: u64,
    /// The most bytes under way on one connection and direction at a time.
    pub bytes_under_way_max: u64,
    /// How long the slowest healing took, in milliseconds of simulated time.
    pub settled_ms_max: u64,
    /// The marks that were reached, in order.
    pub marks: Vec<String>,
}

impl Violation {
    /// A violation of a check.
    pub fn of(check: impl Into<String>, says: impl Into<String>) -> Self {
        Self { check: check.into(), says: says.into(), peer: None, document: None }
    }

    /// The same, at a peer.
    #[must_use]
    pub fn at(self, peer: PeerNumber) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// The same, about a document.
    #[must_use]
    pub fn about(self, document: &str) -> Self {
        Self { document: Some(document.to_owned()), ..self }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.check, self.says)?;
        if let Some(document) = &self.document {
            write!(formatter, ", document {document:?}")?;
        }
        match self.peer {
            Some(peer) => write!(formatter, ", at {peer}"),
            None => Ok(()),
        }
    }
}
