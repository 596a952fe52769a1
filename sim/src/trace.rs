//! What happened in a run, event by event.
//!
//! A trace is the evidence: two runs of one plan give the same trace, byte for byte, and a report is drawn from nothing else.

use serde::{Deserialize, Serialize};

use crate::outcome::Violation;
use crate::plan::{Crash, PeerNumber};

/// All events of a run, in the order in which they happened.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Trace {
    /// The events.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Event {
    /// When, in microseconds of simulated time after the beginning.
    pub at_us: u64,
    /// Where. `None` for what happens to the whole room.
    pub peer: Option<PeerNumber>,
    /// What.
    pub what: What,
}

/// Names a message in a trace: its place among all that were sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct MessageNumber(pub u64);

/// What happened.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A new phase of the run began.
    Phase(Phase),
    /// A fault of the plan began.
    FaultBegan {
        /// Its number.
        fault: u32,
        /// What it is, for people.
        says: String,
        /// Whom it touches.
        peers: Vec<PeerNumber>,
    },
    /// A fault of the plan is over.
    FaultEnded {
        /// Its number.
        fault: u32,
    },
    /// A fault or an operation of the plan made no sense when its time came.
    Skipped {
        /// What, and why.
        says: String,
    },
    /// The peer's software runs, from now on.
    Started,
    /// The peer closed in order.
    Stopped,
    /// The peer stopped without notice.
    Crashed {
        /// How.
        manner: Crash,
    },
    /// The peer stands still.
    Paused,
    /// The peer goes on.
    Resumed,
    /// The user began an operation.
    Called {
        /// Its number in the plan.
        operation: u32,
        /// What, for people.
        says: String,
    },
    /// An operation returned: it is durable, and must not be lost.
    Acknowledged {
        /// Its number in the plan.
        operation: u32,
        /// The writes that it made.
        writes: Vec<WriteName>,
    },
    /// An operation returned an error. What it wrote may be there or not.
    Failed {
        /// Its number in the plan.
        operation: u32,
        /// The error.
        error: String,
    },
    /// A commit took effect.
    Committed {
        /// What it changed.
        documents: Vec<Committed>,
    },
    /// A connection is open, from the view of this peer.
    Connected {
        /// To whom.
        to: PeerNumber,
    },
    /// A connection has ended, from the view of this peer.
    Disconnected {
        /// To whom.
        to: PeerNumber,
    },
    /// A message was sent.
    Sent {
        /// Which.
        message: MessageNumber,
        /// To whom.
        to: PeerNumber,
        /// Its size.
        bytes: u32,
        /// What is in it, for people. Empty where that was not asked for.
        says: String,
        /// Whether something was done to it, for people: "delayed by 2 s", "lost", "mangled". Empty if not.
        abnormal: String,
    },
    /// A message arrived.
    Delivered {
        /// Which.
        message: MessageNumber,
        /// From whom.
        from: PeerNumber,
    },
    /// The room told its application something.
    Told {
        /// What.
        says: String,
    },
    /// A task of the peer panicked.
    Panicked {
        /// With what.
        message: String,
    },
    /// A check failed.
    Violated(Violation),
}

/// The phases of a run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Operations and faults.
    Chaos {
        /// The round, from zero.
        round: u32,
    },
    /// Everything is healed, and everybody started.
    Healing,
    /// Everybody holds the same, and says so.
    Settled,
    /// Nothing more may be said.
    Quiet,
    /// The end.
    Over,
}

/// A write, by document and dot.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct WriteName {
    /// The document.
    pub document: String,
    /// The incarnation that wrote, in hexadecimal.
    pub incarnation: String,
    /// Its stamp.
    pub stamp: u64,
}

/// A document as a commit left it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Committed {
    /// Which.
    pub document: String,
    /// The writes that stand beside each other.
    pub heads: Vec<WriteName>,
    /// What applications see, as JSON. `None` if it is deleted.
    pub view: Option<String>,
    /// A number that two states of a document share only if they are equal: its version.
    pub version: u64,
}
