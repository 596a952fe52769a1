//! The transport within the process with one fault.

mod meeting;
mod messages;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_conformance::TransportFixture;
use peerloom_core::{
    Connection, Membership, MessageReceiver, MessageSender, PeerAddress, Topic, Transport, TransportError,
};
use peerloom_in_process::{InProcess, Network, Options};

pub(crate) use meeting::*;
pub(crate) use messages::*;

/// What a transport does wrong. Every method does as it should; a fault replaces one or two.
#[async_trait]
pub(crate) trait Fault: Send + Sync + 'static {
    fn options(&self) -> Options {
        // Few messages, so that sending soon waits.
        Options { queue_messages_max: NonZeroU32::new(4).expect("not zero"), ..Options::default() }
    }

    async fn join(
        &self,
        transport: &InProcess,
        topic: &Topic,
    ) -> Result<Box<dyn Membership>, TransportError> {
        transport.join(topic).await
    }

    async fn accept(&self, member: &mut Member) -> Result<Connection, TransportError> {
        member.inner.accept().await
    }

    fn redial(&self, member: &mut Member, peer: &PeerAddress) {
        member.inner.redial(peer);
    }

    /// The membership is dropped. Its connections are still there.
    fn left(&self, _member: &mut Member) {}

    /// The transport is dropped.
    fn dropped(&self, _own: &PeerAddress) {}

    /// A connection is accepted.
    fn connected(&self, _connection: &mut Connection) {}

    async fn send(&self, sender: &mut Sender, message: Bytes) -> Result<(), TransportError> {
        sender.inner.send(message).await
    }

    async fn close(&self, sender: &mut Sender) {
        sender.inner.close().await;
    }

    async fn receive(&self, receiver: &mut Receiver) -> Option<Bytes> {
        receiver.inner.receive().await
    }

    fn sender_dropped(&self, _sender: Box<dyn MessageSender>) {}

    fn receiver_dropped(&self, _receiver: Box<dyn MessageReceiver>) {}
}

/// No fault at all.
#[derive(Default)]
pub(crate) struct Nothing;

impl Fault for Nothing {}

/// The fault that fresh networks get. Not a type parameter, because that would compile every promise once for
/// each fault.
static MAKE: Mutex<fn() -> Arc<dyn Fault>> = Mutex::new(make::<Nothing>);

fn make<T: Fault + Default>() -> Arc<dyn Fault> {
    Arc::new(T::default())
}

/// Gives fresh networks this fault from now on.
pub(crate) fn break_with<T: Fault + Default>() {
    *MAKE.lock().expect("no panic") = make::<T>;
}

/// A network with a fault.
pub(crate) struct Broken {
    network: Network,
    fault: Arc<dyn Fault>,
    transports: AtomicU32,
}

impl TransportFixture for Broken {
    type Adapter = BrokenTransport;

    async fn fresh() -> Self {
        let make = *MAKE.lock().expect("no panic");
        let fault = make();
        let network = Network::with_options(fault.options());
        Self { network, fault, transports: AtomicU32::new(0) }
    }

    fn transport(&self) -> BrokenTransport {
        let number = self.transports.fetch_add(1, Ordering::Relaxed);
        let own = PeerAddress::new(&format!("{number}"));
        let inner = InProcess::new(&self.network).named(own.as_str());
        BrokenTransport { inner, own, network: self.network.clone(), fault: Arc::clone(&self.fault) }
    }
}

pub(crate) struct BrokenTransport {
    inner: InProcess,
    own: PeerAddress,
    network: Network,
    fault: Arc<dyn Fault>,
}

#[async_trait]
impl Transport for BrokenTransport {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn Membership>, TransportError> {
        let inner = self.fault.join(&self.inner, topic).await?;
        Ok(Box::new(Member {
            inner,
            own: self.own.clone(),
            network: self.network.clone(),
            fault: Arc::clone(&self.fault),
            accepted: Vec::new(),
        }))
    }
}

impl Drop for BrokenTransport {
    fn drop(&mut self) {
        self.fault.dropped(&self.own);
    }
}

pub(crate) struct Member {
    inner: Box<dyn Membership>,
    own: PeerAddress,
    network: Network,
    fault: Arc<dyn Fault>,
    accepted: Vec<PeerAddress>,
}

#[async_trait]
impl Membership for Member {
    async fn accept(&mut self) -> Result<Connection, TransportError> {
        let fault = Arc::clone(&self.fault);
        let mut connection = fault.accept(self).await?;
        self.accepted.push(connection.peer.clone());
        fault.connected(&mut connection);
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        let Connection { peer, message_bytes_max, channel_binding, sender, receiver } = connection;
        let sender = Sender {
            inner: sender,
            fault: Arc::clone(&fault),
            network: self.network.clone(),
            own: self.own.clone(),
            turn: Arc::clone(&turn),
            sent: 0,
            held: None,
            closed: false,
        };
        let receiver = Receiver { inner: receiver, fault, turn };
        Ok(Connection {
            peer,
            message_bytes_max,
            channel_binding,
            sender: Box::new(sender),
            receiver: Box::new(receiver),
        })
    }

    fn redial(&mut self, peer: &PeerAddress) {
        Arc::clone(&self.fault).redial(self, peer);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        Arc::clone(&self.fault).left(self);
    }
}

pub(crate) struct Sender {
    inner: Box<dyn MessageSender>,
    fault: Arc<dyn Fault>,
    network: Network,
    own: PeerAddress,
    /// Shared with the receiver of the same end.
    turn: Arc<tokio::sync::Mutex<()>>,
    sent: u32,
    held: Option<Bytes>,
    closed: bool,
}

#[async_trait]
impl MessageSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), TransportError> {
        Arc::clone(&self.fault).send(self, message).await
    }

    async fn close(&mut self) {
        Arc::clone(&self.fault).close(self).await;
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let inner = std::mem::replace(&mut self.inner, Box::new(Gone));
        self.fault.sender_dropped(inner);
    }
}

pub(crate) struct Receiver {
    inner: Box<dyn MessageReceiver>,
    fault: Arc<dyn Fault>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[async_trait]
impl MessageReceiver for Receiver {
    async fn receive(&mut self) -> Option<Bytes> {
        Arc::clone(&self.fault).receive(self).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let inner = std::mem::replace(&mut self.inner, Box::new(Gone));
        self.fault.receiver_dropped(inner);
    }
}

/// In place of what was taken out.
struct Gone;

#[async_trait]
impl MessageSender for Gone {
    async fn send(&mut self, _message: Bytes) -> Result<(), TransportError> {
        Err(TransportError::Closed)
    }

    async fn close(&mut self) {}
}

#[async_trait]
impl MessageReceiver for Gone {
    async fn receive(&mut self) -> Option<Bytes> {
        None
    }
}
