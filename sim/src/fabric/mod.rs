//! What a room runs on: a simulated network and the time that passes in it.

mod tcp;
mod turmoil;
mod virtual_time;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::PeerNumber;
use crate::tasks::Tasks;

/// What a room runs on. The same plan, checks and reports go with each.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fabric {
    /// All peers on one runtime with a paused clock that jumps to whatever happens next, over an in-process transport: for depth.
    #[default]
    Virtual,
    /// Every peer a host of `turmoil`, over its TCP: for breadth, some twenty times slower.
    Turmoil,
}

impl fmt::Display for Fabric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Virtual => "virtual",
            Self::Turmoil => "turmoil",
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
}

pub(crate) use self::turmoil::run as run_turmoil;
pub(crate) use virtual_time::run as run_virtual;
