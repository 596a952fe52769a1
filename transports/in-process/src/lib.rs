//! A Peerloom transport between replicas of one process: for tests, simulations and examples.
//!
//! Keeps the promises of [`Transport`] and lets a test decide what a real network decides by chance: which pairs are
//! connected, when a connection breaks, how long messages take and how large they may be. On tokio's paused clock the
//! same calls give the same run: there is no randomness in it and no order that depends on hashing.
//!
//! Does not model loss within a connection, reordering or bandwidth: a connection delivers in order or breaks.
//!
//! ```
//! use peerloom_core::{Topic, Transport};
//! use peerloom_in_process::{InProcess, Network};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::new();
//! let topic = Topic::new("greetings")?;
//! let mut left = InProcess::new(&network).named("left").join(&topic).await?;
//! let mut right = InProcess::new(&network).named("right").join(&topic).await?;
//!
//! let mut to_right = left.accept().await?;
//! let mut to_left = right.accept().await?;
//! to_right.sender.send("good morning".into()).await?;
//! assert_eq!(to_left.receiver.receive().await.as_deref(), Some(&b"good morning"[..]));
//! assert_eq!(to_left.peer.as_str(), "left");
//! # Ok(())
//! # }
//! ```

mod connection;
mod network;

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use peerloom_core::{Connection, Membership, PeerAddress, Topic, Transport, TransportError};

pub use network::Network;
use network::Seat;

/// How the connections of a [`Network`] behave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// How long a message takes one way. Zero by default. Messages follow each other as closely as they were sent,
    /// but those under way count for `queue_messages_max`, which bounds how many are delivered per delay. If it is not
    /// zero, receiving needs a tokio runtime with its timer, which rounds up to whole milliseconds.
    pub delay: Duration,
    /// The most bytes of one message, at least [`peerloom_core::MESSAGE_BYTES_MIN`]. 256 KiB by default, as in
    /// the WebRTC of Chrome.
    pub message_bytes_max: usize,
    /// How many messages may be sent and not yet received, in each direction of a connection, before sending waits.
    /// 16 by default: few enough to be 4 MiB at most, and enough that the ends seldom wait for each other. One more may
    /// be held by a receiver that waits for it to arrive.
    pub queue_messages_max: NonZeroU32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            message_bytes_max: 256 * 1024,
            queue_messages_max: NonZeroU32::new(16).expect("16 is not zero"),
        }
    }
}

/// The transport: joins topics of one [`Network`].
///
/// Each pair of members of a topic that the network allows is connected from the moment the later one joins, before
/// either accepts. A connection that was not accepted before it ended gives way to the next one to the same member, with
/// what was sent on it. A connection counts as closed as soon as one end closed or dropped any half of it; the other
/// end still receives what was sent before, and may by then have the next connection to accept.
///
/// The channel binding is the number of the connection within its network, in 32 bytes: there is no middle to sit in.
#[derive(Clone, Debug)]
pub struct InProcess {
    network: Network,
    name: Option<PeerAddress>,
}

impl InProcess {
    /// A transport on this network. Each time it joins a topic it gets an address that no other member has.
    pub fn new(network: &Network) -> Self {
        Self { network: network.clone(), name: None }
    }

    /// Uses `address` as its address in every topic. Joining a topic then fails with [`TransportError::Failed`] while
    /// another member has that address.
    #[must_use]
    pub fn named(self, address: &str) -> Self {
        Self { name: Some(PeerAddress::new(address)), ..self }
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn Membership>, TransportError> {
        let seat = self.network.join(topic, self.name.as_ref())?;
        Ok(Box::new(Member { seat }))
    }
}

struct Member {
    seat: Seat,
}

#[async_trait]
impl Membership for Member {
    async fn accept(&mut self) -> Result<Connection, TransportError> {
        Ok(self.seat.next_connection().await)
    }

    fn redial(&mut self, peer: &PeerAddress) {
        self.seat.redial(peer);
    }
}
