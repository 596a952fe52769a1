//! Any bytes on the disk of an encrypted storage: an error, or what was written, and nothing else.
//!
//! `cargo xtask fuzz-bytes --target sealed`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::sealed(data));
