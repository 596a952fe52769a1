//! The dialect of RxDB's WebRTC replication: lets RxDB peers replicate with a Peerloom collection.
//!
//! Written against RxDB 17.6. Like `peerloom-core` it decides and does not wait: [`Session`] takes inputs and gives effects, and
//! whoever drives it owns the connection, the store and the clock.
//!
//! | file | what |
//! |---|---|
//! | `token.rs` | storage tokens, and who is whose master |
//! | `chunk.rs`, `message.rs` | what goes over the line |
//! | `document.rs` | documents as RxDB has them |
//! | `exchange.rs` | what a peer's states mean, and what is kept of them |
//! | `session/` | the conversation with one peer: `serve.rs` as its master, `follow.rs` as its fork |
//!
//! # Meaning
//!
//! RxDB has revisions for each link, and no causality. So an RxDB peer's replica is treated as a person who writes through ours; see
//! [`Exchange::decide`]. Nothing is ever attributed to a peer's token: what it writes becomes a write of this replica.

mod chunk;
mod document;
mod exchange;
mod interface;
mod message;
mod session;
mod settings;
mod token;

pub use chunk::{Assembler, ChunkError, MESSAGE_UNITS_MAX, split};
pub use document::{Incoming, Unfit, to_rxdb};
pub use exchange::{
    Direction, Exchange, Exchanged, Item, LinkState, Reply, Shown, exchanged_key, exchanged_prefix, link_key,
};
pub use interface::{CloseReason, Counters, Effect, Event, Input, Scanned};
pub use message::Message;
pub use session::Session;
pub use settings::{Config, Settings};
pub use token::{Role, Token};

/// Whether a connection's first message is of this dialect. Peerloom's own never begin so.
pub fn speaks_rxdb(first_message: &[u8]) -> bool {
    first_message.first() == Some(&b'{')
}
