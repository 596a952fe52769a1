//! What a peer that was let in may do.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::message::RoomName;

/// What a peer that was let in may do. The default is anything, for ever.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Permit {
    /// The rooms it may join.
    pub rooms: PermittedRooms,
    /// When its session ends, since the Unix epoch.
    pub expires_at: Option<Duration>,
    /// It may not join a room that has as many members, where this is less than the server's limit.
    pub members_per_room_max: Option<NonZeroUsize>,
    /// Whether it meets other stock peers, if it is one. `None` is what the server says.
    pub stock_peers: Option<StockPeers>,
}

/// Which rooms a peer may join.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum PermittedRooms {
    /// Any.
    #[default]
    All,
    /// These.
    Only(BTreeSet<RoomName>),
}

impl PermittedRooms {
    /// Whether this one is among them.
    pub fn contain(&self, room: &RoomName) -> bool {
        match self {
            Self::All => true,
            Self::Only(rooms) => rooms.contains(room),
        }
    }
}

/// What becomes of two stock RxDB peers in one room.
///
/// RxDB peers that are linked to each other as well as to Peerloom can hand an old state back as a new edit, and nobody
/// can tell. Kept apart, they meet only through Peerloom peers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StockPeers {
    /// They are told of each other, as RxDB's own server does.
    #[default]
    Introduced,
    /// They do not hear of each other, and no signal passes between them.
    KeptApart,
}
