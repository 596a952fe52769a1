//! Who is in which topic, who may be connected to whom, and who is.
//!
//! Decides at once and under one lock; waiting is left to the members and to the ends of connections. Everything is
//! kept in order, and connections are made in the order of addresses, so that the same calls give the same network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peerloom_core::{Connection, MESSAGE_BYTES_MIN, PeerAddress, Topic, TransportError};
use tokio::sync::Notify;

use crate::Options;
use crate::connection::{Line, connect};

/// A network within this process. Clones are handles to the same network.
///
/// Making, closing and breaking a connection take no time; messages take [`Options::delay`].
#[derive(Clone, Default)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

impl Network {
    /// A network with [`Options::default`], in which everybody may be connected to everybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// A network with other options.
    ///
    /// # Panics
    ///
    /// If `message_bytes_max` is below [`MESSAGE_BYTES_MIN`].
    pub fn with_options(options: Options) -> Self {
        let bytes_max = options.message_bytes_max;
        assert!(
            bytes_max >= MESSAGE_BYTES_MIN,
            "messages of {bytes_max} bytes are less than a transport carries"
        );
        Self { state: Arc::new(Mutex::new(State { options, ..State::default() })) }
    }

    /// Lets only those pairs be connected for which `rule` is true, in every topic. A pair comes once, the lesser
    /// address first. Replaces the rule before.
    ///
    /// Connections that are no longer allowed break, as by [`Network::disconnect`], and pairs that were not allowed
    /// before get a new one. A partition is a rule, and healing it is another.
    ///
    /// `rule` must not call the network.
    ///
    /// ```
    /// # use peerloom_in_process::Network;
    /// let network = Network::new();
    /// // A star around the hub.
    /// network.allow(|left, right| [left, right].iter().any(|address| address.as_str() == "hub"));
    /// ```
    pub fn allow(&self, rule: impl Fn(&PeerAddress, &PeerAddress) -> bool + Send + Sync + 'static) {
        self.lock().change_routes(|routes| routes.rule = Arc::new(rule));
    }

    /// Breaks the connections between two addresses, as by [`Network::disconnect`], and allows no new one until
    /// [`Network::heal`], whatever the rule says. Holds for members that come later, too.
    pub fn cut(&self, left: &PeerAddress, right: &PeerAddress) {
        self.lock().change_routes(|routes| {
            routes.cuts.insert(Pair::new(left, right));
        });
    }

    /// Undoes [`Network::cut`]. If the rule allows it, both get a new connection in each topic they share. Nothing
    /// happens to a pair that was not cut.
    pub fn heal(&self, left: &PeerAddress, right: &PeerAddress) {
        self.lock().change_routes(|routes| {
            routes.cuts.remove(&Pair::new(left, right));
        });
    }

    /// Breaks the open connections between two addresses, in every topic. Both ends receive what had arrived and
    /// then `None`, and cannot send. What was under way is lost. Either may redial.
    pub fn disconnect(&self, left: &PeerAddress, right: &PeerAddress) {
        let pair = Pair::new(left, right);
        for room in self.lock().rooms.values() {
            room.sever_where(|other| *other == pair);
        }
    }

    /// Adds a member and connects it to those it may be connected to. Without a name it gets an address that is free.
    pub(crate) fn join(&self, topic: &Topic, name: Option<&PeerAddress>) -> Result<Seat, TransportError> {
        let mut state = self.lock();
        let State { options, routes, rooms, members_made, connections_made } = &mut *state;
        let room = rooms.entry(topic.clone()).or_default();
        let (address, number) = loop {
            *members_made += 1;
            let address =
                name.cloned().unwrap_or_else(|| PeerAddress::new(&format!("member-{members_made}")));
            match (room.members.contains_key(&address), name) {
                (false, _) => break (address, MemberNumber(*members_made)),
                (true, None) => {}
                (true, Some(name)) => {
                    let detail = format!("{name} is a member of {topic} already");
                    return Err(TransportError::Failed { detail });
                }
            }
        };
        let offered = Arc::new(Notify::new());
        let others: Vec<_> = room.members.keys().cloned().collect();
        let member = Member { number, offers: VecDeque::new(), offered: Arc::clone(&offered) };
        room.members.insert(address.clone(), member);
        for other in others {
            let pair = Pair::new(&address, &other);
            if routes.allow(&pair) {
                room.connect(&pair, options, connections_made);
            }
        }
        Ok(Seat { network: self.clone(), topic: topic.clone(), address, offered })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only a rule can panic under the lock, and it is called where nothing is half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Network").finish_non_exhaustive()
    }
}

/// A member's place in its topic. Dropping it leaves.
pub(crate) struct Seat {
    network: Network,
    topic: Topic,
    address: PeerAddress,
    /// Woken whenever a connection was put among the member's offers.
    offered: Arc<Notify>,
}

impl Seat {
    /// Waits for a connection. Cancel-safe: none leaves the offers before it is returned.
    pub(crate) async fn next_connection(&self) -> Connection {
        loop {
            if let Some(connection) = self.take_offer() {
                return connection;
            }
            self.offered.notified().await;
        }
    }

    fn take_offer(&self) -> Option<Connection> {
        let mut state = self.network.lock();
        let room = state.rooms.get_mut(&self.topic).expect("a topic lasts while it has members");
        let member = room.members.get_mut(&self.address).expect("a member lasts while it has its seat");
        member.offers.pop_front().map(|offer| offer.connection)
    }

    pub(crate) fn redial(&self, peer: &PeerAddress) {
        let mut state = self.network.lock();
        let State { options, routes, rooms, connections_made, .. } = &mut *state;
        let room = rooms.get_mut(&self.topic).expect("a topic lasts while it has members");
        let pair = Pair::new(&self.address, peer);
        if *peer != self.address && room.members.contains_key(peer) && routes.allow(&pair) {
            room.connect(&pair, options, connections_made);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        let room = state.rooms.get_mut(&self.topic).expect("a topic lasts while it has members");
        room.leave(&self.address);
        if room.members.is_empty() && room.lines.is_empty() {
            state.rooms.remove(&self.topic);
        }
    }
}

struct State {
    options: Options,
    routes: Routes,
    rooms: BTreeMap<Topic, Room>,
    members_made: u64,
    connections_made: u64,
}

impl Default for State {
    fn default() -> Self {
        let routes = Routes { rule: Arc::new(|_, _| true), cuts: BTreeSet::new() };
        let (rooms, members_made, connections_made) = (BTreeMap::new(), 0, 0);
        Self { options: Options::default(), routes, rooms, members_made, connections_made }
    }
}

impl State {
    /// Breaks what the change forbids, and connects what it allows and was forbidden before.
    fn change_routes(&mut self, change: impl FnOnce(&mut Routes)) {
        let before = self.routes.clone();
        change(&mut self.routes);
        for room in self.rooms.values_mut() {
            room.sever_where(|pair| !self.routes.allow(pair));
            for pair in room.pairs() {
                if !before.allow(&pair) && self.routes.allow(&pair) {
                    room.connect(&pair, &self.options, &mut self.connections_made);
                }
            }
        }
    }
}

/// Which pairs may be connected.
#[derive(Clone)]
struct Routes {
    rule: Arc<dyn Rule>,
    cuts: BTreeSet<Pair>,
}

/// Whether two addresses may be connected, the lesser one first.
trait Rule: Fn(&PeerAddress, &PeerAddress) -> bool + Send + Sync {}

impl<F: Fn(&PeerAddress, &PeerAddress) -> bool + Send + Sync> Rule for F {}

impl Routes {
    fn allow(&self, pair: &Pair) -> bool {
        !self.cuts.contains(pair) && (self.rule)(&pair.lesser, &pair.greater)
    }
}

/// Two addresses, whichever was named first.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
struct Pair {
    lesser: PeerAddress,
    greater: PeerAddress,
}

impl Pair {
    fn new(left: &PeerAddress, right: &PeerAddress) -> Self {
        Self { lesser: left.min(right).clone(), greater: left.max(right).clone() }
    }
}

/// Tells members apart that had the same address one after the other.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct MemberNumber(u64);

/// The members of one topic.
#[derive(Default)]
struct Room {
    members: BTreeMap<PeerAddress, Member>,
    /// The last line of every pair that had one. Those of members who left stay while they are open.
    lines: BTreeMap<[MemberNumber; 2], (Pair, Arc<Line>)>,
}

struct Member {
    number: MemberNumber,
    /// Not accepted yet, in the order in which they were made, at most one per address.
    offers: VecDeque<Offer>,
    offered: Arc<Notify>,
}

struct Offer {
    connection: Connection,
    line: Arc<Line>,
}

impl Room {
    /// Every pair of members, in order.
    fn pairs(&self) -> Vec<Pair> {
        let addresses: Vec<_> = self.members.keys().collect();
        let later = |index: usize| addresses[index + 1..].iter().copied();
        let pairs_of = |(index, lesser)| later(index).map(move |greater| Pair::new(lesser, greater));
        addresses.iter().copied().enumerate().flat_map(pairs_of).collect()
    }

    /// Offers a new connection to both members, unless one is open.
    fn connect(&mut self, pair: &Pair, options: &Options, connections_made: &mut u64) {
        let members = [&pair.lesser, &pair.greater].map(|address| self.members[address].number);
        if self.lines.get(&members).is_some_and(|(_, line)| line.is_open()) {
            return;
        }
        *connections_made += 1;
        let (ends, line) = connect(&pair.lesser, &pair.greater, *connections_made, options);
        for (address, connection) in [&pair.lesser, &pair.greater].into_iter().zip(ends) {
            self.offer(address, Offer { connection, line: Arc::clone(&line) });
        }
        self.lines.insert(members, (pair.clone(), line));
    }

    /// Puts a connection among the offers of a member. It replaces an older one to the same address, and those that
    /// ended and whose other member has left go, too: so there are never more than one per member, and per connection
    /// that somebody who left keeps open.
    fn offer(&mut self, to: &PeerAddress, new: Offer) {
        let mut offers = std::mem::take(&mut self.member(to).offers);
        offers.retain(|offer| {
            let peer = &offer.connection.peer;
            *peer != new.connection.peer && (offer.line.is_open() || self.members.contains_key(peer))
        });
        offers.push_back(new);
        let member = self.member(to);
        member.offers = offers;
        member.offered.notify_one();
    }

    fn member(&mut self, address: &PeerAddress) -> &mut Member {
        self.members.get_mut(address).expect("connections are offered to members")
    }

    fn sever_where(&self, condition: impl Fn(&Pair) -> bool) {
        for (pair, line) in self.lines.values() {
            if condition(pair) {
                line.sever();
            }
        }
    }

    /// Connections that were accepted live on, the others close with the offers.
    fn leave(&mut self, address: &PeerAddress) {
        let left = self.members.remove(address).expect("a member lasts while it has its seat");
        drop(left.offers);
        let present: BTreeSet<_> = self.members.values().map(|member| member.number).collect();
        self.lines.retain(|members, (_, line)| {
            line.is_open() || members.iter().all(|member| present.contains(member))
        });
    }
}
