//! What the rooms count, for the metrics.

use std::collections::BTreeMap;

use crate::close::CloseReason;

/// Counts since the start, and sizes now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// Peers that are connected.
    pub peers: usize,
    /// Rooms that have members.
    pub rooms: usize,
    /// Members of all rooms.
    pub memberships: usize,
    /// Bytes that count towards [`Limits::memory_bytes_max`](super::Limits::memory_bytes_max).
    pub memory_bytes: usize,
    /// Peers that ever connected.
    pub connected_total: u64,
    /// Messages that peers sent.
    pub messages_received_total: u64,
    /// Messages that were handed out to be sent to peers.
    pub messages_sent_total: u64,
    /// Joins that made a member.
    pub joined_total: u64,
    /// Memberships that ended.
    pub left_total: u64,
    /// Signals that were passed on.
    pub signals_relayed_total: u64,
    /// Signals for somebody who is not in the room, who may not know the sender, or who has too many waiting.
    pub signals_dropped_total: u64,
    /// Connections that the server ended, by reason.
    pub closed_total: BTreeMap<CloseReason, u64>,
}
