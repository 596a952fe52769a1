//! Who may be in a room beyond the key: peers are asked for, refused, revoked and taken back, and none of that holds up the others.

mod cluster;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster::{Side, TOPIC, address, join, told};
use peerloom::{
    Applicant, CloseReason, Events, InProcess, Network, PeerValidator, Refusal, RoomError, RoomEvent, Topic,
    Transport, Verdict,
};

/// Admits who claims the password, and remembers who asked.
#[derive(Clone, Default)]
struct Doorman {
    asked: Arc<Mutex<Vec<Applicant>>>,
}

const PASSWORD: &str = "swordfish";
const REASON: &str = "that is not the password";

#[async_trait]
impl PeerValidator for Doorman {
    async fn validate(&self, applicant: &Applicant) -> Verdict {
        self.asked.lock().expect("nothing panics").push(applicant.clone());
        tokio::time::sleep(Duration::from_secs(3)).await;
        match applicant.claim.as_ref() == PASSWORD.as_bytes() {
            true => Verdict::Admit,
            false => Verdict::refuse(REASON),
        }
    }
}

impl Doorman {
    fn asked(&self) -> Vec<Applicant> {
        self.asked.lock().expect("nothing panics").clone()
    }
}

/// Waits until both sides have told of the refusal.
async fn refused(left: &mut Events, right: &mut Events, refusal: &Refusal) {
    for (events, refuses) in [(left, true), (right, false)] {
        told(events, "the refusal", |event| {
            matches!(event, RoomEvent::Refused { reason, by_peer, .. } if reason == refusal && *by_peer != refuses)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_makes_the_right_claim_is_admitted_and_asked_for_once() {
    let (network, left, right, doorman) =
        (Network::new(), Side::new().await, Side::new().await, Doorman::default());
    left.put("it").await;
    let (left_room, _) = join(left.sharing().validator(doorman.clone()), &network, 0).await;
    let (right_room, _) = join(right.sharing().claim(PASSWORD), &network, 1).await;
    for room in [&left_room, &right_room] {
        room.caught_up().await.expect("it is not left");
    }
    assert!(right.has("it").await);
    let asked = doorman.asked();
    let [applicant] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((applicant.replica, &applicant.address), (right.node.replica_id(), &address(1)));
    assert_eq!(applicant.public_key, right.node.public_key());
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_is_told_why_gets_nothing_and_comes_back_ever_later() {
    let (network, left, right, doorman) =
        (Network::new(), Side::new().await, Side::new().await, Doorman::default());
    left.put("it").await;
    let (left_room, mut left_events) = join(left.sharing().validator(doorman.clone()), &network, 0).await;
    let (_right_room, mut right_events) = join(right.sharing().claim("carp"), &network, 1).await;
    refused(&mut left_events, &mut right_events, &Refusal::Denied(REASON.to_owned())).await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert!(!right.has("it").await && left_room.peers().is_empty());
    // After at most half a minute, then twice as long each time, up to an hour, for a day: neither never nor all the time.
    let times = doorman.asked().len();
    assert!((24..=70).contains(&times), "{times} times");
}

#[tokio::test(start_paused = true)]
async fn who_is_revoked_is_told_why_and_stays_out_until_it_is_reinstated() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    let (left_room, mut left_events) = join(left.sharing(), &network, 0).await;
    let (right_room, mut right_events) = join(right.sharing(), &network, 1).await;
    right_room.caught_up().await.expect("it is not left");
    let replica = right.node.replica_id();
    left_room.revoke(replica, "stolen");
    let refusal = Refusal::Revoked("stolen".to_owned());
    told(&mut right_events, "the end", |event| {
        matches!(event, RoomEvent::PeerLeft { reason: CloseReason::RefusedByPeer(reason), .. } if *reason == refusal)
    })
    .await;
    refused(&mut left_events, &mut right_events, &refusal).await;
    left.put("secret").await;
    // It tries again, and is refused again.
    refused(&mut left_events, &mut right_events, &refusal).await;
    assert!(!right.has("secret").await);
    left_room.reinstate(replica);
    told(&mut right_events, "the reunion", |event| matches!(event, RoomEvent::PeerJoined { .. })).await;
    right_room.caught_up().await.expect("it is not left");
    assert!(right.has("secret").await);
}

/// Decides in none of the ways it should.
enum Broken {
    Panics,
    Never,
}

#[async_trait]
impl PeerValidator for Broken {
    async fn validate(&self, _applicant: &Applicant) -> Verdict {
        match self {
            Self::Panics => panic!("as the test wants it"),
            Self::Never => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_validator_that_fails_admits_nobody() {
    for broken in [Broken::Panics, Broken::Never] {
        let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
        left.put("it").await;
        let (_left_room, mut events) = join(left.sharing().validator(broken), &network, 0).await;
        let _right = join(right.sharing(), &network, 1).await;
        told(&mut events, "the refusal", |event| {
            matches!(event, RoomEvent::Refused { reason: Refusal::Denied(_), by_peer: false, .. })
        })
        .await;
        assert!(!right.has("it").await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_bounded() {
    let (network, side) = (Network::new(), Side::new().await);
    let joined = side.sharing().claim(vec![0; 4097]).join(InProcess::new(&network)).await;
    assert!(matches!(joined, Err(RoomError::ClaimTooLong { bytes: 4097 })));
    let (_room, _) = join(side.sharing().claim(vec![0; 4096]), &network, 0).await;
}

/// Somebody who connects as often as he can and never says a word.
async fn loiter(network: Network, address: usize) {
    let transport = InProcess::new(&network).named(&address.to_string());
    let mut membership = transport.join(&Topic::new(TOPIC).expect("valid")).await.expect("it is joined");
    let mut held = Vec::new();
    loop {
        let connection = membership.accept().await.expect("the membership lives");
        let peer = connection.peer.clone();
        held.push(connection);
        membership.redial(&peer);
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_who_say_nothing_do_not_hold_up_those_who_belong_here() {
    let (network, left, right) = (Network::new(), Side::new().await, Side::new().await);
    let (left_room, mut events) = join(left.sharing(), &network, 0).await;
    let (right_room, _) = join(right.sharing(), &network, 1).await;
    right_room.caught_up().await.expect("it is not left");
    let _strangers: Vec<_> = (2..6).map(|address| tokio::spawn(loiter(network.clone(), address))).collect();
    let late = |event: &RoomEvent| {
        matches!(event, RoomEvent::ConnectionFailed { reason: CloseReason::HandshakeTimedOut, .. })
    };
    told(&mut events, "the first stranger", late).await;
    for round in 0..200 {
        left.put(&round.to_string()).await;
        let caught_up = tokio::time::timeout(Duration::from_secs(2), left_room.caught_up()).await;
        caught_up
            .unwrap_or_else(|_| panic!("round {round}: {:?}", left_room.peers()))
            .expect("it is not left");
        assert!(right.has(&round.to_string()).await);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}
