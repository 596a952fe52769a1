//! The server by what its clients see: over WebSocket and HTTP, on connections in memory.
#![cfg(feature = "server")]

mod attacks;
mod entry;
mod network;

use std::time::Duration;

use futures_util::SinkExt;
use peerloom_signaling::CloseReason;
use peerloom_signaling::rooms::RoomsOptions;
use peerloom_signaling::server::ServerOptions;
use peerloom_signaling::turn::Turn;
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use network::Network;

/// What two RxDB 17.6.0 peers say to their own server, and are told by it.
#[tokio::test(start_paused = true)]
async fn stock_rxdb_peers_meet_and_signal() {
    let network = Network::start(ServerOptions::default());
    let mut left = network.connect().await;
    left.join_as_stock("capture-room").await;
    assert_eq!(left.hear().await, json!({"type": "joined", "otherPeerIds": [left.id]}));
    let mut right = network.connect().await;
    right.join_as_stock("capture-room").await;
    let both = json!({"type": "joined", "otherPeerIds": [left.id, right.id]});
    assert_eq!(left.hear().await, both);
    assert_eq!(right.hear().await, both);

    let offer = format!(
        r#"{{"type":"signal","senderPeerId":"{}","receiverPeerId":"{}","room":"capture-room","data":{{"type":"offer","sdp":"v=0\r\n"}},"connectionId":"juomzwdtcd"}}"#,
        left.id, right.id
    );
    left.socket.send(Message::text(offer.clone())).await.unwrap();
    assert_eq!(right.hear_text().await, offer, "passed on as it is");

    drop(right);
    assert_eq!(left.hear().await, json!({"type": "joined", "otherPeerIds": [left.id]}));
}

#[tokio::test(start_paused = true)]
async fn capable_peers_hear_of_each_change_once() {
    let network = Network::start(ServerOptions::default());
    let mut left = network.connect().await;
    left.join("our-room").await;
    assert_eq!(left.hear().await, json!({"type": "members", "room": "our-room", "members": []}));
    let mut right = network.connect().await;
    right.join("our-room").await;
    let member = |client: &network::Client<_>| json!({"peerId": client.id, "peerloom": {"version": 1}});
    let members = json!({"type": "members", "room": "our-room", "members": [member(&left)]});
    assert_eq!(right.hear().await, members);
    let joined = json!({"type": "memberJoined", "room": "our-room", "member": member(&right)});
    assert_eq!(left.hear().await, joined);

    right.say(&json!({"type": "leave", "room": "our-room"})).await;
    let gone = json!({"type": "memberLeft", "room": "our-room", "peerId": right.id});
    assert_eq!(left.hear().await, gone);
    right.say(&json!({"type": "ping"})).await;
    left.signal(right.id, "our-room", "are you there?").await;
    right.join("our-room").await;
    assert_eq!(right.hear().await["type"], "members", "what was for a former member is dropped");
}

#[tokio::test(start_paused = true)]
async fn turn_credentials_come_with_init_and_again_before_they_expire() {
    let turn = Turn {
        urls: vec!["turn:turn.example.org:3478".into()],
        secret: b"north".to_vec(),
        valid_for: Duration::from_secs(200),
    };
    let rooms = RoomsOptions { turn: Some(turn.clone()), ..RoomsOptions::default() };
    let network = Network::start(ServerOptions { rooms, ..ServerOptions::default() });
    let mut client = network.connect().await;
    let first = serde_json::to_value(turn.credentials(client.id, network::EPOCH)).unwrap();
    assert_eq!(client.init["peerloom"]["turn"], first);
    client.join("our-room").await;
    let renewed = client.hear_type("turn").await;
    let second = turn.credentials(client.id, network::EPOCH + Duration::from_secs(100));
    assert_eq!(renewed["turn"], serde_json::to_value(second).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_everybody_read_what_waits_and_says_why() {
    let mut network = Network::start(ServerOptions::default());
    let (mut left, mut right) = (network.connect().await, network.connect().await);
    for client in [&mut left, &mut right] {
        client.join("our-room").await;
        client.hear_type("members").await;
    }
    let large = "x".repeat(20_000);
    left.signal(right.id, "our-room", &large).await;
    left.signal(right.id, "our-room", "the last word").await;
    left.say(&json!({"type": "leave", "room": "our-room"})).await;
    // Both signals wait for a reader who has not read even the first when the server stops.
    assert_eq!(left.hear_type("memberJoined").await["type"], "memberJoined");
    left.join("our-room").await;
    left.hear_type("members").await;
    network.stop();
    assert_eq!(left.closed().await, Some(CloseReason::ServerStopping));
    assert_eq!(right.hear_type("signal").await["data"], large);
    assert_eq!(right.hear_type("signal").await["data"], "the last word");
    assert_eq!(right.closed().await, Some(CloseReason::ServerStopping));
    drop((left, right));
    network.served().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let mut network = Network::start(ServerOptions::default());
    let deaf = network.connect().await;
    let before = Instant::now();
    network.stop();
    network.served().await;
    assert!(before.elapsed() <= ServerOptions::default().drain_timeout);
    drop(deaf);
}

#[tokio::test(start_paused = true)]
async fn health_and_metrics_are_served_beside_the_socket() {
    let network = Network::start(ServerOptions::default());
    let mut client = network.connect().await;
    client.join("our-room").await;
    client.hear_type("members").await;
    assert!(network.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(network.get("/").await.starts_with("HTTP/1.1 426 "));

    client.say(&json!({"type": "shout"})).await;
    client.closed().await;
    let answer = network.get("/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    for line in [
        "peerloom_signaling_rooms 0",
        "peerloom_signaling_connected_total 1",
        "peerloom_signaling_joined_total 1",
        "peerloom_signaling_closed_total{reason=\"malformed message\"} 1",
    ] {
        assert!(body.lines().any(|other| other == line), "{line} in\n{body}");
    }
    for line in body.lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("peerloom_signaling_"));
        value.parse::<u64>().unwrap();
    }
}
