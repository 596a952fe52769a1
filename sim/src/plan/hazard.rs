//! What can go wrong, and how one occurrence of it is drawn.

use super::compose::Room;
use super::{Crash, Direction, Draw, Fate, FaultKind, Mangling, Outage, PeerNumber};

/// A sort of thing that can go wrong. Each becomes faults of a plan, or a property of the room.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Hazard {
    /// How long messages take varies.
    Jitter,
    /// Some ways take longer for a while.
    Delay,
    /// Some ways carry few bytes for a while.
    Slow,
    /// Messages wait, and arrive in order later.
    Hold,
    /// Two groups of peers cannot reach each other.
    Partition,
    /// One group of peers does not reach the other, and is reached by it.
    OneWayPartition,
    /// Two groups of peers cannot reach each other, except through one peer.
    BridgePartition,
    /// Connections of a peer break, and none can be made for a while.
    Cut,
    /// Connections break again and again.
    Flapping,
    /// A connection breaks, and the next can be made at once.
    Reset,
    /// A connection dies in one direction and nobody is told.
    HalfOpen,
    /// A message is changed on its way.
    Mangle,
    /// Peers that join while others are at work.
    LateJoin,
    /// A peer closes in order and comes back.
    Leave,
    /// A process is killed and starts again.
    Kill,
    /// The power of a device goes and comes back.
    PowerCut,
    /// A process ends within a commit, of which nobody knows whether it took effect, and starts again.
    CrashInCommit,
    /// A peer stands still for a while.
    Pause,
    /// A peer gets the device of an earlier backup.
    Restore,
    /// A peer gets an empty device.
    Wipe,
    /// A copy of a peer's device starts to live as another peer.
    Clone,
    /// Wall clocks are wrong from the start.
    ClockSkew,
    /// A wall clock jumps.
    ClockJump,
    /// A wall clock stands still for a while.
    ClockFreeze,
    /// A commit fails.
    FailCommit,
    /// A read fails.
    FailRead,
    /// A device has no space for a while.
    Full,
    /// A storage takes longer for a while.
    SlowStorage,
    /// The conflict handler panics at some conflicts.
    HandlerPanic,
    /// Some datagrams are lost for a while. Makes no sense but on [`Fabric::WebRtc`](crate::Fabric::WebRtc), as do the next.
    Loss,
    /// The signaling server goes and comes back, and knows nobody.
    SignalingDown,
    /// A peer and the signaling server do not reach each other for a while, and neither knows.
    SignalingSilence,
}

impl Hazard {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::Jitter,
        Self::Delay,
        Self::Slow,
        Self::Hold,
        Self::Partition,
        Self::OneWayPartition,
        Self::BridgePartition,
        Self::Cut,
        Self::Flapping,
        Self::Reset,
        Self::HalfOpen,
        Self::Mangle,
        Self::LateJoin,
        Self::Leave,
        Self::Kill,
        Self::PowerCut,
        Self::CrashInCommit,
        Self::Pause,
        Self::Restore,
        Self::Wipe,
        Self::Clone,
        Self::ClockSkew,
        Self::ClockJump,
        Self::ClockFreeze,
        Self::FailCommit,
        Self::FailRead,
        Self::Full,
        Self::SlowStorage,
        Self::HandlerPanic,
        Self::Loss,
        Self::SignalingDown,
        Self::SignalingSilence,
    ];

    /// Its name, which is the key of what is drawn for it: it must not change.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Jitter => "jitter",
            Self::Delay => "delay",
            Self::Slow => "slow",
            Self::Hold => "hold",
            Self::Partition => "partition",
            Self::OneWayPartition => "one-way partition",
            Self::BridgePartition => "bridge partition",
            Self::Cut => "cut",
            Self::Flapping => "flapping",
            Self::Reset => "reset",
            Self::HalfOpen => "half-open",
            Self::Mangle => "mangle",
            Self::LateJoin => "late join",
            Self::Leave => "leave",
            Self::Kill => "kill",
            Self::PowerCut => "power cut",
            Self::CrashInCommit => "crash in commit",
            Self::Pause => "pause",
            Self::Restore => "restore",
            Self::Wipe => "wipe",
            Self::Clone => "clone",
            Self::ClockSkew => "clock skew",
            Self::ClockJump => "clock jump",
            Self::ClockFreeze => "clock freeze",
            Self::FailCommit => "fail commit",
            Self::FailRead => "fail read",
            Self::Full => "full",
            Self::SlowStorage => "slow storage",
            Self::HandlerPanic => "handler panic",
            Self::Loss => "loss",
            Self::SignalingDown => "signaling down",
            Self::SignalingSilence => "signaling silence",
        }
    }

    /// Whether it is decided once for the room, and does not occur at moments.
    pub(super) fn is_of_the_room(self) -> bool {
        matches!(self, Self::Jitter | Self::LateJoin | Self::Clone | Self::ClockSkew | Self::HandlerPanic)
    }

    /// What happens when it occurs at a moment. Nothing, if the room has no place for it.
    pub(super) fn occur(self, draw: &mut Draw, moment: &Moment<'_>) -> Vec<Occurrence> {
        let for_ms = moment.lasts_ms(draw);
        let peer = *draw.one_of(&moment.present);
        let once = |kind| vec![Occurrence { round: moment.round, at_ms: moment.at_ms, for_ms, kind }];
        match self {
            Self::Delay | Self::Slow | Self::Hold | Self::HalfOpen | Self::Mangle | Self::Loss => {
                let ways = moment.ways(draw);
                let kind = self.on_ways(draw, ways);
                kind.map(once).unwrap_or_default()
            }
            Self::Partition | Self::OneWayPartition | Self::BridgePartition => {
                let kind = self.partition(draw, moment);
                kind.map(once).unwrap_or_default()
            }
            Self::Cut => match moment.pairs(draw) {
                pairs if pairs.is_empty() => Vec::new(),
                pairs => once(FaultKind::Cut { pairs }),
            },
            Self::Flapping => flapping(draw, moment),
            Self::Reset => match moment.pairs(draw).first() {
                Some((left, right)) => once(FaultKind::Reset { left: *left, right: *right }),
                None => Vec::new(),
            },
            Self::Leave => once(FaultKind::Leave { peer }),
            Self::Kill => once(FaultKind::Crash { peer, manner: Crash::Kill }),
            Self::PowerCut => once(FaultKind::Crash { peer, manner: Crash::PowerCut }),
            Self::CrashInCommit => once(FaultKind::Crash { peer, manner: Crash::WithinCommit }),
            Self::Pause => once(FaultKind::Pause { peer }),
            Self::Restore => restore(draw, moment, for_ms),
            Self::Wipe => {
                moment.expendable(draw).map(|peer| once(FaultKind::Wipe { peer })).unwrap_or_default()
            }
            Self::ClockJump => once(FaultKind::ClockJump { peer, by_ms: clock_error_ms(draw) }),
            Self::ClockFreeze => once(FaultKind::ClockFreeze { peer }),
            Self::FailCommit => {
                let fate = *draw.one_of(&[Fate::NotApplied, Fate::UnknownButApplied, Fate::UnknownAndLost]);
                once(FaultKind::FailCommit { peer, after: draw.mostly_small(0, 20) as u32, fate })
            }
            Self::FailRead => once(FaultKind::FailRead { peer, after: draw.mostly_small(0, 40) as u32 }),
            Self::SignalingDown => {
                let outage = *draw.one_of(&[Outage::Stop, Outage::Kill, Outage::PowerCut]);
                once(FaultKind::SignalingDown { outage })
            }
            Self::SignalingSilence => once(FaultKind::SignalingSilence { peer }),
            Self::Full => once(FaultKind::Full { peer }),
            Self::SlowStorage => {
                once(FaultKind::SlowStorage { peer, by_ms: draw.mostly_small(1, 2_000) as u32 })
            }
            Self::Jitter | Self::LateJoin | Self::Clone | Self::ClockSkew | Self::HandlerPanic => Vec::new(),
        }
    }

    fn on_ways(self, draw: &mut Draw, directions: Vec<Direction>) -> Option<FaultKind> {
        let direction = *directions.first()?;
        Some(match self {
            Self::Delay => FaultKind::Delay { directions, by_ms: draw.mostly_small(20, 20_000) as u32 },
            Self::Slow => {
                let bytes_per_second = draw.mostly_small(500, 200_000) as u32;
                FaultKind::Slow { directions, bytes_per_second }
            }
            Self::Hold => FaultKind::Hold { directions },
            Self::Loss => FaultKind::Loss { directions, percent: draw.mostly_small(1, 60) as u32 },
            Self::HalfOpen => FaultKind::HalfOpen { direction },
            Self::Mangle => {
                let manglings = [Mangling::Flip, Mangling::Truncate, Mangling::Replay, Mangling::Garbage];
                FaultKind::Mangle { direction, how: *draw.one_of(&manglings) }
            }
            _ => return None,
        })
    }

    fn partition(self, draw: &mut Draw, moment: &Moment<'_>) -> Option<FaultKind> {
        let mut peers = moment.present.clone();
        if self == Self::BridgePartition {
            peers.remove(draw.below(peers.len() as u64) as usize);
        }
        if peers.len() < 2 {
            return None;
        }
        // One that is surely on this side, and one that is surely on the other.
        let here = draw.below(peers.len() as u64) as usize;
        let there = (here + draw.between(1, peers.len() as u64 - 1) as usize) % peers.len();
        let mut left = Vec::new();
        for (place, peer) in peers.iter().enumerate() {
            if draw.chance(0.5) && place != there || place == here {
                left.push(*peer);
            }
        }
        let is_between = |from: PeerNumber, to: PeerNumber| {
            peers.contains(&from) && peers.contains(&to) && left.contains(&from) != left.contains(&to)
        };
        let pairs: Vec<_> = moment.links().into_iter().filter(|(from, to)| is_between(*from, *to)).collect();
        if pairs.is_empty() {
            return None;
        }
        if self != Self::OneWayPartition && draw.chance(0.3) {
            return Some(FaultKind::Cut { pairs });
        }
        let mut directions = both_ways(&pairs);
        if self == Self::OneWayPartition {
            directions.retain(|direction| left.contains(&direction.from));
        }
        Some(FaultKind::Silence { directions })
    }
}

/// An occurrence of a hazard, with the place that its fault gets in the plan.
#[derive(Clone, Debug)]
pub(super) struct Occurrence {
    pub(super) round: usize,
    pub(super) at_ms: u64,
    pub(super) for_ms: u64,
    pub(super) kind: FaultKind,
}

/// A moment at which something goes wrong.
pub(super) struct Moment<'a> {
    room: &'a Room,
    round: usize,
    at_ms: u64,
    present: Vec<PeerNumber>,
}

impl<'a> Moment<'a> {
    pub(super) fn new(room: &'a Room, round: usize, at_ms: u64) -> Self {
        Self { room, round, at_ms, present: room.present(round, at_ms) }
    }

    /// How long a fault lasts: anything from a blink to the rest of the round.
    fn lasts_ms(&self, draw: &mut Draw) -> u64 {
        let rest_ms = self.room.rounds_ms[self.round].saturating_sub(self.at_ms).max(1);
        let low_ms = rest_ms.min(50);
        if draw.chance(0.5) { draw.between(low_ms, rest_ms) } else { draw.mostly_small(low_ms, rest_ms) }
    }

    /// The pairs of peers that are there and linked.
    fn links(&self) -> Vec<(PeerNumber, PeerNumber)> {
        let linked = |left, right| self.room.topology.links(left, right, self.room.peers.len());
        let mut links = Vec::new();
        for (place, left) in self.present.iter().enumerate() {
            for right in &self.present[place + 1..] {
                if linked(*left, *right) {
                    links.push((*left, *right));
                }
            }
        }
        links
    }

    /// One link, or all links of a peer. None if nobody is linked.
    fn pairs(&self, draw: &mut Draw) -> Vec<(PeerNumber, PeerNumber)> {
        let mut links = self.links();
        if links.is_empty() {
            return links;
        }
        let link = *draw.one_of(&links);
        if draw.chance(0.5) {
            return vec![link];
        }
        links.retain(|(left, right)| *left == link.0 || *right == link.0);
        links
    }

    /// Some ways: one direction of a link, or all of some links.
    fn ways(&self, draw: &mut Draw) -> Vec<Direction> {
        let mut ways = both_ways(&self.pairs(draw));
        if !ways.is_empty() && draw.chance(0.4) {
            ways = vec![*draw.one_of(&ways)];
        }
        ways
    }

    /// A peer whose device may be lost: not the one that keeps what the round began with.
    fn expendable(&self, draw: &mut Draw) -> Option<PeerNumber> {
        let anchor = self.room.anchor(self.round);
        let peers: Vec<_> = self.present.iter().copied().filter(|peer| *peer != anchor).collect();
        (!peers.is_empty()).then(|| *draw.one_of(&peers))
    }
}

/// By how much a clock is wrong: anything from a fraction of a second to hours, which is more than peers accept.
pub(super) fn clock_error_ms(draw: &mut Draw) -> i64 {
    let error_ms = draw.mostly_small(100, 10_000_000) as i64;
    if draw.chance(0.5) { error_ms } else { -error_ms }
}

fn both_ways(pairs: &[(PeerNumber, PeerNumber)]) -> Vec<Direction> {
    let both = |(left, right): &(PeerNumber, PeerNumber)| {
        [Direction { from: *left, to: *right }, Direction { from: *right, to: *left }]
    };
    pairs.iter().flat_map(both).collect()
}

/// A series of cuts, half of the time each.
fn flapping(draw: &mut Draw, moment: &Moment<'_>) -> Vec<Occurrence> {
    let pairs = moment.pairs(draw);
    if pairs.is_empty() {
        return Vec::new();
    }
    let period_ms = draw.mostly_small(100, 4_000);
    let (round, times) = (moment.round, draw.between(3, 8));
    let ends_ms = moment.room.rounds_ms[round];
    let starts = (0..times).map(|time| moment.at_ms + time * period_ms).take_while(|at_ms| *at_ms < ends_ms);
    let cut = |at_ms| {
        let kind = FaultKind::Cut { pairs: pairs.clone() };
        Occurrence { round, at_ms, for_ms: (period_ms / 2).min(ends_ms - at_ms), kind }
    };
    starts.map(cut).collect()
}

/// A backup, of this round or an earlier one, and its return.
fn restore(draw: &mut Draw, moment: &Moment<'_>, for_ms: u64) -> Vec<Occurrence> {
    let Some(peer) = moment.expendable(draw) else { return Vec::new() };
    let (round, at_ms) = if draw.chance(0.5) {
        // So short that the feed had moved by a few changes only.
        (moment.round, moment.at_ms.saturating_sub(draw.mostly_small(1, 3_000)))
    } else {
        let round = draw.between(0, moment.round as u64) as usize;
        let ends_ms = if round == moment.round { moment.at_ms + 1 } else { moment.room.rounds_ms[round] };
        (round, draw.below(ends_ms))
    };
    vec![
        Occurrence { round, at_ms, for_ms: 0, kind: FaultKind::Backup { peer } },
        Occurrence { round: moment.round, at_ms: moment.at_ms, for_ms, kind: FaultKind::Restore { peer } },
    ]
}
