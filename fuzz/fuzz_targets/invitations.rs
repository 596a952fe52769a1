//! Any bytes as an invitation: an error or an invitation that is written as what reads back as the same.
//!
//! `cargo +nightly fuzz run invitations fuzz/corpus/invitations fuzz/regressions/invitations -- -max_len=8192 -rss_limit_mb=512`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::invitations(data));
