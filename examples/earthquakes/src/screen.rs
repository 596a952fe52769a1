//! What the reader sees: chapters, sentences, tables and progress bars.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use peerloom::{Changes, Conflict};

use crate::earthquake::Earthquake;
use crate::measure::{Fingerprint, Traffic};
use crate::replica::Replica;

/// Enough for the names of all replicas.
const NAME_WIDTH: usize = 7;

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

/// A bar for each replica, which counts the documents that arrive there.
///
/// Without a terminal there are no bars, and the rest is the same.
pub(crate) struct Bars {
    begun: Instant,
    bars: MultiProgress,
    rows: Vec<(ProgressBar, Changes<Earthquake>)>,
}

impl Bars {
    /// Bars for what changes from now on, until each replica has seen so many documents.
    pub(crate) fn new(replicas: &[Replica], documents: usize) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let template = "   {prefix:7} {bar:40} {human_pos:>6} of {human_len} documents";
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        let row = |replica: &Replica| {
            let bar = bars.add(ProgressBar::new(documents as u64).with_style(style.clone()));
            bar.set_prefix(replica.name);
            (bar, replica.earthquakes.watch())
        };
        let rows = replicas.iter().map(row).collect();
        Self { begun: Instant::now(), bars, rows }
    }

    /// Moves the bars until all are full. Returns how long that took.
    pub(crate) async fn fill(self) -> anyhow::Result<Duration> {
        let fill = |(bar, mut changes): (ProgressBar, Changes<Earthquake>)| async move {
            while Some(bar.position()) < bar.length() {
                changes.next().await.ok_or_else(|| anyhow::anyhow!("the replica was closed"))??;
                bar.inc(1);
            }
            bar.abandon();
            anyhow::Ok(())
        };
        try_join_all(self.rows.into_iter().map(fill)).await?;
        let took = self.begun.elapsed();
        if !self.bars.is_hidden() {
            println!("\n");
        }
        Ok(took)
    }
}

/// One line for each replica: what it holds, and its hash.
pub(crate) fn fingerprints(replicas: &[Replica], fingerprints: &[Fingerprint]) {
    println!();
    for (replica, fingerprint) in replicas.iter().zip(fingerprints) {
        println!(
            "   {:NAME_WIDTH$} {} documents, {:2} in conflict, hash {fingerprint}",
            replica.name,
            count(fingerprint.documents),
            fingerprint.conflicts,
        );
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

/// The versions of a document, one below the other.
pub(crate) fn versions(conflict: &Conflict<Earthquake>) {
    let values = conflict.versions.iter().map(|version| &version.value);
    let mut places = values.flatten().flatten().map(|earthquake| earthquake.properties.place.as_str());
    println!("\n   {}  {}", conflict.id, places.next_back().unwrap_or_default());
    for version in &conflict.versions {
        let text = match &version.value {
            Ok(Some(Earthquake { properties, .. })) => format!(
                "magnitude {:.2}, {}, by {}",
                properties.magnitude,
                properties.status,
                properties.editor.as_deref().unwrap_or("nobody"),
            ),
            Ok(None) => "deleted".to_owned(),
            Err(error) => error.to_string(),
        };
        let shown = if version.value == conflict.view { "  <- what reading gives" } else { "" };
        println!("{}", format!("      {text:44}{shown}").trim_end());
    }
}
