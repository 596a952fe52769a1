//! The network of a simulated room: what the plan does to each way between two peers.
//!
//! Holds the state of every way and decides what becomes of a message; [`connection`] waits accordingly. Everything drawn is keyed by
//! the way and the instant.

mod connection;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use transport::SimTransport;

use crate::plan::{Direction, Draw, Latency, Mangling, PeerNumber};
use crate::world::World;

/// A handle to the state of all ways.
#[derive(Clone)]
pub(crate) struct Ways {
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    latency: Latency,
    world: World,
    state: Mutex<State>,
    /// Counts the changes, for those who wait for one.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    ways: BTreeMap<Direction, Way>,
    messages: u64,
    connections: u64,
}

/// One way between two peers. Faults overlap, so what can be on more than once is counted.
#[derive(Clone, Debug, Default)]
struct Way {
    delays_ms: Vec<u32>,
    rates: Vec<u32>,
    holds: u32,
    silences: u32,
    mangle: Option<Mangling>,
    /// Connections with a number up to here carry nothing any more on this way.
    deaf_up_to: u64,
    /// The bytes that were sent on the last connection and have not arrived.
    under_way: u64,
    /// Connections with a number up to here are broken, and both ends have been told.
    severed_up_to: u64,
}

/// What becomes of a message.
pub(super) enum Passage {
    /// It arrives then, if it is not held up.
    Arrives { at: Duration, says: String },
    /// It is lost, and with it all that follows on this connection.
    Lost,
}

impl Ways {
    pub(crate) fn new(seed: u64, latency: Latency, world: World) -> Self {
        let shared = Shared { seed, latency, world, state: Mutex::default(), changed: watch::Sender::new(0) };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn delay(&self, direction: Direction, by_ms: u32) {
        self.change(direction, |way| way.delays_ms.push(by_ms));
    }

    pub(crate) fn undelay(&self, direction: Direction, by_ms: u32) {
        self.change(direction, |way| take_out(&mut way.delays_ms, by_ms));
    }

    pub(crate) fn slow(&self, direction: Direction, bytes_per_second: u32) {
        self.change(direction, |way| way.rates.push(bytes_per_second.max(1)));
    }

    pub(crate) fn unslow(&self, direction: Direction, bytes_per_second: u32) {
        self.change(direction, |way| take_out(&mut way.rates, bytes_per_second.max(1)));
    }

    pub(crate) fn hold(&self, direction: Direction) {
        self.change(direction, |way| way.holds += 1);
    }

    pub(crate) fn release(&self, direction: Direction) {
        self.change(direction, |way| way.holds = way.holds.saturating_sub(1));
    }

    pub(crate) fn silence(&self, direction: Direction) {
        self.change(direction, |way| way.silences += 1);
    }

    pub(crate) fn unsilence(&self, direction: Direction) {
        self.change(direction, |way| way.silences = way.silences.saturating_sub(1));
    }

    pub(crate) fn mangle_next(&self, direction: Direction, how: Mangling) {
        self.change(direction, |way| way.mangle = Some(how));
    }

    /// Makes the connections there are carry nothing any more in one direction.
    pub(crate) fn deafen(&self, direction: Direction) {
        let connections = self.lock().connections;
        self.change(direction, |way| way.deaf_up_to = connections);
    }

    /// Breaks the connections there are between two peers.
    pub(crate) fn sever(&self, left: PeerNumber, right: PeerNumber) {
        let connections = self.lock().connections;
        for direction in [Direction { from: left, to: right }, Direction { from: right, to: left }] {
            self.change(direction, |way| way.severed_up_to = connections);
        }
    }

    /// Undoes everything but what became of connections.
    pub(crate) fn heal(&self) {
        for way in self.lock().ways.values_mut() {
            let Way { deaf_up_to, severed_up_to, under_way, .. } = *way;
            *way = Way { deaf_up_to, severed_up_to, under_way, ..Way::default() };
        }
        self.shared.changed.send_modify(|changes| *changes += 1);
    }

    fn change(&self, direction: Direction, change: impl FnOnce(&mut Way)) {
        change(self.lock().ways.entry(direction).or_default());
        self.shared.changed.send_modify(|changes| *changes += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn world(&self) -> &World {
        &self.shared.world
    }

    pub(super) fn next_message(&self) -> u64 {
        let mut state = self.lock();
        state.messages += 1;
        state.messages
    }

    /// The number of a new connection, whose sending end is at this end of the way.
    pub(super) fn next_connection(&self, outgoing: Direction) -> u64 {
        let mut state = self.lock();
        state.connections += 1;
        state.ways.entry(outgoing).or_default().under_way = 0;
        let number = state.connections;
        drop(state);
        self.shared.world.lock().connections += 1;
        number
    }

    /// Counts what is under way. A message that was sent on a connection before the last is not.
    pub(super) fn sent(&self, direction: Direction, bytes: usize) {
        let mut state = self.lock();
        let way = state.ways.entry(direction).or_default();
        way.under_way += bytes as u64;
        let under_way = way.under_way;
        drop(state);
        let mut world = self.shared.world.lock();
        world.figures.bytes_under_way_max = world.figures.bytes_under_way_max.max(under_way);
    }

    pub(super) fn arrived(&self, direction: Direction, bytes: usize) {
        let mut state = self.lock();
        let way = state.ways.entry(direction).or_default();
        way.under_way = way.under_way.saturating_sub(bytes as u64);
    }

    /// How long a message takes at most while nothing is wrong.
    pub(crate) fn message_takes_max(&self) -> Duration {
        let Latency { base_ms, jitter_ms } = self.shared.latency;
        Duration::from_millis(u64::from(base_ms) + u64::from(jitter_ms))
    }

    /// Whether nothing that happens at one end can be noticed at the other.
    pub(super) fn is_silent(&self, direction: Direction, connection: u64) -> bool {
        let state = self.lock();
        let way = state.ways.get(&direction);
        way.is_some_and(|way| way.silences > 0 || connection <= way.deaf_up_to)
    }

    /// Whether a connection was broken by [`Ways::sever`].
    pub(super) fn is_severed(&self, direction: Direction, connection: u64) -> bool {
        self.lock().ways.get(&direction).is_some_and(|way| connection <= way.severed_up_to)
    }

    /// Waits until a connection is broken. Cancel-safe.
    pub(super) async fn severed(&self, direction: Direction, connection: u64) {
        let mut changed = self.shared.changed.subscribe();
        let _ = changed.wait_for(|_| self.is_severed(direction, connection)).await;
    }

    pub(super) fn take_mangling(&self, direction: Direction) -> Option<Mangling> {
        self.lock().ways.get_mut(&direction).and_then(|way| way.mangle.take())
    }

    /// Waits until the way is not held. Cancel-safe.
    pub(super) async fn released(&self, direction: Direction) {
        let mut changed = self.shared.changed.subscribe();
        let held = || self.lock().ways.get(&direction).is_some_and(|way| way.holds > 0);
        let _ = changed.wait_for(|_| !held()).await;
    }

    /// When a message that is sent now arrives, which is not before the one that was sent before it.
    pub(super) fn passage(
        &self,
        direction: Direction,
        connection: u64,
        bytes: usize,
        last: Duration,
    ) -> Passage {
        if self.is_silent(direction, connection) {
            return Passage::Lost;
        }
        let now = Duration::from_micros(self.shared.world.now_us());
        let Latency { base_ms, jitter_ms } = self.shared.latency;
        let mut draw = Draw::new(self.shared.seed, ("latency", direction, now.as_millis() as u64));
        let jitter = draw.below(u64::from(jitter_ms) * 1000 + 1);
        let mut takes = Duration::from_millis(base_ms.into()) + Duration::from_micros(jitter);
        let (mut says, mut start) = (String::new(), now);
        let state = self.lock();
        if let Some(way) = state.ways.get(&direction) {
            let delay: u64 = way.delays_ms.iter().map(|by| u64::from(*by)).sum();
            takes += Duration::from_millis(delay);
            if let Some(rate) = way.rates.iter().min() {
                start = now.max(last);
                takes += Duration::from_secs_f64(bytes as f64 / f64::from(*rate));
                says = format!("slowed to {rate} bytes/s");
            }
            if delay > 0 {
                says = format!("delayed by {delay} ms");
            }
            if way.holds > 0 {
                "held".clone_into(&mut says);
            }
        }
        Passage::Arrives { at: (start + takes).max(last), says }
    }

    pub(super) fn noise(&self, direction: Direction, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes.clamp(1, 256)];
        Draw::new(self.shared.seed, ("noise", direction, self.shared.world.now_us())).fill(&mut noise);
        noise
    }
}

fn take_out(list: &mut Vec<u32>, number: u32) {
    if let Some(place) = list.iter().position(|found| *found == number) {
        list.swap_remove(place);
    }
}

/// The peer whose address in the room this is.
pub(crate) fn peer_of(address: &str) -> Option<PeerNumber> {
    address.strip_prefix("peer-")?.parse().ok().map(PeerNumber)
}
