//! Whole sessions against a model that knows nothing of contexts, vectors or frames: a replica is a set of writes.
//!
//! Schedules are values, so a failing one is shrunk to a few steps. Every step has randomness of its own: to take one out leaves the
//! others as they were. `convergence.rs` makes longer histories and more of them, and what it finds has to be read in full.

mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerloom_core::*;
use proptest::prelude::*;
use proptest::sample::Index;
use room::{Disk, Random, Room};

// The model.

/// Names a write; in the order in which versions are folded.
type Name = (Stamp, Incarnation);

/// A write as the model knows it.
#[derive(Clone, Debug)]
struct Made {
    document: String,
    /// `None` deletes.
    body: Option<String>,
    /// The writes of the document that the writer had seen.
    seen: BTreeSet<Name>,
}

/// The writes that a copy of a document includes, superseded ones too.
type Included = BTreeSet<Name>;

#[derive(Debug, Default)]
struct Model {
    made: BTreeMap<Name, Made>,
    /// What each replica includes of each document.
    replicas: Vec<BTreeMap<String, Included>>,
}

impl Model {
    /// The heads are the writes that no other one in the copy had seen.
    fn heads(&self, included: &Included) -> Vec<Name> {
        let superseded: Included = included.iter().flat_map(|name| &self.made[name].seen).copied().collect();
        included.difference(&superseded).copied().collect()
    }

    /// What the tests' handler makes of the heads.
    fn view(&self, heads: &[Name]) -> (bool, String) {
        let bodies = heads.iter().map(|name| self.made[name].body.as_deref());
        let joined = bodies.clone().map(Option::unwrap_or_default).collect::<Vec<_>>().join("+");
        (bodies.flatten().next().is_none(), joined)
    }

    /// What everybody together has, which is what each must have in the end.
    fn union(&self) -> BTreeMap<String, Included> {
        let mut union: BTreeMap<String, Included> = BTreeMap::new();
        for (document, included) in self.replicas.iter().flatten() {
            union.entry(document.clone()).or_default().extend(included);
        }
        union
    }
}

// Schedules.

/// One step of a schedule, with the seed of what it leaves open.
#[derive(Clone, Debug)]
struct Step {
    action: Action,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Action {
    Write {
        at: Index,
        document: u8,
        deletes: bool,
        /// A version that somebody read before, if any, in place of the present one.
        read: Option<Index>,
    },
    Read {
        at: Index,
    },
    Connect {
        left: Index,
        right: Index,
    },
    Disconnect(Index),
    Restart(Index),
    BackUp(Index),
    Restore(Index),
    /// So many things happen, in any order.
    Happen(u8),
    Pass {
        ms: u16,
    },
}

#[derive(Clone, Debug)]
struct Schedule {
    replicas: usize,
    page_documents: u32,
    inbox_frames: usize,
    skews_ms: Vec<i64>,
    steps: Vec<Step>,
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let index = any::<Index>;
    let action = prop_oneof![
        8 => (index(), 0u8..3, proptest::bool::weighted(0.15), proptest::option::weighted(0.3, index()))
            .prop_map(|(at, document, deletes, read)| Action::Write { at, document, deletes, read }),
        2 => index().prop_map(|at| Action::Read { at }),
        5 => (index(), index()).prop_map(|(left, right)| Action::Connect { left, right }),
        1 => index().prop_map(Action::Disconnect),
        1 => index().prop_map(Action::Restart),
        1 => index().prop_map(Action::BackUp),
        1 => index().prop_map(Action::Restore),
        8 => (1u8..60).prop_map(Action::Happen),
        1 => (0u16..2_000).prop_map(|ms| Action::Pass { ms }),
    ];
    // Not shrunk: the smallest seed is no simpler, and two steps with the same would draw the same incarnation.
    let step = (action, any::<u64>().no_shrink()).prop_map(|(action, seed)| Step { action, seed });
    let skews = proptest::collection::vec(prop_oneof![Just(0i64), -400i64..400, Just(3_600_000)], 4);
    (
        2usize..=4,
        prop_oneof![Just(1000u32), 1u32..4],
        1usize..8,
        skews,
        proptest::collection::vec(step, 1..60),
    )
        .prop_map(|(replicas, page_documents, inbox_frames, skews_ms, steps)| Schedule {
            replicas,
            page_documents,
            inbox_frames,
            skews_ms,
            steps,
        })
}

// The two side by side.

/// What somebody read: the context, and what the model says is in it.
struct Reading {
    document: String,
    context: Context,
    state: State,
    included: Included,
}

struct Bench {
    room: Room,
    model: Model,
    readings: Vec<Reading>,
    backups: Vec<(usize, Vec<Disk>, BTreeMap<String, Included>)>,
}

impl Bench {
    fn new(schedule: &Schedule) -> Self {
        let mut room = Room::of(1, schedule.replicas).pages_of(schedule.page_documents);
        room.inbox_frames_max = schedule.inbox_frames;
        for (node, skew_ms) in room.nodes.iter_mut().zip(&schedule.skews_ms) {
            node.skew_ms = *skew_ms;
        }
        let model = Model { replicas: vec![BTreeMap::new(); schedule.replicas], ..Model::default() };
        Self { room, model, readings: Vec::new(), backups: Vec::new() }
    }

    fn step(&mut self, step: &Step) {
        self.room.random = Random(step.seed);
        let replicas = self.room.nodes.len();
        match &step.action {
            Action::Write { at, document, deletes, read } => {
                self.write(at.index(replicas), &format!("d{document}"), *deletes, read.as_ref());
            }
            Action::Read { at } => self.read(at.index(replicas)),
            Action::Connect { left, right } => {
                let (left, right) = (left.index(replicas), right.index(replicas));
                if left != right && !self.room.is_connected(left, right) {
                    self.room.connect(left, right);
                }
            }
            Action::Disconnect(end) => {
                let live: Vec<usize> = self.room.live().collect();
                if !live.is_empty() {
                    self.room.disconnect(*end.get(&live));
                }
            }
            Action::Restart(at) => self.room.restart(at.index(replicas)),
            Action::BackUp(at) => {
                let at = at.index(replicas);
                self.backups.push((at, self.room.disks(at), self.model.replicas[at].clone()));
            }
            Action::Restore(which) => {
                if !self.backups.is_empty() {
                    let (at, disks, included) = which.get(&self.backups).clone();
                    self.room.restore(at, disks);
                    self.model.replicas[at] = included;
                }
            }
            Action::Happen(times) => self.room.churn((*times).into()),
            Action::Pass { ms } => self.room.run_for(Duration::from_millis((*ms).into())),
        }
        (0..replicas).for_each(|at| self.compare(at));
    }

    fn write(&mut self, at: usize, document: &str, deletes: bool, read: Option<&Index>) {
        let body = (!deletes).then(|| format!("w{}", self.model.made.len()));
        let readings: Vec<&Reading> =
            self.readings.iter().filter(|reading| reading.document == document).collect();
        let local = self.model.replicas[at].get(document).cloned().unwrap_or_default();
        let (seen, had_seen) = match read.filter(|_| !readings.is_empty()).map(|read| read.get(&readings)) {
            Some(Reading { context, state, included, .. }) => {
                (Seen::Read { context: context.clone(), state: Some(state.clone()) }, included.clone())
            }
            None => (Seen::Current, local.clone()),
        };
        let written = self.room.write(at, 0, document, body.as_deref(), seen).expect("within limits");
        let name = written.dot.canonical();
        let includes: Included = local.iter().chain(&had_seen).copied().chain([name]).collect();
        let before =
            self.model.made.insert(name, Made { document: document.to_owned(), body, seen: had_seen });
        assert!(before.is_none(), "a name is never given twice");
        self.model.replicas[at].insert(document.to_owned(), includes.clone());
        self.compare(at);
        assert_eq!(self.model.replicas[at][document], includes, "a write brings what was seen and itself");
    }

    fn read(&mut self, at: usize) {
        for record in self.room.nodes[at].shelves[0].disk.records() {
            let document = record.id.to_string();
            self.readings.push(Reading {
                included: self.model.replicas[at][&document].clone(),
                context: record.document.context().clone(),
                state: record.view().clone(),
                document,
            });
        }
    }

    /// Reads off the replica which writes have arrived, and holds everything else against the model.
    fn compare(&mut self, at: usize) {
        let found: BTreeMap<String, Record> = {
            let records = self.room.nodes[at].shelves[0].disk.records();
            records.map(|record| (record.id.to_string(), record.clone())).collect()
        };
        for (document, before) in &self.model.replicas[at] {
            assert!(before.is_empty() || found.contains_key(document), "{document} is gone from {at}");
        }
        for (document, record) in found {
            let context = record.document.context();
            let is_included = |name: &Name| Dot { stamp: name.0, incarnation: name.1 }.is_in(context);
            let of_it = self.model.made.iter().filter(|(_, made)| made.document == document);
            let included: Included = of_it.map(|(name, _)| *name).filter(is_included).collect();
            for (incarnation, stamp) in context.iter() {
                assert!(included.contains(&(stamp, incarnation)), "{document} claims what nobody wrote");
            }
            for name in &included {
                let missing: Vec<_> = self.model.made[name].seen.difference(&included).collect();
                assert!(missing.is_empty(), "{document} at {at} has {name:?} without {missing:?}");
            }
            let before = self.model.replicas[at].insert(document.clone(), included.clone());
            let lost: Vec<_> = before.unwrap_or_default().difference(&included).copied().collect();
            assert!(lost.is_empty(), "{document} at {at} forgot {lost:?}");

            let heads = self.model.heads(&included);
            let found: Vec<Name> = record.document.heads().iter().map(|head| head.dot.canonical()).collect();
            assert_eq!(found, heads, "the heads of {document} at {at}");
            for head in record.document.heads() {
                let body =
                    (!head.state.deleted).then(|| String::from_utf8_lossy(&head.state.body).into_owned());
                assert_eq!(body, self.model.made[&head.dot.canonical()].body, "{document} at {at}");
            }
            let (deleted, body) = self.model.view(&heads);
            assert_eq!((record.view().deleted, record.view().body.as_ref()), (deleted, body.as_bytes()));
        }
    }

    /// Connects everybody in a line, and waits. Then each has what all together had.
    fn settle(&mut self) {
        self.room.random = Random(2);
        let (replicas, union) = (self.room.nodes.len(), self.model.union());
        (0..replicas).for_each(|at| self.room.disconnect_node(at));
        (1..replicas).for_each(|at| {
            self.room.connect(at - 1, at);
        });
        self.room.settle();
        for at in 0..replicas {
            self.compare(at);
            assert_eq!(self.model.replicas[at], union, "what {at} has in the end");
        }
        self.room.assert_checkpoints();
        self.room.assert_idle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn replicas_are_sets_of_writes_at_every_step_and_one_set_in_the_end(schedule in schedules()) {
        let mut bench = Bench::new(&schedule);
        schedule.steps.iter().for_each(|step| bench.step(step));
        bench.settle();
    }
}
