//! Metadata: entries under keys of bytes, found by prefix.

use std::num::NonZeroU32;
use std::ops::Range;

use bytes::Bytes;

use super::StorageFixture;
use super::sample::{commit, entries, feed, id, keys, metadata, open, put_each, put_keys, read_one, records};

/// The most bytes a metadata key may have, by the contract.
const KEY_BYTES_MAX: usize = 2048;

/// The keys that start with the prefix, it being one of them or not, and none beside them.
pub async fn metadata_is_found_by_its_prefix<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let written: [&[u8]; 8] = [b"a", b"b", b"b.", b"b/", b"b/1", b"b/2", b"b0", b"c"];
    put_keys(&*store, &written).await;
    let cases: [(&[u8], &[&[u8]]); 7] = [
        (b"", &written),
        (b"a", &[b"a"]),
        (b"b", &written[1..7]),
        (b"b/", &written[3..6]),
        (b"b/2", &[b"b/2"]),
        (b"b/3", &[]),
        (b"d", &[]),
    ];
    for (prefix, expected) in cases {
        assert_eq!(keys(&*store, prefix, None, 99).await, expected, "{prefix:?}");
    }
}

/// The keys greater than another, which may lie before the prefix, within it or behind it, and need not be
/// there.
pub async fn metadata_is_found_after_a_key<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let written: [&[u8]; 6] = [b"a", b"b/", b"b/1", b"b/2", b"b0", b"c"];
    put_keys(&*store, &written).await;
    // Which of the keys are expected, as a range.
    let cases: [(&str, &[u8], Range<usize>); 9] = [
        ("", b"b/1", 3..6),
        ("", b"\0", 0..6),
        ("b/", b"a", 1..4),
        ("b/", b"b/", 2..4),
        ("b/", b"b/1", 3..4),
        ("b/", b"b/1\0", 3..4),
        ("b/", b"b/2", 0..0),
        ("b/", b"b0", 0..0),
        ("b/", b"\xff", 0..0),
    ];
    for (prefix, after, expected) in cases {
        let found = keys(&*store, prefix.as_bytes(), Some(after), 99).await;
        assert_eq!(found, written[expected], "{prefix:?} after {after:?}");
    }
}

/// No more entries than asked for, and the first of them.
pub async fn metadata_ends_at_the_number_of_entries_asked_for<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let written: [&[u8]; 5] = [b"a", b"p1", b"p2", b"p3", b"q"];
    put_keys(&*store, &written).await;
    for (entries_max, expected) in [(1, 1), (2, 2), (3, 3), (4, 3), (u32::MAX, 3)] {
        assert_eq!(keys(&*store, b"p", None, entries_max).await, written[1..][..expected]);
    }
    assert_eq!(keys(&*store, b"p", Some(b"p1"), 1).await, [b"p2".as_slice()]);
}

/// Keys of zeros, of the highest byte, which has no byte after it, and of 2,048 bytes.
pub async fn metadata_keys_may_hold_any_bytes<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let longest = [0xff; KEY_BYTES_MAX];
    let written: [&[u8]; 10] = [
        &[0],
        &[0, 0],
        &[0, 0xff],
        &[1],
        &[0xfe, 0xff],
        &[0xff],
        &[0xff, 0],
        &[0xff, 0xff],
        &[0xff, 0xff, 0],
        &longest,
    ];
    put_keys(&*store, &written).await;
    let cases: [(&[u8], &[&[u8]]); 8] = [
        (&[], &written),
        (&[0], &written[..3]),
        (&[0, 0xff], &written[2..3]),
        (&[0xfe], &written[4..5]),
        (&[0xff], &written[5..]),
        (&[0xff, 0xff], &written[7..]),
        (&longest[1..], &written[9..]),
        (&longest, &written[9..]),
    ];
    for (prefix, expected) in cases {
        let found = keys(&*store, prefix, None, 99).await;
        assert!(found == expected, "{} bytes of prefix: {} keys found", prefix.len(), found.len());
    }
    assert_eq!(keys(&*store, &[0xff], Some(&[0xff, 0xff]), 99).await, written[8..]);
    assert!(keys(&*store, &[0xff], Some(&longest), 99).await.is_empty(), "nothing follows the last key");
}

/// The last value put under a key is the one that is there.
pub async fn metadata_is_overwritten<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    commit(&*store, entries(&[(b"a", Some(b"old"))])).await;
    commit(&*store, entries(&[(b"b", Some(b"other"))])).await;
    commit(&*store, entries(&[(b"a", Some(b"new"))])).await;
    assert_eq!(metadata(&*store).await, [("a".into(), "new".into()), ("b".into(), "other".into())]);
}

/// What is removed is gone, nothing else is, and it may be put again. What was never there may be removed.
pub async fn metadata_is_removed<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_keys(&*store, &[b"a", b"aa", b"b"]).await;
    commit(&*store, entries(&[(b"a", None)])).await;
    commit(&*store, entries(&[(b"never there", None)])).await;
    assert_eq!(keys(&*store, b"", None, 99).await, ["aa", "b"]);
    put_keys(&*store, &[b"a"]).await;
    assert_eq!(keys(&*store, b"", None, 99).await, ["a", "aa", "b"]);
}

/// A megabyte under one key.
pub async fn a_large_value_comes_back_whole<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let large: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
    commit(&*store, entries(&[(b"large", Some(&large))])).await;
    let found = store.metadata(b"large", None, NonZeroU32::MIN).await.expect("metadata is readable");
    assert!(found == [("large".into(), large.into())], "another value comes back");
}

/// A key with nothing under it is a key.
pub async fn an_empty_value_is_not_a_missing_one<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    commit(&*store, entries(&[(b"empty", Some(b""))])).await;
    assert_eq!(metadata(&*store).await, [("empty".into(), Bytes::new())]);
}

/// A key of metadata may be the id of a document; neither is found as the other, nor removed with it.
pub async fn metadata_and_documents_share_no_keys<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &records(&["both", "document"])).await;
    put_keys(&*store, &[b"both", b"entry"]).await;
    assert_eq!(feed(&*store).await, records(&["both", "document"]));
    assert_eq!(keys(&*store, b"", None, 99).await, ["both", "entry"]);
    assert_eq!(read_one(&*store, &id("entry")).await, None);
    commit(&*store, entries(&[(b"both", None)])).await;
    assert_eq!(feed(&*store).await, records(&["both", "document"]));
    assert_eq!(keys(&*store, b"", None, 99).await, ["entry"]);
}
