//! The rooms, driven by hand: what each rule and each limit does.
#![cfg(feature = "server")]

mod properties;
mod world;

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use peerloom_signaling::message::{ClientMessage, Member};
use peerloom_signaling::permit::{Permit, PermittedRooms, StockPeers};
use peerloom_signaling::rooms::{Input, Limits, Outgoing, RoomsOptions};
use peerloom_signaling::turn::Turn;
use peerloom_signaling::{CloseReason, PeerId, ServerMessage};

use world::{EPOCH, World, peer, room, stock_join};

fn with_limits(limits: Limits) -> World {
    World::new(RoomsOptions { limits, ..RoomsOptions::default() })
}

fn at_most(max: usize) -> NonZeroUsize {
    NonZeroUsize::new(max).unwrap()
}

fn joined_room_of(count: u64, join: impl Fn() -> ClientMessage) -> World {
    let limits = Limits { members_per_room_max: at_most(2_000), ..Limits::default() };
    let mut world = with_limits(limits);
    for number in 0..count {
        world.connect(peer(number));
        world.say(peer(number), &join());
    }
    world.pass(Duration::from_secs(1));
    world.forget_received();
    world
}

#[test]
fn a_stock_peer_is_told_what_rxdb_tells_it() {
    let mut world = World::new(RoomsOptions::default());
    for number in [1, 2] {
        world.connect(peer(number));
        world.say(peer(number), &stock_join(room(1)));
    }
    world.pass(Limits::default().list_interval);
    let [ServerMessage::Init { your_peer_id, .. }, rest @ ..] = world.received_by(peer(1)) else { panic!() };
    assert_eq!(*your_peer_id, peer(1));
    let lists = [vec![peer(1)], vec![peer(1), peer(2)]];
    assert_eq!(rest, lists.map(|other_peer_ids| ServerMessage::Joined { other_peer_ids }));
}

#[test]
fn a_join_sends_each_member_one_event_and_the_newcomer_one_list() {
    let mut world = joined_room_of(500, || ClientMessage::join(room(1)));
    let newcomer = peer(1_000);
    world.connect(newcomer);
    world.forget_received();
    world.say(newcomer, &ClientMessage::join(room(1)));
    let [ServerMessage::Members { members, .. }] = world.received_by(newcomer) else { panic!() };
    assert_eq!(members.len(), 500);
    let capability = members[0].peerloom;
    let event = ServerMessage::MemberJoined {
        room: room(1),
        member: Member { peer_id: newcomer, peerloom: capability },
    };
    for number in 0..500 {
        assert_eq!(world.received_by(peer(number)), std::slice::from_ref(&event));
    }

    world.forget_received();
    world.handle(Input::Disconnected { peer: newcomer });
    let event = ServerMessage::MemberLeft { room: room(1), peer_id: newcomer };
    for number in 0..500 {
        assert_eq!(world.received_by(peer(number)), std::slice::from_ref(&event));
    }
}

#[test]
fn a_crowd_that_joins_at_once_costs_a_stock_peer_two_lists() {
    let mut world = joined_room_of(10, || stock_join(room(1)));
    for number in 100..300 {
        world.connect(peer(number));
        world.say(peer(number), &ClientMessage::join(room(1)));
    }
    world.pass(Limits::default().list_interval);
    for number in 0..10 {
        let [_, ServerMessage::Joined { other_peer_ids }] = world.received_by(peer(number)) else {
            panic!("{:?}", world.received_by(peer(number)).len())
        };
        assert_eq!(other_peer_ids.len(), 210);
    }
}

#[test]
fn stock_peers_kept_apart_meet_only_capable_ones() {
    for by_permit in [false, true] {
        let stock_peers = if by_permit { StockPeers::Introduced } else { StockPeers::KeptApart };
        let mut world = World::new(RoomsOptions { stock_peers, ..RoomsOptions::default() });
        let permit = Permit { stock_peers: by_permit.then_some(StockPeers::KeptApart), ..Permit::default() };
        let (left, right, capable) = (peer(1), peer(2), peer(3));
        for stock in [left, right] {
            world.connect_with(stock, permit.clone());
            world.say(stock, &stock_join(room(1)));
        }
        world.connect(capable);
        world.say(capable, &ClientMessage::join(room(1)));
        world.pass(Duration::from_secs(1));
        for stock in [left, right] {
            let list = ServerMessage::Joined { other_peer_ids: vec![stock, capable] };
            assert_eq!(world.received_by(stock).last(), Some(&list));
        }

        world.forget_received();
        world.signal(left, left, right, room(1), "hello");
        world.signal(left, left, capable, room(1), "hello");
        assert_eq!(world.received_by(right), []);
        assert_eq!(world.received_by(capable).len(), 1);
        assert!(world.closed.is_empty(), "to miss is no offence");
    }
}

/// Everything that a peer can do wrong by what it says, and the reason it gets for it.
#[test]
fn every_offence_costs_the_offender_its_connection_and_nobody_else_anything() {
    let limits = || Limits {
        members_per_room_max: at_most(3),
        rooms_per_peer_max: at_most(2),
        message_bytes_max: at_most(1_000),
        messages_burst: NonZeroU32::new(100).unwrap(),
        ..Limits::default()
    };
    type Offence = fn(&mut World, PeerId);
    let offences: [(CloseReason, Offence); 9] = [
        (CloseReason::MalformedMessage, |world, peer| {
            world.handle(Input::Message { peer, text: "what?" });
        }),
        (CloseReason::MalformedMessage, |world, peer| {
            world.handle(Input::Message { peer, text: r#"{"type":"shout"}"# });
        }),
        (CloseReason::MalformedMessage, |world, peer| {
            world.handle(Input::Message { peer, text: r#"{"type":"join","room":"short"}"# });
        }),
        (CloseReason::SpoofedSender, |world, offender| {
            world.signal(offender, peer(1), peer(2), room(1), "I am the first");
        }),
        (CloseReason::RoomForbidden, |world, peer| world.say(peer, &ClientMessage::join(room(9)))),
        (CloseReason::RoomFull, |world, peer| world.say(peer, &ClientMessage::join(room(2)))),
        (CloseReason::TooManyRooms, |world, peer| {
            for number in [3, 4] {
                world.say(peer, &ClientMessage::join(room(number)));
            }
        }),
        (CloseReason::MessageTooLarge, |world, offender| {
            world.signal(offender, offender, peer(1), room(1), &"x".repeat(1_000));
        }),
        (CloseReason::TooManyMessages, |world, peer| {
            for _ in 0..100 {
                world.say(peer, &ClientMessage::Ping);
            }
        }),
    ];
    for (reason, offence) in offences {
        let mut world = with_limits(limits());
        let (bystanders, offender) = ([peer(1), peer(2)], peer(3));
        for bystander in bystanders {
            world.connect(bystander);
            world.say(bystander, &ClientMessage::join(room(1)));
        }
        for number in [4, 5, 6] {
            world.connect(peer(number));
            world.say(peer(number), &ClientMessage::join(room(2)));
        }
        let rooms = PermittedRooms::Only((1..=8).map(room).collect());
        world.connect_with(offender, Permit { rooms, ..Permit::default() });
        world.say(offender, &ClientMessage::join(room(1)));
        world.forget_received();

        offence(&mut world, offender);
        assert_eq!(world.closed.iter().collect::<Vec<_>>(), [(&offender, &reason)]);
        let left = ServerMessage::MemberLeft { room: room(1), peer_id: offender };
        for bystander in bystanders {
            assert_eq!(world.received_by(bystander), std::slice::from_ref(&left), "after {reason}");
        }
        // Whatever it still says is not heard.
        world.signal(offender, offender, peer(1), room(1), "hello");
        assert_eq!(world.received_by(peer(1)).len(), 1);
        assert_eq!(world.rooms.statistics().closed_total[&reason], 1);
    }
}

#[test]
fn who_floods_a_peer_that_does_not_read_loses_his_own_connection() {
    let mut world = with_limits(Limits::default());
    let (victim, honest, attacker) = (peer(1), peer(2), peer(3));
    for each in [victim, honest, attacker] {
        world.connect(each);
        world.say(each, &ClientMessage::join(room(1)));
    }
    world.deaf.push(victim);
    let large = "x".repeat(50_000);
    for _ in 0..100 {
        world.signal(attacker, attacker, victim, room(1), &large);
    }
    assert_eq!(world.closed.iter().collect::<Vec<_>>(), [(&attacker, &CloseReason::TooManyMessages)]);

    world.forget_received();
    world.signal(honest, honest, victim, room(1), "an offer");
    world.read(victim);
    let heard = world.received_by(victim).iter();
    let from_honest = heard.filter(
        |message| matches!(message, ServerMessage::Signal(signal) if signal.sender_peer_id == honest),
    );
    assert_eq!(from_honest.count(), 1);
}

#[test]
fn many_who_flood_a_peer_together_do_not_get_it_closed() {
    let mut world = with_limits(Limits::default());
    let victim = peer(0);
    for number in 0..50 {
        world.connect(peer(number));
        world.say(peer(number), &ClientMessage::join(room(1)));
    }
    world.deaf.push(victim);
    let large = "x".repeat(50_000);
    for number in 1..50 {
        for _ in 0..2 {
            world.signal(peer(number), peer(number), victim, room(1), &large);
        }
    }
    assert!(world.closed.is_empty(), "two offers each are no flood");
    let statistics = world.rooms.statistics();
    assert!(statistics.signals_dropped_total > 0);
    world.connect(peer(100));
    world.say(peer(100), &ClientMessage::join(room(1)));
    world.read(victim);
    assert!(
        matches!(world.received_by(victim).last(), Some(ServerMessage::MemberJoined { .. })),
        "what the server itself has to say still fits"
    );
}

#[test]
fn who_does_not_take_what_the_server_says_is_closed_when_the_queue_is_full() {
    let limits = Limits { queue_bytes_max: at_most(10_000), ..Limits::default() };
    let mut world = with_limits(limits);
    let slow = peer(1);
    world.connect(slow);
    world.say(slow, &ClientMessage::join(room(1)));
    world.deaf.push(slow);
    for number in 2..200 {
        world.connect(peer(number));
        world.say(peer(number), &ClientMessage::join(room(1)));
    }
    world.read(slow);
    assert_eq!(world.closed.iter().collect::<Vec<_>>(), [(&slow, &CloseReason::SlowReader)]);
    assert!(world.received_by(slow).len() < 5, "what waited is gone");
}

#[test]
fn who_does_not_finish_one_message_in_time_is_closed() {
    let mut world = with_limits(Limits::default());
    let slow = peer(1);
    world.deaf.push(slow);
    world.connect(slow);
    assert!(matches!(world.rooms.take(world.now(), slow), Some(Outgoing::Message(_))));
    world.pass(Limits::default().send_timeout - Duration::from_millis(1));
    assert!(!world.rooms.is_cut(slow));
    world.pass(Duration::from_millis(1));
    assert!(world.rooms.is_cut(slow));
    world.read(slow);
    assert_eq!(world.closed[&slow], CloseReason::SlowReader);
}

#[test]
fn who_is_silent_is_closed_and_who_pings_is_not() {
    let mut world = with_limits(Limits::default());
    let (silent, alive) = (peer(1), peer(2));
    world.connect(silent);
    world.connect(alive);
    for _ in 0..3 {
        world.pass(Duration::from_secs(60));
        world.say(alive, &ClientMessage::Ping);
    }
    assert_eq!(world.closed.iter().collect::<Vec<_>>(), [(&silent, &CloseReason::IdleTimeout)]);
}

#[test]
fn a_session_ends_when_its_token_does() {
    let mut world = with_limits(Limits::default());
    let expires_at = Some(EPOCH + Duration::from_secs(50));
    world.connect_with(peer(1), Permit { expires_at, ..Permit::default() });
    world.pass(Duration::from_secs(49));
    assert!(world.closed.is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.closed[&peer(1)], CloseReason::TokenExpired);
}

#[test]
fn a_token_can_make_rooms_smaller_and_not_larger() {
    for (by_token, members) in [(2, 2), (9, 4)] {
        let mut world = with_limits(Limits { members_per_room_max: at_most(4), ..Limits::default() });
        for number in 1..=5 {
            let members_per_room_max = Some(at_most(by_token));
            world.connect_with(peer(number), Permit { members_per_room_max, ..Permit::default() });
            world.say(peer(number), &ClientMessage::join(room(1)));
        }
        assert_eq!(world.rooms.statistics().memberships, members);
        assert!(world.closed.values().all(|&reason| reason == CloseReason::RoomFull));
    }
}

#[test]
fn turn_credentials_come_with_init_and_are_renewed_for_capable_members() {
    let turn =
        Turn { urls: vec!["turn:a".into()], secret: b"s".to_vec(), valid_for: Duration::from_secs(100) };
    let mut world = World::new(RoomsOptions { turn: Some(turn.clone()), ..RoomsOptions::default() });
    let (capable, stock) = (peer(1), peer(2));
    world.connect(capable);
    world.connect(stock);
    world.say(capable, &ClientMessage::join(room(1)));
    world.say(stock, &stock_join(room(1)));
    for each in [capable, stock] {
        let ServerMessage::Init { peerloom: Some(server), .. } = &world.received_by(each)[0] else {
            panic!()
        };
        assert_eq!(server.turn, Some(turn.credentials(each, EPOCH)));
    }
    world.forget_received();
    world.pass(Duration::from_secs(50));
    let renewed = ServerMessage::Turn { turn: turn.credentials(capable, EPOCH + Duration::from_secs(50)) };
    assert_eq!(world.received_by(capable), [renewed]);
    assert!(world.received_by(stock).iter().all(|message| !matches!(message, ServerMessage::Turn { .. })));
}

#[test]
fn a_full_server_closes_the_next_and_keeps_the_others() {
    let mut world = with_limits(Limits { memory_bytes_max: at_most(1_000_000), ..Limits::default() });
    let mut count = 0;
    while world.rooms.admits() {
        count += 1;
        world.connect(peer(count));
    }
    assert!(count > 5);
    world.connect(peer(0));
    assert_eq!(world.closed.iter().collect::<Vec<_>>(), [(&peer(0), &CloseReason::ServerFull)]);
    world.handle(Input::Disconnected { peer: peer(1) });
    assert!(world.rooms.admits());
}

#[test]
fn when_memory_runs_out_the_slowest_reader_goes() {
    let memory_bytes_max = at_most(2_000_000);
    let mut world = with_limits(Limits { memory_bytes_max, ..Limits::default() });
    for number in 0..15 {
        world.connect(peer(number));
        world.say(peer(number), &ClientMessage::join(room(1)));
    }
    let slowest = peer(3);
    world.deaf = vec![peer(2), slowest];
    let large = "x".repeat(60_000);
    for sender in 4..15 {
        world.signal(peer(sender), peer(sender), slowest, room(1), &large);
        if sender < 8 {
            world.signal(peer(sender), peer(sender), peer(2), room(1), &large);
        }
    }
    assert!(world.closed.is_empty());
    assert!(world.rooms.is_cut(slowest));
    assert!(!world.rooms.is_cut(peer(2)));
    assert!(world.rooms.statistics().memory_bytes <= memory_bytes_max.get());
}

#[test]
fn a_stop_delivers_what_waits_and_then_closes_everybody() {
    let mut world = joined_room_of(3, || ClientMessage::join(room(1)));
    world.deaf.push(peer(0));
    world.signal(peer(1), peer(1), peer(0), room(1), "the last word");
    world.handle(Input::Stop);
    assert!(!world.rooms.is_cut(peer(0)), "what is on its way is waited for");
    world.read(peer(0));
    assert!(matches!(world.received_by(peer(0)), [ServerMessage::Signal(_)]));
    assert_eq!(world.closed.len(), 3);
    assert!(world.closed.values().all(|&reason| reason == CloseReason::ServerStopping));
    world.connect(peer(9));
    assert_eq!(world.closed[&peer(9)], CloseReason::ServerStopping);
}
