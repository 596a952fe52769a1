//! Joining and leaving topics, and who is connected to whom.

use std::collections::BTreeSet;

use peerloom_core::{Connection, PeerAddress, Topic, Transport};
use tokio::task::JoinSet;

use super::TransportFixture;
use super::sample::{
    Joined, Members, Pair, QUIET, accept, accept_both, assert_carries, assert_ends, assert_nobody_comes,
    join, message, number, topic,
};
use crate::poll::attempt;

/// One connection comes on both sides, which carries messages both ways, and no second one.
pub async fn two_members_of_a_topic_are_connected_once<F: TransportFixture>() {
    let Pair { mut left, mut right, mut members } = Pair::<F>::connected().await;
    assert_carries(&mut left, &mut right).await;
    assert_nobody_comes(&mut [&mut members.left, &mut members.right]).await;
}

/// Five members: each hears once from every other, and has no further connection.
pub async fn each_pair_of_many_members_is_connected_once<F: TransportFixture>() {
    const MEMBERS: u32 = 5;
    let fixture = F::fresh().await;
    let mut tasks = Vec::new();
    for own in 0..MEMBERS {
        let mut member = join(&fixture).await;
        tasks.push(tokio::spawn(async move {
            let mut exchanges = JoinSet::new();
            for _ in 1..MEMBERS {
                let Connection { mut sender, mut receiver, .. } = accept(&mut member).await;
                // Beside the next accept: others may accept in another order, and wait in a circle otherwise.
                exchanges.spawn(async move {
                    let (sent, received) = tokio::join!(sender.send(message(own)), receiver.receive());
                    sent.expect("the connection is open");
                    (number(&received.expect("the connection is open")), (sender, receiver))
                });
            }
            let (mut connections, mut heard) = (Vec::new(), BTreeSet::from([own]));
            while let Some(exchanged) = exchanges.join_next().await {
                let (other, connection) = exchanged.expect("the member is heard");
                assert!(heard.insert(other), "connected twice");
                connections.push(connection);
            }
            assert_eq!(heard, (0..MEMBERS).collect(), "everybody is heard");
            (member, connections)
        }));
    }
    let mut members = Vec::new();
    for task in tasks {
        members.push(task.await.expect("the member meets everybody"));
    }
    for (member, _) in &mut members {
        assert_nobody_comes(&mut [member]).await;
    }
}

/// A member that is alone waits, and is woken by the next.
pub async fn an_accept_that_waits_gets_who_joins_later<F: TransportFixture>() {
    let fixture = F::fresh().await;
    let mut first = join(&fixture).await;
    assert_nobody_comes(&mut [&mut first]).await;
    let waiting = tokio::spawn(async move {
        let connection = accept(&mut first).await;
        (first, connection)
    });
    tokio::time::sleep(QUIET).await;
    let mut second = join(&fixture).await;
    let mut right = accept(&mut second).await;
    let (_first, mut left) = waiting.await.expect("the first member is woken");
    assert_carries(&mut left, &mut right).await;
}

/// Members of another topic are not met, even if the names begin alike or one transport is in both.
pub async fn topics_are_kept_apart<F: TransportFixture>() {
    let fixture = F::fresh().await;
    let join = async |transport: &F::Adapter, name: &str| {
        transport.join(&Topic::new(name).expect("valid")).await.expect("the topic is joined")
    };
    let transports = [fixture.transport(), fixture.transport(), fixture.transport()];
    let mut here = join(&transports[0], "topic").await;
    let mut there = join(&transports[0], "topic2").await;
    let mut elsewhere = join(&transports[1], "Topic").await;
    assert_nobody_comes(&mut [&mut here, &mut there, &mut elsewhere]).await;

    let mut guest = join(&transports[2], "topic2").await;
    let (mut left, mut right) = accept_both(&mut there, &mut guest).await;
    assert_carries(&mut left, &mut right).await;
    assert_nobody_comes(&mut [&mut here, &mut elsewhere, &mut guest]).await;
}

/// What a member is told of the others tells them apart.
pub async fn each_member_has_an_address_of_its_own<F: TransportFixture>() {
    let fixture = F::fresh().await;
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(join(&fixture).await);
    }
    for peers in accept_peers(members, 2).await {
        assert_eq!(peers.len(), 2, "two others, two addresses: {peers:?}");
    }
}

/// The addresses of the first connections that each accepts.
async fn accept_peers<T: Transport>(
    members: Vec<Joined<T>>,
    connections: usize,
) -> Vec<BTreeSet<PeerAddress>> {
    let tasks: Vec<_> = members
        .into_iter()
        .map(|mut member| {
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                while accepted.len() < connections {
                    accepted.push(accept(&mut member).await);
                }
                (member, accepted)
            })
        })
        .collect();
    let mut held = Vec::new();
    for task in tasks {
        held.push(task.await.expect("the member meets the others"));
    }
    held.iter().map(|(_, accepted)| accepted.iter().map(|end| end.peer.clone()).collect()).collect()
}

/// Whoever has joined needs the transport no longer.
pub async fn a_membership_outlives_its_transport<F: TransportFixture>() {
    let fixture = F::fresh().await;
    let transport = fixture.transport();
    let mut on_left = transport.join(&topic()).await.expect("the topic is joined");
    drop(transport);
    tokio::time::sleep(QUIET).await;
    let mut on_right = join(&fixture).await;
    let (mut left, mut right) = accept_both(&mut on_left, &mut on_right).await;
    assert_carries(&mut left, &mut right).await;
}

/// Leaving closes no connection.
pub async fn connections_outlive_their_memberships<F: TransportFixture>() {
    let Pair { mut left, mut right, members: Members { left: on_left, right: on_right, fixture: _fixture } } =
        Pair::<F>::connected().await;
    drop(on_left);
    assert_carries(&mut left, &mut right).await;
    drop(on_right);
    tokio::time::sleep(QUIET).await;
    assert_carries(&mut left, &mut right).await;
}

/// Who joins after somebody left does not meet him.
pub async fn who_left_is_connected_to_nobody<F: TransportFixture>() {
    let Pair { left, right, mut members } = Pair::<F>::connected().await;
    drop((left, members.left));
    tokio::time::sleep(QUIET).await;
    let mut late = join(&members.fixture).await;
    let (mut to_right, mut to_late) = accept_both(&mut late, &mut members.right).await;
    assert_carries(&mut to_right, &mut to_late).await;
    assert_nobody_comes(&mut [&mut late, &mut members.right]).await;
    drop(right);
}

/// Leaving and joining again gives a new connection to those who stayed.
pub async fn who_joins_again_is_connected_again<F: TransportFixture>() {
    let Pair { left, right, mut members } = Pair::<F>::connected().await;
    drop((left, right, members.right));
    tokio::time::sleep(QUIET).await;
    members.right = join(&members.fixture).await;
    let (mut left, mut right) = accept_both(&mut members.left, &mut members.right).await;
    assert_carries(&mut left, &mut right).await;
}

/// After a connection was closed, and both ends know, both redial: one new connection comes, with the same
/// address.
pub async fn a_closed_connection_is_made_again_by_redialing<F: TransportFixture>() {
    let Pair { mut left, mut right, mut members } = Pair::<F>::connected().await;
    for round in 0..3 {
        let addresses = (left.peer.clone(), right.peer.clone());
        left.sender.close().await;
        assert_ends(&mut right).await;
        assert_ends(&mut left).await;
        members.left.redial(&addresses.0);
        members.right.redial(&addresses.1);
        (left, right) = accept_both(&mut members.left, &mut members.right).await;
        assert_eq!((left.peer.clone(), right.peer.clone()), addresses, "round {round}");
        assert_carries(&mut left, &mut right).await;
    }
    assert_nobody_comes(&mut [&mut members.left, &mut members.right]).await;
}

/// A connection that is open stays the only one.
pub async fn redialing_an_open_connection_does_nothing<F: TransportFixture>() {
    let Pair { mut left, mut right, mut members } = Pair::<F>::connected().await;
    members.left.redial(&left.peer);
    members.right.redial(&right.peer);
    assert_nobody_comes(&mut [&mut members.left, &mut members.right]).await;
    assert_carries(&mut left, &mut right).await;
}

/// Somebody who left, and somebody who never was.
pub async fn redialing_who_is_not_there_does_nothing<F: TransportFixture>() {
    let Pair { left, mut right, mut members } = Pair::<F>::connected().await;
    let gone = right.peer.clone();
    drop((left, members.left));
    assert_ends(&mut right).await;
    tokio::time::sleep(QUIET).await;
    members.right.redial(&gone);
    members.right.redial(&PeerAddress::new("nobody"));
    assert_nobody_comes(&mut [&mut members.right]).await;

    let mut late = join(&members.fixture).await;
    let (mut left, mut right) = accept_both(&mut late, &mut members.right).await;
    assert_carries(&mut left, &mut right).await;
}

/// Accepts that are dropped again and again while connections are made.
pub async fn dropping_an_accept_loses_no_connection<F: TransportFixture>() {
    const OTHERS: usize = 3;
    let fixture = F::fresh().await;
    let mut member = join(&fixture).await;
    for _ in 0..4 {
        let _ = attempt(0, member.accept()).await;
    }
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        let mut other = join(&fixture).await;
        others.push(tokio::spawn(async move {
            let connection = accept(&mut other).await;
            (other, connection)
        }));
    }
    let mut connections = Vec::new();
    for attempts in 0.. {
        if let Some(accepted) = attempt(attempts, member.accept()).await {
            connections.push(accepted.expect("the membership goes on"));
            if connections.len() == OTHERS {
                break;
            }
        }
    }
    let mut held = Vec::new();
    for other in others {
        held.push(other.await.expect("the other is connected"));
    }
    assert_eq!(connections.iter().map(|end| &end.peer).collect::<BTreeSet<_>>().len(), OTHERS);
}

/// Both ends of a connection have the same binding, or none; no two connections have the same, not even of
/// the same members.
pub async fn a_channel_binding_is_alike_at_both_ends_and_nowhere_else<F: TransportFixture>() {
    let Pair { mut left, mut right, mut members } = Pair::<F>::connected().await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        assert_eq!(left.channel_binding, right.channel_binding, "at both ends");
        if let Some(binding) = left.channel_binding.clone() {
            assert!(!binding.is_empty(), "an empty binding binds nothing");
            assert!(seen.insert(binding), "on another connection");
        }
        left.sender.close().await;
        assert_ends(&mut right).await;
        assert_ends(&mut left).await;
        members.left.redial(&left.peer);
        members.right.redial(&right.peer);
        (left, right) = accept_both(&mut members.left, &mut members.right).await;
    }
}
