//! A Peerloom transport over WebRTC: peers find each other through [`Signaling`] and then talk directly.
//!
//! ```no_run
//! use peerloom_core::{Topic, Transport};
//! use peerloom_webrtc::{WebRtc, WebSocketSignaling};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let signaling = WebSocketSignaling::new("wss://signaling.example.org")?.token("secret");
//! let mut room = WebRtc::new(signaling).join(&Topic::new("our-notes")?).await?;
//! let mut connection = room.accept().await?;
//! connection.sender.send("good morning".into()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Connections
//!
//! Two members of a room have one connection: one data channel, ordered and reliable, over which everything goes. The one
//! with the smaller id in the words of the signaling calls, again and again until it succeeds, and again after the
//! connection has ended if both ask for it. When a second connection to the same member comes up, the first one goes.
//!
//! Connections live on when the signaling is gone, when a member leaves the room, and when its addresses change: then, and
//! when nothing is heard, another way to it is looked for. Only a member that stays silent for
//! [`Options::dead_after`] is given up.
//!
//! What is sent and not acknowledged is bounded by [`Options::buffered_bytes_max`], what has arrived and nobody receives by
//! 528 messages and 1 MiB. Sending waits meanwhile. Closing a connection lets arrive what was sent before, if the
//! other end receives it within half a minute.
//!
//! The channel binding is made of the fingerprints of both certificates. Each connection has certificates of its own.
//!
//! # Peers that do not meet
//!
//! Nothing is told of peers that are never heard of, and waiting for them does not end. What to look at, in this order:
//!
//! - Is the signaling server reached? `tracing` has a warning if it is not, and again after each connection to it that is lost.
//! - Are topic and key the same, letter by letter? With another key the peers are in another room, and nobody can tell.
//! - Is there a way? In one network, or to a public address, there is without help. Behind NATs peers take a STUN server, and where these let
//!   nothing through, a TURN server: [`Options::ice_servers`]. `tracing` says of each attempt at the level of information why it failed.
//!
//! # Peers that are not Peerloom's
//!
//! Peers on simple-peer, such as RxDB's, can connect. What they send as text comes as its bytes, and a message that begins
//! with `{` and is UTF-8 is sent to them as text, all others as binary. Frames of Peerloom never begin so.
//!
//! # Tasks
//!
//! Joining, accepting and using connections needs a tokio runtime with time and input/output. What a membership and a
//! connection run in the background ends with them, at the latest half a minute after.

/// Whether a mistake is planted on this thread: never without the feature `planted-bugs`.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($bug:ident) => {
        peerloom_core::planted::is(peerloom_core::planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

mod backoff;
mod binding;
mod call;
mod interfaces;
mod line;
mod member;
mod mesh;
mod options;
mod random;
mod signal;
mod signaling;
mod spawn;
mod stack;
mod udp;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use peerloom_core::{MESSAGE_BYTES_MIN, Membership, Topic, Transport, TransportError};

use member::Member;
pub use options::{IceServer, Interfaces, Mdns, Options};
use random::Random;
pub use signal::{Candidate, Claim, ConnectionId, PeerId, Signal};
pub use signaling::{
    Connect, Exchange, InProcessSignaling, InvalidBlob, InvalidServer, ManualSignaling, Reconnect, Signaling,
    SignalingEvent, SignalingSession, Tcp, WebSocketSignaling,
};
use spawn::Spawner;
use stack::Stack;
use udp::Sockets;
pub use udp::{UdpNetwork, UdpSocket};

/// The transport. See the [crate].
pub struct WebRtc {
    signaling: Arc<dyn Signaling>,
    options: Options,
    random: Random,
    spawner: Spawner,
    network: Option<Arc<dyn UdpNetwork>>,
}

impl WebRtc {
    /// A transport with [`Options::default`].
    pub fn new(signaling: impl Signaling) -> Self {
        Self::with_options(signaling, Options::default())
    }

    /// A transport with other options.
    ///
    /// # Panics
    ///
    /// If `message_bytes_max` is out of its range, `dead_after` is less than two `keep_alive`s, or `keep_alive`,
    /// `check_interval`, `attempt_timeout` or `buffered_bytes_max` is zero.
    pub fn with_options(signaling: impl Signaling, options: Options) -> Self {
        let range = MESSAGE_BYTES_MIN..=Options::MESSAGE_BYTES_MAX;
        assert!(range.contains(&options.message_bytes_max), "message_bytes_max is not within {range:?}");
        assert!(options.dead_after >= 2 * options.keep_alive, "dead_after is less than two keep_alives");
        for (name, duration) in [
            ("keep_alive", options.keep_alive),
            ("check_interval", options.check_interval),
            ("attempt_timeout", options.attempt_timeout),
        ] {
            assert!(!duration.is_zero(), "{name} is zero");
        }
        assert!(options.buffered_bytes_max > 0, "buffered_bytes_max is zero");
        Self {
            signaling: Arc::new(signaling),
            options,
            random: Random::system(),
            spawner: Spawner::Tokio,
            network: None,
        }
    }

    /// Takes the randomness of connection ids and waits from `fill`, as a simulator wants it. Certificates and what else
    /// is secret are not made of it.
    #[must_use]
    pub fn random(self, fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self { random: Random::new(fill), ..self }
    }

    /// Runs all tasks by `spawn` in place of tokio, as a simulator wants it: dropping the tasks that it was given ends memberships and
    /// connections as the end of a process does.
    #[must_use]
    pub fn spawn_by(
        self,
        spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> Self {
        Self { spawner: Spawner::simulator(spawn), ..self }
    }

    /// Takes the UDP sockets of connections from `network`, as a simulator wants it. The addresses in the options must be
    /// ones to which real sockets can be bound: each simulated socket keeps a real one bound and unused, so that no two have the
    /// same address.
    #[must_use]
    pub fn udp(self, network: impl UdpNetwork) -> Self {
        Self { network: Some(Arc::new(network)), ..self }
    }
}

impl fmt::Debug for WebRtc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WebRtc").field("options", &self.options).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for WebRtc {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn Membership>, TransportError> {
        let session = self.signaling.join(topic).await?;
        let sockets =
            Sockets::new(self.options.socket_buffer_bytes, self.network.clone(), self.spawner.clone());
        let stack = Arc::new(Stack::new(self.options.clone(), sockets));
        Ok(Box::new(Member::new(stack, session, self.random.clone(), &self.spawner)))
    }
}
