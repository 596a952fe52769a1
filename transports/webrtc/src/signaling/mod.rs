//! How peers find each other: the trait that signaling keeps, and three that do.

mod in_process;
mod manual;
mod web_socket;

use async_trait::async_trait;
use peerloom_core::{Topic, TransportError};

use crate::options::IceServer;
use crate::signal::{ConnectionId, PeerId, Signal};

pub use in_process::InProcessSignaling;
pub use manual::{Exchange, InvalidBlob, ManualSignaling};
pub use web_socket::{Connect, InvalidServer, Reconnect, Tcp, WebSocketSignaling};

/// A way for peers to find each other and to pass a few small messages before they are connected.
#[async_trait]
pub trait Signaling: Send + Sync + 'static {
    /// Becomes a member of a room, sooner or later.
    ///
    /// Returns at once; when it has happened, the session says so. The session needs the signaling no longer.
    async fn join(&self, topic: &Topic) -> Result<Box<dyn SignalingSession>, TransportError>;
}

/// Being a member of a room, or trying to be. Dropping it leaves the room.
#[async_trait]
pub trait SignalingSession: Send {
    /// What happens next. Waits as long as nothing does.
    ///
    /// # Errors
    ///
    /// An error ends the session for good: the room must be joined again. What may pass by itself, such as a server that is
    /// gone, is not an error but [`SignalingEvent::Lost`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    async fn event(&mut self) -> Result<SignalingEvent, TransportError>;

    /// Sends a signal to another member. Returns at once.
    ///
    /// Signals arrive in the order in which they were sent, or not at all: those to somebody who has left, those for which
    /// there is no room, and those sent while there is no server. An attempt to connect that lacks one is made again.
    fn send(&mut self, to: &PeerId, connection: Option<&ConnectionId>, signal: &Signal);
}

/// What a member of a room learns.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SignalingEvent {
    /// This side is a member, for the first time or again. Replaces all that was known before.
    Joined {
        /// This side's id from now on. It may differ from an earlier one.
        own: PeerId,
        /// All others.
        peers: Vec<PeerId>,
    },
    /// Somebody else has joined.
    PeerJoined(PeerId),
    /// Somebody else has left, or lost the server. Connections to them live on.
    PeerLeft(PeerId),
    /// Somebody else, who is a member, has sent something.
    Signal {
        /// Who.
        from: PeerId,
        /// To which attempt or connection it belongs. RxDB's older versions do not say.
        connection: Option<ConnectionId>,
        /// What.
        signal: Signal,
    },
    /// STUN and TURN servers for attempts and other ways from now on. Replaces those of an earlier event.
    IceServers(Vec<IceServer>),
    /// The server is gone, and with it the list of members. Connections live on. If it comes back, [`Self::Joined`] says so.
    Lost,
}
