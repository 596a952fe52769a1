use peerloom_core::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::replicas::{REPLICAS, Replicas, steps, value, write};

fn number(value: Option<&Value>) -> i128 {
    value.map_or(0, |value| {
        value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)).expect("an integer")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_contribution_counts_once(
        steps in steps(-3i64..=3),
        clocks in any::<[u8; REPLICAS]>(),
    ) {
        let mut replicas = Replicas::new(Counter, clocks.map(u64::from));
        replicas.play(&steps, |amount, before| Some(json!(before.map_or(0, |b| b.as_i64().expect("small")) + amount)));
        let view = replicas.settled();
        let contributed = |write: &crate::replicas::Written| number(write.after.as_ref()) - number(write.before.as_ref());
        let total: i128 = replicas.writes.iter().map(contributed).sum();
        prop_assert_eq!(number(view.as_ref().and_then(value).as_ref()), total);
        prop_assert!(replicas.annotation_bytes_max <= 20 + 24 * replicas.writes.len());
    }
}

#[test]
fn large_integers_stay_exact() {
    let base = write(&Counter, 1, None, Some(json!(9_007_199_254_740_993_u64)));
    let up = write(&Counter, 2, Some(&base.state), Some(json!(u64::MAX - 5)));
    let down = write(&Counter, 3, Some(&base.state), Some(json!(9_007_199_254_740_991_u64)));
    let view = Counter.resolve(&[up, down]);
    assert_eq!(value(&view), Some(json!(u64::MAX - 7)));
}

#[test]
fn a_sum_out_of_range_is_shown_as_the_bound_and_kept() {
    let base = write(&Counter, 1, None, Some(json!(u64::MAX - 1)));
    let heads = [2, 3].map(|dot| write(&Counter, dot, Some(&base.state), Some(json!(u64::MAX))));
    let view = Counter.resolve(&heads);
    assert_eq!(value(&view), Some(json!(u64::MAX)));
    // One more than the bound is there: taking one from the view, as another takes two from a version, leaves the sum.
    let seen = write(&Counter, 4, Some(&view), Some(json!(u64::MAX - 10)));
    let unseen = write(&Counter, 5, Some(&base.state), Some(json!(u64::MAX - 3)));
    let view = Counter.resolve(&[seen, unseen]);
    assert_eq!(value(&view), Some(json!(u64::MAX - 12)));
}

#[test]
fn a_write_sets_the_number_whatever_was_seen() {
    let base = write(&Counter, 1, None, Some(json!(i64::MIN)));
    let heads = [2, 3].map(|dot| write(&Counter, dot, Some(&base.state), Some(json!(i64::MIN + 5))));
    let set = write(&Counter, 4, Some(&Counter.resolve(&heads)), Some(json!(0)));
    let added = write(&Counter, 5, Some(&set.state), Some(json!(1)));
    let other = write(&Counter, 6, Some(&set.state), Some(json!(-1)));
    assert_eq!(value(&Counter.resolve(&[added, other])), Some(json!(0)));
}

#[test]
fn a_fraction_falls_back_to_the_last_write() {
    let base = write(&Counter, 1, None, Some(json!(1)));
    let fraction = write(&Counter, 2, Some(&base.state), Some(json!(1.5)));
    let whole = write(&Counter, 3, Some(&base.state), Some(json!(2)));
    assert_eq!(value(&Counter.resolve(&[fraction.clone(), whole.clone()])), Some(json!(2)));
    let later = Head { dot: write(&Counter, 4, None, None).dot, ..fraction };
    assert_eq!(value(&Counter.resolve(&[whole, later.clone()])), Some(json!(1.5)));
    // The next integers count from zero.
    let heads = [5, 6].map(|dot| write(&Counter, dot, Some(&later.state), Some(json!(3))));
    assert_eq!(value(&Counter.resolve(&heads)), Some(json!(6)));
}

#[test]
fn a_version_of_another_handler_is_the_base() {
    let base = write(&LastWriteWins, 1, None, Some(json!(10)));
    let heads = [2, 3].map(|dot| write(&Counter, dot, Some(&base.state), Some(json!(11))));
    assert_eq!(value(&Counter.resolve(&heads)), Some(json!(12)));
    // Of two such versions the last is the base, for neither tells what it added.
    let foreign = [4, 5].map(|dot| write(&LastWriteWins, dot, Some(&base.state), Some(json!(10 + dot))));
    assert_eq!(value(&Counter.resolve(&foreign)), Some(json!(15)));
}

#[test]
fn a_count_goes_on_after_a_deletion() {
    let base = write(&Counter, 1, None, Some(json!(5)));
    let added = write(&Counter, 2, Some(&base.state), Some(json!(6)));
    let removed = write(&Counter, 3, Some(&base.state), None);
    let revived = write(&Counter, 4, Some(&removed.state), Some(json!(3)));
    assert_eq!(value(&Counter.resolve(&[added, revived])), Some(json!(4)));
}

#[test]
fn leaving_a_counter_out_is_no_contribution() {
    let rules = PerField::new().field("/votes", Counter);
    let base = write(&rules, 1, None, json!({ "votes": 5 }));
    let out = [2, 3].map(|dot| write(&rules, dot, Some(&base.state), json!({ "title": dot })));
    let view = rules.resolve(&out);
    assert_eq!(value(&view), Some(json!({ "title": 3 })));
    let set = write(&rules, 4, Some(&view), json!({ "votes": 2 }));
    let added = write(&rules, 5, Some(&base.state), json!({ "votes": 6 }));
    assert_eq!(
        value(&rules.resolve(&[out[1].clone(), added.clone()])),
        Some(json!({ "title": 3, "votes": 6 }))
    );
    assert_eq!(value(&rules.resolve(&[set, added])), Some(json!({ "votes": 3 })));
}
