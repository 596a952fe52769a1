//! Kills processes that write and replicate, with SIGKILL at moments drawn from a seed, and looks at what is left on their disks.
//!
//! Two processes write to a replica each and replicate over loopback. After each kill: every acknowledged write is there, an
//! operation that was under way is made whole or not at all, no document includes less than before; and when both catch up, each
//! receives what it lacks, and they hold the same.
//!
//! A kill takes what is in the memory of the process, and nothing that the system has been given: power cuts are what the
//! simulator's disk is for.

mod campaign;
mod disk;
mod draw;
mod loopback;
mod model;
mod plan;
mod process;
mod replica;
mod writer;

use std::time::Instant;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use crate::campaign::Campaign;
use crate::disk::Kind;

/// Kills replicas that write and replicate, and looks at what is left on their disks
#[derive(Parser)]
struct Arguments {
    /// How many rounds on each storage, in each of which one process is killed, or both
    #[arg(long, default_value_t = 50)]
    rounds: u64,
    /// What the writes and the moments are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On which storage; without it, on each that was built
    #[arg(long)]
    storage: Vec<Kind>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// A process to be killed
    #[command(hide = true)]
    Write(writer::Task),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match arguments.role {
        Some(Role::Write(task)) => runtime.block_on(writer::run(task)),
        None => runtime.block_on(campaigns(&arguments)),
    }
}

async fn campaigns(arguments: &Arguments) -> anyhow::Result<()> {
    let kinds = match &arguments.storage[..] {
        [] => Kind::value_variants(),
        chosen => chosen,
    };
    for kind in kinds {
        let begun = Instant::now();
        let place = tempfile::tempdir().context("a temporary directory")?;
        let figures = Campaign::new(*kind, arguments.seed, place.path()).run(0..arguments.rounds).await?;
        println!("{}: {figures}, {:.1} seconds", kind.name(), begun.elapsed().as_secs_f64());
    }
    Ok(())
}
