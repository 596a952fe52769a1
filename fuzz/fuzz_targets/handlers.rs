//! Any bytes as the versions of a document in conflict: every handler makes a view of them, always the same, and no panic.
//!
//! `cargo xtask fuzz-bytes --target handlers`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::handlers(data));
