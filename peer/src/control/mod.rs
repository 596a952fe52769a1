//! The control socket: how other processes of the same user reach the documents of a peer that is being served.
//!
//! A Unix domain socket, because a storage is held by one process at a time. Each line is one JSON object: a request, and
//! for each request, in order, its answer. `watch` has an answer for each change, until the client closes the connection.

mod client;
mod message;
mod server;

pub(crate) use client::Client;
pub(crate) use message::{
    Answer, InConflict, Kind, Listed, PeerStatus, Refusal, Request, RoomStatus, RxdbStatus, Status, Version,
    WatchFrom,
};
pub(crate) use server::{Listener, serve};
