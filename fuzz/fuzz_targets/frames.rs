//! Any bytes as the frames of a peer: no panic, no allocation beyond the bounds, and a typed end.
//!
//! `cargo +nightly fuzz run frames fuzz/corpus/frames fuzz/regressions/frames -- -max_len=65536 -rss_limit_mb=512`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::frames(data));
