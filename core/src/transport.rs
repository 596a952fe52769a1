//! The transport contract: joining a topic, and the connections that come of it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::id::Topic;

/// Brings the members of a topic together.
///
/// To *call* an async method means to poll its future for the first time; before that nothing happens.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Joins a topic. From then on the transport connects to its other members, each pair once, and never to
    /// members of other topics. One transport may join several topics.
    ///
    /// The membership and its connections need the transport no longer: it may be dropped.
    async fn join(&self, topic: &Topic) -> Result<Box<dyn Membership>, TransportError>;
}

/// Being a member of a topic. Dropping it leaves the topic: who joins later is not connected to it, and
/// connections accepted before live on. Who leaves may join again, and is then connected anew to the members
/// that there are.
#[async_trait]
pub trait Membership: Send {
    /// The next connection to another member, whichever side asked for it. Waits as long as there is none.
    ///
    /// # Errors
    ///
    /// An error ends the membership: the topic must be joined again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    async fn accept(&mut self) -> Result<Connection, TransportError>;

    /// Asks for a new connection to a member whose last one is closed. It comes by [`Membership::accept`] on
    /// both sides, and has a [`PeerAddress`] equal to the last one's. Nothing happens if the member has left,
    /// if a connection to it is open, or if it is the other side's turn to connect; once both sides have seen
    /// the end and both have redialed, one connection is made, not two. Returns at once.
    ///
    /// A connection that was closed before the other side accepted it may never be seen there: only the one
    /// that follows it comes by `accept`.
    fn redial(&mut self, peer: &PeerAddress);
}

/// Where a peer is, in the words of its transport. For display, and for [`Membership::redial`].
///
/// Within one membership, different members have different addresses, and a member keeps its address until it
/// leaves.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerAddress(Arc<str>);

impl PeerAddress {
    /// An address as the transport writes it.
    pub fn new(address: &str) -> Self {
        Self(address.into())
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Display for PeerAddress {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A connection to one peer: messages in both directions, in order, each once and with its own bounds, until
/// it is closed as a whole.
///
/// Both directions are independent of each other, and of other connections: while one waits, the others do
/// not. The sender and the receiver may be used from different threads.
pub struct Connection {
    /// Where the other end is.
    pub peer: PeerAddress,
    /// The most bytes of one message. At least [`MESSAGE_BYTES_MIN`].
    pub message_bytes_max: usize,
    /// What both ends of this very connection see alike and nobody in the middle can, such as the
    /// fingerprints of both certificates. No other connection has the same, not even a later one between the
    /// same two. `None`, at both ends, if the transport has nothing of the kind.
    pub channel_binding: Option<Bytes>,
    /// The sending end.
    pub sender: Box<dyn MessageSender>,
    /// The receiving end.
    pub receiver: Box<dyn MessageReceiver>,
}

impl core::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The least that a transport must be able to carry in one message.
pub const MESSAGE_BYTES_MIN: usize = 1024;

/// The sending end of a connection. Dropping it closes the connection as a whole, as [`MessageSender::close`]
/// does, except that what was taken and is still on its way may be lost.
#[async_trait]
pub trait MessageSender: Send {
    /// Sends a message of 1 to `message_bytes_max` bytes.
    ///
    /// Returns once the transport has taken it, and waits while the other end does not keep up, so that
    /// nothing piles up: what a connection holds that nobody receives is bounded. A transport may also take a
    /// message only when the other end receives it. What was taken arrives, unless the connection breaks.
    ///
    /// # Errors
    ///
    /// [`TransportError::Empty`] and [`TransportError::TooLarge`] refuse this message, and the connection
    /// goes on: [`check_message`] is that check. [`TransportError::Closed`] once the connection is closed, at
    /// whichever end, also to a send that waits. A message may still be taken before the news of a close has
    /// come from the other end, and is then lost.
    ///
    /// # Cancel safety
    ///
    /// After dropping the future the message may have been taken or not: it arrives whole and once, before
    /// all that are sent later, or never.
    async fn send(&mut self, message: Bytes) -> Result<(), TransportError>;

    /// Closes the connection as a whole, both directions of it. Closing twice is fine.
    ///
    /// What this end's transport had taken before still arrives, unless the connection breaks or the other
    /// end closes, too. What is on its way from the other end may be lost. When this returns, nothing can be
    /// sent from this end.
    async fn close(&mut self);
}

/// Whether a connection that carries `message_bytes_max` bytes carries this message: the check that
/// [`MessageSender::send`] begins with, for those who write transports.
///
/// # Errors
///
/// [`TransportError::Empty`] and [`TransportError::TooLarge`].
///
/// ```
/// use peerloom_core::{MESSAGE_BYTES_MIN, TransportError, check_message};
///
/// assert!(check_message(b"word", MESSAGE_BYTES_MIN).is_ok());
/// assert!(matches!(check_message(b"", MESSAGE_BYTES_MIN), Err(TransportError::Empty)));
/// let large = check_message(&[0; 2000], MESSAGE_BYTES_MIN);
/// assert!(matches!(large, Err(TransportError::TooLarge { bytes: 2000, bytes_max: 1024 })));
/// ```
pub fn check_message(message: &[u8], message_bytes_max: usize) -> Result<(), TransportError> {
    match message.len() {
        0 => Err(TransportError::Empty),
        bytes if bytes > message_bytes_max => {
            Err(TransportError::TooLarge { bytes, bytes_max: message_bytes_max })
        }
        _ => Ok(()),
    }
}

/// The receiving end of a connection. Dropping it closes the connection as a whole.
#[async_trait]
pub trait MessageReceiver: Send {
    /// The next message. `None` once the connection is closed and every message that arrived was received,
    /// and from then on for good. A receive that waits gets it as well, whichever end closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no message.
    async fn receive(&mut self) -> Option<Bytes>;
}

/// Why a topic could not be joined or a message not sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The connection or the membership is closed.
    #[error("the connection is closed")]
    Closed,
    /// The message is empty. A message has at least one byte.
    #[error("an empty message cannot be sent")]
    Empty,
    /// The message is larger than the connection carries.
    #[error("a message of {bytes} bytes exceeds the connection's {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The transport failed. Trying again may help.
    #[error("the transport failed: {detail}")]
    Failed {
        /// What it said.
        detail: String,
    },
    /// Somebody who is needed refuses. Trying again helps once what `detail` names has been set right.
    #[error("refused: {detail}")]
    Refused {
        /// Who refuses, why, and what may be done about it.
        detail: String,
    },
}
