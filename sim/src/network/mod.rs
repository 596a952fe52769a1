//! The network of a simulated room: what the plan does to each way between two peers.
//!
//! Holds the state of every way and decides what becomes of a message, or of a datagram where connections are made of these;
//! [`connection`] waits accordingly. Everything drawn is keyed by the way and the instant.

mod connection;
#[cfg(feature = "webrtc")]
mod datagrams;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

#[cfg(feature = "webrtc")]
pub(crate) use datagrams::Carried;
pub(crate) use transport::SimTransport;

use crate::marks;
use crate::plan::{Direction, Draw, Latency, Mangling, PeerNumber};
use crate::trace::What;
use crate::world::World;

/// A handle to the state of all ways.
#[derive(Clone)]
pub(crate) struct Ways {
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    latency: Latency,
    level: Level,
    world: World,
    state: Mutex<State>,
    /// Counts the changes, for those who wait for one.
    changed: watch::Sender<u64>,
}

/// What the plan does its worst to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    /// Messages, which arrive in order or not at all.
    Messages,
    /// The datagrams below them. Messages come as the connection brings them, which can be told that it ends and nothing else.
    Datagrams,
}

#[derive(Default)]
struct State {
    ways: BTreeMap<Direction, Way>,
    messages: u64,
    connections: u64,
    /// Whose an address in the room is or was, where that is not a peer's name.
    addresses: BTreeMap<String, PeerNumber>,
    /// The last of those that a peer had.
    current: BTreeMap<PeerNumber, String>,
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
    /// Of a hundred datagrams, so many are lost.
    losses: Vec<u32>,
    /// When the last of the datagrams gets through that wait where few bytes do.
    busy_until: Duration,
    /// The instant of the last datagram, and how many were sent at it.
    sent_at_us: (u64, u64),
    /// The connections that are held at the sending end. Each is gone with its connection.
    held: Vec<Weak<()>>,
}

/// What becomes of a message.
pub(super) enum Passage {
    /// It arrives then, if it is not held up.
    Arrives { at: Duration, says: String },
    /// It is lost, and with it all that follows on this connection.
    Lost,
}

impl Ways {
    pub(crate) fn new(seed: u64, latency: Latency, level: Level, world: World) -> Self {
        let changed = watch::Sender::new(0);
        let shared = Shared { seed, latency, level, world, state: Mutex::default(), changed };
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

    pub(crate) fn lose(&self, direction: Direction, percent: u32) {
        self.change(direction, |way| way.losses.push(percent));
    }

    pub(crate) fn unlose(&self, direction: Direction, percent: u32) {
        self.change(direction, |way| take_out(&mut way.losses, percent));
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
            let Way { deaf_up_to, severed_up_to, under_way, sent_at_us, .. } = *way;
            let held = std::mem::take(&mut way.held);
            *way = Way { deaf_up_to, severed_up_to, under_way, sent_at_us, held, ..Way::default() };
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
    pub(super) fn next_connection(&self, outgoing: Direction) -> (u64, Arc<()>) {
        let mut state = self.lock();
        state.connections += 1;
        let number = state.connections;
        let way = state.ways.entry(outgoing).or_default();
        way.under_way = 0;
        let lives = Arc::new(());
        way.held.retain(|held| held.strong_count() > 0);
        let is_second = !way.held.is_empty();
        way.held.push(Arc::downgrade(&lives));
        drop(state);
        if is_second {
            marks::reach("two connections to one peer");
        }
        self.shared.world.lock().connections += 1;
        (number, lives)
    }

    /// How many connections to a peer are held at the sending end of the way to it.
    pub(crate) fn connections(&self, outgoing: Direction) -> usize {
        let state = self.lock();
        let held = state.ways.get(&outgoing).into_iter().flat_map(|way| &way.held);
        held.filter(|held| held.strong_count() > 0).count()
    }

    pub(crate) fn level(&self) -> Level {
        self.shared.level
    }

    /// Takes note of whose an address is.
    pub(crate) fn enroll(&self, address: &str, peer: PeerNumber) {
        let mut state = self.lock();
        state.addresses.insert(address.to_owned(), peer);
        state.current.insert(peer, address.to_owned());
    }

    /// Whether no later address of a peer is known.
    pub(crate) fn is_current(&self, address: &str, peer: PeerNumber) -> bool {
        self.lock().current.get(&peer).is_some_and(|current| current == address)
    }

    /// Writes an event into the trace.
    pub(crate) fn tell(&self, peer: PeerNumber, what: What) {
        self.shared.world.record(Some(peer), what);
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.shared.world.now_us()
    }

    /// The peer whose address in the room this is.
    pub(crate) fn peer_of(&self, address: &str) -> Option<PeerNumber> {
        self.lock().addresses.get(address).copied().or_else(|| peer_of(address))
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
        if self.shared.level == Level::Datagrams {
            return false;
        }
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
        if self.shared.level == Level::Datagrams {
            return None;
        }
        self.lock().ways.get_mut(&direction).and_then(|way| way.mangle.take())
    }

    /// Waits until the way is not held. Cancel-safe.
    pub(super) async fn released(&self, direction: Direction) {
        if self.shared.level == Level::Datagrams {
            return;
        }
        let mut changed = self.shared.changed.subscribe();
        let _ = changed.wait_for(|_| !self.is_held(direction)).await;
    }

    /// Whether what has come on this way waits until it is let go.
    pub(crate) fn is_held(&self, direction: Direction) -> bool {
        self.lock().ways.get(&direction).is_some_and(|way| way.holds > 0)
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
        if self.shared.level == Level::Datagrams {
            return Passage::Arrives { at: now, says: String::new() };
        }
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
