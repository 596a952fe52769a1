//! Faults of connections: of what they carry, and of how they end.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{Connection, MessageReceiver, MessageSender, PeerAddress, TransportError};
use peerloom_in_process::Options;
use tokio::task::yield_now;

use super::{Fault, Receiver, Sender};

/// One message of very many changes places with the next.
#[derive(Default)]
pub(crate) struct Reorders;

#[async_trait]
impl Fault for Reorders {
    async fn send(&self, sender: &mut Sender, message: Bytes) -> Result<(), TransportError> {
        sender.sent += 1;
        if sender.sent == 900 {
            sender.held = Some(message);
            return Ok(());
        }
        sender.inner.send(message).await?;
        match sender.held.take() {
            Some(held) => sender.inner.send(held).await,
            None => Ok(()),
        }
    }
}

#[derive(Default)]
pub(crate) struct CutsLargeMessages;

#[async_trait]
impl Fault for CutsLargeMessages {
    async fn send(&self, sender: &mut Sender, mut message: Bytes) -> Result<(), TransportError> {
        while message.len() > 65_536 && message.len() <= 262_144 {
            sender.inner.send(message.split_to(65_536)).await?;
        }
        sender.inner.send(message).await
    }
}

#[derive(Default)]
pub(crate) struct CarriesLittle;

impl Fault for CarriesLittle {
    fn connected(&self, connection: &mut Connection) {
        connection.message_bytes_max = 1000;
    }
}

#[derive(Default)]
pub(crate) struct ClosesOnALargeMessage;

#[async_trait]
impl Fault for ClosesOnALargeMessage {
    async fn send(&self, sender: &mut Sender, message: Bytes) -> Result<(), TransportError> {
        let sent = sender.inner.send(message).await;
        if matches!(sent, Err(TransportError::TooLarge { .. })) {
            sender.inner.close().await;
        }
        sent
    }
}

#[derive(Default)]
pub(crate) struct PassesOverEmptyMessages;

#[async_trait]
impl Fault for PassesOverEmptyMessages {
    async fn send(&self, sender: &mut Sender, message: Bytes) -> Result<(), TransportError> {
        match message.is_empty() {
            true => Ok(()),
            false => sender.inner.send(message).await,
        }
    }
}

#[derive(Default)]
pub(crate) struct QueuesWithoutBound;

impl Fault for QueuesWithoutBound {
    fn options(&self) -> Options {
        Options { queue_messages_max: NonZeroU32::MAX, ..Options::default() }
    }
}

/// One lock for both directions, held while sending waits.
#[derive(Default)]
pub(crate) struct ReceivesNothingWhileASendWaits;

#[async_trait]
impl Fault for ReceivesNothingWhileASendWaits {
    async fn send(&self, sender: &mut Sender, message: Bytes) -> Result<(), TransportError> {
        let _turn = sender.turn.lock().await;
        sender.inner.send(message).await
    }

    async fn receive(&self, receiver: &mut Receiver) -> Option<Bytes> {
        drop(receiver.turn.lock().await);
        receiver.inner.receive().await
    }
}

/// One line for all that is sent to anybody.
#[derive(Default)]
pub(crate) struct SendsToOneAtATime {
    line: tokio::sync::Mutex<()>,
}

#[async_trait]
impl Fault for SendsToOneAtATime {
    async fn send(&self, sender: &mut Sender, message: Bytes) -> Result<(), TransportError> {
        let _place = self.line.lock().await;
        sender.inner.send(message).await
    }
}

#[derive(Default)]
pub(crate) struct LosesTheMessageOfADroppedReceive;

#[async_trait]
impl Fault for LosesTheMessageOfADroppedReceive {
    async fn receive(&self, receiver: &mut Receiver) -> Option<Bytes> {
        let message = receiver.inner.receive().await;
        yield_now().await;
        message
    }
}

/// A message that is tried again although it had gone out.
#[derive(Default)]
pub(crate) struct SendsADroppedMessageTwice;

#[async_trait]
impl Fault for SendsADroppedMessageTwice {
    async fn send(&self, sender: &mut Sender, message: Bytes) -> Result<(), TransportError> {
        while let Some(dropped) = sender.held.clone() {
            sender.inner.send(dropped.clone()).await?;
            sender.held = None;
            sender.inner.send(dropped).await?;
        }
        // An empty or large one is refused, not dropped.
        sender.held = (1..=65_536).contains(&message.len()).then(|| message.clone());
        let sent = sender.inner.send(message).await;
        sender.held = None;
        sent
    }
}

#[derive(Default)]
pub(crate) struct LosesOnClosing {
    closed: AtomicBool,
}

#[async_trait]
impl Fault for LosesOnClosing {
    async fn close(&self, sender: &mut Sender) {
        self.closed.store(true, Ordering::Release);
        sender.inner.close().await;
    }

    async fn receive(&self, receiver: &mut Receiver) -> Option<Bytes> {
        let message = receiver.inner.receive().await;
        match self.closed.swap(false, Ordering::AcqRel) {
            // What it had is gone.
            true => {
                while receiver.inner.receive().await.is_some() {}
                None
            }
            false => message,
        }
    }
}

#[derive(Default)]
pub(crate) struct IgnoresClosing;

#[async_trait]
impl Fault for IgnoresClosing {
    async fn close(&self, _sender: &mut Sender) {}
}

/// After closing, messages are taken that go nowhere.
#[derive(Default)]
pub(crate) struct TakesMessagesAfterClosing;

#[async_trait]
impl Fault for TakesMessagesAfterClosing {
    async fn send(&self, sender: &mut Sender, message: Bytes) -> Result<(), TransportError> {
        match sender.inner.send(message).await {
            Err(TransportError::Closed) if sender.closed => Ok(()),
            sent => sent,
        }
    }

    async fn close(&self, sender: &mut Sender) {
        sender.closed = true;
        sender.inner.close().await;
    }
}

#[derive(Default)]
pub(crate) struct PanicsOnClosingTwice;

#[async_trait]
impl Fault for PanicsOnClosingTwice {
    async fn close(&self, sender: &mut Sender) {
        assert!(!sender.closed, "closed already");
        sender.closed = true;
        sender.inner.close().await;
    }
}

#[derive(Default)]
pub(crate) struct LivesOnWithoutItsSender {
    held: Mutex<Vec<Box<dyn MessageSender>>>,
}

impl Fault for LivesOnWithoutItsSender {
    fn sender_dropped(&self, sender: Box<dyn MessageSender>) {
        self.held.lock().expect("no panic").push(sender);
    }
}

#[derive(Default)]
pub(crate) struct LivesOnWithoutItsReceiver {
    held: Mutex<Vec<Box<dyn MessageReceiver>>>,
}

impl Fault for LivesOnWithoutItsReceiver {
    fn receiver_dropped(&self, receiver: Box<dyn MessageReceiver>) {
        self.held.lock().expect("no panic").push(receiver);
    }
}

#[derive(Default)]
pub(crate) struct ForgetsASendThatWaits;

#[async_trait]
impl Fault for ForgetsASendThatWaits {
    async fn send(&self, sender: &mut Sender, message: Bytes) -> Result<(), TransportError> {
        let mut waited = false;
        let mut sending = sender.inner.send(message);
        let sent = std::future::poll_fn(|context| {
            let polled = sending.as_mut().poll(context);
            waited |= polled.is_pending();
            polled
        })
        .await;
        match sent {
            Err(TransportError::Closed) if waited => std::future::pending().await,
            sent => sent,
        }
    }
}

#[derive(Default)]
pub(crate) struct ForgetsAReceiveThatWaits;

#[async_trait]
impl Fault for ForgetsAReceiveThatWaits {
    async fn receive(&self, receiver: &mut Receiver) -> Option<Bytes> {
        let mut waited = false;
        let mut receiving = receiver.inner.receive();
        let received = std::future::poll_fn(|context| {
            let polled = receiving.as_mut().poll(context);
            waited |= polled.is_pending();
            polled
        })
        .await;
        match received {
            None if waited => std::future::pending().await,
            received => received,
        }
    }
}

/// The first three members have the addresses 0, 1 and 2.
#[derive(Default)]
pub(crate) struct ClosesAllTogether;

#[async_trait]
impl Fault for ClosesAllTogether {
    async fn close(&self, sender: &mut Sender) {
        for other in ["0", "1", "2"] {
            sender.network.disconnect(&sender.own, &PeerAddress::new(other));
        }
    }
}
