//! A transport that a test tampers with: what arrives is broken, repeated, made up, or not read.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom::core::{Connection, Membership, MessageReceiver, Topic};
use peerloom::{InProcess, PeerAddress, Transport, TransportError};
use tokio::sync::watch;

/// What happens to one frame on its arrival.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tamper {
    /// It is replaced by bytes that mean nothing.
    Garble,
    /// Only its first half arrives.
    Truncate,
    /// It arrives twice.
    Repeat,
    /// Bytes that mean nothing arrive after it.
    Inject,
    /// The first frame of the connection arrives again after it.
    Replay,
}

impl Tamper {
    pub const ALL: [Self; 5] = [Self::Garble, Self::Truncate, Self::Repeat, Self::Inject, Self::Replay];
}

/// Another transport, tampered with on arrival.
#[derive(Clone)]
pub struct Wire {
    inner: InProcess,
    plan: Arc<Plan>,
}

struct Plan {
    /// How many more frames arrive whole, and what becomes of the next.
    tamper: Mutex<Option<(usize, Tamper)>>,
    /// Connections made so far, and of how many of these nothing is read, not even their end.
    connections: Mutex<usize>,
    deaf: watch::Sender<usize>,
    redials: Mutex<bool>,
}

impl Wire {
    pub fn new(inner: InProcess) -> Self {
        let plan = Plan {
            tamper: Mutex::default(),
            connections: Mutex::default(),
            deaf: watch::Sender::new(0),
            redials: Mutex::new(true),
        };
        Self { inner, plan: Arc::new(plan) }
    }

    /// Lets so many frames arrive, whatever the connection, and tampers with the next.
    pub fn tamper_after(&self, frames: usize, tamper: Tamper) {
        *self.plan.tamper.lock().expect("no panic") = Some((frames, tamper));
    }

    /// Whether what was planned has happened.
    pub fn has_tampered(&self) -> bool {
        self.plan.tamper.lock().expect("no panic").is_none()
    }

    /// Reads nothing more from the connections made so far.
    pub fn stop_reading(&self) {
        self.plan.deaf.send_replace(*self.plan.connections.lock().expect("no panic"));
    }

    /// Leaves it to the other side to connect again.
    pub fn never_redial(&self) {
        *self.plan.redials.lock().expect("no panic") = false;
    }
}

#[async_trait]
impl Transport for Wire {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn Membership>, TransportError> {
        Ok(Box::new(Member { inner: self.inner.join(topic).await?, plan: self.plan.clone() }))
    }
}

struct Member {
    inner: Box<dyn Membership>,
    plan: Arc<Plan>,
}

#[async_trait]
impl Membership for Member {
    async fn accept(&mut self) -> Result<Connection, TransportError> {
        let Connection { peer, message_bytes_max, channel_binding, sender, receiver } =
            self.inner.accept().await?;
        let mut connections = self.plan.connections.lock().expect("no panic");
        let (plan, deaf) = (self.plan.clone(), self.plan.deaf.subscribe());
        let receiver =
            Receiver { inner: receiver, plan, deaf, number: *connections, first: None, next: None };
        *connections += 1;
        Ok(Connection { peer, message_bytes_max, channel_binding, sender, receiver: Box::new(receiver) })
    }

    fn redial(&mut self, peer: &PeerAddress) {
        if *self.plan.redials.lock().expect("no panic") {
            self.inner.redial(peer);
        }
    }
}

struct Receiver {
    inner: Box<dyn MessageReceiver>,
    plan: Arc<Plan>,
    deaf: watch::Receiver<usize>,
    number: usize,
    first: Option<Bytes>,
    next: Option<Bytes>,
}

#[async_trait]
impl MessageReceiver for Receiver {
    async fn receive(&mut self) -> Option<Bytes> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        let number = self.number;
        let deaf = async { self.deaf.wait_for(|deaf| *deaf > number).await.is_ok() };
        let frame = tokio::select! {
            biased;
            _ = deaf => None,
            frame = self.inner.receive() => Some(frame),
        };
        let Some(frame) = frame else { return std::future::pending().await };
        let frame = frame?;
        Some(self.tampered(frame))
    }
}

impl Receiver {
    fn tampered(&mut self, frame: Bytes) -> Bytes {
        let first = self.first.get_or_insert_with(|| frame.clone()).clone();
        let mut plan = self.plan.tamper.lock().expect("no panic");
        let Some((frames, tamper)) = plan.take() else { return frame };
        if frames > 0 {
            *plan = Some((frames - 1, tamper));
            return frame;
        }
        let garbage = Bytes::from_static(&[0xff; 40]);
        let (now, next) = match tamper {
            Tamper::Garble => (garbage, None),
            Tamper::Truncate => (frame.slice(..frame.len() / 2), None),
            Tamper::Repeat => (frame.clone(), Some(frame)),
            Tamper::Inject => (frame, Some(garbage)),
            Tamper::Replay => (frame, Some(first)),
        };
        self.next = next;
        now
    }
}
