//! Directs a run: plays the plan in its time, heals the room after each round, and waits for it to settle and to fall silent.

mod faults;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fabric::Floor;
use crate::outcome::Violation;
use crate::plan::{Crash, Direction, Fault, PeerNumber, Plan, Round};
use crate::stage::Stage;
use crate::trace::{Phase, What};

/// How often the director looks whether the room has settled.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a settled room may tidy up: checkpoints, announcements, and connections whose end nobody has noticed yet.
const TIDIED_WITHIN: Duration = Duration::from_secs(120);

/// How long nothing but signs of life may be said after that.
const QUIET_FOR: Duration = Duration::from_secs(60);

/// The most bytes that may be under way on one connection and direction: five pages, and as much again for what goes beside them.
const UNDER_WAY_BYTES_MAX: u64 = 10 * (256 << 10);

/// How many times the bytes of the documents that brought news may be sent in all, apart from what each connection costs. What is
/// on its way when a connection breaks is sent again, so that faults make this far more than a calm room needs.
const TRAFFIC_TIMES_MAX: u64 = 10;

/// What one end of a connection may cost in bytes: handshake, knowledge, signs of life.
const CONNECTION_BYTES_MAX: u64 = 16 << 10;

/// Plays one plan on one stage.
pub(crate) struct Director<'a> {
    plan: &'a Plan,
    settles_within: Duration,
    stage: &'a Stage,
    floor: &'a dyn Floor,
    /// Begins and ends, in the order of time.
    agenda: BTreeMap<(Duration, u64), Item>,
    items: u64,
    /// Who is to come back when its fault is over.
    away: BTreeMap<PeerNumber, u32>,
    /// Faults under way, to be ended by the healing at the latest.
    active: BTreeMap<u32, Fault>,
}

/// Something to do at its time.
enum Item {
    Begin(Fault),
    End(u32),
    Join(PeerNumber),
    /// A peer that was asked to close is waited for, and then this is done with its device.
    Closed(PeerNumber, Device),
}

/// What becomes of the device of a peer that has closed.
#[derive(Clone, Copy)]
enum Device {
    Stays,
    BackedUp,
    Restored,
    Wiped,
    ClonedInto(PeerNumber),
}

impl<'a> Director<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        settles_within: Duration,
        stage: &'a Stage,
        floor: &'a dyn Floor,
    ) -> Self {
        let mut director = Self {
            plan,
            settles_within,
            stage,
            floor,
            agenda: BTreeMap::new(),
            items: 0,
            away: BTreeMap::new(),
            active: BTreeMap::new(),
        };
        for (peer, plan) in stage.peers().zip(&plan.peers) {
            if let Some(joins_ms) = plan.joins_ms {
                director.put(Duration::from_millis(joins_ms), Item::Join(peer));
            }
        }
        director
    }

    /// Plays the whole plan, or up to the first violation.
    pub(crate) async fn direct(mut self) {
        self.play_all().await;
        let simulated_ms = u64::try_from(self.stage.now().as_millis()).unwrap_or(u64::MAX);
        self.stage.world.lock().figures.simulated_ms = simulated_ms;
    }

    async fn play_all(&mut self) {
        for (number, round) in self.plan.rounds.iter().enumerate() {
            self.stage.world.record(None, What::Phase(Phase::Chaos { round: number as u32 }));
            self.play(round).await;
            let last = number + 1 == self.plan.rounds.len();
            self.heal(last);
            if !self.settle().await {
                return;
            }
        }
        self.stay_quiet().await;
        self.count_connections();
        self.measure();
        self.stage.world.check_over();
        self.stage.world.record(None, What::Phase(Phase::Over));
    }

    fn put(&mut self, at: Duration, item: Item) {
        self.items += 1;
        self.agenda.insert((at, self.items), item);
    }

    async fn play(&mut self, round: &Round) {
        let begins = self.stage.now();
        let ends = begins + Duration::from_millis(round.length_ms);
        let at = |ms: u64| (begins + Duration::from_millis(ms)).min(ends);
        self.stage.assign(round.operations.iter().map(|operation| (at(operation.at_ms), operation.clone())));
        for fault in &round.faults {
            self.put(at(fault.at_ms), Item::Begin(fault.clone()));
        }
        self.until(ends).await;
    }

    /// Does what is on the agenda up to an instant.
    async fn until(&mut self, ends: Duration) {
        while !self.stage.world.is_violated() {
            self.bury();
            let now = self.stage.now();
            let due = self.agenda.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= now);
            if due.is_some() {
                let (_, item) = self.agenda.pop_first().expect("it was just seen");
                self.perform(item);
                continue;
            }
            if now >= ends {
                return;
            }
            let next = self.agenda.first_key_value().map_or(ends, |((at, _), _)| (*at).min(ends));
            // Looks up now and then for those who died within a commit.
            tokio::time::sleep((next - now).min(LOOK_EVERY)).await;
        }
    }

    fn perform(&mut self, item: Item) {
        match item {
            Item::Begin(fault) => self.begin(fault),
            Item::End(number) => self.end(number),
            Item::Join(peer) => self.start(peer),
            Item::Closed(peer, device) if self.stage.has_stopped(peer, self.floor) => {
                self.closed(peer, device);
            }
            Item::Closed(peer, device) => self.put(self.stage.now() + LOOK_EVERY, Item::Closed(peer, device)),
        }
    }

    fn closed(&mut self, peer: PeerNumber, device: Device) {
        match device {
            Device::Stays => {}
            Device::BackedUp => self.stage.back_up(peer),
            Device::Restored => self.stage.restore(peer),
            Device::Wiped => self.stage.wipe(peer),
            Device::ClonedInto(into) if self.stage.was_started(into) => {
                let says = format!("{peer} is not cloned: {into} has joined meanwhile");
                self.stage.world.record(Some(peer), What::Skipped { says });
            }
            Device::ClonedInto(into) => {
                self.stage.clone_device(peer, into);
                self.start(into);
            }
        }
        if !self.away.contains_key(&peer) {
            self.start(peer);
        }
    }

    /// Whoever died within a commit is as dead as after any other crash.
    fn bury(&mut self) {
        for peer in self.stage.take_dead() {
            self.stage.kill(peer, Crash::WithinCommit, self.floor);
        }
    }

    fn start(&mut self, peer: PeerNumber) {
        if !self.stage.runs(peer) && !self.away.contains_key(&peer) {
            self.stage.claim(peer);
            self.floor.start(peer);
        }
    }

    /// Ends all faults, and starts everybody who has joined by now; at the end of all, everybody.
    fn heal(&mut self, last: bool) {
        self.stage.world.record(None, What::Phase(Phase::Healing));
        let under_way: Vec<u32> = self.active.keys().copied().collect();
        under_way.into_iter().for_each(|fault| self.end(fault));
        self.agenda.retain(|_, item| matches!(item, Item::Closed(..) | Item::Join(_)));
        self.away.clear();
        self.stage.ways.heal();
        for peer in self.stage.peers() {
            self.stage.faults(peer).heal();
            let joins = self.plan.peers[peer.index()].joins_ms.is_some();
            if self.stage.was_started(peer) || (last && joins) {
                self.start(peer);
            }
            if !self.stage.runs(peer) {
                self.stage.skip_operations(peer);
            }
        }
        if last {
            self.agenda.retain(|_, item| matches!(item, Item::Closed(..)));
        }
    }

    /// Waits until everybody is done and holds the same. Returns whether that came to be.
    async fn settle(&mut self) -> bool {
        let begins = self.stage.now();
        loop {
            self.until(self.stage.now() + LOOK_EVERY).await;
            if self.stage.world.is_violated() {
                return false;
            }
            let took = self.stage.now() - begins;
            if self.has_settled() {
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let mut world = self.stage.world.lock();
                world.figures.settled_ms_max = world.figures.settled_ms_max.max(took_ms);
                drop(world);
                self.stage.world.record(None, What::Phase(Phase::Settled));
                self.stage.compare_stores();
                self.stage.world.check_settled();
                return !self.stage.world.is_violated();
            }
            if took > self.settles_within {
                self.stage.world.violate(self.unsettled());
                return false;
            }
        }
    }

    fn has_settled(&self) -> bool {
        let closing = self.agenda.values().any(|item| matches!(item, Item::Closed(..)));
        let running: Vec<PeerNumber> = self.stage.peers().filter(|peer| self.stage.runs(*peer)).collect();
        if closing || running.is_empty() || !running.iter().all(|peer| self.stage.is_idle(*peer)) {
            return false;
        }
        let world = self.stage.world.lock();
        let mut digests = running.iter().map(|peer| world.peers[peer.index()].holdings.digest);
        let first = digests.next();
        digests.all(|digest| Some(digest) == first)
    }

    /// Says what is different between which replicas.
    fn unsettled(&self) -> Violation {
        let busy = self.stage.peers().find(|peer| self.stage.runs(*peer) && !self.stage.is_idle(*peer));
        if let Some(peer) = busy {
            let says = "an operation does not return, though nothing is wrong any more";
            return Violation::of("operations return", says).at(peer);
        }
        let world = self.stage.world.lock();
        let mut running = self.stage.peers().filter(|peer| self.stage.runs(*peer));
        let first = running.next().unwrap_or(PeerNumber(0));
        let holds = |peer: PeerNumber| &world.peers[peer.index()].holdings;
        let documents = holds(first).documents.keys();
        for other in running {
            let ids = documents.clone().chain(holds(other).documents.keys());
            let version = |peer: PeerNumber, id| holds(peer).documents.get(id).map(|held| held.version);
            for id in ids {
                if version(first, id) != version(other, id) {
                    let seconds = self.settles_within.as_secs();
                    let says =
                        format!("{first} and {other} hold different states {seconds} s after the last fault");
                    return Violation::of("replicas converge", says).at(other).about(id.as_str());
                }
            }
        }
        Violation::of("replicas converge", "the room does not settle")
    }

    /// What was sent stays in proportion to what had to be sent.
    fn measure(&self) {
        let world = self.stage.world.lock();
        let (figures, largest) = (&world.figures, world.document_bytes_max);
        let under_way_max = UNDER_WAY_BYTES_MAX + 4 * largest;
        let bytes_max = TRAFFIC_TIMES_MAX * figures.bytes_ideal + CONNECTION_BYTES_MAX * world.connections;
        let violation = if figures.bytes_under_way_max > under_way_max {
            let says = format!(
                "{} bytes were under way at once, and {under_way_max} are enough",
                figures.bytes_under_way_max
            );
            Some(Violation::of("what is under way is bounded", says))
        } else if figures.bytes > bytes_max {
            let says = format!("{} bytes were sent where {} would do", figures.bytes, figures.bytes_ideal);
            Some(Violation::of("traffic is in proportion", says))
        } else {
            None
        };
        drop(world);
        violation.into_iter().for_each(|violation| self.stage.world.violate(violation));
    }

    /// Nothing but signs of life may be said in a room where everybody holds the same.
    async fn stay_quiet(&mut self) {
        self.stage.world.record(None, What::Phase(Phase::Quiet));
        self.until(self.stage.now() + TIDIED_WITHIN).await;
        let talk = |stage: &Stage| stage.world.lock().talk;
        let before = talk(self.stage);
        self.until(self.stage.now() + QUIET_FOR).await;
        let said = talk(self.stage) - before;
        if said > 0 {
            let seconds = QUIET_FOR.as_secs();
            let says =
                format!("{said} messages and commits within {seconds} s, where nobody has anything to say");
            self.stage.world.violate(Violation::of("a settled room is quiet", says));
        }
    }

    /// Of two connections that came up between two peers one has gone by now, and one that was lost was made again.
    fn count_connections(&self) {
        let (topology, peers) = (self.plan.topology, self.plan.peers.len());
        for from in self.stage.peers() {
            for to in self.stage.peers().filter(|to| topology.links(from, *to, peers)) {
                let both_run = self.stage.runs(from) && self.stage.runs(to);
                let held = self.stage.ways.connections(Direction { from, to });
                if held != usize::from(both_run) {
                    let says = format!("{held} connections to {to} in a room that has settled");
                    let violation = Violation::of("each pair of peers has one connection", says);
                    self.stage.world.violate(violation.at(from));
                }
            }
        }
    }
}
