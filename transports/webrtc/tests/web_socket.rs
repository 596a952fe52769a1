//! The client of a signaling server, against small servers that speak as RxDB's does and as ours does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use peerloom_core::{Connection, Membership, Topic, Transport, TransportError};
use peerloom_webrtc::{Interfaces, Options, Reconnect, WebRtc, WebSocketSignaling};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Message, http::StatusCode};
use tokio_util::sync::CancellationToken;

static PEERS: AtomicU64 = AtomicU64::new(1);

const TIME_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Eq, PartialEq)]
enum Dialect {
    Stock,
    Capable,
}

/// A server with one room, which everybody joins. Its connections end with it.
struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

type Members = Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<Value>>>>;

impl Server {
    async fn start(dialect: Dialect, address: SocketAddr) -> Self {
        let listener = loop {
            // The port of a server that has just ended may take a moment to be free.
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (mut connections, members) = (JoinSet::new(), Members::default());
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = stopped.cancelled() => return connections.shutdown().await,
                };
                // Neither ascending nor ever the same, not even on the next server.
                let number = PEERS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let id = peerloom_signaling::PeerId::from_number(number % 26_u64.pow(12)).to_string();
                connections.spawn(serve(dialect, stream, id, members.clone()));
            }
        });
        Self { address, stop, task }
    }

    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        self.task.await.unwrap();
        self.address
    }
}

#[allow(clippy::result_large_err, reason = "the WebSocket library wants it so")]
async fn serve(dialect: Dialect, stream: TcpStream, id: String, members: Members) {
    let authorized = |request: &Request, response: Response| match request.headers().get("authorization") {
        Some(token) if token != "Bearer secret" => {
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = StatusCode::UNAUTHORIZED;
            Err(refusal)
        }
        _ => Ok(response),
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, authorized).await else { return };
    let mut init = json!({ "type": "init", "yourPeerId": id });
    if dialect == Dialect::Capable {
        init["peerloom"] = json!({ "version": 1, "idleTimeoutMs": 60_000, "messageBytesMax": 65_536 });
    }
    socket.send(Message::text(init.to_string())).await.unwrap();
    let (said, mut to_say) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            received = socket.next() => match received {
                Some(Ok(Message::Text(text))) => heard(dialect, &serde_json::from_str(&text).unwrap(), &id, &members, &said),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            Some(message) = to_say.recv() => {
                if socket.send(Message::text(message.to_string())).await.is_err() {
                    break;
                }
            }
        }
    }
    let mut members = members.lock().unwrap();
    if let Some(said) = members.get(&id).cloned().filter(|other| other.same_channel(&said)) {
        drop(said);
        members.remove(&id);
        tell_all(dialect, &members, &json!({ "type": "memberLeft", "room": "our-notes", "peerId": id }));
    }
}

fn heard(
    dialect: Dialect,
    message: &Value,
    id: &str,
    members: &Members,
    said: &mpsc::UnboundedSender<Value>,
) {
    let mut members = members.lock().unwrap();
    match message["type"].as_str().unwrap() {
        "join" => {
            assert_eq!(message["room"], "our-notes");
            assert_eq!(message["peerloom"]["version"], 1, "a Peerloom peer announces itself");
            if dialect == Dialect::Capable {
                let list: Vec<_> =
                    members.keys().map(|id| json!({ "peerId": id, "peerloom": { "version": 1 } })).collect();
                said.send(json!({ "type": "members", "room": "our-notes", "members": list })).unwrap();
                let member = json!({ "peerId": id, "peerloom": { "version": 1 } });
                tell_all(
                    dialect,
                    &members,
                    &json!({ "type": "memberJoined", "room": "our-notes", "member": member }),
                );
            }
            members.insert(id.to_owned(), said.clone());
            if dialect == Dialect::Stock {
                tell_all(dialect, &members, &Value::Null);
            }
        }
        "signal" => {
            assert_eq!(message["senderPeerId"], id);
            let receiver = members.get(message["receiverPeerId"].as_str().unwrap());
            receiver.map(|receiver| receiver.send(message.clone()));
        }
        "ping" => {}
        other => panic!("{other} is none of RxDB's messages"),
    }
}

fn tell_all(dialect: Dialect, members: &BTreeMap<String, mpsc::UnboundedSender<Value>>, event: &Value) {
    let all: Vec<_> = members.keys().collect();
    let list = json!({ "type": "joined", "otherPeerIds": all });
    let told = if dialect == Dialect::Stock { &list } else { event };
    for member in members.values() {
        let _ = member.send(told.clone());
    }
}

fn signaling(url: &str) -> WebSocketSignaling {
    let initial = Duration::from_millis(20);
    let reconnect = Reconnect { initial, max: Duration::from_millis(200), ..Reconnect::default() };
    WebSocketSignaling::new(url).unwrap().reconnect(reconnect)
}

async fn join(signaling: WebSocketSignaling) -> Box<dyn Membership> {
    let options = Options { interfaces: Interfaces::loopback(), ..Options::default() };
    let transport = WebRtc::with_options(signaling, options);
    transport.join(&Topic::new("our-notes").unwrap()).await.unwrap()
}

async fn accept(member: &mut Box<dyn Membership>) -> Connection {
    timeout(TIME_MAX, member.accept()).await.expect("a connection comes").unwrap()
}

async fn carries(from: &mut Connection, to: &mut Connection) {
    from.sender.send("good morning".into()).await.unwrap();
    assert_eq!(to.receiver.receive().await.as_deref(), Some(&b"good morning"[..]));
}

/// Two meet, the server goes and comes back, a third joins and meets both, and the two are still connected once.
async fn survives_a_restart(dialect: Dialect) {
    let server = Server::start(dialect, SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let url = server.url();
    let (mut left, mut right) = (join(signaling(&url)).await, join(signaling(&url)).await);
    let (mut to_right, mut to_left) = tokio::join!(accept(&mut left), accept(&mut right));
    carries(&mut to_right, &mut to_left).await;

    let address = server.stop().await;
    carries(&mut to_left, &mut to_right).await;
    let mut late = join(signaling(&url)).await;
    let server = Server::start(dialect, address).await;

    let (from_left, from_right) = tokio::join!(accept(&mut left), accept(&mut right));
    let (first, second) = (accept(&mut late).await, accept(&mut late).await);
    carries(&mut to_right, &mut to_left).await;

    // They are known by the same addresses as before: once one connection has ended, another is made.
    let (left_address, right_address) = (to_left.peer.clone(), to_right.peer.clone());
    to_right.sender.close().await;
    assert_eq!(to_left.receiver.receive().await, None);
    left.redial(&right_address);
    right.redial(&left_address);
    let (mut to_right, mut to_left) = tokio::join!(accept(&mut left), accept(&mut right));
    assert_eq!((&to_left.peer, &to_right.peer), (&left_address, &right_address));
    carries(&mut to_right, &mut to_left).await;
    drop((from_left, from_right, first, second));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_a_stock_server_breaks_nothing() {
    survives_a_restart(Dialect::Stock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_our_server_breaks_nothing() {
    survives_a_restart(Dialect::Capable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_shown_and_a_wrong_one_ends_the_membership() {
    let server = Server::start(Dialect::Capable, SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let url = server.url();
    let mut left = join(signaling(&url).token("secret")).await;
    let mut right = join(signaling(&url).token("secret")).await;
    let (mut to_right, mut to_left) = tokio::join!(accept(&mut left), accept(&mut right));
    carries(&mut to_right, &mut to_left).await;

    let mut stranger = join(signaling(&url).token("guessed")).await;
    let refused = timeout(TIME_MAX, stranger.accept()).await.expect("the server refuses");
    assert!(
        matches!(&refused, Err(TransportError::Refused { detail }) if detail.contains("401")),
        "{refused:?}"
    );
    server.stop().await;
}
