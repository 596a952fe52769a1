//! The plan of a run: everything that will be done to a room, made explicit before anything happens.
//!
//! A seed becomes a plan, and a plan is all that a run depends on. What the plan leaves open (the latency of one message, the
//! randomness of a node) is drawn by [`Draw`] under a key that names what is decided, so that taking one element out of a plan
//! leaves all other draws as they were. That is what makes plans shrink.

mod compose;
mod draw;
mod faults;
mod hazard;
mod workload;

pub use compose::{PlanOptions, plan};
pub use draw::Draw;
pub use faults::Faults;
pub use hazard::Hazard;
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use workload::{Workload, mix};

/// A peer of the room, by its place in [`Plan::peers`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct PeerNumber(pub u16);

impl PeerNumber {
    /// Its place in a list of all peers.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Its address in the room, and its name in reports.
    pub fn name(self) -> String {
        format!("peer-{}", self.0)
    }
}

impl std::fmt::Display for PeerNumber {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "peer-{}", self.0)
    }
}

/// Everything that will be done to a room.
///
/// Any plan can be run, also one that an editor made: what makes no sense when its time comes, such as an operation of a peer
/// that is down, is skipped and noted in the trace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Under which all that the plan leaves open is drawn.
    pub seed: u64,
    /// The peers, in the order of their numbers.
    pub peers: Vec<PeerPlan>,
    /// Who may be connected to whom while there is no fault.
    pub topology: Topology,
    /// How long messages take while there is no fault.
    pub latency: Latency,
    /// One in so many conflicts makes the conflict handler panic, the same ones on every peer. `None` is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler_panics_one_in: Option<u32>,
    /// What happens, in rounds. After each, everything is healed and the room must settle.
    pub rounds: Vec<Round>,
}

/// One peer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PeerPlan {
    /// When it joins, in milliseconds after the beginning. `None` if a [`FaultKind::Clone`] makes it.
    pub joins_ms: Option<u64>,
    /// By how much its wall clock is ahead of the others, in milliseconds.
    #[serde(default)]
    pub clock_ahead_ms: i64,
}

/// Who may be connected to whom.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Everybody to everybody.
    #[default]
    Mesh,
    /// Each to the next, and the last to the first.
    Ring,
    /// Each to the next.
    Line,
    /// Everybody to the first.
    Star,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mesh, Self::Ring, Self::Line, Self::Star];

    /// Whether two of `peers` peers are linked.
    pub fn links(self, left: PeerNumber, right: PeerNumber, peers: usize) -> bool {
        let (low, high) = (left.min(right).index(), left.max(right).index());
        match self {
            Self::Mesh => low != high,
            Self::Ring => high - low == 1 || (low == 0 && high + 1 == peers && low != high),
            Self::Line => high - low == 1,
            Self::Star => low == 0 && high != 0,
        }
    }
}

/// How long messages take, one way.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The least, in milliseconds.
    pub base_ms: u32,
    /// How much may come on top, in milliseconds, drawn per direction and instant. Order is kept all the same.
    pub jitter_ms: u32,
}

/// A stretch of operations and faults, after which the room is healed and must settle.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// How long it lasts, in milliseconds. Then everything is healed and everybody started.
    pub length_ms: u64,
    /// What users do, in the order of time.
    pub operations: Vec<Operation>,
    /// What goes wrong, in the order of time.
    pub faults: Vec<Fault>,
}

/// Something a user does at a peer. A peer's user does one thing after the other.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Names it in traces; no other operation of the plan has the same.
    pub number: u32,
    /// When, in milliseconds after the beginning of the round, or as soon after as the user is done with the one before.
    pub at_ms: u64,
    /// Where.
    pub peer: PeerNumber,
    /// What.
    pub action: Action,
}

/// What a user does.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Action {
    /// Writes a document over whatever is there.
    Put {
        /// Which.
        document: String,
        /// What.
        value: Value,
    },
    /// Reads a document, changes some fields and saves it, superseding what was read and nothing else. Does nothing if
    /// there is no such document.
    Edit {
        /// Which.
        document: String,
        /// The fields to set, or with `null` to remove. Of a document that is no object, the whole value is replaced by the
        /// first of these.
        fields: Vec<(String, Value)>,
        /// How long the user ponders between reading and saving, in milliseconds.
        #[serde(default)]
        ponders_ms: u64,
    },
    /// Deletes a document.
    Delete {
        /// Which.
        document: String,
    },
    /// Writes many documents in one commit.
    Bulk {
        /// Which, and what.
        documents: Vec<(String, Value)>,
    },
    /// Settles a conflict, if there is one, by writing what the user sees.
    Settle {
        /// Which of the conflicts, modulo how many there are.
        nth: u32,
    },
}

/// Something that goes wrong.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Names it in traces; no other fault of the plan has the same.
    pub number: u32,
    /// When, in milliseconds after the beginning of the round.
    pub at_ms: u64,
    /// For how long, in milliseconds, at most to the end of the round. Meaningless for what takes no time.
    #[serde(default)]
    pub for_ms: u64,
    /// What.
    pub kind: FaultKind,
}

/// One way between two peers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Direction {
    /// Who sends.
    pub from: PeerNumber,
    /// Who receives.
    pub to: PeerNumber,
}

/// What goes wrong.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum FaultKind {
    /// Messages take longer.
    Delay {
        /// On these ways.
        directions: Vec<Direction>,
        /// By so many milliseconds.
        by_ms: u32,
    },
    /// A way carries few bytes.
    Slow {
        /// On these ways.
        directions: Vec<Direction>,
        /// Bytes per second.
        bytes_per_second: u32,
    },
    /// Messages wait, and arrive in order when it is over.
    Hold {
        /// On these ways.
        directions: Vec<Direction>,
    },
    /// Nothing arrives, and nobody is told: a partition, in one direction or both. What is sent meanwhile is lost, so a
    /// connection that it meets carries nothing any more and ends as soon as somebody notices.
    Silence {
        /// On these ways.
        directions: Vec<Direction>,
    },
    /// Connections break with notice, and none can be made until it is over.
    Cut {
        /// Between these peers, each way.
        pairs: Vec<(PeerNumber, PeerNumber)>,
    },
    /// The connection between two peers breaks with notice. A new one can be made at once.
    Reset {
        /// Between this peer
        left: PeerNumber,
        /// and this one.
        right: PeerNumber,
    },
    /// A connection carries nothing any more in one direction, and nobody is told. A new one is as good as any.
    HalfOpen {
        /// On this way.
        direction: Direction,
    },
    /// The next message is changed on its way.
    Mangle {
        /// On this way.
        direction: Direction,
        /// How.
        how: Mangling,
    },
    /// Some of the datagrams are lost. Where messages are not made of datagrams it makes no sense.
    Loss {
        /// On these ways.
        directions: Vec<Direction>,
        /// So many of a hundred.
        percent: u32,
    },
    /// The signaling server goes, and comes back when it is over, with empty rooms. Where there is none it makes no sense.
    SignalingDown {
        /// How it goes.
        outage: Outage,
    },
    /// Nothing passes between a peer and the signaling server, and nobody is told: what the server lists, and what the peer was told, is out
    /// of date. A stream that this meets carries nothing any more. Where there is no server it makes no sense.
    SignalingSilence {
        /// Who.
        peer: PeerNumber,
    },
    /// A peer closes in order, and comes back when it is over.
    Leave {
        /// Who.
        peer: PeerNumber,
    },
    /// A peer stops between two instructions, and comes back when it is over.
    Crash {
        /// Who.
        peer: PeerNumber,
        /// How.
        manner: Crash,
    },
    /// A peer does nothing for a while, as a browser tab in the background or a laptop asleep.
    Pause {
        /// Who.
        peer: PeerNumber,
    },
    /// A copy of a peer's device is put away.
    Backup {
        /// Whose.
        peer: PeerNumber,
    },
    /// A peer closes, gets the device of its last backup, and comes back when it is over.
    Restore {
        /// Who.
        peer: PeerNumber,
    },
    /// A peer closes, gets an empty device, and comes back when it is over.
    Wipe {
        /// Who.
        peer: PeerNumber,
    },
    /// A copy of a peer's device starts to live as another peer, which must not have joined.
    Clone {
        /// Whose.
        peer: PeerNumber,
        /// The other peer.
        into: PeerNumber,
    },
    /// A wall clock jumps.
    ClockJump {
        /// Whose.
        peer: PeerNumber,
        /// Forward by so many milliseconds, or back if negative.
        by_ms: i64,
    },
    /// A wall clock stands still.
    ClockFreeze {
        /// Whose.
        peer: PeerNumber,
    },
    /// One commit fails.
    FailCommit {
        /// Whose.
        peer: PeerNumber,
        /// How many succeed before.
        after: u32,
        /// What becomes of it.
        fate: Fate,
    },
    /// One read fails.
    FailRead {
        /// Whose.
        peer: PeerNumber,
        /// How many succeed before.
        after: u32,
    },
    /// No space is left: every commit fails.
    Full {
        /// Whose.
        peer: PeerNumber,
    },
    /// Every operation of the storage takes longer.
    SlowStorage {
        /// Whose.
        peer: PeerNumber,
        /// By so many milliseconds.
        by_ms: u32,
    },
}

/// How a message is changed on its way.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mangling {
    /// A bit of its first byte is flipped. Content that is changed and still plausible is what transports must keep from happening.
    Flip,
    /// The end is cut off.
    Truncate,
    /// It arrives twice.
    Replay,
    /// Noise arrives in its place.
    Garbage,
}

/// How the signaling server goes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// It stops in order: everybody is told, and it takes its leave.
    Stop,
    /// The process is killed: its streams break with notice.
    Kill,
    /// Its power goes: nobody is told.
    PowerCut,
}

/// How a peer stops.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crash {
    /// The process is killed: its connections break with notice.
    Kill,
    /// The power goes: nobody is told, and what a disk had not synced is lost.
    PowerCut,
    /// The next commit never returns: it took effect or not, and the peer is gone. On a [`Disk`](crate::Disk) the power goes between or within
    /// the operations of the commit, and what was not synced is lost.
    WithinCommit,
}

/// What becomes of a commit that fails.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It was not applied, and says so.
    NotApplied,
    /// It was applied, and says that this is not known.
    UnknownButApplied,
    /// It was not applied, and says that this is not known.
    UnknownAndLost,
}
