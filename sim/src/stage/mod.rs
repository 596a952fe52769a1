//! Everything that outlives the software of the peers: devices, clocks, users, and who runs.

mod life;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use peerloom::core::Batch;
use peerloom::{BoxFuture, Transport};
use tokio::sync::Notify;

use self::life::Life;
use crate::device::{Device, StorageEnvironment};
use crate::environment::{Drawn, Elapsed, SimEnvironment, WallClock};
use crate::fabric::Floor;
use crate::network::{SimTransport, Ways};
use crate::outcome::Violation;
use crate::plan::{Crash, Direction, Operation, PeerNumber, Plan};
use crate::storage::{OpenStore, StorageFaults};
use crate::subject::{PeerContext, Subject};
use crate::tasks::Tasks;
use crate::trace::What;
use crate::world::{Holdings, World};

/// What a user has still to do.
#[derive(Default)]
struct Inbox {
    operations: VecDeque<(Duration, Operation)>,
    stop: bool,
}

/// A peer's place on the stage.
struct Seat {
    device: Arc<Device>,
    backup: Option<Device>,
    wall: WallClock,
    faults: StorageFaults,
    open_store: OpenStore,
    tasks: Option<Tasks>,
    inbox: Arc<Mutex<Inbox>>,
    /// Woken when something was put into the inbox, or the storage asks for a restart.
    wake: Arc<Notify>,
    started: bool,
}

/// A handle to the stage.
#[derive(Clone)]
pub(crate) struct Stage {
    seed: u64,
    handler_panics_one_in: Option<u32>,
    subject: Arc<dyn Subject>,
    pub(crate) world: World,
    pub(crate) ways: Ways,
    elapsed: Elapsed,
    seats: Arc<Vec<Mutex<Seat>>>,
    /// Called when a peer crashes within a commit.
    on_death: Arc<Mutex<Vec<PeerNumber>>>,
}

impl Stage {
    pub(crate) fn new(
        plan: &Plan,
        subject: Arc<dyn Subject>,
        world: World,
        ways: Ways,
        elapsed: Elapsed,
    ) -> Self {
        let seats = plan.peers.iter().map(|peer| {
            let wall = WallClock::default();
            wall.jump(peer.clock_ahead_ms);
            Mutex::new(Seat {
                device: Arc::default(),
                backup: None,
                wall,
                faults: StorageFaults::default(),
                open_store: OpenStore::default(),
                tasks: None,
                inbox: Arc::default(),
                wake: Arc::default(),
                started: false,
            })
        });
        Self {
            seed: plan.seed,
            handler_panics_one_in: plan.handler_panics_one_in,
            subject,
            world,
            ways,
            elapsed,
            seats: Arc::new(seats.collect()),
            on_death: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        (self.elapsed)()
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerNumber> + use<> {
        (0..self.seats.len()).map(|index| PeerNumber(index as u16))
    }

    fn seat(&self, peer: PeerNumber) -> MutexGuard<'_, Seat> {
        self.seats[peer.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exists(&self, peer: PeerNumber) -> bool {
        peer.index() < self.seats.len()
    }

    pub(crate) fn runs(&self, peer: PeerNumber) -> bool {
        self.seat(peer).tasks.is_some()
    }

    /// Notes that a peer is about to start, which takes a moment where every peer is a host.
    pub(crate) fn claim(&self, peer: PeerNumber) {
        self.seat(peer).started = true;
    }

    /// Whether it was ever started.
    pub(crate) fn was_started(&self, peer: PeerNumber) -> bool {
        self.seat(peer).started
    }

    pub(crate) fn faults(&self, peer: PeerNumber) -> StorageFaults {
        self.seat(peer).faults.clone()
    }

    pub(crate) fn wall(&self, peer: PeerNumber) -> WallClock {
        self.seat(peer).wall.clone()
    }

    /// The next lifetime of a peer, to be spawned. What its user missed while it was down is skipped.
    pub(crate) fn lifetime(
        &self,
        peer: PeerNumber,
        transport: impl FnOnce(&SimEnvironment) -> Arc<dyn Transport>,
    ) -> BoxFuture<()> {
        let world = self.world.clone();
        let panicked = world.clone();
        let tasks = Tasks::new(Arc::new(move |message: String| {
            panicked.record(Some(peer), What::Panicked { message: message.clone() });
            panicked.violate(Violation::of("nothing panics", message).at(peer));
        }));
        let mut seat = self.seat(peer);
        assert!(seat.tasks.is_none(), "a peer runs once at a time");
        seat.tasks = Some(tasks.clone());
        seat.started = true;
        let (stage, dying) = (self.clone(), tasks.clone());
        let environment = SimEnvironment {
            seed: self.seed,
            peer,
            elapsed: self.elapsed.clone(),
            wall: seat.wall.clone(),
            tasks: tasks.clone(),
            drawn: Arc::new(Drawn::default()),
        };
        let inner = transport(&environment);
        let context = PeerContext {
            number: peer,
            seed: self.seed,
            environment,
            storage: StorageEnvironment { peer, device: seat.device.clone() },
            storage_faults: seat.faults.clone(),
            open_store: seat.open_store.clone(),
            wake: seat.wake.clone(),
            die: Arc::new(move || {
                // Its tasks go when the one that is dying has come to rest; the rest of the stage hears of it next.
                dying.kill();
                stage.on_death.lock().unwrap_or_else(PoisonError::into_inner).push(peer);
            }),
            transport: SimTransport { inner, ways: self.ways.clone(), peer },
            handler_panics_one_in: self.handler_panics_one_in,
            world: world.clone(),
        };
        {
            let mut world = world.lock();
            let view = &mut world.peers[peer.index()];
            (view.running, view.must_reopen, view.doing) = (true, false, None);
        }
        let now = self.now();
        let overdue: Vec<Operation> = {
            let mut inbox = lock(&seat.inbox);
            inbox.stop = false;
            let later = inbox.operations.partition_point(|(at, _)| *at < now);
            inbox.operations.drain(..later).map(|(_, operation)| operation).collect()
        };
        for operation in overdue {
            let says = format!("operation {}: {peer} was down", operation.number);
            world.record(Some(peer), What::Skipped { says });
        }
        let life = Life {
            subject: self.subject.clone(),
            context,
            inbox: seat.inbox.clone(),
            wake: seat.wake.clone(),
        };
        Box::pin(tasks.managed(Box::pin(life.live())))
    }

    /// Gives a user something to do.
    pub(crate) fn assign(&self, operations: impl Iterator<Item = (Duration, Operation)>) {
        for (at, operation) in operations {
            if !self.exists(operation.peer) {
                let says = format!("operation {}: there is no {}", operation.number, operation.peer);
                self.world.record(None, What::Skipped { says });
                continue;
            }
            let seat = self.seat(operation.peer);
            lock(&seat.inbox).operations.push_back((at, operation));
            seat.wake.notify_one();
        }
    }

    /// Whether the user of a peer has nothing left to do.
    pub(crate) fn is_idle(&self, peer: PeerNumber) -> bool {
        let seat = self.seat(peer);
        let empty = lock(&seat.inbox).operations.is_empty();
        drop(seat);
        empty && self.world.lock().peers[peer.index()].doing.is_none()
    }

    /// What a user that is down does not get to do any more.
    pub(crate) fn skip_operations(&self, peer: PeerNumber) {
        let missed = std::mem::take(&mut lock(&self.seat(peer).inbox).operations);
        for (_, operation) in missed {
            let says = format!("operation {}: {peer} was down", operation.number);
            self.world.record(Some(peer), What::Skipped { says });
        }
    }

    /// Asks a peer to close in order. [`Stage::runs`] tells when it has.
    pub(crate) fn ask_to_stop(&self, peer: PeerNumber) {
        let seat = self.seat(peer);
        lock(&seat.inbox).stop = true;
        seat.wake.notify_one();
    }

    /// Whether a peer that was asked has closed. Then its place is free for the next lifetime.
    pub(crate) fn has_stopped(&self, peer: PeerNumber, floor: &dyn Floor) -> bool {
        if self.world.lock().peers[peer.index()].running {
            return false;
        }
        if let Some(tasks) = self.seat(peer).tasks.take() {
            floor.clear(peer, tasks);
        }
        true
    }

    pub(crate) fn kill(&self, peer: PeerNumber, manner: Crash, floor: &dyn Floor) {
        let Some(tasks) = self.seat(peer).tasks.take() else { return };
        // Before the tasks are dropped: a destructor that would still write must not get to.
        let device = self.seat(peer).device.clone();
        match manner {
            Crash::Kill => device.disk.end_life(),
            Crash::PowerCut => device.disk.cut_power(self.seed, (peer, self.world.now_us())),
            // Its power went then and there.
            Crash::WithinCommit => {}
        }
        floor.clear(peer, tasks);
        self.world.lock().peers[peer.index()].running = false;
        self.world.lock().peers[peer.index()].doing = None;
        self.world.record(Some(peer), What::Crashed { manner });
    }

    /// Drops everything that still runs, when all is over.
    pub(crate) fn clear_all(&self, floor: &dyn Floor) {
        for peer in self.peers() {
            let tasks = self.seat(peer).tasks.take();
            tasks.into_iter().for_each(|tasks| floor.clear(peer, tasks));
        }
    }

    /// The peers that crashed within a commit since the last call.
    pub(crate) fn take_dead(&self) -> Vec<PeerNumber> {
        std::mem::take(&mut *self.on_death.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn pause(&self, peer: PeerNumber) {
        if let Some(tasks) = &self.seat(peer).tasks {
            tasks.pause();
            self.world.record(Some(peer), What::Paused);
        }
    }

    pub(crate) fn resume(&self, peer: PeerNumber) {
        if let Some(tasks) = &self.seat(peer).tasks {
            tasks.resume();
            self.world.record(Some(peer), What::Resumed);
        }
    }

    /// Compares what is in the stores that are open with what their peers were told is in them.
    pub(crate) fn compare_stores(&self) {
        for peer in self.peers().filter(|peer| self.runs(*peer)) {
            let store = self.seat(peer).open_store.clone();
            store.compare(peer, &self.world);
        }
    }

    /// What the observer knows to be on a device, and what may be on it as well.
    fn holdings(&self, peer: PeerNumber) -> (Holdings, Option<Batch>) {
        let world = self.world.lock();
        let view = &world.peers[peer.index()];
        (view.holdings.clone(), view.pending.clone())
    }

    /// Whether a device can be copied at an instant, while the software writes to it.
    pub(crate) fn is_copied_live(&self, peer: PeerNumber) -> bool {
        self.seat(peer).device.is_in_memory()
    }

    /// Puts a copy of a device away. Of a directory this must be done while the peer is down.
    pub(crate) fn back_up(&self, peer: PeerNumber) {
        let (holdings, pending) = self.holdings(peer);
        let mut seat = self.seat(peer);
        seat.backup = Some(seat.device.copy(holdings, pending).expect("a device can be copied"));
    }

    pub(crate) fn has_backup(&self, peer: PeerNumber) -> bool {
        self.seat(peer).backup.is_some()
    }

    /// Puts the last backup in the place of a device, whose peer is down.
    pub(crate) fn restore(&self, peer: PeerNumber) {
        let backup = self.seat(peer).backup.take().expect("the caller has looked");
        self.replace(peer, backup);
    }

    /// Puts an empty device in the place of a device, whose peer is down.
    pub(crate) fn wipe(&self, peer: PeerNumber) {
        self.replace(peer, Device::default());
    }

    /// Puts a copy of one device in the place of another.
    pub(crate) fn clone_device(&self, from: PeerNumber, into: PeerNumber) {
        let (holdings, pending) = self.holdings(from);
        let copy = self.seat(from).device.copy(holdings, pending).expect("a device can be copied");
        self.replace(into, copy);
    }

    fn replace(&self, peer: PeerNumber, device: Device) {
        let mut world = self.world.lock();
        world.forget_what_only(peer, &device.holdings);
        world.peers[peer.index()].holdings = device.holdings.clone();
        world.peers[peer.index()].pending = device.pending.clone();
        world.peers[peer.index()].synced = false;
        drop(world);
        self.seat(peer).device = Arc::new(device);
    }

    /// All ways to and from a peer.
    pub(crate) fn ways_of(&self, peer: PeerNumber) -> Vec<Direction> {
        let others = self.peers().filter(move |other| *other != peer);
        others
            .flat_map(|other| [Direction { from: peer, to: other }, Direction { from: other, to: peer }])
            .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
