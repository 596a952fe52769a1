//! Any bytes as what an RxDB peer says: no panic, nothing that the store does not know of, and only JSON in it.
//!
//! `cargo xtask fuzz-bytes --target rxdb`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerloom_hostile_bytes::rxdb(data));
