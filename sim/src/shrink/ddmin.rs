//! Delta debugging: "Simplifying and Isolating Failure-Inducing Input" (Zeller and Hildebrandt 2002).

/// A part of the list that still fails, from which no single item can be taken out: `ddmin`. Tries the empty list first. The list
/// itself is taken to fail, and `fails` is asked of smaller lists only; the last of which it said so is the answer.
///
/// A test that begins to refuse everything, because a budget is spent, ends it soon, with what was reached.
pub(super) fn ddmin<T: Clone>(items: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if items.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut items = items;
    let mut parts = 2;
    while items.len() >= 2 {
        let size = items.len().div_ceil(parts);
        let chunks: Vec<Vec<T>> = items.chunks(size).map(<[T]>::to_vec).collect();
        if let Some(chunk) = chunks.iter().find(|chunk| fails(chunk)) {
            items.clone_from(chunk);
            parts = 2;
            continue;
        }
        // With two parts, the complements are the parts.
        let complements = (0..if chunks.len() > 2 { chunks.len() } else { 0 }).map(|without| {
            let others = chunks.iter().enumerate().filter(|(place, _)| *place != without);
            others.flat_map(|(_, chunk)| chunk.clone()).collect::<Vec<_>>()
        });
        if let Some(complement) = complements.into_iter().find(|complement| fails(complement)) {
            items = complement;
            parts = (parts - 1).max(2);
        } else if size == 1 {
            break;
        } else {
            parts = (parts * 2).min(items.len());
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::ddmin;

    proptest! {
        #[test]
        fn what_is_needed_remains_and_nothing_else(
            count in 1..80_usize,
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let needed: BTreeSet<_> = picks.iter().map(|pick| pick.index(count)).collect();
            let fails = |items: &[usize]| needed.iter().all(|item| items.contains(item));
            let found = ddmin((0..count).collect(), fails);
            prop_assert_eq!(found, needed.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_single_item_can_go(count in 1..60_usize, divisor in 2..9_usize, at_least in 1..9_usize) {
            // Not monotonous: removing more may hold again.
            let fails = |items: &[usize]| items.len() % divisor == count % divisor && items.len() >= at_least.min(count);
            let found = ddmin((0..count).collect(), fails);
            prop_assert!(fails(&found));
            for without in 0..found.len() {
                let mut fewer = found.clone();
                fewer.remove(without);
                prop_assert!(!fails(&fewer));
            }
        }
    }
}
