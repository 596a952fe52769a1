//! Ids: whatever they look like, they are only ids, and lists are in the order of their bytes.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use peerloom_core::{DOCUMENT_ID_BYTES_MAX, DocumentId, IdRange, Store};

use super::StorageFixture;
use super::sample::{ALL, feed, id, ids, list, open, put_each, read, record, records};

/// One answer per id, also for those that are asked for twice or are not there.
pub async fn a_read_answers_each_id_in_the_order_asked<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &records(&["one", "two"])).await;
    let [one, two] = [record("one", 1, ""), record("two", 2, "")].map(Some);
    let asked = [id("two"), id("three"), id("one"), id("two")];
    assert_eq!(read(&*store, &asked).await, [two.clone(), None, one, two]);
    assert_eq!(read(&*store, &[]).await, []);
}

/// Capitals before small letters, one byte before two, and the shorter of two that begin alike.
pub async fn a_list_is_in_the_order_of_the_bytes_of_ids<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    // U+FFFD is before U+10000 as bytes, and after it in UTF-16.
    let mut unordered =
        ["b", "é", "a", "Z", "ab", "\u{10000}", "10", "9", "\u{fffd}", "e\u{301}", "A", "a b"];
    put_each(&*store, &records(&unordered)).await;
    let listed = list(&*store, IdRange::ALL, ALL).await;
    unordered.sort_unstable();
    assert_eq!(ids(&listed), unordered);
}

/// Bounds that are included, excluded or absent, between ids and on them, and ranges that hold nothing.
pub async fn a_list_holds_the_ids_within_its_bounds<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &records(&["a", "b", "c", "d"])).await;
    let cases: [(Bound<&str>, Bound<&str>, &[&str]); 13] = [
        (Unbounded, Unbounded, &["a", "b", "c", "d"]),
        (Included("b"), Included("c"), &["b", "c"]),
        (Included("b"), Excluded("c"), &["b"]),
        (Excluded("b"), Included("c"), &["c"]),
        (Excluded("a"), Excluded("d"), &["b", "c"]),
        (Excluded("b"), Unbounded, &["c", "d"]),
        (Unbounded, Excluded("b"), &["a"]),
        (Included("aa"), Included("bb"), &["b"]),
        (Included("b"), Included("b"), &["b"]),
        (Excluded("b"), Excluded("c"), &[]),
        (Excluded("b"), Excluded("b"), &[]),
        (Included("c"), Included("b"), &[]),
        (Included("e"), Unbounded, &[]),
    ];
    for (start, end, expected) in cases {
        let range = IdRange { start: start.map(id), end: end.map(id) };
        assert_eq!(ids(&list(&*store, range.clone(), ALL).await), expected, "{range:?}");
    }
}

/// [`IdRange::prefix`] finds what starts with the prefix, the prefix itself and the last of all such ids.
pub async fn a_list_by_prefix_holds_the_ids_with_that_prefix<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let last = format!("a/{}", "\u{10ffff}".repeat(255));
    let written = ["a", "a/", "a/\0", "a/b", "a/é", last.as_str(), "a0", "b"];
    put_each(&*store, &records(&written)).await;
    let cases: [(&str, &[&str]); 5] =
        [("", &written), ("a/", &written[1..6]), ("a/b", &["a/b"]), ("b", &["b"]), ("c", &[])];
    for (prefix, expected) in cases {
        let listed = list(&*store, IdRange::prefix(prefix), ALL).await;
        assert_eq!(ids(&listed), expected, "prefix {prefix:?}");
    }
}

/// Ids that are prefixes of each other, in letters, in bytes, or but for an end that looks like nothing.
pub async fn ids_that_begin_alike_are_different_documents<F: StorageFixture>() {
    assert_kept_apart::<F>(&["a", "aa", "aaa", "a\0", "a\0\0", "a ", "a/", "a/a", "a\0a", "a\u{feff}"]).await;
}

/// Characters that mean something to file systems, databases, C and Unicode.
pub async fn any_characters_may_be_in_an_id<F: StorageFixture>() {
    assert_kept_apart::<F>(&[
        "\0",
        "\0\0",
        "/",
        "../../etc/passwd",
        ".",
        "..",
        "C:\\nul",
        "nul",
        "%2e",
        "*",
        "?",
        "'; --",
        "\"",
        "$1",
        "\n",
        "\r\n",
        " ",
        "\u{7f}",
        "ä",
        "a\u{308}",
        "Ä",
        "日本",
        "🧵",
        "\u{202e}",
        "\u{10ffff}",
        "A",
        "a",
    ])
    .await;
}

/// Ids of 1,024 bytes that differ in their last byte only, or in their length only.
pub async fn ids_of_the_greatest_length_are_kept_apart<F: StorageFixture>() {
    let long = "x".repeat(DOCUMENT_ID_BYTES_MAX - 1);
    let wide = "🧵".repeat(DOCUMENT_ID_BYTES_MAX / 4);
    let nothing = "\0".repeat(DOCUMENT_ID_BYTES_MAX);
    let (y, z) = (format!("{long}y"), format!("{long}z"));
    assert_kept_apart::<F>(&[&long, &y, &z, &wide, &nothing]).await;
}

/// Each id has a document of its own, which is found under it in every way.
async fn assert_kept_apart<F: StorageFixture>(hostile: &[&str]) {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let written: Vec<_> =
        hostile.iter().zip(1..).map(|(id, sequence)| record(id, sequence, id.to_string())).collect();
    put_each(&*store, &written).await;
    assert_eq!(feed(&*store).await, written);
    let asked: Vec<DocumentId> = written.iter().map(|record| record.id.clone()).collect();
    assert_eq!(read(&*store, &asked).await, written.into_iter().map(Some).collect::<Vec<_>>());
    assert_listed(&*store, hostile).await;
}

async fn assert_listed(store: &dyn Store, expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(ids(&list(store, IdRange::ALL, ALL).await), expected);
}
