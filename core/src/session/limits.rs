//! The bounds of a session: sizes, counts and times.

use core::num::NonZeroU32;
use core::time::Duration;

use crate::storage::PageLimits;

/// How much a session takes, sends and waits. One for all sessions of a room.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SessionLimits {
    /// How many documents and bytes are asked for in one page. A page is at most one commit of the receiver, who holds at
    /// most five.
    /// Default 1,000 documents and 256 KiB, enough that a commit's cost is spread thin.
    pub page: PageLimits,
    /// The most bytes of one message put together from frames, from 8 KiB. What is too large for it beside a page cannot replicate: of the default
    /// a document may take 63 MiB, of less than 128 KiB three tenths.
    /// Default 64 MiB: the largest document, with room to spare.
    pub message_bytes_max: u32,
    /// The most heads of a peer's document. Default 1,024.
    pub heads_accepted_max: usize,
    /// The most entries of a peer's version vector. Default 1,048,576: one message's worth.
    pub vector_entries_max: usize,
    /// The most entries of the context of a peer's document, one for each opening of a store that ever wrote it.
    /// Default 65,536.
    pub context_entries_max: usize,
    /// The most collections a peer may share over one connection. Default 1,024.
    pub collections_max: usize,
    /// The most origins whose relaying is learnt per link; those beyond are relayed at once. Default 65,536.
    pub origins_max: usize,
    /// How long a handshake may take. Default 10 seconds.
    pub handshake_timeout: Duration,
    /// How long it may take to decide whether a peer is admitted. Then it is refused. Default 60 seconds.
    pub admission_timeout: Duration,
    /// After how long without sending anything a sign of life is sent. Default 15 seconds.
    pub keep_alive_interval: Duration,
    /// After how long without hearing anything, or without getting anything sent, the peer counts as gone. Default 40 seconds: two signs
    /// of life may be late.
    pub silence_max: Duration,
    /// How long knowledge learnt elsewhere may wait to be told in one message. Default 100 ms: in a mesh every replica tells
    /// every other, which costs half as much as the documents if each is told for itself. Whom it hears from is told at once.
    pub update_delay: Duration,
    /// How long documents are held back before they are announced. Default 250 ms: longer than a round trip and `update_delay`,
    /// so that what arrives another way needs no announcement.
    pub announce_delay: Duration,
    /// How long an announcement may stay unmet, while nothing arrives from anywhere, before the documents are asked for. Default 500 ms.
    pub graft_delay: Duration,
    /// How long the bare word that everything was sent may wait to be told. Default 200 ms.
    pub tidy_delay: Duration,
    /// How long a bare checkpoint may wait to be told. Until then a new connection scans a little more. Default 5 seconds.
    pub checkpoint_delay: Duration,
}

const fn non_zero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("a literal above zero")
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            page: PageLimits { documents_max: non_zero(1000), bytes_max: non_zero(256 << 10) },
            message_bytes_max: 64 << 20,
            heads_accepted_max: 1024,
            vector_entries_max: 1 << 20,
            context_entries_max: 1 << 16,
            collections_max: 1024,
            origins_max: 1 << 16,
            handshake_timeout: Duration::from_secs(10),
            admission_timeout: Duration::from_secs(60),
            keep_alive_interval: Duration::from_secs(15),
            silence_max: Duration::from_secs(40),
            update_delay: Duration::from_millis(100),
            announce_delay: Duration::from_millis(250),
            graft_delay: Duration::from_millis(500),
            tidy_delay: Duration::from_millis(200),
            checkpoint_delay: Duration::from_secs(5),
        }
    }
}
