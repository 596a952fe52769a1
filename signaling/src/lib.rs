//! How Peerloom peers find each other: the messages of signaling, and the server that passes them on.
//!
//! [`message`] and [`close`] are the protocol, and all that a client needs: it takes this crate without its default
//! features. The protocol is RxDB's, with extensions that a stock RxDB client never sees or ignores.

pub mod close;
pub mod message;

pub use close::CloseReason;
pub use message::{ClientMessage, PeerId, RoomName, ServerMessage};
