//! What an attacker pays and nobody else does.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use peerloom_signaling::rooms::{Limits, RoomsOptions};
use peerloom_signaling::server::ServerOptions;
use peerloom_signaling::{CloseReason, PeerId};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::network::{Client, Network, closed, request};

/// Two peers in a room who notice when the other goes, or signals stop to pass.
struct Bystanders {
    left: Client<DuplexStream>,
    right: Client<DuplexStream>,
}

impl Bystanders {
    async fn in_room(network: &Network, room: &str) -> Self {
        let mut left = network.connect().await;
        left.join(room).await;
        left.hear_type("members").await;
        let mut right = network.connect().await;
        right.join(room).await;
        right.hear_type("members").await;
        left.hear_type("memberJoined").await;
        Self { left, right }
    }

    /// Fails if either has lost its connection, or heard anything from or of anybody but the attacker's coming and going.
    async fn are_unharmed(mut self, room: &str, attacker: PeerId) {
        for _ in 0..2 {
            let (from, to) = (&mut self.left, &mut self.right);
            from.signal(to.id, room, "hello").await;
            loop {
                let message = to.hear().await;
                match message["type"].as_str().unwrap() {
                    "signal" => {
                        assert_eq!(message["senderPeerId"], json!(from.id));
                        break;
                    }
                    "memberJoined" => assert_eq!(message["member"]["peerId"], json!(attacker)),
                    "memberLeft" => assert_eq!(message["peerId"], json!(attacker)),
                    other => panic!("{other}"),
                }
            }
            std::mem::swap(&mut self.left, &mut self.right);
        }
    }
}

fn with_limits(limits: Limits) -> Network {
    Network::start(ServerOptions {
        rooms: RoomsOptions { limits, ..RoomsOptions::default() },
        ..ServerOptions::default()
    })
}

#[tokio::test(start_paused = true)]
async fn whoever_breaks_a_rule_is_told_which_and_is_the_only_one_to_go() {
    let large = "x".repeat(Limits::default().message_bytes_max.get());
    let offences = [
        (Message::text("what?"), CloseReason::MalformedMessage),
        (Message::text("[]"), CloseReason::MalformedMessage),
        (Message::text("[".repeat(60_000)), CloseReason::MalformedMessage),
        (Message::text(r#"{"type":"shout"}"#), CloseReason::MalformedMessage),
        (Message::text(r#"{"type":"join","room":"short"}"#), CloseReason::MalformedMessage),
        (Message::text(r#"{"type":"join","room":7}"#), CloseReason::MalformedMessage),
        (Message::binary(b"\0\x01\x02".to_vec()), CloseReason::MalformedMessage),
        (Message::text(json!({"type": "ping", "padding": large}).to_string()), CloseReason::MessageTooLarge),
    ];
    for (message, reason) in offences {
        let network = Network::start(ServerOptions::default());
        let bystanders = Bystanders::in_room(&network, "our-room").await;
        let mut attacker = network.connect().await;
        attacker.join("our-room").await;
        attacker.socket.send(message).await.ok();
        assert_eq!(attacker.closed().await, Some(reason));
        bystanders.are_unharmed("our-room", attacker.id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_speaks_for_another_is_closed_and_not_heard() {
    let network = Network::start(ServerOptions::default());
    let bystanders = Bystanders::in_room(&network, "our-room").await;
    let mut attacker = network.connect().await;
    attacker.join("our-room").await;
    let spoofed = json!({
        "type": "signal", "senderPeerId": bystanders.left.id, "receiverPeerId": bystanders.right.id,
        "room": "our-room", "data": "I am somebody else",
    });
    attacker.say(&spoofed).await;
    assert_eq!(attacker.closed().await, Some(CloseReason::SpoofedSender));
    bystanders.are_unharmed("our-room", attacker.id).await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_from_outside_of_the_room_reaches_nobody() {
    let network = Network::start(ServerOptions::default());
    let bystanders = Bystanders::in_room(&network, "our-room").await;
    let mut outsider = network.connect().await;
    outsider.join("his-room").await;
    for room in ["our-room", "his-room"] {
        outsider.signal(bystanders.left.id, room, "let me in").await;
    }
    outsider.hear_type("members").await;
    bystanders.are_unharmed("our-room", outsider.id).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_costs_its_sender_the_connection() {
    let flood: [fn(u32) -> Message; 2] = [
        |_| Message::text(r#"{"type":"ping"}"#),
        |number| Message::Ping(Bytes::from(number.to_be_bytes().to_vec())),
    ];
    for message in flood {
        let network = Network::start(ServerOptions::default());
        let bystanders = Bystanders::in_room(&network, "our-room").await;
        let mut attacker = network.connect().await;
        attacker.join("our-room").await;
        let id = attacker.id;
        let (mut sink, mut stream) = attacker.socket.split();
        let flooding = async {
            for number in 0..2 * Limits::default().messages_burst.get() {
                if sink.send(message(number)).await.is_err() {
                    break;
                }
            }
        };
        let (reason, ()) = tokio::join!(closed(&mut stream), flooding);
        assert_eq!(reason, Some(CloseReason::TooManyMessages));
        bystanders.are_unharmed("our-room", id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_floods_a_slow_reader_goes_and_the_slow_reader_stays() {
    let network = Network::start(ServerOptions::default());
    let bystanders = Bystanders::in_room(&network, "our-room").await;
    let mut attacker = network.connect().await;
    attacker.join("our-room").await;
    let large = "x".repeat(50_000);
    // `left` reads nothing meanwhile.
    for _ in 0..10 {
        let message = json!({
            "type": "signal", "senderPeerId": attacker.id, "receiverPeerId": bystanders.left.id,
            "room": "our-room", "data": large,
        });
        if attacker.socket.send(Message::text(message.to_string())).await.is_err() {
            break;
        }
    }
    assert_eq!(attacker.closed().await, Some(CloseReason::TooManyMessages));
    let Bystanders { mut left, mut right } = bystanders;
    right.signal(left.id, "our-room", "hello").await;
    while left.hear_type("signal").await["senderPeerId"] != json!(right.id) {}
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_is_closed_and_nobody_waits_for_him() {
    let network = Network::start(ServerOptions::default());
    let mut bystanders = Bystanders::in_room(&network, "our-room").await;
    let mut slow = network.connect().await;
    slow.join("our-room").await;
    slow.hear_type("members").await;
    // More than the connection holds, so that the server is stuck in the middle of a message.
    bystanders.left.signal(slow.id, "our-room", &"x".repeat(30_000)).await;
    bystanders.right.signal(bystanders.left.id, "our-room", "nobody waits").await;
    assert_eq!(bystanders.left.hear_type("signal").await["data"], "nobody waits");
    assert_eq!(bystanders.left.hear_type("memberLeft").await["peerId"], json!(slow.id));
    // It reads now, and early enough to be told why.
    assert_eq!(slow.closed().await, Some(CloseReason::SlowReader));
    bystanders.are_unharmed("our-room", slow.id).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_lets_events_pile_up_is_closed_when_his_queue_is_full() {
    let limits = Limits {
        queue_bytes_max: 16_384.try_into().unwrap(),
        send_timeout: Duration::from_secs(1_000_000),
        idle_timeout: Duration::from_secs(1_000_000),
        messages_burst: 1_000_000.try_into().unwrap(),
        ..Limits::default()
    };
    let network = with_limits(limits);
    let mut bystanders = Bystanders::in_room(&network, "our-room").await;
    let mut slow = network.connect().await;
    slow.join("our-room").await;
    slow.hear_type("members").await;
    let mut restless = network.connect().await;
    for _ in 0..500 {
        restless.join("our-room").await;
        restless.hear_type("members").await;
        restless.say(&json!({"type": "leave", "room": "our-room"})).await;
        for bystander in [&mut bystanders.left, &mut bystanders.right] {
            let gone = bystander.hear_type("memberLeft").await;
            if gone["peerId"] == json!(slow.id) {
                return;
            }
        }
    }
    panic!("the slow reader is still there");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_closed() {
    let network = Network::start(ServerOptions::default());
    let mut client = network.connect().await;
    assert_eq!(client.closed().await, Some(CloseReason::IdleTimeout));
}

/// Bytes that are no HTTP, no WebSocket, or nothing at all.
#[tokio::test(start_paused = true)]
async fn garbage_ends_the_connection_it_came_on() {
    let network = Network::start(ServerOptions::default());
    let bystanders = Bystanders::in_room(&network, "our-room").await;
    for garbage in [&b""[..], b"\0\0\0\0\r\n\r\n", b"GET / HTTP/1.1\r\n", &[b'a'; 100_000]] {
        let mut stream = network.dial();
        stream.write_all(garbage).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }

    const LENGTH_OF_AN_EXABYTE: &[u8] = &[0x81, 0xFF, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    // A client's frames must be masked; these are not, or have bits set that mean nothing.
    let mut attacker = network.connect().await;
    for garbage in [&[0x81, 0x02, b'h', b'i'][..], &[0xFF; 64], LENGTH_OF_AN_EXABYTE] {
        attacker = network.connect().await;
        attacker.join("our-room").await;
        attacker.hear_type("members").await;
        attacker.socket.get_mut().write_all(garbage).await.unwrap();
        let reason = attacker.closed().await;
        assert!(
            matches!(reason, Some(CloseReason::MalformedMessage | CloseReason::MessageTooLarge)),
            "{reason:?} for {garbage:x?}"
        );
        attacker.socket.get_mut().shutdown().await.ok();
    }
    drop(attacker);
    let Bystanders { mut left, mut right } = bystanders;
    left.signal(right.id, "our-room", "hello").await;
    right.hear_type("signal").await;
}

#[tokio::test(start_paused = true)]
async fn connections_of_one_address_are_limited_and_of_another_are_not() {
    let connections_per_address_max = 2.try_into().unwrap();
    let network = Network::start(ServerOptions { connections_per_address_max, ..ServerOptions::default() });
    let (_first, second) = (network.connect().await, network.connect().await);
    let mut third = network.dial();
    assert_eq!(third.read(&mut [0; 1]).await.unwrap(), 0, "hung up on");
    let other = network.dial_from([192, 0, 2, 2]);
    assert!(Client::over(other, request("/")).await.is_ok());
    drop(second);
    tokio::time::sleep(Duration::from_secs(1)).await;
    network.connect().await;
}
