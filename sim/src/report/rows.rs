//! The time axis of the static forms: a row per event that is shown, and one for each idle stretch, however long.
//!
//! Simulated time is mostly waiting, so distance on paper is by events and not by seconds.

use std::collections::BTreeSet;

use crate::trace::Event;

/// From how long on, in microseconds, nothing happening gets a row that says so.
pub(super) const GAP_US_MIN: u64 = 500_000;

/// A row of a diagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Row {
    /// The event with this index.
    Event(usize),
    /// So long, nothing of what is shown happened.
    Gap { us: u64 },
    /// So many events would have been shown and are left out, so that the diagram stays readable.
    LeftOut { events: usize },
}

/// The rows for the events `shown`, at most about `events_max` of them: the beginning and, four times as long, the end.
pub(super) fn rows(events: &[Event], shown: &BTreeSet<usize>, events_max: usize) -> Vec<Row> {
    let head = if shown.len() > events_max { events_max / 5 } else { shown.len() };
    let left_out = shown.len().saturating_sub(events_max);
    let mut rows = Vec::new();
    let mut before: Option<usize> = None;
    for (place, index) in shown.iter().enumerate() {
        if left_out > 0 && place == head {
            rows.push(Row::LeftOut { events: left_out });
            before = None;
        }
        if (head..head + left_out).contains(&place) {
            continue;
        }
        let idle = before.map_or(0, |before| events[*index].at_us.saturating_sub(events[before].at_us));
        if idle >= GAP_US_MIN {
            rows.push(Row::Gap { us: idle });
        }
        rows.push(Row::Event(*index));
        before = Some(*index);
    }
    rows
}
