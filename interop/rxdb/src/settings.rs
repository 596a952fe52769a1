//! How to speak with RxDB peers.

use std::time::Duration;

use peerloom_core::ReplicaId;

use crate::exchange::Direction;
use crate::token::Token;

/// How a session speaks with an RxDB peer, and its bounds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The field that is the primary key of the RxDB collection. Default `id`.
    pub primary_key: String,
    /// How many documents are asked for or pushed at a time, at least 1. Default 200; RxDB's own is 20.
    pub batch_documents: u32,
    /// The most documents that a peer gets at a time, however many it asks for. At least what peers ask for: a shorter page tells them that
    /// they have all. Default 10,000.
    pub page_documents_max: u32,
    /// How many bytes of documents a page or a push holds before it ends, so that no message grows without bounds. A peer that gets
    /// a short page for that reason is told to pull again. Default 8 MiB.
    pub page_bytes_max: usize,
    /// The most bytes of a message from the peer, put together from its chunks. Default 64 MiB.
    pub message_bytes_max: usize,
    /// About the most bytes of memory that a message from the peer may take once it is parsed, which can be ninety times its own. One that would
    /// take more ends the conversation. Default 256 MiB.
    pub parsed_bytes_max: usize,
    /// How long an answer may take. Default 20 seconds, as in RxDB.
    pub request_timeout: Duration,
    /// How long to wait after a failed request. Default 5 seconds, as in RxDB.
    pub retry_after: Duration,
    /// Which way documents go. Default both.
    pub direction: Direction,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            primary_key: "id".to_owned(),
            batch_documents: 200,
            page_documents_max: 10_000,
            page_bytes_max: 8 << 20,
            message_bytes_max: 64 << 20,
            parsed_bytes_max: 256 << 20,
            request_timeout: Duration::from_secs(20),
            retry_after: Duration::from_secs(5),
            direction: Direction::Both,
        }
    }
}

/// What a session needs from the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our token, as [`Token::of_replica`] makes it.
    pub token: Token,
    /// Random, new for each session: names our requests and chunks.
    pub session: u64,
    /// The most bytes of a frame, at least 1,024.
    pub frame_bytes_max: usize,
    /// The settings.
    pub settings: Settings,
}

impl Config {
    /// The configuration of a session of this replica.
    pub fn new(replica: &ReplicaId, session: u64, frame_bytes_max: usize, settings: Settings) -> Self {
        Self { token: Token::of_replica(replica), session, frame_bytes_max, settings }
    }
}
