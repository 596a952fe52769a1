//! A transport between two processes of one machine: TCP on the loopback interface, each message after its length.
//!
//! Knows one topic and no secrets. The kernel closes a killed process's connections, so the other end hears of it at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom::core::{Connection, Membership, MessageReceiver, MessageSender, Topic, check_message};
use peerloom::{PeerAddress, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// How many messages wait between a session and its socket, in each direction.
const QUEUE_MESSAGES_MAX: usize = 16;

/// One end: it listens, or dials the one that does.
pub(crate) enum Loopback {
    Listening(Mutex<Option<std::net::TcpListener>>),
    Dialing(SocketAddr),
}

impl Loopback {
    /// A listener on a port of the system's choice. Who dials is heard from now on, and answered once the topic is joined.
    pub(crate) fn listen() -> anyhow::Result<(Self, SocketAddr)> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((Self::Listening(Mutex::new(Some(listener))), address))
    }
}

#[async_trait]
impl Transport for Loopback {
    async fn join(&self, _topic: &Topic) -> Result<Box<dyn Membership>, TransportError> {
        let (made, connections) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let dials = match self {
            Self::Dialing(address) => {
                dial(*address, made.clone());
                Some(*address)
            }
            Self::Listening(listener) => {
                let listener = listener.lock().unwrap_or_else(PoisonError::into_inner).take();
                let listener = listener.ok_or(TransportError::Closed)?;
                let listener = TcpListener::from_std(listener);
                let failed = |error: std::io::Error| TransportError::Failed { detail: error.to_string() };
                listen(listener.map_err(failed)?, made.clone());
                None
            }
        };
        Ok(Box::new(Member { dials, made, connections }))
    }
}

fn listen(listener: TcpListener, made: mpsc::Sender<Connection>) {
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                biased;
                () = made.closed() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { return };
            let _ = made.send(connection(stream)).await;
        }
    });
}

/// Nobody dials again where nobody listens: that process was killed, and the next one has another port.
fn dial(address: SocketAddr, made: mpsc::Sender<Connection>) {
    tokio::spawn(async move {
        if let Ok(stream) = TcpStream::connect(address).await {
            let _ = made.send(connection(stream)).await;
        }
    });
}

struct Member {
    dials: Option<SocketAddr>,
    /// Keeps `connections` open.
    made: mpsc::Sender<Connection>,
    connections: mpsc::Receiver<Connection>,
}

#[async_trait]
impl Membership for Member {
    async fn accept(&mut self) -> Result<Connection, TransportError> {
        self.connections.recv().await.ok_or(TransportError::Closed)
    }

    fn redial(&mut self, _peer: &PeerAddress) {
        if let Some(address) = self.dials {
            dial(address, self.made.clone());
        }
    }
}

/// A task at each end of the stream, so that a message that was begun is finished, whoever stops waiting for it.
fn connection(stream: TcpStream) -> Connection {
    // A message waits for no other.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let closed = Arc::new(watch::Sender::new(false));
    let (outgoing, queued) = mpsc::channel(QUEUE_MESSAGES_MAX);
    let (arrived, incoming) = mpsc::channel(QUEUE_MESSAGES_MAX);
    tokio::spawn(write_messages(write, queued));
    tokio::spawn(read_messages(read, arrived, closed.clone()));
    Connection {
        // There is one other: it keeps its address.
        peer: PeerAddress::new("the other"),
        message_bytes_max: MESSAGE_BYTES_MAX,
        channel_binding: None,
        sender: Box::new(Sender { outgoing: Some(outgoing), closed: closed.clone() }),
        receiver: Box::new(Receiver { incoming, closed }),
    }
}

/// Ends once the queue is closed and sent, which ends the stream at the other end, too.
async fn write_messages(mut write: OwnedWriteHalf, mut queued: mpsc::Receiver<Bytes>) {
    while let Some(message) = queued.recv().await {
        let length = u32::try_from(message.len()).expect("a message is not too large").to_be_bytes();
        if write.write_all(&[&length[..], &message].concat()).await.is_err() {
            return;
        }
    }
}

async fn read_messages(
    mut read: OwnedReadHalf,
    arrived: mpsc::Sender<Bytes>,
    closed: Arc<watch::Sender<bool>>,
) {
    let mut closing = closed.subscribe();
    let reading = async {
        while let Ok(length) = read.read_u32().await {
            let mut message = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(MESSAGE_BYTES_MAX)];
            if read.read_exact(&mut message).await.is_err() || arrived.send(message.into()).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        biased;
        _ = closing.wait_for(|closed| *closed) => {}
        () = reading => {}
    }
    closed.send_replace(true);
}

struct Sender {
    outgoing: Option<mpsc::Sender<Bytes>>,
    closed: Arc<watch::Sender<bool>>,
}

#[async_trait]
impl MessageSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), TransportError> {
        check_message(&message, MESSAGE_BYTES_MAX)?;
        let Some(outgoing) = &self.outgoing else { return Err(TransportError::Closed) };
        let mut closed = self.closed.subscribe();
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Err(TransportError::Closed),
            sent = outgoing.send(message) => sent.map_err(|_| TransportError::Closed),
        }
    }

    async fn close(&mut self) {
        self.outgoing = None;
        self.closed.send_replace(true);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.closed.send_replace(true);
    }
}

struct Receiver {
    incoming: mpsc::Receiver<Bytes>,
    closed: Arc<watch::Sender<bool>>,
}

#[async_trait]
impl MessageReceiver for Receiver {
    /// The task that reads ends with the connection, and what it had read before is still given.
    async fn receive(&mut self) -> Option<Bytes> {
        self.incoming.recv().await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.closed.send_replace(true);
    }
}
