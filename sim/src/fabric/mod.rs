//! What a room runs on: a simulated network and the time that passes in it.

mod desk;
mod tcp;
mod turmoil;
mod virtual_time;
#[cfg(feature = "webrtc")]
mod webrtc;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::{Outage, PeerNumber, Plan};
use crate::scenario::Casting;
use crate::tasks::Tasks;
use crate::world::World;

/// What a room runs on. The same plan, checks and reports go with each.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fabric {
    /// All peers on one runtime with a paused clock that jumps to whatever happens next, over an in-process transport: for depth.
    #[default]
    Virtual,
    /// Every peer a host of `turmoil`, over its TCP: for breadth, some twenty times slower.
    Turmoil,
    /// Every peer a host of `turmoil` with the real WebRTC transport over its UDP, and one host the real signaling server, which they
    /// reach over its TCP. The plan does its worst to datagrams and to the streams to the server.
    #[cfg(feature = "webrtc")]
    #[serde(rename = "webrtc")]
    WebRtc,
}

impl fmt::Display for Fabric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Virtual => "virtual",
            Self::Turmoil => "turmoil",
            #[cfg(feature = "webrtc")]
            Self::WebRtc => "webrtc",
        })
    }
}

/// What the director of a run asks of the fabric.
pub(crate) trait Floor: Send + Sync {
    /// Starts the software of a peer that is down.
    fn start(&self, peer: PeerNumber);

    /// Drops what is left of the software of a peer. From now on it does nothing.
    fn clear(&self, peer: PeerNumber, tasks: Tasks);

    /// Breaks the connections between two peers with notice, and allows no new one until [`Floor::join`].
    fn cut(&self, left: PeerNumber, right: PeerNumber);

    /// Undoes [`Floor::cut`].
    fn join(&self, left: PeerNumber, right: PeerNumber);

    /// Breaks the connections between two peers with notice.
    fn reset(&self, left: PeerNumber, right: PeerNumber);

    /// The signaling server, if peers find each other through one.
    fn signaling(&self) -> Option<&dyn SignalingFloor>;
}

/// What the director of a run asks of the signaling server. Each thing may be asked for several times, and is undone when each
/// was undone.
pub(crate) trait SignalingFloor: Send + Sync {
    /// Takes the server away.
    fn stop(&self, outage: Outage);

    /// Undoes [`SignalingFloor::stop`].
    fn start(&self, outage: Outage);

    /// Lets nothing pass between a peer and the server, and tells nobody.
    fn part(&self, peer: PeerNumber);

    /// Undoes [`SignalingFloor::part`]. The streams that there were carry nothing any more.
    fn rejoin(&self, peer: PeerNumber);
}

/// Runs a plan to its end.
pub(crate) fn run(fabric: Fabric, plan: &Plan, casting: Casting) -> World {
    match fabric {
        Fabric::Virtual => virtual_time::run(plan, casting),
        Fabric::Turmoil => self::turmoil::run::<tcp::TcpWiring>(plan, casting),
        #[cfg(feature = "webrtc")]
        Fabric::WebRtc => self::turmoil::run::<webrtc::WebRtcWiring>(plan, casting),
    }
}
