//! From a seed to a plan.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::hazard::{Occurrence, clock_error_ms};
use super::{
    Draw, FaultKind, Faults, Hazard, Latency, PeerNumber, PeerPlan, Plan, Round, Topology, Workload,
};
use crate::documents::{Documents, Todos};

/// What plans are like: what is the same for every seed.
#[derive(Clone)]
pub struct PlanOptions {
    /// How many peers, those that join late and clones included. At least one.
    pub peers: RangeInclusive<usize>,
    /// How many rounds. At least one.
    pub rounds: RangeInclusive<usize>,
    /// How long a round is, in milliseconds. At least one.
    pub round_ms: RangeInclusive<u64>,
    /// How many operations in all rounds together.
    pub operations: u32,
    /// What users do.
    pub workload: Workload,
    /// What goes wrong.
    pub faults: Faults,
    /// What is in documents.
    pub documents: Arc<dyn Documents>,
    /// Who is linked to whom: one of these. At least one.
    pub topologies: Vec<Topology>,
}

impl Default for PlanOptions {
    /// 3 to 6 peers, 200 operations and a swarm of faults in about a minute of simulated time.
    fn default() -> Self {
        Self {
            peers: 3..=6,
            rounds: 2..=3,
            round_ms: 20_000..=30_000,
            operations: 200,
            workload: Workload::default(),
            faults: Faults::default(),
            documents: Arc::new(Todos),
            topologies: Topology::ALL.into(),
        }
    }
}

/// The plan of a seed.
///
/// No plan is unsurvivable as far as a plan can tell: in each round, one peer that was there from the start keeps its device,
/// and no other loses one while that peer is away. Writes that had not left a device when it was lost are lost all the same.
///
/// # Panics
///
/// If the options leave nothing to choose from: an empty range, zero peers, rounds or milliseconds, no topology.
pub fn plan(seed: u64, options: &PlanOptions) -> Plan {
    let room = Room::draw(seed, options);
    let panics = options.faults.has(seed, Hazard::HandlerPanic);
    let operations = options.workload.operations(&room, options.operations, &*options.documents);
    let faults = options.faults.faults(&room);
    let rounds = room.rounds_ms.iter().zip(operations).zip(faults);
    Plan {
        seed,
        topology: room.topology,
        latency: latency(seed, &options.faults),
        handler_panics_one_in: panics.then(|| Draw::new(seed, "handler panics").between(1, 20) as u32),
        rounds: rounds
            .map(|((length_ms, operations), faults)| Round { length_ms: *length_ms, operations, faults })
            .collect(),
        peers: room.peers,
    }
}

/// A room before anything is done to it.
pub(super) struct Room {
    pub(super) seed: u64,
    pub(super) topology: Topology,
    pub(super) rounds_ms: Vec<u64>,
    /// Those there from the start, those that join late, in order of time, and clones, in order of time. So those who are there
    /// are connected, whatever the topology.
    pub(super) peers: Vec<PeerPlan>,
    /// The faults that make clones.
    pub(super) clones: Vec<Occurrence>,
    /// When each peer is there, in milliseconds after the beginning. Rounds begin later than their lengths add up to, because
    /// healing takes time, so at a time in a round a peer may be there earlier than this says but not later.
    arrivals_ms: Vec<u64>,
}

impl Room {
    fn draw(seed: u64, options: &PlanOptions) -> Self {
        let between = |key: &str, range: &RangeInclusive<usize>| {
            assert!(*range.start() >= 1 && !range.is_empty(), "{key}: no choice in {range:?}");
            Draw::new(seed, key).between(*range.start() as u64, *range.end() as u64) as usize
        };
        let range_ms = &options.round_ms;
        assert!(
            *range_ms.start() >= 1 && !range_ms.is_empty(),
            "length of a round: no choice in {range_ms:?}"
        );
        assert!(!options.topologies.is_empty(), "no topology to choose");
        let round_ms = |round| Draw::new(seed, ("length", round)).between(*range_ms.start(), *range_ms.end());
        let rounds_ms: Vec<_> = (0..between("rounds", &options.rounds)).map(round_ms).collect();
        let count = between("peers", &options.peers);
        assert!(count <= usize::from(u16::MAX), "peers: {count} are too many");
        let topology = *Draw::new(seed, "topology").one_of(&options.topologies);
        let mut room = Self {
            seed,
            topology,
            rounds_ms,
            peers: Vec::new(),
            clones: Vec::new(),
            arrivals_ms: Vec::new(),
        };
        room.draw_peers(count, &options.faults);
        room
    }

    fn draw_peers(&mut self, count: usize, faults: &Faults) {
        let seed = self.seed;
        // Two are there from the start, if there are two.
        let mut spare = count.saturating_sub(2) as u64;
        let clones = if spare > 0 && faults.has(seed, Hazard::Clone) {
            // In a ring or line, a clone that is never made would part those after it from the rest.
            let is_safe = matches!(self.topology, Topology::Mesh | Topology::Star);
            Draw::new(seed, "clones").between(1, if is_safe { spare.min(2) } else { 1 })
        } else {
            0
        };
        spare -= clones;
        let late = if spare > 0 && faults.has(seed, Hazard::LateJoin) {
            Draw::new(seed, "late joiners").between(1, spare)
        } else {
            0
        };
        let starters = count as u64 - clones - late;
        self.arrivals_ms = vec![0; starters as usize];
        // Before any clone's settling, for the same reason as above.
        let rounds = if clones > 0 { 1 } else { self.rounds_ms.len() };
        let last_ms: u64 = self.rounds_ms[..rounds].iter().sum();
        let mut joins: Vec<_> = (0..late).map(|n| Draw::new(seed, ("joins", n)).below(last_ms)).collect();
        joins.sort_unstable();
        self.arrivals_ms.extend(joins);
        self.peers =
            self.arrivals_ms.iter().map(|ms| PeerPlan { joins_ms: Some(*ms), clock_ahead_ms: 0 }).collect();
        self.draw_clones(clones, starters);
        if faults.has(seed, Hazard::ClockSkew) {
            for (number, peer) in self.peers.iter_mut().enumerate() {
                let mut draw = Draw::new(seed, ("clock", number));
                peer.clock_ahead_ms = if draw.chance(0.5) { clock_error_ms(&mut draw) } else { 0 };
            }
        }
    }

    fn draw_clones(&mut self, count: u64, starters: u64) {
        let mut births = Vec::new();
        for number in 0..count {
            let mut draw = Draw::new(self.seed, ("clone", number));
            let round = draw.below(self.rounds_ms.len() as u64) as usize;
            let peer = PeerNumber(draw.below(starters) as u16);
            births.push((round, draw.below(self.rounds_ms[round]), peer));
        }
        births.sort_unstable();
        for (round, at_ms, peer) in births {
            let into = PeerNumber(self.peers.len() as u16);
            self.clones.push(Occurrence { round, at_ms, for_ms: 0, kind: FaultKind::Clone { peer, into } });
            self.arrivals_ms.push(self.rounds_ms[..round].iter().sum::<u64>() + at_ms);
            self.peers.push(PeerPlan::default());
        }
    }

    /// The peers that are there at a time, if nothing else goes wrong.
    pub(super) fn present(&self, round: usize, at_ms: u64) -> Vec<PeerNumber> {
        let now_ms = self.rounds_ms[..round].iter().sum::<u64>() + at_ms;
        let arrivals = (0..).map(PeerNumber).zip(&self.arrivals_ms);
        arrivals.filter(|(_, arrives_ms)| **arrives_ms <= now_ms).map(|(peer, _)| peer).collect()
    }

    /// The peer that keeps what a round began with: there from the start, and never wiped or restored in that round.
    pub(super) fn anchor(&self, round: usize) -> PeerNumber {
        let starters: Vec<_> =
            (0..).map(PeerNumber).zip(&self.peers).filter(|(_, peer)| peer.joins_ms == Some(0)).collect();
        Draw::new(self.seed, ("anchor", round)).one_of(&starters).0
    }
}

/// One of a few profiles: a room in a house, in a country, in the world, on the road.
fn latency(seed: u64, faults: &Faults) -> Latency {
    let mut draw = Draw::new(seed, "latency");
    let ((low_ms, high_ms), jitter_ms) =
        *draw.one_of(&[((0, 2), 2), ((5, 30), 15), ((40, 150), 80), ((30, 200), 1_000)]);
    let jitter_ms = draw.between(1, jitter_ms);
    let has_jitter = faults.has(seed, Hazard::Jitter);
    Latency {
        base_ms: draw.between(low_ms, high_ms) as u32,
        jitter_ms: if has_jitter { jitter_ms as u32 } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Plan, PlanOptions, plan};
    use crate::plan::{Action, Fault, FaultKind, Faults, Hazard, PeerNumber, Topology, Workload, mix};

    const SEEDS: std::ops::Range<u64> = 0..400;

    fn faults(plan: &Plan) -> impl Iterator<Item = &Fault> {
        plan.rounds.iter().flat_map(|round| &round.faults)
    }

    /// The tag of a fault's kind, as in replay files.
    fn tag(fault: &Fault) -> String {
        let kind = serde_json::to_value(&fault.kind).expect("a kind is JSON");
        kind.as_object().expect("a kind has fields").keys().next().expect("a tag").clone()
    }

    fn only(hazards: impl IntoIterator<Item = Hazard>) -> PlanOptions {
        PlanOptions { faults: Faults::only(hazards), ..PlanOptions::default() }
    }

    #[test]
    fn a_seed_is_a_plan_and_survives_json() {
        for seed in SEEDS {
            let options = PlanOptions::default();
            let first = plan(seed, &options);
            assert_eq!(first, plan(seed, &options));
            let text = serde_json::to_string(&first).expect("a plan is JSON");
            assert_eq!(first, serde_json::from_str(&text).expect("and comes back"));
        }
    }

    #[test]
    fn plans_are_well_formed() {
        for seed in SEEDS {
            let plan = plan(seed, &PlanOptions::default());
            let everybody = 0..plan.peers.len() as u16;
            assert!((3..=6).contains(&plan.peers.len()) && (2..=3).contains(&plan.rounds.len()));
            assert!(plan.peers.iter().filter(|peer| peer.joins_ms == Some(0)).count() >= 2);
            let mut operations = BTreeSet::new();
            for round in &plan.rounds {
                assert!(round.operations.is_sorted_by_key(|operation| operation.at_ms));
                assert!(round.faults.is_sorted_by_key(|fault| fault.at_ms));
                for operation in &round.operations {
                    assert!(operations.insert(operation.number) && operation.at_ms < round.length_ms);
                    assert!(everybody.contains(&operation.peer.0));
                    if let Action::Bulk { documents } = &operation.action {
                        let ids: BTreeSet<_> = documents.iter().map(|(document, _)| document).collect();
                        assert!(ids.len() == documents.len() && (1..200).contains(&ids.len()));
                    }
                }
                for fault in &round.faults {
                    assert!(fault.at_ms + fault.for_ms <= round.length_ms, "seed {seed}: {fault:?}");
                    if let FaultKind::Silence { directions } = &fault.kind {
                        assert!(directions.iter().all(|way| {
                            way.from != way.to && plan.topology.links(way.from, way.to, plan.peers.len())
                        }));
                        assert!(!directions.is_empty());
                    }
                }
            }
            assert_eq!(operations.len(), 200);
            let numbers: BTreeSet<_> = faults(&plan).map(|fault| fault.number).collect();
            assert_eq!(numbers.len(), faults(&plan).count());
        }
    }

    #[test]
    fn a_swarm_has_every_kind_of_fault_and_never_all_at_once() {
        let plans: Vec<_> = SEEDS.map(|seed| plan(seed, &PlanOptions::default())).collect();
        let tags: BTreeSet<_> = plans.iter().flat_map(|plan| faults(plan).map(tag)).collect();
        assert_eq!(tags.len(), 24, "one of {tags:?} is missing");
        assert!(plans.iter().any(|plan| faults(plan).count() == 0));
        assert!(plans.iter().any(|plan| plan.handler_panics_one_in.is_some()));
        assert!(plans.iter().any(|plan| plan.latency.jitter_ms == 0));
        assert!(plans.iter().any(|plan| plan.latency.jitter_ms > 0));
        assert!(plans.iter().any(|plan| plan.peers.iter().any(|peer| peer.clock_ahead_ms < 0)));
        assert!(plans.iter().any(|plan| plan.peers.iter().any(|peer| peer.joins_ms > Some(0))));
        for topology in Topology::ALL {
            assert!(plans.iter().any(|plan| plan.topology == topology));
        }
        for plan in &plans {
            let own: BTreeSet<_> = faults(plan).map(tag).collect();
            assert!(own.len() < tags.len());
        }
    }

    #[test]
    fn each_hazard_alone_makes_its_own_faults() {
        let expected = |hazard: Hazard| match hazard {
            Hazard::Partition | Hazard::BridgePartition => vec!["cut", "silence"],
            Hazard::OneWayPartition => vec!["silence"],
            Hazard::Flapping => vec!["cut"],
            Hazard::Kill | Hazard::PowerCut | Hazard::CrashInCommit => vec!["crash"],
            Hazard::Restore => vec!["backup", "restore"],
            Hazard::Jitter | Hazard::LateJoin | Hazard::ClockSkew | Hazard::HandlerPanic => vec![],
            other => vec![other.name()],
        };
        for hazard in Hazard::ALL {
            let options = PlanOptions { operations: 0, ..only([hazard]) };
            let plans = SEEDS.map(|seed| plan(seed, &options));
            let tags: BTreeSet<_> =
                plans.flat_map(|plan| faults(&plan).map(tag).collect::<Vec<_>>()).collect();
            let expected: BTreeSet<_> = expected(hazard).iter().map(|tag| tag.replace(' ', "-")).collect();
            assert_eq!(tags, expected, "{hazard:?}");
        }
    }

    #[test]
    fn a_bridge_joins_two_groups() {
        let options = PlanOptions { topologies: vec![Topology::Mesh], ..only([Hazard::BridgePartition]) };
        let mut bridges = 0;
        for seed in SEEDS {
            let plan = plan(seed, &options);
            for fault in faults(&plan) {
                let pairs: BTreeSet<_> = match &fault.kind {
                    FaultKind::Cut { pairs } => pairs.iter().copied().collect(),
                    FaultKind::Silence { directions } => {
                        directions.iter().map(|way| (way.from.min(way.to), way.from.max(way.to))).collect()
                    }
                    other => panic!("{other:?} is no partition"),
                };
                let apart =
                    |left: PeerNumber, right: PeerNumber| pairs.contains(&(left.min(right), left.max(right)));
                let peers: Vec<_> = (0..plan.peers.len() as u16).map(PeerNumber).collect();
                let is_bridge = |bridge: &&PeerNumber| peers.iter().all(|peer| !apart(**bridge, *peer));
                assert!(peers.iter().any(|peer| is_bridge(&peer)), "{fault:?}");
                bridges += 1;
            }
        }
        assert!(bridges > 400);
    }

    #[test]
    fn in_each_round_one_peer_keeps_its_device() {
        let hazards = [Hazard::Wipe, Hazard::Restore, Hazard::Leave, Hazard::Kill];
        let losing =
            hazards.into_iter().fold(Faults::only(hazards), |faults, hazard| faults.rate(hazard, 20.0));
        let options = PlanOptions { faults: losing.per_round_max(100), ..PlanOptions::default() };
        let mut losses = 0;
        for seed in SEEDS {
            let plan = plan(seed, &options);
            let starters =
                (0..).map(PeerNumber).zip(&plan.peers).filter(|(_, peer)| peer.joins_ms == Some(0));
            let starters: Vec<_> = starters.map(|(peer, _)| peer).collect();
            for round in &plan.rounds {
                let is_loss =
                    |fault: &&Fault| matches!(fault.kind, FaultKind::Wipe { .. } | FaultKind::Restore { .. });
                let is_anchor = |peer: PeerNumber| {
                    round.faults.iter().filter(is_loss).all(|loss| {
                        round.faults.iter().all(|fault| match fault.kind {
                            FaultKind::Wipe { peer: lost } | FaultKind::Restore { peer: lost } => {
                                lost != peer
                            }
                            FaultKind::Leave { peer: away } | FaultKind::Crash { peer: away, .. } => {
                                away != peer
                                    || fault.at_ms + fault.for_ms < loss.at_ms
                                    || loss.at_ms + loss.for_ms < fault.at_ms
                            }
                            _ => true,
                        })
                    })
                };
                losses += round.faults.iter().filter(is_loss).count();
                assert!(starters.iter().any(|peer| is_anchor(*peer)), "seed {seed}: {:?}", round.faults);
            }
        }
        assert!(losses > 1_000, "only {losses} devices were lost");
    }

    #[test]
    fn what_one_element_is_does_not_depend_on_others() {
        let calm = PlanOptions { faults: Faults::none(), ..PlanOptions::default() };
        let jumpy = PlanOptions { faults: Faults::only([Hazard::ClockJump]), ..PlanOptions::default() };
        let (calm, jumpy) = (plan(3, &calm), plan(3, &jumpy));
        assert_eq!(calm.rounds[0].operations, jumpy.rounds[0].operations);
        assert!(!jumpy.rounds[0].faults.is_empty());
    }

    #[test]
    fn a_room_may_have_a_single_peer_and_nothing_to_do() {
        let options = PlanOptions {
            peers: 1..=1,
            rounds: 1..=1,
            round_ms: 1..=1,
            workload: mix(),
            faults: Faults::only(Hazard::ALL).rate(Hazard::Wipe, 1e5),
            ..PlanOptions::default()
        };
        for seed in SEEDS {
            let plan = plan(seed, &options);
            assert_eq!(plan.peers.len(), 1);
            assert_eq!(plan.rounds[0].operations, []);
            assert!(
                faults(&plan)
                    .all(|fault| !matches!(fault.kind, FaultKind::Wipe { .. } | FaultKind::Cut { .. }))
            );
        }
        assert_eq!(Workload::default(), Workload::default().hot_documents(0.6));
    }
}
