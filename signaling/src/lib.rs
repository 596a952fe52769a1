//! How Peerloom peers find each other: the messages of signaling, and the server that passes them on.
//!
//! [`message`] and [`close`] are the protocol, and all that a client needs: it takes this crate without its default
//! features. The protocol is RxDB's, with extensions that a stock RxDB client never sees or ignores.
//!
//! With the feature `server`, [`rooms`] decides who hears what, and knows no sockets or clocks; [`server`] is the shell
//! around it. The program `peerloom-signaling` adds settings.

#[cfg(feature = "server")]
pub mod authentication;
pub mod close;
#[cfg(feature = "server")]
pub mod environment;
pub mod message;
#[cfg(feature = "server")]
pub mod permit;
#[cfg(feature = "server")]
pub mod rooms;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod turn;

pub use close::CloseReason;
pub use message::{ClientMessage, PeerId, RoomName, ServerMessage};
