//! A transport over the TCP of `turmoil`: who joins dials everybody, and the lesser number of two dials again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use peerloom::core::{Connection, Membership, MessageReceiver, MessageSender, Topic};
use peerloom::{Environment, PeerAddress, Transport, TransportError};
use tokio::sync::{Notify, mpsc};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

use super::SignalingFloor;
use super::turmoil::Wiring;
use crate::environment::{Elapsed, SimEnvironment};
use crate::network::{Level, Ways, peer_of};
use crate::plan::{PeerNumber, Plan, Topology};

const PORT: u16 = 7000;
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// How many messages wait for the stream to take them.
const QUEUE_MESSAGES_MAX: usize = 16;

/// How often somebody who does not answer is dialed again.
const DIALS_MAX: usize = 5;

const DIAL_AGAIN: Duration = Duration::from_secs(1);

/// A stream for each two peers that are linked.
#[derive(Clone, Copy)]
pub(super) struct TcpWiring {
    topology: Topology,
    peers: usize,
}

impl Wiring for TcpWiring {
    const LEVEL: Level = Level::Messages;

    fn new(plan: &Plan, _ways: &Ways, _elapsed: &Elapsed) -> Self {
        Self { topology: plan.topology, peers: plan.peers.len() }
    }

    fn add_hosts(&self, _sim: &mut turmoil::Sim<'_>) {}

    fn transport(&self, peer: PeerNumber, environment: &SimEnvironment) -> Arc<dyn Transport> {
        let Self { topology, peers } = *self;
        Arc::new(Tcp { peer, topology, peers, environment: environment.clone() })
    }

    fn signaling(&self) -> Option<&dyn SignalingFloor> {
        None
    }
}

/// The transport of one peer.
struct Tcp {
    peer: PeerNumber,
    topology: Topology,
    peers: usize,
    environment: SimEnvironment,
}

#[async_trait]
impl Transport for Tcp {
    async fn join(&self, _topic: &Topic) -> Result<Box<dyn Membership>, TransportError> {
        let failed = |error: std::io::Error| TransportError::Failed { detail: error.to_string() };
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await.map_err(failed)?;
        let (made, connections) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let member = Member { peer: self.peer, environment: self.environment.clone(), made, connections };
        member.listen(listener);
        let others = (0..self.peers).map(|index| PeerNumber(index as u16));
        for other in others.filter(|other| self.topology.links(self.peer, *other, self.peers)) {
            member.dial(other, 1);
        }
        Ok(Box::new(member))
    }
}

struct Member {
    peer: PeerNumber,
    environment: SimEnvironment,
    made: mpsc::Sender<Connection>,
    connections: mpsc::Receiver<Connection>,
}

impl Member {
    fn listen(&self, listener: TcpListener) {
        let (environment, made) = (self.environment.clone(), self.made.clone());
        let spawner = environment.clone();
        spawner.spawn(Box::pin(async move {
            loop {
                let accepted = tokio::select! {
                    biased;
                    accepted = listener.accept() => accepted,
                    () = made.closed() => return,
                };
                let Ok((stream, _)) = accepted else { return };
                let (made, inner) = (made.clone(), environment.clone());
                environment.spawn(Box::pin(async move {
                    let (mut incoming, outgoing) = framed(stream);
                    // Who dials says who it is.
                    let Some(Ok(name)) = incoming.next().await else { return };
                    let Some(other) = std::str::from_utf8(&name).ok().and_then(peer_of) else { return };
                    let _ = made.send(connection(other, incoming, outgoing, &inner)).await;
                }));
            }
        }));
    }

    fn dial(&self, other: PeerNumber, times: usize) {
        let (environment, made, name) = (self.environment.clone(), self.made.clone(), self.peer.name());
        let spawner = environment.clone();
        spawner.spawn(Box::pin(async move {
            for time in 0..times {
                if time > 0 {
                    tokio::time::sleep(DIAL_AGAIN).await;
                }
                let dialed = TcpStream::connect((other.name(), PORT)).await;
                let Ok(stream) = dialed else { continue };
                let (incoming, mut outgoing) = framed(stream);
                if outgoing.send(Bytes::from(name.clone())).await.is_ok() {
                    let _ = made.send(connection(other, incoming, outgoing, &environment)).await;
                    return;
                }
            }
        }));
    }
}

#[async_trait]
impl Membership for Member {
    async fn accept(&mut self) -> Result<Connection, TransportError> {
        self.connections.recv().await.ok_or(TransportError::Closed)
    }

    fn redial(&mut self, peer: &PeerAddress) {
        if let Some(other) = peer_of(peer.as_str()).filter(|other| self.peer < *other) {
            self.dial(other, DIALS_MAX);
        }
    }
}

type Incoming = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
type Outgoing = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

fn framed(stream: TcpStream) -> (Incoming, Outgoing) {
    let codec = || LengthDelimitedCodec::builder().max_frame_length(MESSAGE_BYTES_MAX).new_codec();
    let (read, write) = stream.into_split();
    (FramedRead::new(read, codec()), FramedWrite::new(write, codec()))
}

fn connection(
    other: PeerNumber,
    incoming: Incoming,
    mut outgoing: Outgoing,
    environment: &SimEnvironment,
) -> Connection {
    let closed = Arc::new(Notify::new());
    let (queue, mut queued) = mpsc::channel::<Bytes>(QUEUE_MESSAGES_MAX);
    // A task writes, so that a message that was begun is finished, whoever stops waiting for it.
    environment.spawn(Box::pin(async move {
        while let Some(message) = queued.recv().await {
            if outgoing.send(message).await.is_err() {
                return;
            }
        }
    }));
    Connection {
        peer: PeerAddress::new(&other.name()),
        message_bytes_max: MESSAGE_BYTES_MAX,
        channel_binding: None,
        sender: Box::new(Sender { queue: Some(queue), closed: closed.clone() }),
        receiver: Box::new(Receiver { incoming: Some(incoming), closed }),
    }
}

struct Sender {
    queue: Option<mpsc::Sender<Bytes>>,
    closed: Arc<Notify>,
}

#[async_trait]
impl MessageSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), TransportError> {
        match &self.queue {
            Some(queue) => queue.send(message).await.map_err(|_| TransportError::Closed),
            None => Err(TransportError::Closed),
        }
    }

    async fn close(&mut self) {
        self.queue = None;
        self.closed.notify_one();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.closed.notify_one();
    }
}

struct Receiver {
    incoming: Option<Incoming>,
    closed: Arc<Notify>,
}

#[async_trait]
impl MessageReceiver for Receiver {
    async fn receive(&mut self) -> Option<Bytes> {
        let incoming = self.incoming.as_mut()?;
        let received = tokio::select! {
            biased;
            received = incoming.next() => received,
            () = self.closed.notified() => None,
        };
        match received {
            Some(Ok(message)) => Some(message.freeze()),
            _ => {
                self.incoming = None;
                None
            }
        }
    }
}
