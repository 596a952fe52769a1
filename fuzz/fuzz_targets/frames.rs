//! Any bytes as the frames of a peer: no panic, no allocation beyond the bounds, and a typed end.
//!
//! `cargo +nightly fuzz run frames -- -max_len=65536 -rss_limit_mb=512`

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use peerloom_core::{Admission, Effect, Identity, Input, Now, Opening, Session, SessionConfig, SessionLimits, Topic, TopicKey};

/// Each frame of the input stands behind its length in two bytes.
fn frames(mut data: &[u8]) -> impl Iterator<Item = Bytes> {
    core::iter::from_fn(move || {
        let (length, rest) = data.split_first_chunk::<2>()?;
        let (frame, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        data = rest;
        Some(Bytes::copy_from_slice(frame))
    })
}

fuzz_target!(|data: &[u8]| {
    let config = SessionConfig {
        identity: Identity::from_secret(&[1; 32]),
        opening: Opening::new(1),
        nonce: [2; 32],
        topic_key: TopicKey::of_open_topic(&Topic::new("fuzz").expect("valid")),
        claim: Bytes::new(),
        admission: Admission::Everybody,
        channel_binding: None,
        frame_bytes_max: 1024,
        limits: SessionLimits::default(),
    };
    let mut session = Session::new(config, Now::default());
    let mut effects = Vec::new();
    for frame in frames(data) {
        session.handle(Now::default(), Input::Received(frame), &mut effects);
        while session.transmit(Now::default()).is_some() {}
        if effects.iter().any(|effect| matches!(effect, Effect::Close(_))) {
            assert_eq!(session.deadline(), None);
            return;
        }
    }
});
