//! Any bytes as an invitation: an error or an invitation that is written as what reads back as the same.
//!
//! `cargo xtask fuzz-bytes --target invitations`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::invitations(data));
