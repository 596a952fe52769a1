//! Any bytes as a record on disk: an error or a record that encodes to what decodes to itself.
//!
//! `cargo +nightly fuzz run records`

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerloom_core::{DocumentId, Record};

fuzz_target!(|data: &[u8]| {
    let id = DocumentId::new("fuzz").expect("valid");
    if let Ok(record) = Record::decode(id.clone(), data) {
        let again = Record::decode(id, &record.encode()).expect("what was encoded decodes");
        assert_eq!(again, record);
    }
});
