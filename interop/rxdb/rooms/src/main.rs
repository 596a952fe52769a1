//! Measures rooms of Peerloom and RxDB peers. `cargo xtask rxdb --help` lists what.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use peerloom::rxdb::Role;
use peerloom::{LastWriteWins, Memory};
use peerloom_signaling::permit::StockPeers;
use rxdb_rooms::{Peerloom, Plan, RxdbPeer, Signaling, round};
use serde_json::{Value, json};

/// Rooms of Peerloom and RxDB peers.
#[derive(Parser)]
#[command(name = "cargo xtask rxdb", bin_name = "cargo xtask rxdb")]
struct Arguments {
    #[command(subcommand)]
    measured: Measured,
}

#[derive(Subcommand)]
enum Measured {
    /// Plays rounds of edits at the same time, and counts those that do not settle and the stale states that win
    Rounds {
        /// How many rounds
        #[arg(long, default_value_t = 50)]
        rounds: u32,
        /// How many Peerloom peers. Without one, `--introduced` shows what RxDB does by itself
        #[arg(long, default_value_t = 2)]
        peerloom: usize,
        /// How many RxDB peers
        #[arg(long, default_value = "3")]
        rxdb: NonZeroUsize,
        /// How many edits of each document
        #[arg(long, default_value_t = 6)]
        edits: u32,
        /// Lets the signaling server introduce RxDB peers to each other
        #[arg(long)]
        introduced: bool,
    },
    /// Measures how fast an RxDB peer pulls from Peerloom, and from another RxDB peer
    Pull {
        /// How many documents
        #[arg(long, default_value_t = 10_000)]
        documents: u32,
        /// Batch sizes of the pulling peer
        #[arg(long, default_values_t = [20, 200, 1000])]
        batch: Vec<u32>,
        /// How often each
        #[arg(long, default_value_t = 3)]
        times: u32,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().measured {
        Measured::Rounds { rounds, peerloom, rxdb, edits, introduced } => {
            anyhow::ensure!(
                peerloom > 0 || introduced,
                "RxDB peers that are kept apart need a Peerloom peer to meet"
            );
            let stock_peers = if introduced { StockPeers::Introduced } else { StockPeers::KeptApart };
            let signaling = Signaling::start(stock_peers).await?;
            let (mut unsettled, mut stale, mut lost) = (0, 0, 0);
            for number in 0..rounds {
                let topic = format!("round-{number:06}");
                let plan = Plan { url: &signaling.url, topic: &topic, peerloom, rxdb: rxdb.get(), edits };
                let outcome = round(plan).await?;
                println!("{number}: {outcome:?}");
                unsettled += u32::from(outcome.settled.is_err());
                stale += u32::from(!outcome.stale_wins.is_empty());
                lost += outcome.lost.len();
            }
            println!(
                "{rounds} rounds: {unsettled} unsettled, {stale} with a stale win, {lost} writes of Peerloom lost"
            );
            anyhow::ensure!(introduced || (unsettled == 0 && stale == 0), "not all rounds went as they must");
            anyhow::ensure!(lost == 0, "a write of Peerloom was lost");
        }
        Measured::Pull { documents, batch, times } => {
            for batch in batch {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                for time in 0..times {
                    let topic = format!("pull-{batch:05}-{time:03}");
                    // Alternating, so that both meet the same machine.
                    theirs.push(pull_from_rxdb(&topic, documents, batch).await?);
                    ours.push(pull_from_peerloom(&topic, documents, batch).await?);
                }
                let rate = |times: &mut Vec<Duration>| {
                    times.sort();
                    f64::from(documents) / times[times.len() / 2].as_secs_f64()
                };
                let (ours, theirs) = (rate(&mut ours), rate(&mut theirs));
                println!(
                    "batch {batch}: from Peerloom {ours:.0}/s, from RxDB {theirs:.0}/s, ratio {:.2}",
                    ours / theirs
                );
            }
        }
    }
    Ok(())
}

/// Some 285 bytes of JSON.
fn document(number: u32) -> Value {
    let id = format!("document-{number:06}");
    json!({ "id": id, "title": "A title of a usual length", "count": number, "text": "lorem ipsum ".repeat(16) })
}

async fn pull_from_peerloom(topic: &str, documents: u32, batch: u32) -> anyhow::Result<Duration> {
    let signaling = Signaling::start(StockPeers::Introduced).await?;
    let peerloom = Peerloom::open(Memory::new(), LastWriteWins).await?;
    let all: Vec<(String, Value)> = (0..documents)
        .map(document)
        .map(|document| (document["id"].as_str().unwrap_or("").to_owned(), document))
        .collect();
    peerloom.todos.put_many(all.iter().map(|(id, document)| (id.as_str(), document))).await?;
    let _room = peerloom.join(&signaling.url, topic, peerloom.bridge()).await?;
    let token = peerloom.token_for(Role::Fork);
    pull(&signaling.url, topic, &token, documents, batch).await
}

async fn pull_from_rxdb(topic: &str, documents: u32, batch: u32) -> anyhow::Result<Duration> {
    let signaling = Signaling::start(StockPeers::Introduced).await?;
    // The roles of these two are what `tests/wire-capture.jsonl` shows.
    let master = json!({ "url": signaling.url, "topic": topic, "token": "tok0x0aaaa", "link": false });
    let master = RxdbPeer::open(master).await?;
    master.insert(&(0..documents).map(document).collect::<Vec<_>>()).await?;
    master.ask("link", json!({})).await?;
    pull(&signaling.url, topic, "tok1x0aaaa", documents, batch).await
}

/// From the moment that the peers are linked, which takes as long as WebRTC does, to the last document.
async fn pull(url: &str, topic: &str, token: &str, documents: u32, batch: u32) -> anyhow::Result<Duration> {
    let options = json!({ "url": url, "topic": topic, "token": token, "batch": batch, "link": false });
    let fork = RxdbPeer::open(options).await?;
    fork.ask("link", json!({})).await?;
    fork.ask("linked", json!({ "count": 1 })).await?;
    let started = Instant::now();
    fork.ask("counted", json!({ "count": documents })).await?;
    Ok(started.elapsed())
}
