//! Any bytes as a record on disk: an error or a record that encodes to what decodes to itself.
//!
//! `cargo xtask fuzz-bytes --target records`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::records(data));
