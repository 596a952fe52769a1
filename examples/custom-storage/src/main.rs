//! The story of a storage of one's own: a node writes on it, is opened again, and loses nothing but a torn
//! end.

use std::fs::File;
use std::io::Write;

use custom_storage::LogFiles;
use peerloom::{CollectionName, Node};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Note {
    text: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let storage = LogFiles::at(directory.path());

    let node = Node::open(storage.clone()).await?;
    let id = node.replica_id();
    println!("node {id} opens on log files");
    let notes = node.collection::<Note>("notes").open().await?;
    for (id, text) in [("milk", "buy milk"), ("bread", "buy bread"), ("milk", "buy oat milk")] {
        notes.put(id, &Note { text: text.into() }).await?;
        println!("  puts {id}: {text}");
    }
    notes.remove("bread").await?;
    println!("  removes bread");
    node.close().await?;

    let log = storage.path(CollectionName::new("notes")?.store());
    println!("the log of the notes has {} bytes", log.metadata()?.len());
    File::options().append(true).open(&log)?.write_all(b"\0\0\0\x99 the power failed here")?;
    println!("a crash leaves half an entry at its end");

    let node = Node::open(storage).await?;
    anyhow::ensure!(node.replica_id() == id, "the identity is in a store, too");
    println!("node {} opens again", node.replica_id());
    let notes = node.collection::<Note>("notes").open().await?;
    let milk = notes.get("milk").await?.map(|note| note.text);
    anyhow::ensure!(milk.as_deref() == Some("buy oat milk"), "milk is {milk:?}");
    anyhow::ensure!(notes.get("bread").await?.is_none(), "bread is back");
    println!("  finds milk: buy oat milk\n  finds no bread");
    node.close().await?;
    Ok(())
}
