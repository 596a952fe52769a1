//! Who is connected to whom: joining, leaving, redialing, and the shapes a network can take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::{Connection, Membership, PeerAddress, Topic, Transport, TransportError};
use peerloom_in_process::{InProcess, Network};
use tokio::time::timeout;

/// Longer than anything takes that ever happens.
const FOR_EVER: Duration = Duration::from_secs(3600);

async fn join(network: &Network, name: &str) -> Box<dyn Membership> {
    InProcess::new(network).named(name).join(&topic()).await.expect("the name is free")
}

fn topic() -> Topic {
    Topic::new("topic").expect("valid")
}

fn address(name: &str) -> PeerAddress {
    PeerAddress::new(name)
}

/// The next connection, or `None` if there is none.
async fn accept(member: &mut Box<dyn Membership>) -> Option<Connection> {
    timeout(FOR_EVER, member.accept()).await.ok().map(|accepted| accepted.expect("a member"))
}

/// Every connection there is to accept.
async fn accept_all(member: &mut Box<dyn Membership>) -> Vec<Connection> {
    let mut connections = Vec::new();
    while let Some(connection) = accept(member).await {
        connections.push(connection);
    }
    connections
}

fn peers(connections: &[Connection]) -> Vec<&str> {
    connections.iter().map(|connection| connection.peer.as_str()).collect()
}

async fn assert_carries(from: &mut Connection, to: &mut Connection) {
    from.sender.send(Bytes::from_static(b"hello")).await.expect("open");
    assert_eq!(to.receiver.receive().await.as_deref(), Some(&b"hello"[..]));
}

async fn assert_ended(end: &mut Connection) {
    assert_eq!(timeout(FOR_EVER, end.receiver.receive()).await, Ok(None));
    assert!(matches!(end.sender.send(Bytes::from_static(b"x")).await, Err(TransportError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn every_pair_of_many_members_is_connected_once() {
    const MEMBERS: usize = 32;
    let network = Network::new();
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        members.push(join(&network, &format!("{number:02}")).await);
    }
    let mut ends_by_binding: BTreeMap<Bytes, BTreeSet<String>> = BTreeMap::new();
    let mut connections = Vec::new();
    for (number, member) in members.iter_mut().enumerate() {
        let accepted = accept_all(member).await;
        let expected: Vec<_> =
            (0..MEMBERS).filter(|&peer| peer != number).map(|peer| format!("{peer:02}")).collect();
        assert_eq!(peers(&accepted), expected);
        for connection in &accepted {
            let binding = connection.channel_binding.clone().expect("bound");
            assert_eq!(binding.len(), 32);
            ends_by_binding.entry(binding).or_default().insert(connection.peer.to_string());
        }
        connections.extend(accepted);
    }
    assert_eq!(ends_by_binding.len(), MEMBERS * (MEMBERS - 1) / 2);
    assert!(ends_by_binding.values().all(|ends| ends.len() == 2), "both ends and no other share a binding");
    let distinct: BTreeSet<_> = ends_by_binding.values().collect();
    assert_eq!(distinct.len(), ends_by_binding.len(), "no pair has two connections");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_waits_is_woken_by_who_joins() {
    let network = Network::new();
    let mut left = join(&network, "left").await;
    let waiting = tokio::spawn(async move { left.accept().await.expect("member").peer });
    tokio::task::yield_now().await;
    let _right = join(&network, "right").await;
    assert_eq!(waiting.await.expect("no panic"), address("right"));
}

#[tokio::test(start_paused = true)]
async fn dropping_an_accept_loses_no_connection() {
    let network = Network::new();
    let mut left = join(&network, "left").await;
    {
        let mut accepting = left.accept();
        let now = std::future::ready(());
        tokio::select! { biased; _ = &mut accepting => panic!("nobody is there"), () = now => {} }
        let _right = join(&network, "right").await;
        // Woken and dropped before it ran.
        drop(accepting);
    }
    assert_eq!(accept(&mut left).await.expect("offered").peer, address("right"));
}

#[tokio::test(start_paused = true)]
async fn members_without_a_name_have_addresses_of_their_own() {
    let network = Network::new();
    let _named = join(&network, "member-2").await;
    let transport = InProcess::new(&network);
    let _first = transport.join(&topic()).await.expect("free");
    let _second = transport.join(&topic()).await.expect("free");
    let mut last = join(&network, "last").await;
    let connections = accept_all(&mut last).await;
    assert_eq!(peers(&connections).into_iter().collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_as_long_as_its_member_is_there() {
    let network = Network::new();
    let first = join(&network, "name").await;
    let transport = InProcess::new(&network).named("name");
    assert!(matches!(transport.join(&topic()).await, Err(TransportError::Failed { .. })));
    assert!(transport.join(&Topic::new("another").expect("valid")).await.is_ok());
    drop(first);
    assert!(transport.join(&topic()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn topics_and_networks_do_not_mix() {
    let network = Network::new();
    let mut left = join(&network, "left").await;
    let _elsewhere = join(&Network::new(), "right").await;
    let another = Topic::new("another").expect("valid");
    let _other = InProcess::new(&network).named("right").join(&another).await.expect("free");
    assert!(accept(&mut left).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn redialing_an_open_connection_does_nothing() {
    let network = Network::new();
    let (mut left, mut right) = (join(&network, "left").await, join(&network, "right").await);
    left.redial(&address("right"));
    let mut to_right = accept(&mut left).await.expect("joined");
    right.redial(&address("left"));
    let mut to_left = accept(&mut right).await.expect("joined");
    left.redial(&address("right"));
    assert!(accept(&mut left).await.is_none());
    assert!(accept(&mut right).await.is_none());
    assert_carries(&mut to_right, &mut to_left).await;
}

#[tokio::test(start_paused = true)]
async fn redialing_after_the_end_makes_one_connection_whoever_noticed() {
    let network = Network::new();
    let (mut left, mut right) = (join(&network, "left").await, join(&network, "right").await);
    let mut to_right = accept(&mut left).await.expect("joined");
    let mut old_to_left = accept(&mut right).await.expect("joined");
    for round in 0..10 {
        to_right.sender.send(Bytes::from_static(b"last words")).await.expect("open");
        drop(to_right);
        // The right one has not noticed, and may even redial, too.
        left.redial(&address("right"));
        if round % 2 == 0 {
            right.redial(&address("left"));
        }
        to_right = accept(&mut left).await.expect("redialed");
        let mut to_left = accept(&mut right).await.expect("redialed");
        assert!(accept(&mut left).await.is_none() && accept(&mut right).await.is_none());
        assert_carries(&mut to_right, &mut to_left).await;
        assert_eq!(old_to_left.receiver.receive().await.as_deref(), Some(&b"last words"[..]));
        assert_ended(&mut old_to_left).await;
        old_to_left = to_left;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ended_before_it_was_accepted_gives_way_to_the_next() {
    let network = Network::new();
    let (mut left, mut right) = (join(&network, "left").await, join(&network, "right").await);
    for _ in 0..100 {
        drop(accept(&mut left).await.expect("offered"));
        left.redial(&address("right"));
    }
    let mut to_right = accept(&mut left).await.expect("offered");
    let mut to_left = accept(&mut right).await.expect("offered");
    assert_carries(&mut to_right, &mut to_left).await;
    assert!(accept(&mut right).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn redialing_someone_who_is_not_there_does_nothing() {
    let network = Network::new();
    let (mut left, right) = (join(&network, "left").await, join(&network, "right").await);
    drop(accept(&mut left).await);
    drop(right);
    for name in ["right", "left", "nobody"] {
        left.redial(&address(name));
    }
    assert!(accept(&mut left).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn connections_outlive_the_memberships_they_came_by() {
    let network = Network::new();
    let (mut left, mut right) = (join(&network, "left").await, join(&network, "right").await);
    let mut to_right = accept(&mut left).await.expect("joined");
    let mut to_left = accept(&mut right).await.expect("joined");
    drop((left, right));
    assert_carries(&mut to_right, &mut to_left).await;
    let mut late = join(&network, "late").await;
    assert!(accept(&mut late).await.is_none(), "nobody is left");
    network.disconnect(&address("left"), &address("right"));
    assert_ended(&mut to_right).await;
    assert_ended(&mut to_left).await;
}

#[tokio::test(start_paused = true)]
async fn leaving_closes_what_was_not_accepted() {
    let network = Network::new();
    let (mut left, right) = (join(&network, "left").await, join(&network, "right").await);
    let mut to_right = accept(&mut left).await.expect("joined");
    drop(right);
    assert_ended(&mut to_right).await;
}

#[tokio::test(start_paused = true)]
async fn who_joins_again_is_connected_anew_even_if_the_old_connection_is_open() {
    let network = Network::new();
    let (mut left, mut right) = (join(&network, "left").await, join(&network, "right").await);
    let mut old_to_right = accept(&mut left).await.expect("joined");
    let mut old_to_left = accept(&mut right).await.expect("joined");
    drop(right);
    let mut right = join(&network, "right").await;
    let mut to_right = accept(&mut left).await.expect("joined again");
    let mut to_left = accept(&mut right).await.expect("joined again");
    assert_carries(&mut to_right, &mut to_left).await;
    assert_carries(&mut old_to_right, &mut old_to_left).await;
    network.cut(&address("left"), &address("right"));
    for end in [&mut to_right, &mut to_left, &mut old_to_right, &mut old_to_left] {
        assert_ended(end).await;
    }
}

#[tokio::test(start_paused = true)]
async fn members_that_come_and_go_leave_nothing_behind_for_who_never_accepts() {
    let network = Network::new();
    let mut idle = join(&network, "idle").await;
    for _ in 0..100 {
        drop(InProcess::new(&network).join(&topic()).await);
    }
    let _last = join(&network, "last").await;
    assert_eq!(peers(&accept_all(&mut idle).await), ["last"]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_gives_the_network_its_shape() {
    type Rule = fn(u8, u8) -> bool;
    let shapes: [(&str, Rule, [&str; 4]); 4] = [
        ("line", |left, right| left + 1 == right, ["b", "ac", "bd", "c"]),
        ("ring", |left, right| left + 1 == right || (left, right) == (b'a', b'd'), ["bd", "ac", "bd", "ac"]),
        ("star", |left, _| left == b'a', ["bcd", "a", "a", "a"]),
        ("none", |_, _| false, ["", "", "", ""]),
    ];
    let letter = |address: &PeerAddress| address.as_str().as_bytes()[0];
    for (shape, rule, expected) in shapes {
        let network = Network::new();
        network.allow(move |left, right| rule(letter(left), letter(right)));
        let mut members = Vec::new();
        // Not in the order of their names, so that the lesser address is not always the one that was first.
        for name in ["c", "a", "d", "b"] {
            members.push((name, join(&network, name).await));
        }
        members.sort_by_key(|(name, _)| *name);
        for ((name, member), expected) in members.iter_mut().zip(expected) {
            let connections = accept_all(member).await;
            let peers: BTreeSet<_> = peers(&connections).into_iter().collect();
            assert_eq!(peers.into_iter().collect::<String>(), expected, "{name} in the {shape}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_breaks_what_crosses_it_and_healing_connects_it_again() {
    let network = Network::new();
    let mut members = Vec::new();
    for name in ["a1", "a2", "b1"] {
        members.push(join(&network, name).await);
    }
    let mut before = Vec::new();
    for member in &mut members {
        before.push(accept_all(member).await);
    }
    network.allow(|left, right| left.as_str()[..1] == right.as_str()[..1]);
    for end in &mut before[2] {
        assert_ended(end).await;
    }
    members[2].redial(&address("a1"));
    assert!(accept(&mut members[2]).await.is_none(), "the partition holds");
    let (a1, rest) = before.split_at_mut(1);
    assert_carries(&mut a1[0][0], &mut rest[0][0]).await;

    network.allow(|_, _| true);
    let expected: [&[&str]; 3] = [&["b1"], &["b1"], &["a1", "a2"]];
    for (member, expected) in members.iter_mut().zip(expected) {
        assert_eq!(peers(&accept_all(member).await), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_holds_until_it_is_healed() {
    let network = Network::new();
    let (left, right) = (address("left"), address("right"));
    network.cut(&right, &left);
    let (mut on_left, mut on_right) = (join(&network, "left").await, join(&network, "right").await);
    on_left.redial(&right);
    network.allow(|_, _| true);
    assert!(accept(&mut on_left).await.is_none() && accept(&mut on_right).await.is_none());

    network.heal(&left, &right);
    let mut to_right = accept(&mut on_left).await.expect("healed");
    let mut to_left = accept(&mut on_right).await.expect("healed");
    assert_carries(&mut to_left, &mut to_right).await;
    network.heal(&left, &right);
    assert!(accept(&mut on_left).await.is_none(), "nothing was cut");

    network.cut(&left, &right);
    assert_ended(&mut to_right).await;
    assert_ended(&mut to_left).await;
    on_right.redial(&left);
    assert!(accept(&mut on_left).await.is_none() && accept(&mut on_right).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_breaks_one_pair_until_either_redials() {
    let network = Network::new();
    let mut hub = join(&network, "hub").await;
    let mut left = join(&network, "left").await;
    let _right = join(&network, "right").await;
    let mut of_hub = accept_all(&mut hub).await;
    let mut of_left = accept_all(&mut left).await;
    network.disconnect(&address("left"), &address("hub"));
    assert_ended(&mut of_hub[0]).await;
    assert_ended(&mut of_left[0]).await;
    of_hub[1].sender.send(Bytes::from_static(b"x")).await.expect("the other pair is not touched");
    assert!(accept(&mut hub).await.is_none(), "nobody redialed");
    left.redial(&address("hub"));
    let mut to_left = accept(&mut hub).await.expect("redialed");
    let mut to_hub = accept(&mut left).await.expect("redialed");
    assert_carries(&mut to_left, &mut to_hub).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_connection_waits_to_be_accepted_even_if_its_maker_left() {
    let network = Network::new();
    let (mut idle, mut brief) = (join(&network, "idle").await, join(&network, "brief").await);
    let mut to_idle = accept(&mut brief).await.expect("joined");
    drop(brief);
    let _last = join(&network, "last").await;
    let mut accepted = accept_all(&mut idle).await;
    assert_eq!(peers(&accepted), ["brief", "last"]);
    assert_carries(&mut to_idle, &mut accepted[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_rule_redials_nobody_who_was_allowed_before() {
    let network = Network::new();
    let (mut left, mut right) = (join(&network, "left").await, join(&network, "right").await);
    drop((accept(&mut left).await, accept(&mut right).await));
    network.allow(|_, _| true);
    assert!(accept(&mut left).await.is_none() && accept(&mut right).await.is_none());
}
