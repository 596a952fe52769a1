//! An open data channel as a [`Connection`]: sending, receiving, and how it ends.
//!
//! Knows nothing of rooms or of how the channel came to be.
//!
//! **Ending.** The stack's own ways to close lose what is under way: closing the peer connection discards it, and the news of
//! a closed data channel overtakes messages. So whoever closes says so by an empty message, which no one else sends, keeps
//! everything up, and reads on, until the other end, having received all before it, hangs up. A peer that does not know the
//! empty message hears of the end once it has acknowledged everything.
//!
//! **Text.** Peerloom sends binary messages, RxDB text. Here both are bytes: what begins with `{` and is UTF-8 is sent as
//! text, everything else as binary, and what is received as either is passed on alike. No frame of Peerloom begins so, and
//! every message of RxDB does; the first byte is what tells the two apart above, too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use peerloom_core::{MessageReceiver, MessageSender, TransportError, check_message};
use tokio::sync::{mpsc, watch};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::error::Error;
use webrtc::peer_connection::RTCPeerConnectionState;

/// How many messages wait between the task of the line and who receives. The stack holds up to 512 more.
const MESSAGES_WAITING_MAX: usize = 16;

/// How long the other end has to receive what is under way, once this end is closed.
const LINGER: Duration = Duration::from_secs(30);

/// How long a peer that does not know the empty message is waited for, once it has acknowledged everything.
const LINGER_FOR_OTHERS: Duration = Duration::from_secs(1);

/// How many bytes may be under way to a peer whose sockets are not set up by this crate.
///
/// libwebrtc, as Node has it, leaves its sockets' buffers as the system makes them, 208 KiB on Linux, and offers a larger window. So a
/// long burst overflows them, and each loss at its end costs a second. A datagram of SCTP occupies twice its size there. See
/// [`Sockets::window_bytes`](crate::udp::Sockets::window_bytes), which chooses the same for sockets of ours with such a buffer.
const UNDER_WAY_BYTES_MAX_OF_OTHERS: usize = 64 << 10;

/// Whether the other end knows the empty message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialect {
    Peerloom,
    Other,
}

impl Dialect {
    /// How many bytes may be sent and not acknowledged before more is handed to the stack, which has a limit of its own.
    fn under_way_bytes_max(self) -> usize {
        match self {
            Self::Peerloom => usize::MAX,
            Self::Other => UNDER_WAY_BYTES_MAX_OF_OTHERS,
        }
    }
}

/// Whether messages can be sent and received. Becomes false once and for good.
pub(crate) type IsOpen = watch::Receiver<bool>;

/// Makes the two ends that a user has, and the task between them and the stack.
pub(crate) fn line(
    channel: Arc<dyn DataChannel>,
    message_bytes_max: usize,
    dialect: Dialect,
) -> (Sender, Receiver, Line) {
    let open = Arc::new(watch::Sender::new(true));
    let (arrived, messages) = mpsc::channel(MESSAGES_WAITING_MAX);
    let sender = Sender {
        channel: channel.clone(),
        message_bytes_max,
        under_way_bytes_max: dialect.under_way_bytes_max(),
        end: End { open: open.clone(), seen: open.subscribe() },
    };
    let receiver = Receiver { messages, end: End { open: open.clone(), seen: open.subscribe() } };
    let line = Line { end: End { seen: open.subscribe(), open }, channel, dialect, arrived };
    (sender, receiver, line)
}

/// The hold that a sender, a receiver or the task has on a line. Dropping it closes the connection.
struct End {
    open: Arc<watch::Sender<bool>>,
    seen: IsOpen,
}

impl End {
    fn is_open(&self) -> bool {
        *self.seen.borrow()
    }

    fn close(&self) {
        self.open.send_replace(false);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits until the connection is no longer open. Cancel-safe.
pub(crate) async fn closed(seen: &mut IsOpen) {
    // Whoever could still open it is gone if this fails.
    let _ = seen.wait_for(|open| !open).await;
}

pub(crate) struct Sender {
    channel: Arc<dyn DataChannel>,
    message_bytes_max: usize,
    under_way_bytes_max: usize,
    end: End,
}

#[async_trait]
impl MessageSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), TransportError> {
        check_message(&message, self.message_bytes_max)?;
        let sent = tokio::select! {
            biased;
            () = closed(&mut self.end.seen) => return Err(TransportError::Closed),
            sent = send(&self.channel, message, self.under_way_bytes_max) => sent,
        };
        // If it is open now, the message was taken before the end was said.
        match sent {
            Ok(()) if self.end.is_open() => Ok(()),
            Ok(()) => Err(TransportError::Closed),
            Err(error) => {
                tracing::debug!(%error, "a message was not sent, and the connection ends");
                self.end.close();
                Err(TransportError::Closed)
            }
        }
    }

    async fn close(&mut self) {
        self.end.close();
    }
}

/// Sends once fewer bytes than the limits wait to be acknowledged.
///
/// The stack can wait by itself, but may miss that it has become possible, and looks again only after 50 ms; and while much is
/// under way it looks after each packet, under the lock that the packets need, too. Looking after a millisecond is soon enough:
/// in that time, little of what may wait is gone.
async fn send(
    channel: &Arc<dyn DataChannel>,
    message: Bytes,
    under_way_bytes_max: usize,
) -> Result<(), Error> {
    const LOOK_AFTER: Duration = Duration::from_millis(1);
    const LOOK_AFTER_MAX: Duration = Duration::from_millis(32);
    let mut wait = LOOK_AFTER;
    loop {
        let sent = match text(&message) {
            _ if !has_room(channel, message.len(), under_way_bytes_max).await? => {
                Err(Error::ErrSendBufferFull)
            }
            Some(text) => channel.try_send_text(text).await,
            None => channel.try_send(BytesMut::from(&message[..])).await,
        };
        match sent {
            Err(Error::ErrSendBufferFull) => {
                tokio::time::sleep(wait).await;
                wait = (2 * wait).min(LOOK_AFTER_MAX);
            }
            sent => return sent,
        }
    }
}

/// Whether so many bytes more may be under way. On their own they always may.
async fn has_room(channel: &Arc<dyn DataChannel>, bytes: usize, bytes_max: usize) -> Result<bool, Error> {
    if bytes_max == usize::MAX {
        return Ok(true);
    }
    let under_way = channel.outstanding_bytes().await?;
    Ok(under_way == 0 || under_way + bytes <= bytes_max)
}

fn text(message: &Bytes) -> Option<&str> {
    message.starts_with(b"{").then(|| str::from_utf8(message).ok()).flatten()
}

pub(crate) struct Receiver {
    messages: mpsc::Receiver<Bytes>,
    end: End,
}

#[async_trait]
impl MessageReceiver for Receiver {
    async fn receive(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            message = self.messages.recv() => return message,
            () = closed(&mut self.end.seen) => {}
        }
        self.messages.close();
        self.messages.recv().await
    }
}

/// The task of a line. Ends when the connection has ended and nothing is left to be said.
pub(crate) struct Line {
    /// The first to be dropped: who has received the end can no longer send.
    end: End,
    channel: Arc<dyn DataChannel>,
    dialect: Dialect,
    arrived: mpsc::Sender<Bytes>,
}

/// Why a line no longer carries messages.
enum Ended {
    /// This side was asked to.
    Here,
    /// The other side closed, and all it had sent has been handed over; or it is gone.
    There,
}

impl Line {
    pub(crate) fn is_open(&self) -> IsOpen {
        self.end.seen.clone()
    }

    /// Runs until the peer connection may be closed.
    pub(crate) async fn run(mut self, mut state: watch::Receiver<RTCPeerConnectionState>) {
        let ended = tokio::select! {
            biased;
            () = closed(&mut self.end.seen) => Ended::Here,
            () = gone(&mut state) => Ended::There,
            () = carry(&self.channel, &self.arrived) => Ended::There,
        };
        self.end.close();
        if let Ended::Here = ended {
            drop(self.arrived);
            tokio::select! {
                biased;
                () = gone(&mut state) => {}
                () = hang_up(&self.channel, self.dialect) => {}
                () = tokio::time::sleep(LINGER) => {}
            }
        }
    }
}

/// Waits until the stack gives the other side up. Cancel-safe.
async fn gone(state: &mut watch::Receiver<RTCPeerConnectionState>) {
    let is_over = |state: &RTCPeerConnectionState| {
        matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed)
    };
    // Without the stack there is nobody either.
    let _ = state.wait_for(is_over).await;
}

/// Hands over what arrives, in order, until the other end closes.
async fn carry(channel: &Arc<dyn DataChannel>, arrived: &mpsc::Sender<Bytes>) {
    loop {
        match channel.poll().await {
            Some(DataChannelEvent::OnMessage(message)) if message.data.is_empty() => return,
            Some(DataChannelEvent::OnMessage(message)) => {
                // Fails when the receiver is dropped, which closes the line.
                if arrived.send(message.data.freeze()).await.is_err() {
                    return std::future::pending().await;
                }
            }
            Some(DataChannelEvent::OnClose) | None => return,
            Some(_) => {}
        }
    }
}

/// Says the end, and reads until the other side hangs up. What it still sends is discarded.
async fn hang_up(channel: &Arc<dyn DataChannel>, dialect: Dialect) {
    let discard = async {
        while let Some(event) = channel.poll().await {
            if let DataChannelEvent::OnClose = event {
                return;
            }
        }
    };
    let say = async {
        if send(channel, Bytes::new(), usize::MAX).await.is_err() {
            return;
        }
        if dialect == Dialect::Peerloom {
            // It hangs up.
            return std::future::pending().await;
        }
        acknowledged(channel).await;
        // Fails if it is closed already.
        let _ = channel.close().await;
        tokio::time::sleep(LINGER_FOR_OTHERS).await;
    };
    tokio::select! {
        biased;
        () = discard => {}
        () = say => {}
    }
}

/// Waits until the other side has acknowledged everything. The stack has no event for it.
async fn acknowledged(channel: &Arc<dyn DataChannel>) {
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    while channel.outstanding_bytes().await.is_ok_and(|bytes| bytes > 0) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
