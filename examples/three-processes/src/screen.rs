//! What the reader sees of the replicas: commands, progress bars, fingerprints and versions.

use std::io::BufRead;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::programs::{Fingerprint, Peer};
use crate::telling::{NAME_WIDTH, Progress, count};

/// Prints what was typed, as it were.
pub(crate) fn shell(command: &str) {
    println!("   $ {command}");
}

/// A bar for each replica, which counts the documents that arrive there.
pub(crate) struct Bars {
    progress: Progress,
    rows: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Bars {
    /// Bars for what changes from now on, until each replica has seen so many documents.
    pub(crate) fn new(peers: &[Peer], documents: usize) -> anyhow::Result<Self> {
        let progress = Progress::begin();
        let mut rows = Vec::new();
        for peer in peers {
            let bar = progress.bar(peer.name, documents);
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
        Ok(Self { progress, rows })
    }

    /// Waits until all are full. Returns how long that took.
    pub(crate) fn fill(self) -> anyhow::Result<Duration> {
        for row in self.rows {
            row.join().expect("a reader does not panic")?;
        }
        Ok(self.progress.end())
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
