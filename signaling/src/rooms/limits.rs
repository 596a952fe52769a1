//! How much a peer may take, and how much all of them may.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// The bounds of everything that peers can make grow.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Members of one room. What a join costs grows with it, because each member is told.
    pub members_per_room_max: NonZeroUsize,
    /// Rooms that one peer is in at once.
    pub rooms_per_peer_max: NonZeroUsize,
    /// Bytes of one message from a peer. A session description with its candidates has 1,000 to 10,000.
    pub message_bytes_max: NonZeroUsize,
    /// Messages a second from one peer, in the long run.
    pub messages_per_second: NonZeroU32,
    /// Messages that a peer may send at once after a time of silence. A newcomer to a room of 500 has an offer and
    /// several candidates for each member. A `join` or `leave` counts as [`MEMBERSHIP_COST`] messages.
    pub messages_burst: NonZeroU32,
    /// Bytes that wait to be sent to one peer. Who lets more gather reads too slowly. Half of it is for signals.
    pub queue_bytes_max: NonZeroUsize,
    /// Bytes that all peers together may take in the worst case: each connection counts with what it needs
    /// ([`CONNECTION_BYTES`]) and the largest message it may be sending, and then its rooms and what waits for it.
    pub memory_bytes_max: NonZeroUsize,
    /// How long a peer may say nothing. RxDB's peers ping each minute.
    pub idle_timeout: Duration,
    /// How long it may take to hand one message to a peer's connection.
    pub send_timeout: Duration,
    /// The shortest time between two full lists of a room to its stock members.
    pub list_interval: Duration,
}

/// What a `join` or a `leave` takes of [`Limits::messages_burst`], because every member is told.
pub const MEMBERSHIP_COST: u32 = 20;

/// What a connection takes without anything waiting: the tasks and buffers of TLS, HTTP and WebSocket. Measured by
/// `benches/load.rs`, rounded up.
pub const CONNECTION_BYTES: usize = 40 * 1024;

/// What a message that waits takes besides its text.
pub(super) const MESSAGE_BYTES: usize = 128;

/// What a membership takes, with its room's name.
pub(super) const MEMBERSHIP_BYTES: usize = 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            members_per_room_max: const { NonZeroUsize::new(1_000).unwrap() },
            rooms_per_peer_max: const { NonZeroUsize::new(100).unwrap() },
            message_bytes_max: const { NonZeroUsize::new(64 * 1024).unwrap() },
            messages_per_second: const { NonZeroU32::new(200).unwrap() },
            messages_burst: const { NonZeroU32::new(4_000).unwrap() },
            queue_bytes_max: const { NonZeroUsize::new(1024 * 1024).unwrap() },
            memory_bytes_max: const { NonZeroUsize::new(1024 * 1024 * 1024).unwrap() },
            idle_timeout: Duration::from_secs(120),
            send_timeout: Duration::from_secs(30),
            list_interval: Duration::from_millis(200),
        }
    }
}

impl Limits {
    /// What one connection counts with before it has joined anything.
    pub(super) fn connection_bytes(&self) -> usize {
        CONNECTION_BYTES + self.message_bytes_max.get()
    }

    /// Bytes of signals that wait for one peer. The other half of its queue stays free for what the server itself has
    /// to say, so that nobody's signals can get a third peer closed as a slow reader.
    pub(super) fn queue_signal_bytes_max(&self) -> usize {
        self.queue_bytes_max.get() / 2
    }

    /// Bytes of signals from one peer that wait for another. An honest one makes an attempt to connect, of some 10,000
    /// bytes, and waits 15 seconds.
    pub(super) fn queue_bytes_per_sender_max(&self) -> usize {
        self.queue_bytes_max.get() / 8
    }
}
