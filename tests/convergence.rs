//! Seeded schedules over the whole shell: writes, old drafts, cuts, crashes and restored backups, and at the end everybody agrees.
//!
//! A ledger of every commit on every disk tells which write superseded which. So an acknowledged write must in the end be a
//! head everywhere, or have been superseded by a write whose writer had seen it.

mod cluster;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::PoisonError;

use cluster::{Cluster, Disk, Handler, Holdings, Ledger, NOTES, Random, Topology};
use peerloom::{Dot, Draft, Memory};
use tokio::runtime::{Builder, RngSeed};
use tokio::time::Duration;

const SIZE: usize = 4;
const ACTIONS: usize = 120;
const IDS: [&str; 4] = ["a", "b", "c", "d"];

struct Schedule {
    cluster: Cluster,
    random: Random,
    ledger: Ledger,
    memories: Vec<Memory>,
    backups: Vec<Option<Memory>>,
    drafts: Vec<Kept>,
    /// The values whose writes were acknowledged, and what the draft had seen if they came from one.
    acknowledged: BTreeMap<String, Option<HashSet<Dot>>>,
    /// The dots that a restored replica alone had.
    forgotten: HashSet<Dot>,
    values: usize,
}

/// A draft and what could be seen when it was read.
struct Kept {
    owner: usize,
    draft: Draft<String>,
    seen: HashSet<Dot>,
}

impl Schedule {
    async fn begin(seed: u64, handler: Handler) -> Self {
        let mut cluster = Cluster::new(seed);
        cluster.handler = handler;
        let (ledger, mut memories) = (Ledger::default(), Vec::new());
        for _ in 0..SIZE {
            let memory = Memory::new();
            cluster.add_on(Disk::new(memory.clone()).keeping(&ledger)).await;
            memories.push(memory);
        }
        Self {
            cluster,
            random: Random(seed),
            ledger,
            memories,
            backups: (0..SIZE).map(|_| None).collect(),
            drafts: Vec::new(),
            acknowledged: BTreeMap::new(),
            forgotten: HashSet::new(),
            values: 0,
        }
    }

    async fn act(&mut self) {
        let member = self.random.below(SIZE);
        let id = IDS[self.random.below(IDS.len())];
        let action = self.random.below(100);
        if !self.cluster.runs(member) {
            if action < 30 {
                self.cluster.start(member).await;
            }
            return;
        }
        match action {
            0..30 => self.put(member, id).await,
            30..42 => self.draft(member, id).await,
            42..54 => self.save().await,
            54..60 => drop(self.cluster.notes(member).remove(id).await.expect("the removal is taken")),
            60..64 => self.settle(member).await,
            64..72 => self.cluster.cut(member, self.random.below(SIZE)),
            72..80 => self.cluster.heal(member, self.random.below(SIZE)),
            80..84 => self.cluster.crash(member),
            84..87 => self.cluster.stop(member).await,
            87..90 => self.backups[member] = Some(self.memories[member].fork()),
            90..92 => self.restore(member).await,
            92..97 => self.wait(10_000).await,
            _ => self.wait(50).await,
        }
        for _ in 0..self.random.below(30) {
            tokio::task::yield_now().await;
        }
    }

    async fn wait(&mut self, ms_max: usize) {
        let ms = self.random.below(ms_max) as u64;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn value(&mut self) -> String {
        self.values += 1;
        self.values.to_string()
    }

    async fn put(&mut self, member: usize, id: &str) {
        let value = self.value();
        self.cluster.put(member, id, &value).await;
        self.acknowledged.insert(value, None);
    }

    async fn draft(&mut self, owner: usize, id: &str) {
        let Some(draft) = self.cluster.notes(owner).read(id).await.expect("it reads") else { return };
        // Nothing else runs between the two on this runtime.
        let records = self.cluster.members[owner].disk.records(NOTES).await;
        let record = records.into_iter().find(|record| record.id == *draft.id()).expect("it was read");
        let seen = record.document.heads().iter().map(|head| head.dot).collect();
        self.drafts.push(Kept { owner, draft, seen });
    }

    /// Saves some draft, however old, on whichever replica it was read.
    async fn save(&mut self) {
        let running: Vec<usize> =
            (0..self.drafts.len()).filter(|index| self.cluster.runs(self.drafts[*index].owner)).collect();
        if running.is_empty() {
            return;
        }
        let chosen = running[self.random.below(running.len())];
        let Kept { owner, mut draft, seen } = self.drafts.swap_remove(chosen);
        let value = self.value();
        value.clone_into(&mut draft);
        self.cluster.notes(owner).save(draft).await.expect("the draft is saved");
        self.acknowledged.insert(value, Some(seen));
    }

    async fn settle(&mut self, member: usize) {
        let mut conflicts = self.cluster.notes(member).conflicts(None, 1).await.expect("it lists").conflicts;
        let Some(conflict) = conflicts.pop() else { return };
        let seen = conflict.versions.iter().map(|version| version.dot).collect();
        let value = self.value();
        self.cluster.notes(member).settle(conflict, &value).await.expect("it is settled");
        self.acknowledged.insert(value, Some(seen));
    }

    /// Puts a backup in the place of a disk. What nobody else has by then is forgotten, and that is the user's loss.
    async fn restore(&mut self, member: usize) {
        let Some(backup) = self.backups[member].take() else { return };
        let mut elsewhere = Vec::new();
        for other in (0..SIZE).filter(|other| *other != member && self.cluster.runs(*other)) {
            elsewhere.extend(self.cluster.members[other].disk.records(NOTES).await);
        }
        for record in self.cluster.members[member].disk.records(NOTES).await {
            let had = record.document.heads().iter().map(|head| head.dot);
            let superseded = self.killed().into_keys().filter(|dot| dot.is_in(record.document.context()));
            let known = |dot: &Dot| {
                elsewhere.iter().any(|other| other.id == record.id && dot.is_in(other.document.context()))
            };
            self.forgotten.extend(had.chain(superseded).filter(|dot| !known(dot)));
        }
        self.cluster.stop(member).await;
        self.drafts.retain(|kept| kept.owner != member);
        self.memories[member] = backup.clone();
        self.cluster.members[member].disk = Disk::new(backup).keeping(&self.ledger);
        self.cluster.start(member).await;
    }

    async fn end(&mut self) -> Holdings {
        for member in 0..SIZE {
            if !self.cluster.runs(member) {
                self.cluster.start(member).await;
            }
            for other in 0..member {
                self.cluster.heal(member, other);
            }
        }
        self.cluster.converged().await
    }

    /// Which writes superseded a write, by the dots of both.
    fn killed(&self) -> HashMap<Dot, HashSet<Dot>> {
        let mut killed = HashMap::<Dot, HashSet<Dot>>::new();
        for step in self.ledger.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let before: HashSet<Dot> = step
                .before
                .iter()
                .flat_map(|before| before.document.heads().iter().map(|head| head.dot))
                .collect();
            let after: HashSet<Dot> = step.after.document.heads().iter().map(|head| head.dot).collect();
            for dot in before.difference(&after) {
                killed.entry(*dot).or_default().extend(after.difference(&before));
            }
        }
        killed
    }

    fn dots(&self) -> BTreeMap<String, Dot> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let heads = ledger.iter().flat_map(|step| step.after.document.heads());
        let alive = heads.filter(|head| !head.state.deleted);
        alive
            .map(|head| (serde_json::from_slice(&head.state.body).expect("values are strings"), head.dot))
            .collect()
    }

    fn check(&self, holdings: &Holdings) {
        let (dots, killed) = (self.dots(), self.killed());
        let present: HashSet<Dot> = holdings
            .documents
            .values()
            .flat_map(|holding| holding.heads.iter().map(|head| head.dot))
            .collect();
        for (value, seen) in &self.acknowledged {
            // One that was superseded within the same commit was never stored as a head.
            let Some(dot) = dots.get(value) else { continue };
            assert!(
                present.contains(dot) || killed.contains_key(dot) || self.forgotten.contains(dot),
                "{value} at {dot:?} is lost"
            );
            let Some(seen) = seen else { continue };
            for (victim, killers) in &killed {
                let only_killer = killers.len() == 1 && killers.contains(dot);
                assert!(
                    !only_killer || seen.contains(victim),
                    "{value} superseded {victim:?}, which it had not seen"
                );
            }
        }
        let in_conflict: Vec<_> = holdings
            .documents
            .iter()
            .filter(|(_, holding)| holding.heads.len() > 1)
            .map(|(id, _)| id.clone())
            .collect();
        assert_eq!(holdings.in_conflict, in_conflict, "the list of conflicts is what is in conflict");
    }
}

/// Says which seed it was, if it was one.
struct Naming(u64, Handler, Topology);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} with {:?} in a {:?}", self.0, self.1, self.2);
        }
    }
}

/// Runs a future on a runtime of its own, with a paused clock. Tokio wakes those who wait for one thing in random order, so its
/// randomness is seeded too.
fn simulate<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_time().start_paused(true).rng_seed(RngSeed::from_bytes(b"convergence"));
    runtime.build().expect("a runtime").block_on(future)
}

fn run(seeds: std::ops::Range<u64>, handler: Handler) {
    for seed in seeds {
        let topology = Topology::ALL[seed as usize % Topology::ALL.len()];
        let _naming = Naming(seed, handler, topology);
        simulate(async {
            let mut schedule = Schedule::begin(seed, handler).await;
            schedule.cluster.arrange(topology, SIZE);
            for _ in 0..ACTIONS {
                schedule.act().await;
            }
            let holdings = schedule.end().await;
            schedule.check(&holdings);
        });
    }
}

#[test]
fn replicas_converge_and_lose_nothing_under_last_write_wins() {
    run(0..60, Handler::LastWriteWins);
}

#[test]
fn replicas_converge_and_lose_nothing_under_a_handler_that_is_not_associative() {
    run(1000..1060, Handler::Concatenate);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        simulate(async {
            let mut schedule = Schedule::begin(5, Handler::LastWriteWins).await;
            for _ in 0..ACTIONS {
                schedule.act().await;
            }
            schedule.end().await
        })
    };
    assert_eq!(run(), run());
}
