//! The most memory that one process takes while it copies a million documents from one disk to another.
//!
//! Each part runs in a process of its own, so that the peak is that of the copying alone.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use peerloom::Network;

use crate::clock;
use crate::disk::{Adapter, OnFjall, OnRocksDb};
use crate::group::Replica;
use crate::report::{Figure, Target, per_second};

const DOCUMENTS: usize = 1_000_000;

/// What a child process does with a directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// Writes the documents.
    Fill,
    /// Copies them.
    Copy,
}

impl Part {
    fn name<A: Adapter>(self) -> String {
        format!("memory/{}/{self:?}", A::NAME)
    }

    /// Runs the part in this process and prints what it measured.
    fn run<A: Adapter>(self, directory: &Path) -> anyhow::Result<()> {
        let rate = match self {
            Self::Fill => fill::<A>(directory)?,
            Self::Copy => copy::<A>(directory)?,
        };
        println!("{rate} {}", peak_mib()?);
        Ok(())
    }

    /// Runs the part in a process of its own: documents per second, and the peak of its memory in MiB.
    fn run_apart<A: Adapter>(self, directory: &Path) -> anyhow::Result<(f64, f64)> {
        let output = Command::new(std::env::current_exe()?).arg(self.name::<A>()).arg(directory).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout)?;
        let (rate, peak) = printed.trim().split_once(' ').context("a child prints two figures")?;
        Ok((rate.parse()?, peak.parse()?))
    }
}

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    // What the two may take is told in megabytes, and measured in mebibytes.
    let mib = |megabytes: f64| megabytes * 1e6 / f64::from(1 << 20);
    let mut figures = measure::<OnFjall>(mib(300.0))?;
    figures.extend(measure::<OnRocksDb>(mib(400.0))?);
    Ok(figures)
}

/// Runs the part that an argument of this process names, if it names one.
pub(crate) fn run_part(name: &str, directory: &Path) -> Option<anyhow::Result<()>> {
    let parts = [Part::Fill, Part::Copy];
    let on_fjall = parts.into_iter().find(|part| part.name::<OnFjall>() == name);
    let on_rocksdb = parts.into_iter().find(|part| part.name::<OnRocksDb>() == name);
    let on_fjall = on_fjall.map(|part| part.run::<OnFjall>(directory));
    on_fjall.or_else(|| on_rocksdb.map(|part| part.run::<OnRocksDb>(directory)))
}

fn measure<A: Adapter>(peak_mib_max: f64) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::tempdir()?;
    let (filled, fill_mib) = Part::Fill.run_apart::<A>(directory.path())?;
    let (copied, copy_mib) = Part::Copy.run_apart::<A>(directory.path())?;
    let name = A::NAME;
    Ok(vec![
        Figure::new(format!("put_many of 1,000 to {name}"), filled, "documents/s"),
        Figure::new(format!("put_many of 1,000 to {name}, peak memory"), fill_mib, "MiB"),
        Figure::new(format!("{name} to {name}, 1,000,000 documents"), copied, "documents/s"),
        Figure::new(format!("{name} to {name}, 1,000,000 documents, peak memory"), copy_mib, "MiB")
            .target(Target::AtMost(peak_mib_max)),
    ])
}

fn fill<A: Adapter>(directory: &Path) -> anyhow::Result<f64> {
    clock::real(async |clock| {
        let source = Replica::open(A::storage(&directory.join("source")), &clock).await?;
        let started = Instant::now();
        source.write_many(0..DOCUMENTS).await?;
        let rate = per_second(DOCUMENTS, started.elapsed());
        source.node.close().await?;
        Ok(rate)
    })
}

fn copy<A: Adapter>(directory: &Path) -> anyhow::Result<f64> {
    clock::real(async |clock| {
        let source = Replica::open(A::storage(&directory.join("source")), &clock).await?;
        let sink = Replica::open(A::storage(&directory.join("sink")), &clock).await?;
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
