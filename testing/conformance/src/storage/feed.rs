//! The changefeed, and pages of it and of lists.

use std::ops::Bound;

use peerloom_core::{IdRange, PageLimits, State, Store};

use super::StorageFixture;
use super::sample::{
    ALL, at_most, batch, changes, commit, commit_each, feed, id, ids, list, new, open, put_each, record,
    records, replacing, sequences,
};

/// Documents that were rewritten, alone and with others, are at their last place in the feed and at no other.
pub async fn a_document_is_in_the_feed_once_at_its_latest_commit<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &records(&["a", "b", "c"])).await;
    commit_each(&*store, [replacing(2, record("b", 4, "new")), replacing(1, record("a", 5, "new"))]).await;
    let expected = [record("c", 3, ""), record("b", 4, "new"), record("a", 5, "new")];
    assert_eq!(feed(&*store).await, expected);

    commit_each(&*store, [replacing(4, record("b", 9, "newer"))]).await;
    let [c, _, a] = expected;
    assert_eq!(feed(&*store).await, [c, a, record("b", 9, "newer")]);
}

/// A record that replaces one at the same sequence is there in its place, next to new ones in one batch.
pub async fn a_record_may_keep_the_sequence_it_replaces<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &records(&["a", "b", "c"])).await;
    let mut remade = record("b", 2, "");
    remade.resolved = Some(State { deleted: true, body: "view".into(), annotations: "mine".into() });
    commit(&*store, batch([replacing(2, remade.clone()), new(record("d", 4, ""))])).await;

    let [a, c, d] = [record("a", 1, ""), record("c", 3, ""), record("d", 4, "")];
    assert_eq!(feed(&*store).await, [a.clone(), remade.clone(), c.clone(), d.clone()]);
    assert_eq!(list(&*store, IdRange::ALL, ALL).await, [a, remade, c, d]);
}

/// What is at the sequence asked for or before is not on the page.
pub async fn the_feed_begins_after_the_sequence_asked_for<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &[record("a", 3, ""), record("b", 4, ""), record("c", 8, "")]).await;
    let cases: [(u64, &[u64]); 7] =
        [(0, &[3, 4, 8]), (2, &[3, 4, 8]), (3, &[4, 8]), (4, &[8]), (7, &[8]), (8, &[]), (u64::MAX, &[])];
    for (after, expected) in cases {
        assert_eq!(sequences(&changes(&*store, after, ALL).await), expected, "after {after}");
    }
}

/// Sequences need not follow each other closely, and their order is that of numbers, up to the largest.
pub async fn the_feed_is_in_the_order_of_sequences<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let numbers = [1, 2, 255, 256, 65_535, 65_536, 1 << 32, (1 << 32) + 1, 1 << 62, 1 << 63, u64::MAX - 1];
    // The first written has the greatest id.
    let written: Vec<_> = numbers
        .iter()
        .zip((0..numbers.len()).rev())
        .map(|(&sequence, index)| record(&format!("{index:02}"), sequence, ""))
        .collect();
    put_each(&*store, &written).await;
    assert_eq!(sequences(&feed(&*store).await), numbers);
    assert_eq!(feed(&*store).await, written);
}

/// A page holds as many documents as asked for, if there are as many.
pub async fn a_page_ends_at_its_number_of_documents<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, &records(&["a", "b", "c", "d", "e"])).await;
    for (documents_max, expected) in [(1, 1), (2, 2), (4, 4), (5, 5), (6, 5), (u32::MAX, 5)] {
        let limits = PageLimits { documents_max: at_most(documents_max, 1).documents_max, ..ALL };
        assert_pages_begin(&*store, limits, expected).await;
    }
}

/// A page holds as many records as have no more bytes together than asked for.
pub async fn a_page_ends_before_the_record_that_exceeds_its_bytes<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let written: Vec<_> = (1..=5).map(|n| record(&format!("{n}"), n, vec![0; 100])).collect();
    put_each(&*store, &written).await;
    let bytes = written[0].bytes();
    let cases = [
        (bytes, 1),
        (2 * bytes - 1, 1),
        (2 * bytes, 2),
        (2 * bytes + 1, 2),
        (3 * bytes - 1, 2),
        (5 * bytes - 1, 4),
        (5 * bytes, 5),
    ];
    for (bytes_max, expected) in cases {
        assert_pages_begin(&*store, at_most(9, bytes_max), expected).await;
    }
}

/// A record that is larger than the whole page comes alone, wherever it stands.
pub async fn a_page_holds_a_record_larger_than_its_bytes<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let written = [record("a", 1, vec![1; 5000]), record("b", 2, vec![2; 5000]), record("c", 3, "small")];
    put_each(&*store, &written).await;
    for bytes_max in [1, 4999] {
        assert_pages_begin(&*store, at_most(9, bytes_max), 1).await;
        assert_eq!(changes(&*store, 1, at_most(9, bytes_max)).await, written[1..2]);
        let after_a = IdRange { start: Bound::Excluded(id("a")), end: Bound::Unbounded };
        assert_eq!(list(&*store, after_a, at_most(9, bytes_max)).await, written[1..2]);
    }
}

/// Both kinds of page hold the first records of all.
async fn assert_pages_begin(store: &dyn Store, limits: PageLimits, expected: usize) {
    let whole = list(store, IdRange::ALL, ALL).await;
    assert_eq!(changes(store, 0, limits).await, whole[..expected], "changes within {limits:?}");
    assert_eq!(list(store, IdRange::ALL, limits).await, whole[..expected], "a list within {limits:?}");
}

/// Whoever reads page after page, each after the last record of the one before, reads everything once.
pub async fn pages_of_the_feed_follow_each_other_without_gap<F: StorageFixture>() {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    let written: Vec<_> =
        (1..=40_u64).map(|n| record(&format!("{n:02}"), 3 * n, vec![0; (n * n) as usize % 70])).collect();
    put_each(&*store, &written).await;
    for limits in [at_most(1, 9999), at_most(7, 9999), at_most(99, 120), at_most(99, 400), at_most(5, 400)] {
        let mut found = Vec::new();
        while let page = changes(&*store, sequences(&found).last().copied().unwrap_or(0), limits).await
            && !page.is_empty()
        {
            found.extend(page);
            assert!(found.len() <= written.len(), "pages without end");
        }
        assert_eq!(ids(&found), ids(&written), "changes within {limits:?}");

        let (mut found, mut start) = (Vec::new(), Bound::Unbounded);
        while let page = list(&*store, IdRange { start, end: Bound::Unbounded }, limits).await
            && let Some(last) = page.last()
        {
            start = Bound::Excluded(last.id.clone());
            found.extend(page);
            assert!(found.len() <= written.len(), "pages without end");
        }
        assert_eq!(ids(&found), ids(&written), "lists within {limits:?}");
    }
}
