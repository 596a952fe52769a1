//! Time on the wall, and the time that this process had of the processors meanwhile.

use std::time::{Duration, Instant};

/// How long something took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) wall: Duration,
    /// Of all threads together. `None` where the system does not tell.
    pub(crate) processor: Option<Duration>,
}

impl Span {
    /// The middle ones, each of its kind.
    pub(crate) fn median(spans: &[Self]) -> Self {
        let middle = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times.get(times.len() / 2).copied()
        };
        let wall = middle(spans.iter().map(|span| span.wall).collect()).expect("something was measured");
        Self { wall, processor: middle(spans.iter().filter_map(|span| span.processor).collect()) }
    }
}

pub(crate) struct Clock {
    started: Instant,
    processor: Option<Duration>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { processor: processor_time(), started: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Span {
        let wall = self.started.elapsed();
        let processor = processor_time().zip(self.processor).map(|(now, then)| now - then);
        Span { wall, processor }
    }
}

/// What Linux says, in hundredths of a second.
fn processor_time() -> Option<Duration> {
    let statistics = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program comes before, and may hold anything.
    let (_, after_name) = statistics.rsplit_once(')')?;
    let ticks = |field: usize| after_name.split_whitespace().nth(field)?.parse::<u64>().ok();
    Some(Duration::from_millis(10) * u32::try_from(ticks(11)? + ticks(12)?).ok()?)
}
