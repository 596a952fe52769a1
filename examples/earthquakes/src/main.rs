//! Three replicas and 1,707 earthquakes: Peerloom told in six chapters. Run it with `cargo xtask demo`.
//!
//! This file is the story. How a replica is set up is in `replica`, what is measured in `measure`, how it is told in `telling` and `screen`.

mod earthquake;
mod measure;
mod replica;
mod screen;
mod telling;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Parser, ValueEnum};
use futures_util::future::try_join_all;
use peerloom::{Collection, Memory, Network, PeerAddress};
use tokio::sync::watch;

use crate::earthquake::{Earthquake, catalogue, ids};
use crate::measure::{Fingerprint, bytes_of, conflicts};
use crate::replica::{Disk, Opened, Replica};
use crate::screen::{Bars, fingerprints, versions};
use crate::telling::{Traffic, chapter, count, say, traffic};

const NAMES: [&str; 3] = ["lisbon", "quito", "tokyo"];

/// How many others need what one replica writes.
const OTHERS: u64 = NAMES.len() as u64 - 1;

/// How many documents are imported in one commit.
const IMPORT_DOCUMENTS: usize = 50;

/// How many documents each replica edits while all are connected.
const ONLINE_EDITS: usize = 200;

/// How many documents all three edit while they are apart, and how many each edits alone.
const SHARED_EDITS: usize = 12;
const OWN_EDITS: usize = 60;

/// How many of the conflicts are settled.
const SETTLED: usize = 5;

/// What the replica that crashes writes: over and over the same batches, each in one commit.
const BATCHES: usize = 30;
const BATCH_DOCUMENTS: usize = 40;

/// How many batches it has written for certain when it crashes.
const BATCHES_BEFORE_CRASH: usize = 5;

/// How many documents the others edit after the crash.
const EDITS_AFTER_CRASH: usize = 100;

/// The longest that the demo may take. It needs a few seconds; this only keeps it from hanging.
const STORY_TIMEOUT: Duration = Duration::from_secs(60);

/// Three replicas, 1,707 real documents, conflicts and a crash.
#[derive(Parser)]
struct Arguments {
    /// Where the replicas keep their documents
    #[arg(long, value_enum, default_value_t = StorageKind::Fjall)]
    storage: StorageKind,
    /// Keeps the replicas' directories in this one, which must be empty or absent. By default they are temporary
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum StorageKind {
    /// In memory, one "disk" for each replica
    Memory,
    /// On disk with fjall, one directory for each replica
    Fjall,
    /// On disk with RocksDB, one directory for each replica
    #[cfg(feature = "rocksdb")]
    #[value(name = "rocksdb")]
    RocksDb,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let directory = arguments.keep.as_deref().unwrap_or(temporary.path());
    if let Some(keep) = &arguments.keep {
        ensure!(arguments.storage != StorageKind::Memory, "--keep needs a storage on disk");
        let used = keep.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        ensure!(!used, "{} is not empty", keep.display());
    }
    tokio::time::timeout(STORY_TIMEOUT, story(arguments.storage, directory))
        .await
        .context("the replicas did not come to rest in time")??;
    if let Some(keep) = &arguments.keep {
        println!("The replicas' directories are in {}.", keep.display());
    }
    Ok(())
}

async fn story(storage: StorageKind, directory: &Path) -> anyhow::Result<()> {
    let begun = Instant::now();
    let catalogue = catalogue()?;
    let (earthquakes, others): (Vec<Earthquake>, Vec<Earthquake>) =
        catalogue.iter().cloned().partition(|feature| feature.properties.kind == "earthquake");
    let (contested, uncontested) = earthquakes.split_at(SHARED_EDITS);
    let quarry_blast = others.iter().find(|other| other.properties.kind == "quarry blast");
    let quarry_blast = quarry_blast.context("the catalogue has a quarry blast")?;
    let network = Network::new();

    let mut replicas = three_replicas(storage, directory, &network).await?;
    import(&replicas, &catalogue).await?;
    edit_online(&replicas, uncontested).await?;
    edit_offline(&replicas, contested, uncontested, quarry_blast, &network).await?;
    settle(&replicas).await?;
    let held = crash(&mut replicas, uncontested, &network).await?;

    for replica in replicas {
        replica.close().await?;
    }
    println!(
        "\nAll three replicas hold the same {} documents, hash {held}. The demo took {:.1} seconds.",
        count(held.documents),
        begun.elapsed().as_secs_f64(),
    );
    Ok(())
}

async fn three_replicas(
    storage: StorageKind,
    directory: &Path,
    network: &Network,
) -> anyhow::Result<Vec<Replica>> {
    chapter(1, "Three replicas join a room");
    let mut replicas = Vec::new();
    for name in NAMES {
        let disk = match storage {
            StorageKind::Memory => Disk::Memory(Memory::new()),
            StorageKind::Fjall => Disk::Fjall(directory.join(name)),
            #[cfg(feature = "rocksdb")]
            StorageKind::RocksDb => Disk::RocksDb(directory.join(name)),
        };
        replicas.push(Opened::open(name, disk).await?.join(network).await?);
    }
    for replica in &replicas {
        replica.wait_for_peers(NAMES.len() - 1).await;
    }
    say("lisbon, quito and tokyo are three replicas of one collection. Each has its own storage and its own threads.
         They talk to each other directly: there is no server, and none of them is the master.");
    match storage {
        StorageKind::Memory => say("Each keeps its documents in memory."),
        _ => {
            say(&format!("Each keeps its documents in a directory, in {}.", directory.display()));
        }
    }
    Ok(replicas)
}

async fn import(replicas: &[Replica], earthquakes: &[Earthquake]) -> anyhow::Result<()> {
    chapter(2, "lisbon imports a week of earthquakes");
    say(&format!(
        "The {} earthquakes that the U.S. Geological Survey counted in a week of 2018 become documents in lisbon.
         The others receive them while the import goes on.\n",
        count(earthquakes.len()),
    ));
    let before = Traffic::received_by(replicas);
    let bars = Bars::new(replicas, earthquakes.len());
    let (collection, documents) = (replicas[0].earthquakes.clone(), earthquakes.to_vec());
    let writing = replicas[0].run(async move {
        for chunk in documents.chunks(IMPORT_DOCUMENTS) {
            collection.put_many(chunk.iter().map(|document| (document.id.as_str(), document))).await?;
        }
        Ok(())
    });
    let ((), took) = tokio::try_join!(writing, bars.fill())?;
    converge(replicas).await?;
    say(&format!(
        "After {:.2} seconds all three had everything: {} documents per second, each stored three times.",
        took.as_secs_f64(),
        count((earthquakes.len() as f64 / took.as_secs_f64()) as u64),
    ));
    traffic(Traffic::received_by(replicas) - before, bytes_of(earthquakes)? * OTHERS);
    say("The ideal is each document once to each replica that lacks it: id and body, nothing else.");
    agreement(replicas).await?;
    Ok(())
}

async fn edit_online(replicas: &[Replica], earthquakes: &[Earthquake]) -> anyhow::Result<()> {
    chapter(3, "All three edit at once, connected");
    say(&format!(
        "Each replica reviews {ONLINE_EDITS} earthquakes of its own. What one saves, the other two receive.\n "
    ));
    let before = Traffic::received_by(replicas);
    let bars = Bars::new(replicas, ONLINE_EDITS * replicas.len());
    let editing = replicas.iter().zip(earthquakes.chunks(ONLINE_EDITS)).map(|(replica, chunk)| {
        let (name, collection, ids) = (replica.name, replica.earthquakes.clone(), ids(chunk));
        replica.run(async move { edit(&collection, ids, |document| review(document, name)).await })
    });
    let (saved, took) = tokio::try_join!(try_join_all(editing), bars.fill())?;
    converge(replicas).await?;
    let edits = saved.iter().map(Vec::len).sum::<usize>();
    say(&format!(
        "After {:.2} seconds all three had all {edits} edits: {} per second, each saved on its own.",
        took.as_secs_f64(),
        count((edits as f64 / took.as_secs_f64()) as u64),
    ));
    traffic(Traffic::received_by(replicas) - before, bytes_of(saved.iter().flatten())? * OTHERS);
    agreement(replicas).await?;
    Ok(())
}

async fn edit_offline(
    replicas: &[Replica],
    contested: &[Earthquake],
    uncontested: &[Earthquake],
    quarry_blast: &Earthquake,
    network: &Network,
) -> anyhow::Result<()> {
    chapter(4, "All three edit at once, offline");
    links().for_each(|(left, right)| network.cut(&left, &right));
    for replica in replicas {
        replica.wait_for_peers(0).await;
    }
    say(&format!(
        "Now the network is gone. Each replica goes on working with what it has.
         All three measure the {SHARED_EDITS} strongest earthquakes again, with different results.
         Each reviews {OWN_EDITS} more that no other touches.
         lisbon deletes a quarry blast, because it is no earthquake, and quito edits the same one."
    ));
    let own = uncontested.chunks(OWN_EDITS);
    let editing = replicas.iter().zip(own).enumerate().map(|(index, (replica, own))| {
        let (name, collection, blast) = (replica.name, replica.earthquakes.clone(), quarry_blast.id.clone());
        let (contested, own) = (ids(contested), ids(own));
        replica.run(async move {
            let measure = |document: &mut Earthquake| {
                document.properties.magnitude += 0.05 * index as f64;
                review(document, name);
            };
            let mut saved = edit(&collection, contested, measure).await?;
            saved.extend(edit(&collection, own, |document| review(document, name)).await?);
            match index {
                0 => drop(collection.remove(blast.as_str()).await?),
                1 => saved.extend(edit(&collection, vec![blast], |document| review(document, name)).await?),
                _ => {}
            }
            Ok(saved)
        })
    });
    let saved = try_join_all(editing).await?;
    let apart = look(replicas).await?;
    ensure!(apart.iter().any(|other| *other != apart[0]), "the replicas do not differ after offline edits");

    say("\nThe hashes differ. The network comes back.");
    let begun = Instant::now();
    links().for_each(|(left, right)| network.heal(&left, &right));
    converge(replicas).await?;
    say(&format!("After {:.2} seconds all three are equal again.", begun.elapsed().as_secs_f64()));
    traffic(Traffic::received_by(replicas), bytes_of(saved.iter().flatten())? * OTHERS);
    agreement(replicas).await?;
    Ok(())
}

async fn settle(replicas: &[Replica]) -> anyhow::Result<()> {
    chapter(5, "What became of the conflicts");
    let tokyo = &replicas[2].earthquakes;
    let found = conflicts(tokyo).await?;
    ensure!(found.len() == SHARED_EDITS + 1, "{} conflicts instead of {}", found.len(), SHARED_EDITS + 1);
    say(&format!(
        "{} documents were edited in several places at once. No edit is lost: the versions stand beside each other,
         and every replica has all of them. Reading gives the version that was written last. Two of them:",
        found.len(),
    ));
    let (deleted, edited): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|conflict| conflict.versions.iter().any(|version| matches!(version.value, Ok(None))));
    edited.first().into_iter().chain(&deleted).for_each(versions);
    say(&format!(
        "\nSomebody in tokyo settles {SETTLED} of them by the mean of the measured magnitudes. Settling is an ordinary write:
         it replaces the versions it has seen, and travels like any other. The others stay as they are, visible to everybody."
    ));
    for conflict in edited.into_iter().take(SETTLED) {
        let versions = conflict.versions.iter().map(|version| version.value.clone());
        let versions: Vec<Earthquake> = versions.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let sum: f64 = versions.iter().map(|version| version.properties.magnitude).sum();
        let mut mean = versions[0].clone();
        mean.properties.magnitude = sum / versions.len() as f64;
        mean.properties.editor = Some("tokyo, for all".to_owned());
        tokyo.settle(conflict, &mean).await?;
    }
    converge(replicas).await?;
    let held = agreement(replicas).await?;
    ensure!(held.conflicts == SHARED_EDITS + 1 - SETTLED, "{} conflicts are left", held.conflicts);
    Ok(())
}

async fn crash(
    replicas: &mut Vec<Replica>,
    earthquakes: &[Earthquake],
    network: &Network,
) -> anyhow::Result<Fingerprint> {
    chapter(6, "tokyo crashes while it writes, and comes back");
    let (batches, others) = earthquakes.split_at(BATCHES * BATCH_DOCUMENTS);
    let batches: Vec<Vec<String>> = batches.chunks(BATCH_DOCUMENTS).map(ids).collect();
    let (acknowledge, mut acknowledged) = watch::channel(0);
    let tokyo = replicas.pop().context("tokyo is the third replica")?;
    tokyo.start(write_without_end(tokyo.earthquakes.clone(), batches.clone(), acknowledge));
    acknowledged.wait_for(|batches| *batches >= BATCHES_BEFORE_CRASH).await?;
    let disk = tokyo.abort().await?;
    let acknowledged = *acknowledged.borrow();
    for replica in &*replicas {
        replica.wait_for_peers(1).await;
    }
    say(&format!(
        "tokyo writes batches of {BATCH_DOCUMENTS} documents, as fast as it can. In the middle of one its threads are stopped.
         {acknowledged} batches had been acknowledged by then. Nothing was closed, nobody was told."
    ));
    let lisbon = &replicas[0];
    let (collection, ids) = (lisbon.earthquakes.clone(), ids(&others[..EDITS_AFTER_CRASH]));
    let missed =
        lisbon.run(async move { edit(&collection, ids, |document| review(document, "lisbon")).await });
    let missed = missed.await?;
    converge(replicas).await?;
    say(&format!(
        "Meanwhile lisbon edits {} other documents, which quito receives and tokyo misses.",
        missed.len()
    ));

    let tokyo = Opened::open("tokyo", disk).await?;
    let interrupted = batches_on_disk(&tokyo.earthquakes, &batches, acknowledged).await?;
    say(&format!(
        "\ntokyo is opened again on the disk as the crash left it. All acknowledged batches are there.
         Of the batch that was interrupted, {interrupted} of {BATCH_DOCUMENTS} documents are there: all or nothing, never a part."
    ));
    let begun = Instant::now();
    replicas.push(tokyo.join(network).await?);
    converge(replicas).await?;
    let received = Traffic::received_by(&replicas[2..]);
    say(&format!(
        "\ntokyo joins the room and has caught up after {:.2} seconds.
         It had missed {} documents of {} bytes, and received {} in {} bytes, {} of them twice.
         A replica that starts from nothing would receive {}.",
        begun.elapsed().as_secs_f64(),
        missed.len(),
        count(bytes_of(&missed)?),
        count(received.documents - received.duplicates),
        count(received.bytes),
        count(received.duplicates),
        count(Fingerprint::of(&replicas[2].earthquakes).await?.documents),
    ));
    agreement(replicas).await
}

/// Writes one batch after the other, each in one commit, and says how many were acknowledged.
async fn write_without_end(
    collection: Collection<Earthquake>,
    batches: Vec<Vec<String>>,
    acknowledge: watch::Sender<usize>,
) {
    for number in 1.. {
        let written = write_batch(&collection, &batches[number % batches.len()], number).await;
        match written {
            Ok(()) => {}
            // The crash has come to the collection before it came to this task.
            Err(error) if matches!(error.downcast_ref(), Some(peerloom::Error::Closed)) => return,
            Err(error) => panic!("tokyo could not write: {error}"),
        }
        acknowledge.send_replace(number);
    }
}

async fn write_batch(
    collection: &Collection<Earthquake>,
    batch: &[String],
    number: usize,
) -> anyhow::Result<()> {
    let mut documents = Vec::new();
    for id in batch {
        let mut document = collection.get(id.as_str()).await?.context("an imported document is there")?;
        document.properties.batch = Some(number);
        documents.push(document);
    }
    Ok(collection.put_many(documents.iter().map(|document| (document.id.as_str(), document))).await?)
}

/// Checks that every acknowledged batch is on the disk, and that the one after it is there as a whole or not at all.
/// Returns how many documents of that one are there.
async fn batches_on_disk(
    collection: &Collection<Earthquake>,
    batches: &[Vec<String>],
    acknowledged: usize,
) -> anyhow::Result<usize> {
    let interrupted = acknowledged + 1;
    let (mut found, mut whole) = (0, BTreeMap::new());
    for number in 1..=interrupted {
        // A later round through the batches has replaced what earlier ones wrote.
        whole.insert(number % batches.len(), number);
    }
    for (batch, number) in whole {
        for id in &batches[batch] {
            let document = collection.get(id.as_str()).await?.context("an imported document is there")?;
            let is_written = document.properties.batch == Some(number);
            if number == interrupted {
                found += usize::from(is_written);
            } else {
                ensure!(is_written, "{id} has lost batch {number}, which was acknowledged");
            }
        }
    }
    ensure!(found == 0 || found == BATCH_DOCUMENTS, "batch {interrupted} was written in part");
    Ok(found)
}

/// Reads each document, changes it and saves it, one after the other. Returns what was saved.
async fn edit(
    collection: &Collection<Earthquake>,
    ids: Vec<String>,
    change: impl Fn(&mut Earthquake),
) -> anyhow::Result<Vec<Earthquake>> {
    let mut saved = Vec::new();
    for id in ids {
        let mut draft = collection.read(id.as_str()).await?.context("an imported document is there")?;
        change(&mut draft);
        saved.push(Earthquake::clone(&draft));
        collection.save(draft).await?;
    }
    Ok(saved)
}

fn review(document: &mut Earthquake, editor: &str) {
    document.properties.status = "reviewed".to_owned();
    document.properties.editor = Some(editor.to_owned());
}

/// Every pair of replicas.
fn links() -> impl Iterator<Item = (PeerAddress, PeerAddress)> {
    let [lisbon, quito, tokyo] = NAMES.map(PeerAddress::new);
    [(lisbon.clone(), quito.clone()), (quito, tokyo.clone()), (tokyo, lisbon)].into_iter()
}

/// Waits until every replica is connected to all others, and they have everything from it.
async fn converge(replicas: &[Replica]) -> anyhow::Result<()> {
    for replica in replicas {
        replica.wait_for_peers(replicas.len() - 1).await;
    }
    for replica in replicas {
        replica.room.caught_up().await?;
    }
    Ok(())
}

/// Shows what each replica holds.
async fn look(replicas: &[Replica]) -> anyhow::Result<Vec<Fingerprint>> {
    let held = try_join_all(replicas.iter().map(|replica| Fingerprint::of(&replica.earthquakes))).await?;
    fingerprints(replicas, &held);
    Ok(held)
}

/// Shows what each replica holds, and fails unless that is the same.
async fn agreement(replicas: &[Replica]) -> anyhow::Result<Fingerprint> {
    let mut held = look(replicas).await?;
    let last = held.pop().context("there are replicas")?;
    if held.iter().any(|other| *other != last) {
        bail!("the replicas have not converged");
    }
    Ok(last)
}
