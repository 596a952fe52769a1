//! Three replicas as three processes that talk over WebRTC: told in six chapters. Run it with `cargo xtask demo --webrtc`.
//!
//! This file is the story. It does nothing that cannot be done in a terminal: it runs the programs `peerloom-signaling` and
//! `peerloom-peer`, which have to lie beside this one. How they are run is in `programs`, what the documents are in
//! `earthquake`, how all is told in `telling` and `screen`.

mod earthquake;
mod programs;
mod screen;
#[path = "../../earthquakes/src/telling.rs"]
mod telling;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde_json::Value;

use crate::earthquake::Earthquake;
use crate::programs::{Peer, Signaling, fresh_key};
use crate::screen::{Bars, fingerprints, shell};
use crate::telling::{Traffic, chapter, count, say, traffic};

const NAMES: [&str; 3] = ["lisbon", "quito", "tokyo"];

/// How many others need what one replica writes.
const OTHERS: u64 = NAMES.len() as u64 - 1;

/// How many documents each replica edits while the signaling server is gone.
const REVIEWS: usize = 200;

/// What the replica that is killed writes: batches, each in one commit.
const BATCHES: usize = 30;
const BATCH_DOCUMENTS: usize = 40;

/// How many batches it has written for certain when it is killed.
const BATCHES_BEFORE_KILL: usize = 5;

/// How many documents the others edit while it is gone, and how many somebody edits on both sides.
const MISSED_EDITS: usize = 100;
const SHARED_EDITS: usize = 12;

/// How many of the conflicts are settled.
const SETTLED: usize = 5;

/// Three replicas as three processes over WebRTC, a server that goes away, and a kill -9.
#[derive(Parser)]
struct Arguments {
    /// How each keeps its documents: fjall, or rocksdb where the programs were built with it
    #[arg(long, default_value = "fjall")]
    storage: String,
    /// Keeps the replicas' directories in this one, which must be empty or absent. By default they are temporary
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let directory = arguments.keep.as_deref().unwrap_or(temporary.path());
    if let Some(keep) = &arguments.keep {
        ensure!(
            !keep.read_dir().is_ok_and(|mut entries| entries.next().is_some()),
            "{} is not empty",
            keep.display()
        );
        std::fs::create_dir_all(keep)?;
    }
    story(directory, &arguments.storage)?;
    if let Some(keep) = &arguments.keep {
        println!("The replicas' directories are in {}.", keep.display());
    }
    Ok(())
}

fn story(directory: &Path, storage: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    let catalogue = earthquake::catalogue()?;
    let (contested, uncontested) = catalogue.split_at(SHARED_EDITS);

    let (mut signaling, mut peers) = three_processes(directory, storage)?;
    import(directory, &mut peers, &catalogue)?;
    edit_without_the_server(&mut signaling, &mut peers, uncontested)?;
    let missed = kill_tokyo(&mut peers, contested, uncontested)?;
    come_back(&mut peers, &missed, catalogue.len())?;
    let held = settle(&mut peers)?;

    for peer in &mut peers {
        peer.stop()?;
    }
    println!(
        "\nAll three processes hold the same {} documents, hash {held}. The demo took {:.1} seconds.",
        count(catalogue.len()),
        begun.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn three_processes(directory: &Path, storage: &str) -> anyhow::Result<(Signaling, Vec<Peer>)> {
    chapter(1, "Three processes find each other");
    let signaling = Signaling::start()?;
    let key = fresh_key()?;
    shell(&format!("peerloom-signaling --listen {}", signaling.address()));
    let mut peers: Vec<Peer> =
        NAMES.iter().map(|name| Peer::new(name, directory, storage, &signaling, &key)).collect();
    for peer in &mut peers {
        shell(&format!("peerloom-peer --data {} serve", peer.name));
        peer.serve()?;
    }
    let begun = Instant::now();
    meet(&mut peers)?;
    let processes: Vec<String> =
        peers.iter().map(|peer| format!("{} is process {}", peer.name, peer.process_id())).collect();
    say(&format!(
        "\n{}. Each has its own directory, in {}.
         The server told them of each other, which took {:.2} seconds. From now on they talk directly: each pair has one
         WebRTC data channel, encrypted end to end, and each has proven that it knows the topic's key.",
        processes.join(", "),
        directory.display(),
        begun.elapsed().as_secs_f64(),
    ));
    Ok((signaling, peers))
}

fn import(directory: &Path, peers: &mut [Peer], catalogue: &[Earthquake]) -> anyhow::Result<()> {
    chapter(2, "lisbon imports a week of earthquakes");
    let file = directory.join("earthquakes.jsonl");
    std::fs::write(&file, earthquake::lines(catalogue))?;
    say(&format!(
        "The {} earthquakes that the U.S. Geological Survey counted in a week of 2018 become documents in lisbon.
         The others receive them while the import goes on.\n",
        count(catalogue.len()),
    ));
    shell("peerloom-peer --data lisbon import earthquakes.jsonl\n");
    let before = Traffic::received_by(peers)?;
    let bars = Bars::new(peers, catalogue.len())?;
    peers[0].run(&["import", file.to_str().context("the directory's name is UTF-8")?])?;
    let took = bars.fill()?;
    converge(peers)?;
    say(&format!(
        "After {:.2} seconds all three had everything: {} documents per second, each stored three times.",
        took.as_secs_f64(),
        count((catalogue.len() as f64 / took.as_secs_f64()) as usize),
    ));
    traffic(Traffic::received_by(peers)? - before, earthquake::bytes_of(catalogue) * OTHERS);
    say("The ideal is each document once to each replica that lacks it: id and body, nothing else.");
    agreement(peers)?;
    Ok(())
}

fn edit_without_the_server(
    signaling: &mut Signaling,
    peers: &mut [Peer],
    earthquakes: &[Earthquake],
) -> anyhow::Result<()> {
    chapter(3, "The signaling server is killed, and nobody minds");
    shell(&format!("kill -9 {}        # the server", signaling.process_id()));
    signaling.kill()?;
    say(&format!(
        "\nEach replica reviews {REVIEWS} earthquakes of its own. What one saves, the other two receive.\n "
    ));
    let before = Traffic::received_by(peers)?;
    let reviews: Vec<Vec<Earthquake>> = peers
        .iter()
        .zip(earthquakes.chunks(REVIEWS))
        .map(|(peer, chunk)| chunk.iter().map(|document| document.reviewed(peer.name)).collect())
        .collect();
    let bars = Bars::new(peers, REVIEWS * peers.len())?;
    thread::scope(|scope| {
        let writing: Vec<_> =
            peers.iter().zip(&reviews).map(|(peer, reviews)| scope.spawn(|| peer.write(reviews))).collect();
        writing.into_iter().try_for_each(|written| written.join().expect("a writer does not panic"))
    })?;
    let took = bars.fill()?;
    converge(peers)?;
    say(&format!("After {:.2} seconds all three had all edits.", took.as_secs_f64()));
    traffic(
        Traffic::received_by(peers)? - before,
        reviews.iter().map(|reviews| earthquake::bytes_of(reviews)).sum::<u64>() * OTHERS,
    );
    agreement(peers)?;
    signaling.restart()?;
    say("\nThe server comes back at the same address. It is needed only by those who join.");
    Ok(())
}

/// What was edited while tokyo was gone.
struct Missed {
    by_tokyo: Vec<Earthquake>,
}

fn kill_tokyo(
    peers: &mut [Peer],
    contested: &[Earthquake],
    earthquakes: &[Earthquake],
) -> anyhow::Result<Missed> {
    chapter(4, "tokyo is killed while it writes");
    let (batches, others) = earthquakes.split_at(BATCHES * BATCH_DOCUMENTS);
    let batches: Vec<&[Earthquake]> = batches.chunks(BATCH_DOCUMENTS).collect();
    let (acknowledged, killed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let [lisbon, quito, tokyo] = peers else { bail!("there are three") };
    let process = tokyo.process_id();
    let begun = thread::scope(|scope| {
        let (tokyo, acknowledged, killed) = (&*tokyo, &acknowledged, &killed);
        let writing = scope.spawn(move || write_until(tokyo, &batches, acknowledged, killed));
        while acknowledged.load(Ordering::SeqCst) < BATCHES_BEFORE_KILL && !writing.is_finished() {
            thread::yield_now();
        }
        killed.store(true, Ordering::SeqCst);
        tokyo.kill();
        writing.join().expect("a writer does not panic")
    })?;
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    shell(&format!("kill -9 {process}        # tokyo"));
    tokyo.wait()?;
    lisbon.wait_until_left(1)?;
    quito.wait_until_left(1)?;
    say(&format!(
        "\ntokyo was writing batches of {BATCH_DOCUMENTS} documents. {acknowledged} of them had been acknowledged. Nothing was closed, and nobody was told:
         the others noticed."
    ));

    let there = tokyo.documents()?;
    let of_batch = |number: usize| {
        let batch = &earthquakes[number * BATCH_DOCUMENTS..(number + 1) * BATCH_DOCUMENTS];
        batch
            .iter()
            .filter(|document| there.get(&document.id) == Some(&document.in_batch(number).body))
            .count()
    };
    for number in 0..acknowledged {
        ensure!(of_batch(number) == BATCH_DOCUMENTS, "tokyo has lost batch {number}, which was acknowledged");
    }
    if begun > acknowledged {
        let found = of_batch(acknowledged);
        ensure!(found == 0 || found == BATCH_DOCUMENTS, "batch {acknowledged} was written in part");
        say(&format!(
            "On its disk are all acknowledged batches, and {found} of the {BATCH_DOCUMENTS} documents of the batch that was interrupted:
             all or nothing, never a part."
        ));
    } else {
        say("On its disk are all acknowledged batches.");
    }

    let missed: Vec<Earthquake> =
        others[..MISSED_EDITS].iter().map(|document| document.reviewed("lisbon")).collect();
    lisbon.write(&missed)?;
    lisbon.write(&contested.iter().map(|document| document.measured(0.05, "lisbon")).collect::<Vec<_>>())?;
    let by_tokyo: Vec<Earthquake> =
        contested.iter().map(|document| document.measured(-0.05, "tokyo")).collect();
    tokyo.write(&by_tokyo)?;
    converge(&mut peers[..2])?;
    say(&format!(
        "\nMeanwhile lisbon edits {MISSED_EDITS} documents, which quito receives and tokyo misses, and measures the {SHARED_EDITS} strongest
         earthquakes again. So does somebody in tokyo, with other results: commands work whether the peer is being served or not."
    ));
    Ok(Missed { by_tokyo })
}

/// Writes one batch after the other, and returns how many it began.
fn write_until(
    peer: &Peer,
    batches: &[&[Earthquake]],
    acknowledged: &AtomicUsize,
    killed: &AtomicBool,
) -> anyhow::Result<usize> {
    for (number, batch) in batches.iter().enumerate() {
        if killed.load(Ordering::SeqCst) {
            return Ok(number);
        }
        let batch: Vec<Earthquake> = batch.iter().map(|document| document.in_batch(number)).collect();
        match peer.write(&batch) {
            Ok(()) => acknowledged.fetch_add(1, Ordering::SeqCst),
            Err(_) if killed.load(Ordering::SeqCst) => return Ok(number + 1),
            Err(error) => return Err(error),
        };
    }
    bail!("tokyo has written everything before it was killed")
}

fn come_back(peers: &mut [Peer], missed: &Missed, documents: usize) -> anyhow::Result<()> {
    chapter(5, "tokyo comes back");
    shell("peerloom-peer --data tokyo serve");
    let begun = Instant::now();
    peers[2].serve()?;
    meet(peers)?;
    converge(peers)?;
    let received = Traffic::received_by(&peers[2..])?;
    let sent = Traffic::sent_by(&peers[2..])?;
    let received_new = received.documents - received.duplicates;
    ensure!(
        received_new == (MISSED_EDITS + SHARED_EDITS) as u64,
        "tokyo received {received_new} documents, and had missed {}",
        MISSED_EDITS + SHARED_EDITS
    );
    say(&format!(
        "\ntokyo has joined the room again and caught up after {:.2} seconds.
         It had missed {} edits, and received {received_new} documents in {} bytes, {} of them twice.
         It sent {} documents: to each of the others, the {} edits that were made there meanwhile, and what had not gone out
         before it was killed.
         A replica that starts from nothing would receive {}.",
        begun.elapsed().as_secs_f64(),
        MISSED_EDITS + SHARED_EDITS,
        count(received.bytes),
        count(received.duplicates),
        count(sent.documents),
        missed.by_tokyo.len(),
        count(documents),
    ));
    agreement(peers)?;
    Ok(())
}

fn settle(peers: &mut [Peer]) -> anyhow::Result<String> {
    chapter(6, "What became of the conflicts");
    let conflicts = peers[1].conflicts()?;
    ensure!(conflicts.len() == SHARED_EDITS, "{} conflicts instead of {SHARED_EDITS}", conflicts.len());
    shell("peerloom-peer --data quito conflicts");
    say(&format!(
        "\n{} documents were measured in lisbon and in tokyo while the two did not hear of each other. No edit is lost: the versions
         stand beside each other, and every replica has both. Reading gives the one that was written last.",
        conflicts.len(),
    ));
    screen::versions(&conflicts[0]);
    let means: Vec<Earthquake> =
        conflicts.iter().take(SETTLED).map(earthquake::mean).collect::<anyhow::Result<_>>()?;
    peers[1].write(&means)?;
    converge(peers)?;
    say(&format!(
        "\nSomebody in quito settles {SETTLED} of them by the mean. Settling is an ordinary write: it replaces the versions it has seen,
         and travels like any other."
    ));
    let held = agreement(peers)?;
    let left = peers[0].conflicts()?.len();
    ensure!(left == SHARED_EDITS - SETTLED, "{left} conflicts are left");
    Ok(held)
}

/// Waits until every peer is connected to all others.
fn meet(peers: &mut [Peer]) -> anyhow::Result<()> {
    let others = peers.len() - 1;
    peers.iter_mut().try_for_each(|peer| peer.wait_for_peers(others))
}

/// Waits until they have everything from each other.
fn converge(peers: &mut [Peer]) -> anyhow::Result<()> {
    peers.iter().try_for_each(|peer| peer.run(&["catch-up"]).map(drop))
}

/// Shows what each replica holds, and fails unless that is the same.
fn agreement(peers: &[Peer]) -> anyhow::Result<String> {
    let held = peers.iter().map(Peer::fingerprint).collect::<anyhow::Result<Vec<_>>>()?;
    fingerprints(peers, &held);
    ensure!(held.iter().all(|other| *other == held[0]), "the replicas have not converged");
    Ok(held[0].hash.clone())
}

/// A field of a JSON object, as an unsigned number.
fn number(object: &Value, field: &str) -> anyhow::Result<u64> {
    object[field].as_u64().with_context(|| format!("no number {field} in {object}"))
}
