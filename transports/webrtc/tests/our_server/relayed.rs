//! Peers that reach each other only through the TURN server that the signaling server hands out.

use std::time::Duration;

use async_trait::async_trait;
use peerloom_core::{Membership, Topic, Transport, TransportError};
use peerloom_signaling::rooms::RoomsOptions;
use peerloom_signaling::server::ServerOptions;
use peerloom_signaling::turn::Turn;
use peerloom_webrtc::{
    ConnectionId, IceServer, Interfaces, Options, PeerId, Signal, Signaling, SignalingEvent,
    SignalingSession, WebRtc, WebSocketSignaling,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::firewall::Firewall;
use crate::turn_server::TurnServer;
use crate::{Running, carries, meet};

const SECRET: &[u8] = b"known to both servers";

/// A room whose members reach nothing but the TURN server.
struct Room {
    url: String,
    turn: TurnServer,
    network: Firewall,
    _server: Running,
}

/// A member, and what it was told of the TURN server last.
struct Member {
    membership: Box<dyn Membership>,
    handed_out: watch::Receiver<Option<IceServer>>,
}

impl Room {
    async fn new(valid_for: Duration) -> Self {
        let turn = TurnServer::start(SECRET).await;
        let network = Firewall::around(turn.address);
        // A URL that nobody understands must not keep the other from being used.
        let urls = vec!["turn:".to_owned(), format!("turn:{}?transport=udp", turn.address)];
        let handed_out = Turn { urls, secret: SECRET.to_vec(), valid_for };
        let rooms = RoomsOptions { turn: Some(handed_out), ..RoomsOptions::default() };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let server = Running::start(ServerOptions { rooms, ..ServerOptions::default() }, listener);
        Self { url, turn, network, _server: server }
    }

    async fn join(&self) -> Member {
        let (told, handed_out) = watch::channel(None);
        let signaling = Overheard { signaling: WebSocketSignaling::new(&self.url).unwrap(), told };
        let options = Options {
            interfaces: Interfaces::loopback(),
            keep_alive: Duration::from_millis(200),
            dead_after: Duration::from_secs(12),
            ..Options::default()
        };
        let transport = WebRtc::with_options(signaling, options).udp(self.network.clone());
        let membership = transport.join(&Topic::new("our-notes").unwrap()).await.unwrap();
        Member { membership, handed_out }
    }
}

impl Member {
    /// Waits until another user is handed out, which nobody has shown to the TURN server yet.
    async fn renewed(&mut self) {
        let former = self.handed_out.borrow_and_update().clone();
        self.handed_out.wait_for(|server| *server != former).await.unwrap();
    }
}

/// Tells what the signaling hands out.
struct Overheard<S> {
    signaling: S,
    told: watch::Sender<Option<IceServer>>,
}

#[async_trait]
impl Signaling for Overheard<WebSocketSignaling> {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn SignalingSession>, TransportError> {
        let signaling = self.signaling.join(topic).await?;
        Ok(Box::new(Overheard { signaling, told: self.told.clone() }))
    }
}

#[async_trait]
impl SignalingSession for Overheard<Box<dyn SignalingSession>> {
    async fn event(&mut self) -> Result<SignalingEvent, TransportError> {
        let event = self.signaling.event().await;
        if let Ok(SignalingEvent::IceServers(servers)) = &event {
            self.told.send_replace(servers.first().cloned());
        }
        event
    }

    fn send(&mut self, to: &PeerId, connection: Option<&ConnectionId>, signal: &Signal) {
        self.signaling.send(to, connection, signal);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_server_that_is_handed_out_carries_what_has_no_other_way() {
    let room = Room::new(Duration::from_secs(3600)).await;
    let (mut left, mut right) = (room.join().await, room.join().await);
    let (mut to_right, mut to_left) = meet(&mut left.membership, &mut right.membership).await;
    carries(&mut to_right, &mut to_left).await;
    carries(&mut to_left, &mut to_right).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_connection_is_made_with_renewed_credentials() {
    let room = Room::new(Duration::from_secs(2)).await;
    let (mut left, mut right) = (room.join().await, room.join().await);
    let (mut to_right, mut to_left) = meet(&mut left.membership, &mut right.membership).await;
    carries(&mut to_right, &mut to_left).await;

    tokio::join!(left.renewed(), right.renewed());
    room.turn.expire();
    let (left_address, right_address) = (to_left.peer.clone(), to_right.peer.clone());
    to_right.sender.close().await;
    assert_eq!(to_left.receiver.receive().await, None);
    left.membership.redial(&right_address);
    right.membership.redial(&left_address);
    let (mut to_right, mut to_left) = meet(&mut left.membership, &mut right.membership).await;
    carries(&mut to_right, &mut to_left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_finds_another_way_with_renewed_credentials() {
    let room = Room::new(Duration::from_secs(2)).await;
    let (mut left, mut right) = (room.join().await, room.join().await);
    let (mut to_right, mut to_left) = meet(&mut left.membership, &mut right.membership).await;
    carries(&mut to_right, &mut to_left).await;

    tokio::join!(left.renewed(), right.renewed());
    room.turn.expire();
    room.network.moves();
    carries(&mut to_right, &mut to_left).await;
    carries(&mut to_left, &mut to_right).await;
}
