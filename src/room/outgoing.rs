//! The sending half of a connection, with one frame under way at most.

use bytes::Bytes;
use peerloom_core::{MessageReceiver, MessageSender, TransportError};

use crate::environment::BoxFuture;

type Sending = BoxFuture<(Box<dyn MessageSender>, Result<(), TransportError>)>;

pub(super) struct Outgoing {
    /// There while nothing is under way.
    sender: Option<Box<dyn MessageSender>>,
    sending: Option<Sending>,
    /// Nothing can be sent any more. The sender is kept, for what arrived before may say why, and dropping it could lose that.
    is_broken: bool,
}

impl Outgoing {
    pub(super) fn new(sender: Box<dyn MessageSender>) -> Self {
        Self { sender: Some(sender), sending: None, is_broken: false }
    }

    /// Whether a frame can be sent now.
    pub(super) fn is_idle(&self) -> bool {
        self.sender.is_some() && !self.is_broken
    }

    pub(super) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Begins to send a frame. To be called only when idle.
    pub(super) fn send(&mut self, frame: Bytes) {
        let mut sender = self.sender.take().expect("nothing is under way");
        self.sending = Some(Box::pin(async move {
            let sent = sender.send(frame).await;
            (sender, sent)
        }));
    }

    /// Waits for the frame that is under way, if there is one. Cancel-safe.
    pub(super) async fn sent(&mut self) {
        if let Some(sending) = &mut self.sending {
            let (sender, sent) = sending.await;
            self.sending = None;
            self.sender = Some(sender);
            self.is_broken = sent.is_err();
        }
    }

    /// The sender, once nothing is under way.
    #[cfg(feature = "rxdb")]
    pub(super) async fn into_sender(mut self) -> Box<dyn MessageSender> {
        self.sent().await;
        self.sender.expect("nothing is under way")
    }

    /// Closes the connection from this side, unless it is broken.
    pub(super) async fn close(&mut self) {
        if let Some(sender) = self.sender.as_mut().filter(|_| !self.is_broken) {
            sender.close().await;
        }
    }
}

/// Stands where the ends of the connection were.
pub(super) struct Gone;

#[async_trait::async_trait]
impl MessageSender for Gone {
    async fn send(&mut self, _message: Bytes) -> Result<(), TransportError> {
        Err(TransportError::Closed)
    }

    async fn close(&mut self) {}
}

#[async_trait::async_trait]
impl MessageReceiver for Gone {
    async fn receive(&mut self) -> Option<Bytes> {
        None
    }
}
