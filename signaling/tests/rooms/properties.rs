//! What holds whatever peers do, in whatever order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerloom_signaling::message::ClientMessage;
use peerloom_signaling::permit::{Permit, StockPeers};
use peerloom_signaling::rooms::{Input, Limits, RoomsOptions};
use peerloom_signaling::{CloseReason, PeerId, RoomName, ServerMessage};
use proptest::prelude::*;

use super::world::{World, peer, room, stock_join};

const PEERS: u64 = 8;
const ROOMS: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Connect { peer: u64, apart: bool },
    Join { peer: u64, room: u64, capable: bool },
    Leave { peer: u64, room: u64 },
    Signal { from: u64, claimed: u64, to: u64, room: u64 },
    Disconnect { peer: u64 },
    Pass { ms: u64 },
    Deaf { peer: u64, deaf: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (peer, room) = (0..PEERS, 0..ROOMS);
    prop_oneof![
        3 => (peer.clone(), any::<bool>()).prop_map(|(peer, apart)| Step::Connect { peer, apart }),
        5 => (peer.clone(), room.clone(), any::<bool>())
            .prop_map(|(peer, room, capable)| Step::Join { peer, room, capable }),
        1 => (peer.clone(), room.clone()).prop_map(|(peer, room)| Step::Leave { peer, room }),
        6 => (peer.clone(), peer.clone(), room, prop::option::weighted(0.1, peer.clone()))
            .prop_map(|(from, to, room, claimed)| Step::Signal { from, claimed: claimed.unwrap_or(from), to, room }),
        1 => peer.clone().prop_map(|peer| Step::Disconnect { peer }),
        2 => (0_u64..500).prop_map(|ms| Step::Pass { ms }),
        1 => (peer, any::<bool>()).prop_map(|(peer, deaf)| Step::Deaf { peer, deaf }),
    ]
}

/// Who is where, kept in the simplest way.
#[derive(Default)]
struct Model {
    /// Whether each connected peer is kept apart.
    apart: BTreeMap<PeerId, bool>,
    /// Whether each member is capable.
    members: BTreeMap<RoomName, BTreeMap<PeerId, bool>>,
}

impl Model {
    fn leave_all(&mut self, peer: PeerId) {
        for members in self.members.values_mut() {
            members.remove(&peer);
        }
    }

    fn sees(&self, room: &RoomName, left: PeerId, right: PeerId) -> bool {
        let Some(members) = self.members.get(room) else { return false };
        let (Some(&a), Some(&b)) = (members.get(&left), members.get(&right)) else { return false };
        left != right && (a || b || !(self.apart[&left] || self.apart[&right]))
    }

    fn seen_by(&self, room: &RoomName, peer: PeerId) -> BTreeSet<PeerId> {
        let members = self.members.get(room).into_iter().flat_map(BTreeMap::keys);
        members.copied().filter(|&other| self.sees(room, peer, other)).collect()
    }
}

/// Runs the steps on both. Returns the signals that were to arrive, by receiver: who sent them and their number.
fn run(world: &mut World, model: &mut Model, steps: &[Step]) -> BTreeMap<PeerId, Vec<(PeerId, String)>> {
    let mut due: BTreeMap<PeerId, Vec<(PeerId, String)>> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Connect { peer: id, apart } => {
                let id = peer(id);
                if !world.rooms.contains(id) {
                    let stock_peers =
                        Some(if apart { StockPeers::KeptApart } else { StockPeers::Introduced });
                    world.connect_with(id, Permit { stock_peers, ..Permit::default() });
                    model.apart.insert(id, apart);
                }
            }
            Step::Join { peer: id, room: name, capable } => {
                let (id, name) = (peer(id), room(name));
                if is_open(world, model, id) {
                    let join =
                        if capable { ClientMessage::join(name.clone()) } else { stock_join(name.clone()) };
                    world.say(id, &join);
                    model.members.entry(name).or_default().entry(id).or_insert(capable);
                }
            }
            Step::Leave { peer: id, room: name } => {
                let (id, name) = (peer(id), room(name));
                world.say(id, &ClientMessage::Leave { room: name.clone() });
                model.members.entry(name).or_default().remove(&id);
            }
            Step::Signal { from, claimed, to, room: name } => {
                let (from, claimed, to, name) = (peer(from), peer(claimed), peer(to), room(name));
                let data = number.to_string();
                world.signal(from, claimed, to, name.clone(), &data);
                if is_open(world, model, from) {
                    if from != claimed {
                        model.leave_all(from);
                        model.apart.remove(&from);
                    } else if model.sees(&name, from, to) {
                        due.entry(to).or_default().push((from, data));
                    }
                }
            }
            Step::Disconnect { peer: id } => {
                world.handle(Input::Disconnected { peer: peer(id) });
                world.closed.remove(&peer(id));
                model.leave_all(peer(id));
                model.apart.remove(&peer(id));
            }
            Step::Pass { ms } => world.pass(Duration::from_millis(ms)),
            Step::Deaf { peer: id, deaf } => {
                world.deaf.retain(|&other| other != peer(id));
                if deaf {
                    world.deaf.push(peer(id));
                } else {
                    world.read(peer(id));
                }
            }
        }
    }
    due
}

fn is_open(world: &World, model: &Model, id: PeerId) -> bool {
    world.rooms.contains(id) && model.apart.contains_key(&id)
}

/// A world in which nothing but what it says costs a peer its connection.
fn lenient() -> World {
    let limits = Limits {
        messages_burst: u32::MAX.try_into().unwrap(),
        messages_per_second: 1_000_000.try_into().unwrap(),
        idle_timeout: Duration::from_secs(1_000_000),
        ..Limits::default()
    };
    World::new(RoomsOptions { limits, ..RoomsOptions::default() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_signal_reaches_exactly_the_members_that_may_know_its_true_sender(
        steps in prop::collection::vec(step().prop_filter("everybody reads", |step| !matches!(step, Step::Deaf { .. })), 1..200)
    ) {
        let (mut world, mut model) = (lenient(), Model::default());
        let due = run(&mut world, &mut model, &steps);
        for id in (0..PEERS).map(peer) {
            let arrived = world.received_by(id).iter().filter_map(|message| match message {
                ServerMessage::Signal(signal) => {
                    assert_eq!(signal.receiver_peer_id, id);
                    Some((signal.sender_peer_id, signal.data.as_str().unwrap().to_owned()))
                }
                _ => None,
            });
            prop_assert_eq!(arrived.collect::<Vec<_>>(), due.get(&id).cloned().unwrap_or_default());
        }
        prop_assert!(world.closed.values().all(|&reason| reason == CloseReason::SpoofedSender));
    }

    #[test]
    fn everybody_ends_up_knowing_who_is_there_and_nobody_else(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let (mut world, mut model) = (lenient(), Model::default());
        // A stock list does not say which room it is of, so stock peers stay in one room here.
        let steps: Vec<Step> = steps.into_iter().map(|step| match step {
            Step::Join { peer, capable: false, .. } => Step::Join { peer, room: peer % ROOMS, capable: false },
            other => other,
        }).collect();
        let mut both: BTreeSet<u64> = BTreeSet::new();
        let mut stock: BTreeSet<u64> = BTreeSet::new();
        for step in &steps {
            if let &Step::Join { peer, capable, .. } = step {
                if capable { both.insert(peer); } else { stock.insert(peer); }
            }
        }
        run(&mut world, &mut model, &steps);
        world.pass(Limits::default().list_interval);
        for id in (0..PEERS).map(peer) {
            world.read(id);
        }
        for (name, members) in &model.members {
            for (&id, &capable) in members {
                let expected = model.seen_by(name, id);
                if capable {
                    prop_assert_eq!(view_of_events(world.received_by(id), name), expected);
                } else if (0..PEERS).all(|number| peer(number) != id || !both.contains(&number)) {
                    let lists = world.received_by(id).iter().rev();
                    let last = lists.filter_map(|message| match message {
                        ServerMessage::Joined { other_peer_ids } => Some(other_peer_ids),
                        _ => None,
                    }).next().expect("who joined is sent a list");
                    prop_assert!(last.contains(&id), "a list names its receiver");
                    let others: BTreeSet<PeerId> = last.iter().copied().filter(|&other| other != id).collect();
                    prop_assert_eq!(others, expected);
                }
            }
        }
    }

    #[test]
    fn memory_stays_within_its_limit_and_is_given_back(
        steps in prop::collection::vec(step(), 1..300)
    ) {
        let limits = Limits {
            memory_bytes_max: 400_000.try_into().unwrap(),
            queue_bytes_max: 3_000.try_into().unwrap(),
            message_bytes_max: 1_000.try_into().unwrap(),
            idle_timeout: Duration::from_secs(5),
            send_timeout: Duration::from_millis(300),
            ..Limits::default()
        };
        let memory_bytes_max = limits.memory_bytes_max.get();
        let mut world = World::new(RoomsOptions { limits, ..RoomsOptions::default() });
        let mut model = Model::default();
        for step in &steps {
            run(&mut world, &mut model, std::slice::from_ref(step));
            prop_assert!(world.rooms.statistics().memory_bytes <= memory_bytes_max);
        }
        for id in (0..PEERS).map(peer) {
            world.handle(Input::Disconnected { peer: id });
        }
        let statistics = world.rooms.statistics();
        prop_assert_eq!(statistics.memory_bytes, 0);
        prop_assert_eq!((statistics.peers, statistics.rooms, statistics.memberships), (0, 0, 0));
        prop_assert_eq!(statistics.joined_total, statistics.left_total);
    }
}

/// Whom a capable member of a room knows, by the events since it last joined.
fn view_of_events(received: &[ServerMessage], name: &RoomName) -> BTreeSet<PeerId> {
    let mut view = BTreeSet::new();
    for message in received {
        match message {
            ServerMessage::Members { room, members } if room == name => {
                view = members.iter().map(|member| member.peer_id).collect();
            }
            ServerMessage::MemberJoined { room, member } if room == name => {
                assert!(view.insert(member.peer_id), "nobody joins twice");
            }
            ServerMessage::MemberLeft { room, peer_id } if room == name => {
                assert!(view.remove(peer_id), "who leaves was there");
            }
            _ => {}
        }
    }
    view
}
