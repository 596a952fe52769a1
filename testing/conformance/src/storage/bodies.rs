//! Records: whatever a document holds comes back exactly, also after closing the store.

use bytes::Bytes;
use peerloom_core::{Document, Head, IdRange, Incarnation, Record, Sequence, Stamp, State};

use super::StorageFixture;
use super::sample::{ALL, close, dot, feed, id, list, open, put_each, read_one, record};

/// Several heads, contexts that include more than the heads, annotations, deleted states, resolved views,
/// extreme numbers.
pub async fn every_part_of_a_record_comes_back<F: StorageFixture>() {
    let state = |deleted, body: &'static str, annotations: &'static str| State {
        deleted,
        body: body.into(),
        annotations: annotations.into(),
    };
    let head = |incarnation, stamp, state| Head { dot: dot(incarnation, stamp), state };
    let last = Stamp::MAX.number();
    let one = vec![head(7, 1, state(false, "body", ""))];
    let two = vec![head(9, 3, state(true, "gone", "by nine")), head(2, 5, state(false, "kept", ""))];
    let extremes = vec![head(0, 1, state(true, "", "x")), head(u64::MAX, last, state(false, "", ""))];
    let many = (1..=64).map(|n| head(n, n, state(n % 2 == 0, "many", "heads"))).collect();
    let cases = [
        ("one", one.clone(), vec![(7, 1)], None),
        ("superseded", one.clone(), vec![(1, 8), (7, 4), (900, 2)], None),
        ("deleted", vec![head(7, 1, state(true, "last words", "a"))], vec![(7, 1)], None),
        ("two", two.clone(), vec![(2, 5), (9, 3)], Some(state(false, "both", "merged"))),
        ("two, resolved as deleted", two.clone(), vec![(2, 6), (5, 5), (9, 3)], Some(state(true, "", ""))),
        ("two, not resolved", two, vec![(2, 5), (9, 3)], None),
        ("one, resolved", one, vec![(7, 1)], Some(state(false, "seen otherwise", ""))),
        ("extremes", extremes, vec![(0, 1), (u64::MAX, last)], Some(state(false, "", "only annotated"))),
        ("many", many, (1..=64).map(|n| (n, n + 1)).collect(), None),
        (
            "known by many",
            vec![head(3, 3, state(false, "b", "a"))],
            (1..=2000).map(|n| (n, n)).collect(),
            None,
        ),
    ];
    let written: Vec<Record> = cases
        .into_iter()
        .zip(1..)
        .map(|((name, heads, context, resolved), sequence)| Record {
            id: id(name),
            sequence: Sequence::new(sequence),
            document: document(&context, heads),
            resolved,
        })
        .collect();
    assert_come_back::<F>(&written).await;
}

fn document(context: &[(u64, u64)], heads: Vec<Head>) -> Document {
    let entry = |&(incarnation, stamp): &(u64, u64)| {
        (Incarnation::new(incarnation), Stamp::new(stamp).expect("below 2^63"))
    };
    Document::new(context.iter().map(entry).collect(), heads).expect("the heads belong to the context")
}

/// Five megabytes that do not compress, and five that do.
pub async fn a_large_body_comes_back_whole<F: StorageFixture>() {
    const BYTES: usize = 5_000_000;
    // A linear congruential generator (Knuth) is noise enough for any compression.
    let mut noise = 1_u64;
    let next = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    };
    let noise: Vec<u8> = std::iter::repeat_with(next).take(BYTES).collect();
    let written = [record("noise", 1, noise), record("zeros", 2, vec![0; BYTES]), record("small", 3, "x")];
    assert_come_back::<F>(&written).await;
}

/// Nothing written is something: the document is there, and a view of nothing is not the absence of a view.
pub async fn an_empty_body_is_not_a_missing_one<F: StorageFixture>() {
    let mut resolved = record("resolved", 2, "");
    resolved.resolved = Some(State::default());
    assert_come_back::<F>(&[record("empty", 1, ""), resolved]).await;
}

/// Every byte, alone and among all others: text in no encoding, and no end anywhere.
pub async fn bodies_are_any_bytes<F: StorageFixture>() {
    let every: Bytes = (0..=u8::MAX).collect::<Vec<_>>().into();
    let bodies = (0..=u8::MAX).map(|byte| Bytes::copy_from_slice(&[byte])).step_by(15).chain([every.clone()]);
    let written: Vec<Record> = bodies
        .zip(1..)
        .map(|(body, sequence)| {
            let mut record = record(&format!("{sequence}"), sequence, "");
            let state = State { deleted: false, body: body.clone(), annotations: body };
            record.document = Head { dot: dot(7, sequence), state: state.clone() }.into();
            record.resolved = Some(state);
            record
        })
        .collect();
    assert_come_back::<F>(&written).await;
}

/// In every way of reading, before and after the store is closed.
async fn assert_come_back<F: StorageFixture>(written: &[Record]) {
    let fixture = F::fresh();
    let store = open(&fixture).await;
    put_each(&*store, written).await;
    for moment in ["at once", "after closing"] {
        let store = match moment {
            "at once" => store.clone(),
            _ => {
                close(&*store).await;
                open(&fixture).await
            }
        };
        // Not `assert_eq`, which would print megabytes.
        assert!(feed(&*store).await == written, "{moment}, the feed holds other records");
        let mut listed = list(&*store, IdRange::ALL, ALL).await;
        listed.sort_by_key(|record| record.sequence);
        assert!(listed == written, "{moment}, a list holds other records");
        for record in written {
            let read = read_one(&*store, &record.id).await;
            assert!(read.as_ref() == Some(record), "{moment}, another record is read of {}", record.id);
        }
    }
}
