//! The real server on connections in memory and a clock that jumps, and clients that speak WebSocket to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{future, io};

use futures_util::{SinkExt, Stream, StreamExt};
use peerloom_signaling::environment::Environment;
use peerloom_signaling::rooms::Now;
use peerloom_signaling::server::{Listener, Server, ServerOptions};
use peerloom_signaling::{CloseReason, PeerId};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

pub(crate) const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// Bytes that a connection holds in each direction: few, so that a reader can be slow.
const PIPE_BYTES: usize = 8 * 1024;

pub(crate) struct Network {
    incoming: mpsc::UnboundedSender<(DuplexStream, SocketAddr)>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

struct Incoming(mpsc::UnboundedReceiver<(DuplexStream, SocketAddr)>);

impl Listener for Incoming {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.recv().await {
            Some(accepted) => Ok(accepted),
            None => future::pending().await,
        }
    }
}

/// Follows tokio's paused clock. Ids count up.
struct Repeatable {
    started: Instant,
    drawn: AtomicU64,
}

impl Environment for Repeatable {
    fn now(&self) -> Now {
        let monotonic = self.started.elapsed();
        Now { monotonic, unix: EPOCH + monotonic }
    }

    fn random_u64(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }
}

impl Network {
    pub(crate) fn start(options: ServerOptions) -> Self {
        let (incoming, listener) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let environment = Repeatable { started: Instant::now(), drawn: AtomicU64::new(0) };
        let server = Server::new(options, Arc::new(environment));
        let served = tokio::spawn(server.serve(Incoming(listener), async {
            stopped.await.ok();
        }));
        Self { incoming, stop: Some(stop), served }
    }

    /// A connection, with nothing said on it.
    pub(crate) fn dial(&self) -> DuplexStream {
        self.dial_from([192, 0, 2, 1])
    }

    pub(crate) fn dial_from(&self, address: impl Into<IpAddr>) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        self.incoming.send((theirs, SocketAddr::new(address.into(), 40_000))).expect("the server accepts");
        ours
    }

    pub(crate) async fn connect(&self) -> Client<DuplexStream> {
        self.connect_with(request("/")).await.expect("the server lets everybody in")
    }

    /// The error is the HTTP status.
    pub(crate) async fn connect_with(&self, request: Request<()>) -> Result<Client<DuplexStream>, u16> {
        Client::over(self.dial(), request).await
    }

    /// The answer to an HTTP request, head and body.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = self.dial();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().expect("it is stopped once").send(()).expect("the server runs");
    }

    pub(crate) async fn served(self) {
        self.served.await.expect("the server ends without a panic");
    }
}

pub(crate) fn request(path: &str) -> Request<()> {
    format!("ws://here{path}").into_client_request().unwrap()
}

pub(crate) struct Client<S> {
    pub(crate) id: PeerId,
    pub(crate) init: Value,
    pub(crate) socket: WebSocketStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) async fn over(stream: S, request: Request<()>) -> Result<Self, u16> {
        let mut socket = match client_async(request, stream).await {
            Ok((socket, _)) => socket,
            Err(Error::Http(response)) => return Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        };
        let init = socket.next().await.unwrap().unwrap();
        let init: Value = serde_json::from_str(init.to_text().unwrap()).unwrap();
        assert_eq!(init["type"], "init");
        let id = init["yourPeerId"].as_str().unwrap().parse().unwrap();
        Ok(Self { id, init, socket })
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(crate) async fn join(&mut self, room: &str) {
        self.say(&json!({"type": "join", "room": room, "peerloom": {"version": 1}})).await;
    }

    pub(crate) async fn join_as_stock(&mut self, room: &str) {
        self.say(&json!({"type": "join", "room": room})).await;
    }

    pub(crate) async fn signal(&mut self, to: PeerId, room: &str, data: &str) {
        let message = json!({
            "type": "signal", "senderPeerId": self.id, "receiverPeerId": to, "room": room, "data": data,
        });
        self.say(&message).await;
    }

    pub(crate) async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.hear_text().await).unwrap()
    }

    pub(crate) async fn hear_text(&mut self) -> String {
        let message = self.socket.next().await.expect("the connection is open").unwrap();
        message.into_text().unwrap().as_str().to_owned()
    }

    /// The next message of this type. What comes before it is skipped.
    pub(crate) async fn hear_type(&mut self, kind: &str) -> Value {
        loop {
            let message = self.hear().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    pub(crate) async fn closed(&mut self) -> Option<CloseReason> {
        closed(&mut self.socket).await
    }
}

/// Reads on until the server closes, and says why it did. `None` if it does not say.
pub(crate) async fn closed(
    socket: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
) -> Option<CloseReason> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.expect("a close frame has a code");
                let reason = CloseReason::from_code(frame.code.into()).expect("a code of ours");
                assert_eq!(frame.reason.as_str(), reason.as_str());
                return Some(reason);
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}
