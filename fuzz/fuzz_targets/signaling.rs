//! Any bytes as a message of signaling: an error or a message that is written as what reads back as the same.
//!
//! `cargo +nightly fuzz run signaling fuzz/corpus/signaling fuzz/regressions/signaling -- -max_len=65536 -rss_limit_mb=512`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::signaling(data));
