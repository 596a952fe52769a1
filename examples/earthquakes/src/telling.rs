//! How `earthquakes` and `three-processes` tell their stories: chapters, sentences, progress bars, and what went over the network.
//!
//! Nothing in here is about Peerloom.

use std::ops::Sub;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Enough for the names of all replicas.
pub(crate) const NAME_WIDTH: usize = 7;

pub(crate) fn chapter(number: u32, title: &str) {
    println!("\n{number}. {title}\n");
}

/// Prints sentences, one to a line.
pub(crate) fn say(sentences: &str) {
    for sentence in sentences.lines().map(str::trim) {
        println!("{}", format!("   {sentence}").trim_end());
    }
}

pub(crate) fn count(number: impl TryInto<u64>) -> HumanCount {
    HumanCount(number.try_into().unwrap_or(u64::MAX))
}

/// Bars one below the other, from now on.
///
/// Without a terminal there are no bars, and the rest is the same.
pub(crate) struct Progress {
    begun: Instant,
    bars: MultiProgress,
}

impl Progress {
    pub(crate) fn begin() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        Self { begun: Instant::now(), bars }
    }

    /// A bar that counts the documents of one replica.
    pub(crate) fn bar(&self, name: &'static str, documents: usize) -> ProgressBar {
        let template =
            format!("   {{prefix:{NAME_WIDTH}}} {{bar:40}} {{human_pos:>6}} of {{human_len}} documents");
        let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
        let bar = self.bars.add(ProgressBar::new(documents as u64).with_style(style));
        bar.set_prefix(name);
        bar
    }

    /// Once all are full. Returns how long that took.
    pub(crate) fn end(self) -> Duration {
        let took = self.begun.elapsed();
        if !self.bars.is_hidden() {
            println!("\n");
        }
        took
    }
}

/// What the connections that are open now have moved.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) documents: u64,
    /// Documents that the receiver had already, for example from another peer a moment before.
    pub(crate) duplicates: u64,
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            bytes: self.bytes - before.bytes,
            documents: self.documents - before.documents,
            duplicates: self.duplicates - before.duplicates,
        }
    }
}

/// What went over the network, beside the least that could have.
pub(crate) fn traffic(moved: Traffic, ideal: u64) {
    println!(
        "   {} documents went over the network in {} bytes; {} were there already when they arrived.",
        count(moved.documents),
        count(moved.bytes),
        count(moved.duplicates),
    );
    println!(
        "   The ideal would be {} bytes; it took {:.2} times that.",
        count(ideal),
        moved.bytes as f64 / ideal as f64,
    );
}
