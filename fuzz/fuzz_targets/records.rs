//! Any bytes as a record on disk: an error or a record that encodes to what decodes to itself.
//!
//! `cargo +nightly fuzz run records fuzz/corpus/records fuzz/regressions/records -- -max_len=65536 -rss_limit_mb=512`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::records(data));
