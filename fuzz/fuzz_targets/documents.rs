//! Any bytes as the JSON of a document: an error, or one canonical form that reads back as the same.
//!
//! `cargo xtask fuzz-bytes --target documents`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::documents(data));
