//! One connection: two bounded queues, and how it ends.
//!
//! Knows nothing of topics. It ends once, as a whole, either closed by an end, so that what was sent before
//! still arrives, or broken by the network, so that what is under way is lost.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{Connection, MessageReceiver, MessageSender, PeerAddress, TransportError, check_message};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};

use crate::Options;

/// Makes both ends of a connection, and the line between them. Returns the end of `left` first.
///
/// `number` must be the network's only connection with this number.
pub(crate) fn connect(
    left: &PeerAddress,
    right: &PeerAddress,
    number: u64,
    options: &Options,
) -> ([Connection; 2], Arc<Line>) {
    let line = Arc::new(Line { phase: watch::Sender::new(Phase::Open) });
    let (to_right, from_left) = mpsc::channel(options.queue_messages_max.get() as usize);
    let (to_left, from_right) = mpsc::channel(options.queue_messages_max.get() as usize);
    let channel_binding = channel_binding(number);
    let end = |peer: &PeerAddress, outgoing, incoming| Connection {
        peer: peer.clone(),
        message_bytes_max: options.message_bytes_max,
        channel_binding: Some(channel_binding.clone()),
        sender: Box::new(Sender {
            queue: outgoing,
            delay: options.delay,
            message_bytes_max: options.message_bytes_max,
            end: End::of(&line),
        }),
        receiver: Box::new(Receiver { queue: incoming, next: None, end: End::of(&line) }),
    };
    ([end(right, to_right, from_right), end(left, to_left, from_left)], line)
}

/// Nobody can sit in the middle of a process, so it is enough that no other connection has the same bytes.
fn channel_binding(number: u64) -> Bytes {
    let mut binding = [0; 32];
    binding[24..].copy_from_slice(&number.to_be_bytes());
    Bytes::copy_from_slice(&binding)
}

/// What both ends of a connection and the network share: whether it is still open.
#[derive(Debug)]
pub(crate) struct Line {
    phase: watch::Sender<Phase>,
}

/// Leaves `Open` once and for good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Open,
    /// What was sent before still arrives.
    Closed,
    /// What had not arrived at this instant is lost.
    Broken(Instant),
}

impl Line {
    pub(crate) fn is_open(&self) -> bool {
        *self.phase.borrow() == Phase::Open
    }

    pub(crate) fn close(&self) {
        self.leave_open_for(Phase::Closed);
    }

    pub(crate) fn sever(&self) {
        self.leave_open_for(Phase::Broken(Instant::now()));
    }

    fn leave_open_for(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let open = *phase == Phase::Open;
            if open {
                *phase = next;
            }
            open
        });
    }
}

/// The hold that a sender or a receiver has on its line. Dropping it closes the connection.
struct End {
    line: Arc<Line>,
    phase: watch::Receiver<Phase>,
}

impl End {
    fn of(line: &Arc<Line>) -> Self {
        Self { line: Arc::clone(line), phase: line.phase.subscribe() }
    }

    /// Waits until the connection is no longer open. Cancel-safe.
    async fn ended(&mut self) {
        self.phase_like(|phase| *phase != Phase::Open).await;
    }

    /// Waits until the connection is broken, for ever if it is closed. Cancel-safe.
    async fn broken(&mut self) -> Instant {
        match self.phase_like(|phase| matches!(phase, Phase::Broken(_))).await {
            Phase::Broken(at) => at,
            Phase::Open | Phase::Closed => unreachable!("the wait is for a broken line"),
        }
    }

    async fn phase_like(&mut self, like: impl FnMut(&Phase) -> bool) -> Phase {
        *self.phase.wait_for(like).await.expect("a line lives as long as its ends")
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.line.close();
    }
}

/// A message under way.
struct Sent {
    message: Bytes,
    /// When it arrives. `None` is at once, which spares the clock.
    due: Option<Instant>,
}

struct Sender {
    queue: mpsc::Sender<Sent>,
    delay: Duration,
    message_bytes_max: usize,
    end: End,
}

#[async_trait]
impl MessageSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), TransportError> {
        check_message(&message, self.message_bytes_max)?;
        let place = tokio::select! {
            biased;
            place = self.queue.reserve() => place.map_err(|_| TransportError::Closed)?,
            () = self.end.ended() => return Err(TransportError::Closed),
        };
        // Both may have become ready. Should it end after this line, the receiver waits for the place to be
        // filled.
        if !self.end.line.is_open() {
            return Err(TransportError::Closed);
        }
        let due = (!self.delay.is_zero()).then(|| Instant::now() + self.delay);
        place.send(Sent { message, due });
        Ok(())
    }

    async fn close(&mut self) {
        self.end.line.close();
    }
}

struct Receiver {
    queue: mpsc::Receiver<Sent>,
    /// Out of the queue and not yet due. Kept here so that dropping a future of `receive` does not lose it.
    next: Option<Sent>,
    end: End,
}

#[async_trait]
impl MessageReceiver for Receiver {
    async fn receive(&mut self) -> Option<Bytes> {
        if self.next.is_none() {
            self.next = self.take_out().await;
        }
        if let Some(due) = self.next.as_ref()?.due
            && !self.arrives(due).await
        {
            return None;
        }
        self.next.take().map(|sent| sent.message)
    }
}

impl Receiver {
    /// The next of the queue, `None` once the connection has ended and the queue is empty. Cancel-safe.
    async fn take_out(&mut self) -> Option<Sent> {
        tokio::select! {
            biased;
            sent = self.queue.recv() => return sent,
            () = self.end.ended() => {}
        }
        self.queue.close();
        self.queue.recv().await
    }

    /// Waits until `due`. False if the connection broke before. Cancel-safe.
    async fn arrives(&mut self, due: Instant) -> bool {
        tokio::select! {
            biased;
            broken_at = self.end.broken() => due <= broken_at,
            () = tokio::time::sleep_until(due) => true,
        }
    }
}
