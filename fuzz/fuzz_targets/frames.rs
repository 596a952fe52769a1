//! Any bytes as the frames of a peer: no panic, no allocation beyond the bounds, and a typed end.
//!
//! `cargo xtask fuzz-bytes --target frames`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::frames(data));
