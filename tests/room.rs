//! Rooms: nodes that meet share what they say they share, and nothing else, whoever joins, leaves or is cut off.

mod cluster;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use cluster::{
    Cluster, Concatenate, Disk, Handler, NOTES, Side, TOPIC, Topology, address, eventually, join, join_over,
    told,
};
use futures_util::StreamExt;
use peerloom::core::{Connection, Membership};
use peerloom::{
    CloseReason, Events, InProcess, Invitation, Memory, Network, PeerAddress, PeerState, Refusal, Retry,
    Room, RoomBuilder, RoomError, RoomEvent, Sharing, Topic, TopicKey, Transport, TransportError,
};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn writes_made_before_and_after_joining_reach_everybody_in_any_topology() {
    for topology in Topology::ALL {
        for size in [2, 3, 8] {
            let mut cluster = Cluster::new(size as u64);
            cluster.arrange(topology, size);
            for index in 0..size {
                cluster.add().await;
                cluster.put(index, &format!("early/{index}"), "word").await;
                cluster.put(index, "everybody's", &index.to_string()).await;
            }
            assert_eq!(cluster.converged().await.documents.len(), size + 1, "{topology:?} of {size}");
            for index in 0..size {
                cluster.put(index, &format!("late/{index}"), "word").await;
            }
            let holdings = cluster.converged().await;
            assert_eq!(holdings.documents.len(), 2 * size + 1, "{topology:?} of {size}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_writes_are_listed_as_the_same_conflict_everywhere() {
    for handler in [Handler::LastWriteWins, Handler::Concatenate] {
        let mut cluster = Cluster::new(1);
        cluster.handler = handler;
        cluster.network.allow(|_, _| false);
        for index in 0..3 {
            cluster.add().await;
            cluster.put(index, "it", &index.to_string()).await;
        }
        cluster.arrange(Topology::Line, 3);
        let holdings = cluster.converged().await;
        assert_eq!(holdings.in_conflict.len(), 1, "{handler:?}");
        assert_eq!(holdings.documents.values().next().map(|holding| holding.heads.len()), Some(3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_away_gets_what_it_missed_and_gives_what_it_wrote() {
    for crashes in [false, true] {
        let mut cluster = Cluster::of(3, Topology::Ring).await;
        cluster.put(1, "before", "word").await;
        cluster.converged().await;
        cluster.put(1, "last", "word").await;
        if crashes {
            cluster.crash(1);
        } else {
            cluster.stop(1).await;
        }
        cluster.put(0, "during", "word").await;
        cluster.converged().await;
        cluster.start(1).await;
        cluster.put(1, "after", "word").await;
        assert_eq!(cluster.converged().await.documents.len(), 4, "crashes: {crashes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_joins_late_gets_everything_from_whoever_is_left() {
    let mut cluster = Cluster::of(2, Topology::Mesh).await;
    for number in 0..3000 {
        cluster.put(0, &format!("{number:04}"), "word").await;
    }
    cluster.converged().await;
    cluster.stop(0).await;
    let late = cluster.add().await;
    cluster.room(late).caught_up().await.expect("it is not left");
    assert_eq!(cluster.converged().await.documents.len(), 3000);
}

async fn caught_up(rooms: &[&Room]) {
    for room in rooms {
        room.caught_up().await.expect("it is not left");
    }
}

#[tokio::test(start_paused = true)]
async fn a_collection_that_is_not_shared_never_leaves() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    let secrets = left.node.collection::<String>("secrets").open().await.expect("the collection opens");
    let wanted = right.node.collection::<String>("secrets").open().await.expect("the collection opens");
    secrets.put("it", &"secret".to_owned()).await.expect("the write is taken");
    left.put("it").await;
    let (left_room, _) = join(left.sharing(), &network, 0).await;
    let (right_room, _) = join(right.sharing().share(&wanted), &network, 1).await;
    caught_up(&[&left_room, &right_room]).await;
    assert!(right.has("it").await);
    assert_eq!(wanted.get("it").await.expect("it reads"), None);
    left_room.share(&secrets).expect("it is not shared yet");
    eventually("the collection that is shared late arrives", || async {
        wanted.get("it").await.expect("it reads")
    })
    .await;
    assert!(matches!(left_room.share(&secrets), Err(RoomError::SharedTwice(_))));
    assert!(matches!(left_room.share(&wanted), Err(RoomError::AnotherNode(_))));
}

#[tokio::test(start_paused = true)]
async fn the_events_of_a_peer_tell_its_visit_from_beginning_to_end() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    left.put("it").await;
    right.put("it").await;
    let (left_room, left_events) = join(left.sharing(), &network, 0).await;
    let (right_room, _) = join(right.sharing(), &network, 1).await;
    caught_up(&[&left_room, &right_room]).await;
    right_room.leave().await;
    eventually("the peer has left", || async { left_room.peers().is_empty().then_some(()) }).await;
    left_room.leave().await;
    let told: Vec<RoomEvent> = left_events.collect().await;
    let peer = right.node.replica_id();
    let told: Vec<&str> = told
        .iter()
        .map(|event| match event {
            RoomEvent::PeerJoined { peer: joined, address: at } if *joined == peer && *at == address(1) => {
                "joined"
            }
            RoomEvent::Shared { peer: sharing, collection }
                if *sharing == peer && collection.as_str() == NOTES =>
            {
                "shared"
            }
            RoomEvent::Conflict { versions: 2, id, .. } if id.as_str() == "it" => "conflict",
            RoomEvent::CaughtUp { peer: caught_up } if *caught_up == peer => "caught up",
            RoomEvent::PeerLeft { peer: left, reason: CloseReason::LeftByPeer, .. } if *left == peer => {
                "left"
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["joined", "shared", "conflict", "caught up", "left"]);
}

#[tokio::test(start_paused = true)]
async fn different_topic_keys_are_refused_on_both_sides() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    left.put("it").await;
    let (left_room, mut left_events) = join_anywhere(keyed(&left, 1), &network, 0).await;
    let (_right_room, mut right_events) = join_anywhere(keyed(&right, 2), &network, 1).await;
    for events in [&mut left_events, &mut right_events] {
        told(events, "the refusal", |event| {
            matches!(event, RoomEvent::Refused { reason: Refusal::TopicKey, .. })
        })
        .await;
    }
    assert!(!right.has("it").await);
    let waited = tokio::time::timeout(Duration::from_secs(120), left_room.caught_up()).await;
    assert!(waited.is_err(), "nobody is there to be caught up with");
}

/// A meeting place that brings everybody together, whatever room they ask for.
struct OneRoom(InProcess);

#[async_trait]
impl Transport for OneRoom {
    async fn join(&self, _topic: &Topic) -> Result<Box<dyn Membership>, TransportError> {
        self.0.join(&Topic::new("everybody's").expect("valid")).await
    }
}

async fn join_anywhere(room: RoomBuilder, network: &Network, address: usize) -> (Room, Events) {
    join_over(room, OneRoom(InProcess::new(network).named(&address.to_string()))).await
}

fn keyed(side: &Side, key: u8) -> RoomBuilder {
    side.sharing().key(TopicKey::new([key; 32]))
}

#[tokio::test(start_paused = true)]
async fn rooms_of_different_keys_do_not_meet() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    let (left_room, left_events) = join(keyed(&left, 1), &network, 0).await;
    let (right_room, _) = join(keyed(&right, 2), &network, 1).await;
    let (open_room, _) = join(right.sharing(), &network, 2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(left_room.peers().is_empty() && right_room.peers().is_empty() && open_room.peers().is_empty());
    left_room.leave().await;
    assert_eq!(left_events.count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_invited_or_knows_the_passphrase_meets_the_others() {
    let (network, left, right, third) =
        (Network::new(), Side::new().await, Side::new().await, Side::new().await);
    left.put("it").await;
    let passphrase = "correct horse battery staple";
    let key = TopicKey::from_passphrase(passphrase, &Topic::new(TOPIC).expect("valid")).expect("made");
    let text = Invitation::new(TOPIC).expect("valid").key(key).to_string();
    let invitation: Invitation = text.parse().expect("it reads back");
    let (left_room, _) = join(left.room().passphrase(passphrase).share(&left.notes), &network, 0).await;
    let (right_room, _) = join(right.node.room_of(&invitation).share(&right.notes), &network, 1).await;
    caught_up(&[&left_room, &right_room]).await;
    assert!(right.has("it").await);
    let refused = third.room().passphrase("").join(InProcess::new(&network)).await;
    assert!(matches!(refused, Err(RoomError::Passphrase(_))));
}

#[tokio::test(start_paused = true)]
async fn different_schemas_and_handlers_are_told_on_both_sides() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    let open = |side: &Side, version| {
        let builder = side.node.collection::<String>("versioned").schema_version(version);
        builder.open()
    };
    let (old, new) = (open(&left, 1).await.expect("it opens"), open(&right, 2).await.expect("it opens"));
    let plain = left.node.collection::<String>("handled").open().await.expect("it opens");
    let handled = right.node.collection::<String>("handled").handler(Concatenate);
    let handled = handled.open().await.expect("it opens");
    old.put("it", &"old".to_owned()).await.expect("the write is taken");
    plain.put("it", &"left".to_owned()).await.expect("the write is taken");
    handled.put("it", &"right".to_owned()).await.expect("the write is taken");
    let (left_room, mut left_events) = join(left.room().share(&old).share(&plain), &network, 0).await;
    let (right_room, mut right_events) = join(right.room().share(&new).share(&handled), &network, 1).await;
    for (events, versions, handler) in
        [(&mut left_events, (1, 2), "concatenate"), (&mut right_events, (2, 1), "last-write-wins")]
    {
        told(events, "the schemas", |event| {
            matches!(event, RoomEvent::SchemaMismatch { ours, theirs, .. } if (*ours, *theirs) == versions)
        })
        .await;
        told(
            events,
            "the handlers",
            |event| matches!(event, RoomEvent::HandlerMismatch { theirs, .. } if theirs == handler),
        )
        .await;
    }
    caught_up(&[&left_room, &right_room]).await;
    assert_eq!(new.get("it").await.expect("it reads"), None);
    assert_eq!(handled.conflicts(None, 1).await.expect("it lists").conflicts[0].versions.len(), 2);
    assert_eq!(plain.conflicts(None, 1).await.expect("it lists").conflicts[0].versions.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_falls_behind_is_told_how_many_events_it_missed() {
    let (network, side) = (Network::new(), Side::new().await);
    let (room, mut events) = join(side.sharing(), &network, 0).await;
    side.put("it").await;
    let draft = side.notes.read("it").await.expect("it reads").expect("it is there");
    side.put("it").await;
    for _ in 0..1034 {
        side.notes.save(draft.clone()).await.expect("the draft is saved");
        side.put("it").await;
        side.put("it").await;
        let conflict = side.notes.conflicts(None, 1).await.expect("it lists").conflicts.pop();
        assert!(conflict.is_none());
    }
    assert!(matches!(events.next().await, Some(RoomEvent::Missed { events: 10 })));
    drop(room);
}

#[tokio::test(start_paused = true)]
async fn being_caught_up_means_that_what_was_written_before_is_on_every_peer() {
    let cluster = Cluster::of(4, Topology::Mesh).await;
    for round in 0..50 {
        let id = format!("{round}");
        cluster.put(0, &id, "word").await;
        cluster.room(0).caught_up().await.expect("it is not left");
        for peer in 1..4 {
            assert!(cluster.notes(peer).get(&id).await.expect("it reads").is_some(), "{id} at {peer}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn being_caught_up_waits_for_the_first_peer_and_for_what_it_has() {
    for sharing in [Sharing::new(), Sharing::new().pull_only()] {
        let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
        right.put("it").await;
        let (left_room, _) = join(left.room().share_as(&left.notes, sharing), &network, 0).await;
        let waiting = left_room.clone();
        let waiting = tokio::spawn(async move { waiting.caught_up().await });
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(!waiting.is_finished());
        let (_right_room, _) = join(right.sharing(), &network, 1).await;
        waiting.await.expect("no panic").expect("it is not left");
        assert!(left.has("it").await);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_to_be_caught_up_ends_when_the_room_is_left_or_the_node_closed() {
    for closes in [false, true] {
        let (network, side) = (Network::new(), Side::new().await);
        let (room, events) = join(side.sharing(), &network, 0).await;
        let (waiting, left) = (room.clone(), room.clone());
        let waiting = tokio::spawn(async move { waiting.caught_up().await });
        tokio::task::yield_now().await;
        if closes {
            side.node.close().await.expect("it closes");
        } else {
            room.leave().await;
        }
        assert!(matches!(waiting.await.expect("no panic"), Err(RoomError::Left)));
        assert!(matches!(left.caught_up().await, Err(RoomError::Left)));
        assert_eq!(events.count().await, 0, "the events have ended");
    }
}

#[tokio::test(start_paused = true)]
async fn peers_are_listed_with_their_state_and_what_they_moved() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    for id in ["a", "b", "c"] {
        left.put(id).await;
    }
    let (left_room, _) = join(left.sharing(), &network, 0).await;
    let (right_room, _) = join(right.sharing(), &network, 1).await;
    caught_up(&[&left_room, &right_room]).await;
    let (seen_left, seen_right) = (left_room.peers(), right_room.peers());
    let [right_peer] = seen_left.as_slice() else { panic!("{seen_left:?}") };
    let [left_peer] = seen_right.as_slice() else { panic!("{seen_right:?}") };
    assert_eq!((right_peer.replica, &right_peer.address), (Some(right.node.replica_id()), &address(1)));
    assert_eq!((left_peer.replica, left_peer.state), (Some(left.node.replica_id()), PeerState::CaughtUp));
    let moved = (right_peer.counters.documents_sent, left_peer.counters.documents_received);
    assert_eq!(moved, (3, 3));
    assert!(right_peer.counters.bytes_sent > 0 && right_peer.counters.bytes_received > 0);
    assert_eq!(left_peer.counters.documents_duplicate, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_room_refuses_the_next_and_takes_it_when_there_is_room() {
    let (network, hub) = (Network::new(), Side::new().await);
    network.allow(|left, _| left.as_str() == "0");
    hub.put("it").await;
    let (hub_room, _) = join(hub.sharing().peers_max(1), &network, 0).await;
    let (first, second) = (Side::new().await, Side::new().await);
    let (first_room, _) = join(first.sharing(), &network, 1).await;
    caught_up(&[&first_room]).await;
    let (second_room, mut events) = join(second.sharing(), &network, 2).await;
    told(&mut events, "the refusal", |event| {
        matches!(event, RoomEvent::Refused { reason: Refusal::Full, by_peer: true, .. })
    })
    .await;
    assert!(!second.has("it").await && hub_room.peers().len() <= 2);
    first_room.leave().await;
    told(&mut events, "the peer", |event| matches!(event, RoomEvent::CaughtUp { .. })).await;
    caught_up(&[&second_room]).await;
    assert!(second.has("it").await);
}

#[tokio::test(start_paused = true)]
async fn documents_go_only_the_ways_and_as_far_as_they_are_shared() {
    let odd = |name: &'static str| Sharing::new().only(name, |document| document.body.len() % 2 == 1);
    // What left shares as, and which of left's and right's documents the other has in the end.
    let cases = [
        ("both ways", Sharing::new(), [true, true], [true, true]),
        ("pull only", Sharing::new().pull_only(), [false, false], [true, true]),
        ("push only", Sharing::new().push_only(), [true, true], [false, false]),
        ("a prefix", Sharing::new().only_prefix("left/a"), [true, false], [true, true]),
        ("a predicate", odd("odd"), [false, false], [true, true]),
        (
            "one that panics",
            Sharing::new().only("panics", |_| panic!("as the test wants it")),
            [false, false],
            [true, true],
        ),
    ];
    for (case, sharing, of_left, of_right) in cases {
        let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
        for id in ["a", "b"] {
            left.put(&format!("left/{id}")).await;
            right.put(&format!("right/{id}")).await;
        }
        let (left_room, _) = join(left.room().share_as(&left.notes, sharing), &network, 0).await;
        let (right_room, _) = join(right.sharing(), &network, 1).await;
        caught_up(&[&left_room, &right_room]).await;
        let found = [right.has("left/a").await, right.has("left/b").await];
        assert_eq!(found, of_left, "{case}");
        let found = [left.has("right/a").await, left.has("right/b").await];
        assert_eq!(found, of_right, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_filter_left_out_comes_once_the_whole_is_shared() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    for id in ["a/1", "b/1"] {
        left.put(id).await;
    }
    let filtered = left.room().share_as(&left.notes, Sharing::new().only_prefix("a/"));
    let (left_room, _) = join(filtered, &network, 0).await;
    let (right_room, _) = join(right.sharing(), &network, 1).await;
    caught_up(&[&left_room, &right_room]).await;
    assert!(right.has("a/1").await && !right.has("b/1").await);
    left_room.leave().await;
    let (left_room, _) = join(left.sharing(), &network, 0).await;
    caught_up(&[&left_room]).await;
    assert!(right.has("b/1").await);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_made_again_after_a_wait_that_grows() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    let retry = Retry { initial: Duration::from_secs(1), max: Duration::from_secs(8), ..Retry::default() };
    let room = |side: &Side| side.sharing().retry(retry.clone());
    let (_left_room, mut events) = join(room(&left), &network, 0).await;
    let (_right_room, _) = join(room(&right), &network, 1).await;
    let joined = |event: &RoomEvent| matches!(event, RoomEvent::PeerJoined { .. });
    told(&mut events, "the first meeting", joined).await;
    for longest in [1, 2, 4, 8, 8] {
        let broken = Instant::now();
        network.disconnect(&address(0), &address(1));
        told(&mut events, "another meeting", joined).await;
        let waited = broken.elapsed();
        let bounds = Duration::from_secs(longest) / 2..=Duration::from_millis(longest * 1000 + 10);
        assert!(bounds.contains(&waited), "{waited:?} is not within {bounds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_was_cut_for_long_comes_back_when_it_is_healed() {
    let cluster = Cluster::of(2, Topology::Mesh).await;
    cluster.put(0, "before", "word").await;
    cluster.converged().await;
    cluster.cut(0, 1);
    cluster.put(0, "zero", "word").await;
    cluster.put(1, "one", "word").await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(cluster.notes(0).get("one").await.expect("it reads").is_none());
    cluster.heal(0, 1);
    assert_eq!(cluster.converged().await.documents.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_closed_can_be_opened_again_at_once() {
    let (network, disk, other) = (Network::new(), Memory::new(), Side::new().await);
    let (_other_room, _) = join(other.sharing(), &network, 9).await;
    for round in 0..5 {
        let side = Side::on(disk.clone()).await;
        let (room, _) = join(side.sharing(), &network, 0).await;
        let id = round.to_string();
        side.put(&id).await;
        if round % 2 == 0 {
            room.caught_up().await.expect("it is not left");
        }
        let watching = side.notes.watch();
        side.node.close().await.expect("it closes");
        assert_eq!(room.peers().len(), 0);
        drop(watching);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_stops_the_tasks_and_frees_the_storage() {
    let mut cluster = Cluster::of(2, Topology::Mesh).await;
    for round in 0..5 {
        cluster.put(1, &round.to_string(), "word").await;
        let mut events = cluster.room(0).events();
        cluster.crash(1);
        told(&mut events, "the end of the visit", |event| {
            matches!(event, RoomEvent::PeerLeft { reason: CloseReason::LeftByPeer, .. })
        })
        .await;
        cluster.start(1).await;
        cluster.converged().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_outlives_the_other_handles_of_its_node() {
    let (network, other) = (Network::new(), Side::new().await);
    let (other_room, _) = join(other.sharing(), &network, 1).await;
    let room = {
        let side = Side::new().await;
        side.put("it").await;
        join(side.sharing(), &network, 0).await.0
    };
    caught_up(&[&other_room]).await;
    assert!(other.has("it").await);
    drop(room);
    eventually("the peer has left", || async { other_room.peers().is_empty().then_some(()) }).await;
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_dropped_while_it_is_joined_leaves_nothing_behind() {
    let (network, other) = (Network::new(), Side::new().await);
    let (other_room, _) = join(other.sharing(), &network, 1).await;
    let disk = Disk::new(Memory::new());
    let mut cluster = Cluster::new(1);
    let node = cluster.open(&disk).await;
    let notes = node.collection::<String>(NOTES).open().await.expect("the collection opens");
    let transport = || InProcess::new(&network).named("0");
    drop(node.room(TOPIC).share(&notes).join(transport()));
    let room = node.room(TOPIC).share(&notes).join(transport()).await.expect("the address is free");
    drop(room);
    eventually("the peer has left", || async { other_room.peers().is_empty().then_some(()) }).await;
    node.close().await.expect("it closes");
    cluster.open(&disk).await;
}

#[tokio::test(start_paused = true)]
async fn two_nodes_meet_in_two_rooms_and_share_a_collection_in_each() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    let open = |side: &Side| side.node.collection::<String>("other").open();
    let (left_other, right_other) =
        (open(&left).await.expect("it opens"), open(&right).await.expect("it opens"));
    let mut rooms = Vec::new();
    for (side, other, address) in [(&left, &left_other, 0), (&right, &right_other, 1)] {
        rooms.push(join(side.sharing(), &network, address).await.0);
        let room = side.node.room("another").share(other).share(&side.notes);
        rooms.push(join(room, &network, address).await.0);
    }
    left.put("it").await;
    left_other.put("it", &"word".to_owned()).await.expect("the write is taken");
    caught_up(&rooms.iter().collect::<Vec<_>>()).await;
    assert!(right.has("it").await && right_other.get("it").await.expect("it reads").is_some());
    let replicas: BTreeSet<_> = rooms.iter().flat_map(Room::peers).map(|peer| peer.replica).collect();
    assert_eq!(replicas.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_room_whose_transport_ends_says_why() {
    /// A server that refuses everybody.
    struct Refusing;

    #[async_trait]
    impl Transport for Refusing {
        async fn join(&self, _topic: &Topic) -> Result<Box<dyn Membership>, TransportError> {
            Ok(Box::new(Self))
        }
    }

    #[async_trait]
    impl Membership for Refusing {
        async fn accept(&mut self) -> Result<Connection, TransportError> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(TransportError::Refused { detail: "the token has expired".into() })
        }

        fn redial(&mut self, _peer: &PeerAddress) {}
    }

    let side = Side::new().await;
    let room = side.sharing().join(Refusing).await.expect("it joins");
    let refused = |error: &TransportError| matches!(error, TransportError::Refused { detail } if detail.contains("expired"));
    let events: Vec<RoomEvent> = room.events().collect().await;
    assert!(matches!(&events[..], [RoomEvent::Ended { error }] if refused(error)), "{events:?}");
    assert!(matches!(room.caught_up().await, Err(RoomError::Transport(error)) if refused(&error)));
    side.node.close().await.expect("it closes");
}
