//! The most memory that one process takes while it copies a million documents from one disk to another.
//!
//! Each part runs in a process of its own, so that the peak is that of the copying alone.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use peerloom::{Fjall, Network};

use crate::clock;
use crate::group::Replica;
use crate::report::{Figure, Target, per_second};

const DOCUMENTS: usize = 1_000_000;

/// What a child process does with a directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// Writes the documents.
    Fill,
    /// Copies them.
    Copy,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Fill => "memory/fill",
            Self::Copy => "memory/copy",
        }
    }

    /// The part that an argument of this process names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Fill, Self::Copy].into_iter().find(|part| part.name() == name)
    }

    /// Runs the part in this process and prints what it measured.
    pub(crate) fn run(self, directory: &Path) -> anyhow::Result<()> {
        let rate = match self {
            Self::Fill => fill(directory)?,
            Self::Copy => copy(directory)?,
        };
        println!("{rate} {}", peak_mib()?);
        Ok(())
    }

    /// Runs the part in a process of its own: documents per second, and the peak of its memory in MiB.
    fn run_apart(self, directory: &Path) -> anyhow::Result<(f64, f64)> {
        let output = Command::new(std::env::current_exe()?).arg(self.name()).arg(directory).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout)?;
        let (rate, peak) = printed.trim().split_once(' ').context("a child prints two figures")?;
        Ok((rate.parse()?, peak.parse()?))
    }
}

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::tempdir()?;
    let (filled, fill_mib) = Part::Fill.run_apart(directory.path())?;
    let (copied, copy_mib) = Part::Copy.run_apart(directory.path())?;
    Ok(vec![
        Figure::new("put_many of 1,000 to fjall", filled, "documents/s"),
        Figure::new("put_many of 1,000 to fjall, peak memory", fill_mib, "MiB"),
        Figure::new("fjall to fjall, 1,000,000 documents", copied, "documents/s"),
        Figure::new("fjall to fjall, 1,000,000 documents, peak memory", copy_mib, "MiB")
            .target(Target::AtMost(300.0 * 1e6 / f64::from(1 << 20))),
    ])
}

fn fill(directory: &Path) -> anyhow::Result<f64> {
    clock::real(async |clock| {
        let source = Replica::open(Fjall::at(directory.join("source")), &clock).await?;
        let started = Instant::now();
        source.write_many(0..DOCUMENTS).await?;
        let rate = per_second(DOCUMENTS, started.elapsed());
        source.node.close().await?;
        Ok(rate)
    })
}

fn copy(directory: &Path) -> anyhow::Result<f64> {
    clock::real(async |clock| {
        let source = Replica::open(Fjall::at(directory.join("source")), &clock).await?;
        let sink = Replica::open(Fjall::at(directory.join("sink")), &clock).await?;
        let network = Network::new();
        let _serving = source.join(&network, "source").await?;
        let started = Instant::now();
        let pulling = sink.join(&network, "sink").await?;
        pulling.caught_up().await?;
        let rate = per_second(DOCUMENTS, started.elapsed());
        for replica in [sink, source] {
            replica.node.close().await?;
        }
        Ok(rate)
    })
}

/// The most memory that this process has had resident so far.
fn peak_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a Linux kernel")?;
    let kib: f64 = peak.trim().trim_end_matches("kB").trim_end().parse()?;
    Ok(kib / 1024.0)
}
