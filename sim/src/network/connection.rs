//! The two ends of a connection in the simulation.
//!
//! A message travels over the connection below with the instant of its arrival before it, and waits at the receiver. So there is no
//! task in between, and a connection that is dropped takes everything with it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use peerloom::TransportError;
use peerloom::core::{MessageReceiver, MessageSender};

use super::{Passage, Ways};
use crate::marks;
use crate::plan::{Direction, Mangling};
use crate::trace::{MessageNumber, What};

/// The instant of the arrival and the number of the message.
pub(super) const HEADER_BYTES: usize = 16;

/// What both ends of a connection share at one peer.
#[derive(Clone)]
pub(super) struct Wire {
    ways: Ways,
    /// From here to the peer.
    outgoing: Direction,
    incoming: Direction,
    number: u64,
    _lives: Arc<()>,
}

impl Wire {
    pub(super) fn new(ways: Ways, outgoing: Direction) -> Self {
        let (number, lives) = ways.next_connection(outgoing);
        let incoming = Direction { from: outgoing.to, to: outgoing.from };
        Self { ways, outgoing, incoming, number, _lives: lives }
    }
}

pub(super) struct Sender {
    inner: Box<dyn MessageSender>,
    wire: Wire,
    last: Duration,
    lost: bool,
}

impl Sender {
    pub(super) fn new(inner: Box<dyn MessageSender>, wire: Wire) -> Self {
        Self { inner, wire, last: Duration::ZERO, lost: false }
    }

    fn record(&self, number: u64, message: &Bytes, abnormal: String) {
        let mut world = self.wire.ways.world().lock();
        let at_us = self.wire.ways.world().now_us();
        world.figures.messages += 1;
        world.figures.bytes += message.len() as u64;
        world.talk += u64::from(!peerloom::core::is_keep_alive(message));
        let says = if world.recorder.wants_payloads() { describe(message) } else { String::new() };
        let what = What::Sent {
            message: MessageNumber(number),
            to: self.wire.outgoing.to,
            bytes: u32::try_from(message.len()).unwrap_or(u32::MAX),
            says,
            abnormal,
        };
        world.recorder.record(at_us, Some(self.wire.outgoing.from), what);
    }

    async fn pass(&mut self, at: Duration, number: u64, message: &[u8]) -> Result<(), TransportError> {
        self.last = at;
        self.wire.ways.sent(self.wire.outgoing, message.len());
        let mut framed = BytesMut::with_capacity(HEADER_BYTES + message.len());
        framed.put_u64(at.as_micros() as u64);
        framed.put_u64(number);
        framed.put_slice(message);
        let sent = self.inner.send(framed.freeze()).await;
        match sent {
            // The end of the other side has not been heard of here.
            Err(TransportError::Closed) if self.wire.ways.is_silent(self.wire.incoming, self.wire.number) => {
                Ok(())
            }
            sent => sent,
        }
    }
}

#[async_trait]
impl MessageSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), TransportError> {
        if message.is_empty() {
            return Err(TransportError::Empty);
        }
        let Wire { ways, outgoing, number: connection, .. } = self.wire.clone();
        if ways.is_severed(outgoing, connection) {
            return Err(TransportError::Closed);
        }
        let number = ways.next_message();
        let passage = match self.lost {
            true => Passage::Lost,
            false => ways.passage(outgoing, connection, message.len(), self.last),
        };
        let (at, says) = match passage {
            Passage::Arrives { at, says } => (at, says),
            Passage::Lost => {
                self.lost = true;
                self.record(number, &message, "lost".to_owned());
                return Ok(());
            }
        };
        let Some(how) = ways.take_mangling(outgoing) else {
            self.record(number, &message, says);
            return self.pass(at, number, &message).await;
        };
        marks::reach("a mangled message");
        self.record(number, &message, format!("mangled: {how:?}"));
        let mangled = match how {
            Mangling::Flip => {
                let mut bytes = message.to_vec();
                bytes[0] ^= 1 << (ways.noise(outgoing, 1)[0] % 8);
                bytes
            }
            Mangling::Truncate => message[..message.len().div_ceil(2)].to_vec(),
            Mangling::Garbage => ways.noise(outgoing, message.len()),
            Mangling::Replay => {
                self.pass(at, number, &message).await?;
                message.to_vec()
            }
        };
        self.pass(at, number, &mangled).await
    }

    async fn close(&mut self) {
        self.inner.close().await;
    }
}

pub(super) struct Receiver {
    inner: Box<dyn MessageReceiver>,
    wire: Wire,
    /// Out of the connection below and not yet due.
    next: Option<Bytes>,
    ended: bool,
}

impl Receiver {
    pub(super) fn new(inner: Box<dyn MessageReceiver>, wire: Wire) -> Self {
        Self { inner, wire, next: None, ended: false }
    }
}

#[async_trait]
impl MessageReceiver for Receiver {
    async fn receive(&mut self) -> Option<Bytes> {
        let Wire { ways, incoming, outgoing, number: connection, .. } = self.wire.clone();
        if self.next.is_none() && !self.ended {
            self.next = tokio::select! {
                biased;
                next = self.inner.receive() => next,
                () = ways.severed(incoming, connection) => None,
            };
        }
        let Some(next) = &self.next else {
            if !self.ended && ways.is_silent(incoming, connection) {
                // Nobody tells: whoever waits here finds out by the silence.
                std::future::pending::<()>().await;
            }
            if !std::mem::replace(&mut self.ended, true) {
                ways.world().record(Some(outgoing.from), What::Disconnected { to: outgoing.to });
            }
            return None;
        };
        let due_us = next.clone().get_u64();
        let wait = Duration::from_micros(due_us.saturating_sub(ways.world().now_us()));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        ways.released(incoming).await;
        let mut message = self.next.take()?;
        let (_, number) = (message.get_u64(), message.get_u64());
        ways.arrived(incoming, message.len());
        let what = What::Delivered { message: MessageNumber(number), from: outgoing.to };
        ways.world().record(Some(outgoing.from), what);
        Some(message)
    }
}

/// The most characters of a text that are kept.
const TEXT_CHARACTERS_MAX: usize = 400;

/// A message, for people. Text speaks for itself.
fn describe(message: &Bytes) -> String {
    match std::str::from_utf8(message) {
        Ok(text) if text.starts_with('{') => text.chars().take(TEXT_CHARACTERS_MAX).collect(),
        _ => peerloom::core::describe(message),
    }
}
