//! What the reader sees: chapters, commands, sentences, tables and progress bars.

use std::io::BufRead;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::programs::{Fingerprint, Peer, Traffic};

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

/// Prints what was typed, as it were.
pub(crate) fn shell(command: &str) {
    println!("   $ {command}");
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
    rows: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Bars {
    /// Bars for what changes from now on, until each replica has seen so many documents.
    pub(crate) fn new(peers: &[Peer], documents: usize) -> anyhow::Result<Self> {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let template = "   {prefix:7} {bar:40} {human_pos:>6} of {human_len} documents";
        let style = ProgressStyle::with_template(template).context("the template is well-formed")?;
        let mut rows = Vec::new();
        for peer in peers {
            let bar = bars.add(ProgressBar::new(documents as u64).with_style(style.clone()));
            bar.set_prefix(peer.name);
            let (watching, lines) = peer.watch()?;
            rows.push(thread::spawn(move || {
                for line in lines.lines().take(documents) {
                    line?;
                    bar.inc(1);
                }
                bar.abandon();
                drop(watching);
                Ok(())
            }));
        }
        Ok(Self { begun: Instant::now(), bars, rows })
    }

    /// Waits until all are full. Returns how long that took.
    pub(crate) fn fill(self) -> anyhow::Result<Duration> {
        for row in self.rows {
            row.join().expect("a reader does not panic")?;
        }
        let took = self.begun.elapsed();
        if !self.bars.is_hidden() {
            println!("\n");
        }
        Ok(took)
    }
}

/// One line for each replica: what it holds, and its hash.
pub(crate) fn fingerprints(peers: &[Peer], fingerprints: &[Fingerprint]) {
    println!();
    for (peer, fingerprint) in peers.iter().zip(fingerprints) {
        println!(
            "   {:NAME_WIDTH$} {} documents, {:2} in conflict, hash {}",
            peer.name,
            count(fingerprint.documents),
            fingerprint.conflicts,
            fingerprint.hash,
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

/// The versions of a document in conflict, one below the other.
pub(crate) fn versions(conflict: &Value) {
    let view = &conflict["view"];
    println!("\n   {}  {}", text(&conflict["id"]), text(&view["value"]["properties"]["place"]));
    for version in conflict["versions"].as_array().into_iter().flatten() {
        let properties = &version["content"]["value"]["properties"];
        let line = format!(
            "magnitude {:.2}, by {}",
            properties["mag"].as_f64().unwrap_or_default(),
            text(&properties["editor"])
        );
        let shown = if version["content"] == *view { "  <- what reading gives" } else { "" };
        println!("{}", format!("      {line:30}{shown}").trim_end());
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
