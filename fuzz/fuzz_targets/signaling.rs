//! Any bytes as a message of signaling: an error or a message that is written as what reads back as the same.
//!
//! `cargo xtask fuzz-bytes --target signaling`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::signaling(data));
