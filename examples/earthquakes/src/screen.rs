//! What the reader sees of the replicas: progress bars, fingerprints and versions.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use peerloom::{Changes, Conflict};

use crate::earthquake::Earthquake;
use crate::measure::Fingerprint;
use crate::replica::Replica;
use crate::telling::{NAME_WIDTH, Progress, count};

/// A bar for each replica, which counts the documents that arrive there.
pub(crate) struct Bars {
    progress: Progress,
    rows: Vec<(ProgressBar, Changes<Earthquake>)>,
}

impl Bars {
    /// Bars for what changes from now on, until each replica has seen so many documents.
    pub(crate) fn new(replicas: &[Replica], documents: usize) -> Self {
        let progress = Progress::begin();
        let row = |replica: &Replica| (progress.bar(replica.name, documents), replica.earthquakes.watch());
        let rows = replicas.iter().map(row).collect();
        Self { progress, rows }
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
        Ok(self.progress.end())
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
