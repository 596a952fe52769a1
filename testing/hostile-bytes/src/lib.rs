//! Feeds any bytes to whatever in Peerloom reads them, and asserts what holds for all: no panic, and what was accepted is
//! written again as something that reads back as the same.
//!
//! The targets in `fuzz/` call these functions from a fuzzer, which takes a nightly compiler; this crate's tests call them on
//! any with made inputs and with all that a fuzzer ever found. Whoever adds a decoder adds a line to [`TARGETS`], and
//! a file to `fuzz/fuzz_targets/`; the dialect of an interoperability layer is one like any other.

mod documents;
mod rxdb;
#[path = "../../../interop/rxdb/tests/support/mod.rs"]
mod rxdb_replica;
mod sealed;

use bytes::Bytes;
use peerloom_core::{
    Admission, Capabilities, DocumentId, Effect, Identity, Input, Invitation, Now, Opening, Record, Session,
    SessionConfig, SessionLimits, Topic, TopicKey,
};
use peerloom_signaling::{ClientMessage, ServerMessage};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use documents::{documents, handlers};
pub use rxdb::rxdb;
pub use sealed::sealed;

/// A reader of bytes, by the name of its file in `fuzz/fuzz_targets/` and of its directory in `fuzz/regressions/`.
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Reads the bytes. Panics if something does not hold.
    pub read: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "frames", read: frames },
    Target { name: "records", read: records },
    Target { name: "signaling", read: signaling },
    Target { name: "invitations", read: invitations },
    Target { name: "documents", read: documents },
    Target { name: "handlers", read: handlers },
    Target { name: "rxdb", read: rxdb },
    Target { name: "sealed", read: sealed },
];

/// The most bytes of a frame for [`frames`]: small, so that a fuzzer meets the bound.
const FRAME_BYTES_MAX: usize = 1024;

/// The frames of a peer, each behind its length.
pub fn frames(data: &[u8]) {
    let config = SessionConfig {
        identity: Identity::from_secret(&[1; 32]),
        opening: Opening::new(1),
        nonce: [2; 32],
        topic_key: TopicKey::of_open_topic(&Topic::new("fuzz").expect("it is a topic")),
        claim: Bytes::new(),
        admission: Admission::Everybody,
        capabilities: Capabilities::NONE,
        channel_binding: None,
        frame_bytes_max: FRAME_BYTES_MAX,
        limits: SessionLimits::default(),
    };
    let mut session = Session::new(config, Now::default());
    let mut effects = Vec::new();
    for frame in pieces(data) {
        session.handle(Now::default(), Input::Received(frame), &mut effects);
        while session.transmit(Now::default()).is_some() {}
        if effects.iter().any(|effect| matches!(effect, Effect::Close(_))) {
            assert_eq!(session.deadline(), None, "a closed session waits for nothing");
            return;
        }
    }
}

/// Takes data apart: each piece lies behind its length in two bytes, big-endian. The last may be cut short.
fn pieces(mut data: &[u8]) -> impl Iterator<Item = Bytes> {
    core::iter::from_fn(move || {
        let (length, rest) = data.split_first_chunk::<2>()?;
        let (piece, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        data = rest;
        Some(Bytes::copy_from_slice(piece))
    })
}

/// A document as it is on disk.
pub fn records(data: &[u8]) {
    let id = DocumentId::new("fuzz").expect("it is an id");
    if let Ok(record) = Record::decode(id.clone(), data) {
        let again = Record::decode(id, &record.encode()).expect("what was encoded decodes");
        assert_eq!(again, record);
    }
}

/// A message of signaling, as the server reads it and as a client does.
pub fn signaling(data: &[u8]) {
    json::<ClientMessage>(data);
    json::<ServerMessage>(data);
}

fn json<T: DeserializeOwned + Serialize + PartialEq + core::fmt::Debug>(data: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(data) {
        let written = serde_json::to_vec(&message).expect("a message can be written");
        let again: T = serde_json::from_slice(&written).expect("what was written reads back");
        assert_eq!(again, message);
    }
}

/// The text of an invitation.
pub fn invitations(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(invitation) = text.parse::<Invitation>() {
        assert_eq!(invitation.to_string().parse(), Ok(invitation));
    }
}
