//! Random histories, then a quiet phase, then the oracles: the executable model of the design over the real core.
//!
//! `SEED=17 cargo test --test convergence` replays one run; `SEEDS=10000` makes more of them.

mod room;

use std::time::Duration;

use peerloom_core::*;
use room::{Disk, Replay, Room, Terms};

#[derive(Clone, Copy, Debug)]
enum Topology {
    Full,
    Ring,
    Line,
    Star,
}

impl Topology {
    fn edges(self, nodes: usize) -> Vec<(usize, usize)> {
        match self {
            Self::Full => (0..nodes).flat_map(|left| (0..left).map(move |right| (left, right))).collect(),
            Self::Ring if nodes > 2 => (0..nodes).map(|left| (left, (left + 1) % nodes)).collect(),
            Self::Ring | Self::Line => (1..nodes).map(|right| (right - 1, right)).collect(),
            Self::Star => (1..nodes).map(|right| (0, right)).collect(),
        }
    }
}

/// What a user read some time ago, on some replica.
struct Reading {
    id: String,
    context: Context,
    state: State,
}

struct History {
    room: Room,
    edges: Vec<(usize, usize)>,
    nodes: usize,
    backups: Vec<(usize, Vec<Disk>)>,
    readings: Vec<Reading>,
    writes: usize,
}

impl History {
    fn new(seed: u64, topology: Topology) -> Self {
        let mut room = Room::new(seed);
        let nodes = 2 + room.random.below(4);
        let page = *room.random.pick(&[1, 1, 2, 5, 1000]);
        room = room.pages_of(page);
        if room.random.chance(30) {
            room.limits.page.bytes_max = 200.try_into().expect("above zero");
        }
        room.inbox_frames_max = *room.random.pick(&[1, 3, 64]);
        room.frame_bytes_max = *room.random.pick(&[64, 1024, 16 << 10]);
        room.latency = Duration::from_millis(*room.random.pick(&[0, 0, 10, 120]));
        room.replica_limits.history_incarnations_max = *room.random.pick(&[2, 1024]);
        room.replica_limits.clock_ahead_ms_max = *room.random.pick(&[100, 300_000]);
        for _ in 0..nodes {
            let node = room.add_node(&["notes"]);
            room.nodes[node].skew_ms = *room.random.pick(&[0, 0, 400, -400, 3_600_000]);
        }
        let edges = topology.edges(nodes);
        Self { room, edges, nodes, backups: Vec::new(), readings: Vec::new(), writes: 0 }
    }

    fn act(&mut self) {
        let node = self.room.random.below(self.room.nodes.len());
        match self.room.random.below(100) {
            0..40 => self.write(node),
            40..48 => self.read(node),
            48..56 => self.backups.push((node, self.room.disks(node))),
            56..59 => self.room.restart(node),
            59..63 => self.restore(),
            63 | 64 => self.clone_node(),
            65..72 => self.drop_connection(),
            72..92 => self.connect(),
            _ => {}
        }
    }

    fn write(&mut self, node: usize) {
        self.writes += 1;
        let id = format!("d{}", self.room.random.below(4));
        let body = format!("w{}", self.writes);
        let body = (!self.room.random.chance(15)).then_some(body.as_str());
        let readings: Vec<_> = self.readings.iter().filter(|reading| reading.id == id).collect();
        let seen = if !readings.is_empty() && self.room.random.chance(30) {
            let reading = self.room.random.pick(&readings);
            Seen::Read { context: reading.context.clone(), state: Some(reading.state.clone()) }
        } else if self.room.random.chance(5) {
            Seen::Read { context: Context::default(), state: None }
        } else {
            Seen::Current
        };
        self.room.write(node, 0, &id, body, seen).expect("within limits");
    }

    fn read(&mut self, node: usize) {
        let records = self.room.nodes[node].shelves[0].disk.records();
        self.readings.extend(records.map(|record| Reading {
            id: record.id.to_string(),
            context: record.document.context().clone(),
            state: record.view().clone(),
        }));
    }

    fn restore(&mut self) {
        if !self.backups.is_empty() {
            let (node, disks) = self.room.random.pick(&self.backups).clone();
            self.room.restore(node, disks);
        }
    }

    /// A second live copy of a backup; some keep their identity, and so must not meet the original.
    fn clone_node(&mut self) {
        if self.backups.is_empty() || self.room.nodes.len() >= self.nodes + 2 {
            return;
        }
        let (node, disks) = self.room.random.pick(&self.backups).clone();
        let same_identity = self.nodes > 2 && self.room.random.chance(50);
        let clone = self.room.clone_node(node, disks, same_identity);
        let met: Vec<usize> = match same_identity {
            false => vec![node],
            true => (0..self.nodes)
                .filter(|other| self.room.nodes[*other].id() != self.room.nodes[node].id())
                .collect(),
        };
        self.edges.extend(met.into_iter().map(|other| (clone, other)));
    }

    fn connect(&mut self) {
        let (left, right) = *self.room.random.pick(&self.edges);
        if self.room.is_connected(left, right) || self.room.nodes[left].id() == self.room.nodes[right].id() {
            return;
        }
        let mut terms = || match self.room.random.below(10) {
            0 => Terms { filter: Some("d0"), ..Terms::FULL },
            1 => Terms { serves: false, ..Terms::FULL },
            2 => Terms { pulls: false, ..Terms::FULL },
            _ => Terms::FULL,
        };
        let (ours, theirs) = (terms(), terms());
        self.room.connect_on(left, right, ours, theirs);
    }

    fn drop_connection(&mut self) {
        let live: Vec<usize> = self.room.live().collect();
        if !live.is_empty() {
            let end = *self.room.random.pick(&live);
            self.room.disconnect(end);
        }
    }

    /// The quiet phase: every edge connected without filters, no more writes.
    fn heal(&mut self) {
        (0..self.room.nodes.len()).for_each(|node| self.room.disconnect_node(node));
        for (left, right) in self.edges.clone() {
            if !self.room.is_connected(left, right) && !self.room.is_connected(right, left) {
                self.room.connect(left, right);
            }
        }
        self.room.settle();
    }
}

fn run(seed: u64, topology: Topology) {
    let _replay = Replay("convergence", seed);
    let mut history = History::new(seed, topology);
    for _ in 0..80 {
        history.act();
        let steps = history.room.random.below(40);
        history.room.churn(steps);
        if history.room.random.chance(20) {
            history.room.assert_checkpoints();
        }
    }
    let before = history.room.holdings();
    history.heal();
    history.room.assert_converged(&before);
    history.room.assert_idle();
    history.room.assert_converged(&before);
}

fn runs(topology: Topology) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        return run(seed, topology);
    }
    let first = number("FIRST_SEED").unwrap_or(0);
    (first..first + number("SEEDS").unwrap_or(100)).for_each(|seed| run(seed, topology));
}

#[test]
fn a_full_mesh_converges_and_loses_nothing() {
    runs(Topology::Full);
}

#[test]
fn a_ring_converges_and_loses_nothing() {
    runs(Topology::Ring);
}

#[test]
fn a_line_converges_and_loses_nothing() {
    runs(Topology::Line);
}

#[test]
fn a_star_converges_and_loses_nothing() {
    runs(Topology::Star);
}

/// A checkpoint made from a scan that a commit overtook, then a restore to the state right before that commit.
#[test]
fn a_restore_to_the_snapshot_of_a_scan_hides_nothing_from_its_reader() {
    for seed in 0..2000 {
        let _replay = Replay("a restore to a scan's snapshot", seed);
        let mut room = Room::of(seed, 2).pages_of(1);
        (0..3).for_each(|number| room.put(0, &format!("d{number}"), "text"));
        room.put(0, "d1", "moved, so that a position is empty");
        room.connect(0, 1);
        let steps = 20 + room.random.below(60);
        room.churn(steps);
        let backup = room.disks(0);
        room.put(0, "d0", "moved again");
        let steps = room.random.below(25);
        room.churn(steps);
        room.restore(0, backup);
        room.assert_checkpoints();
    }
}
