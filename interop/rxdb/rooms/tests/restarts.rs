//! Peers that go and come back: RxDB, and Peerloom.

use std::path::Path;

use peerloom::rxdb::Role;
use peerloom::{ConflictHandler, FieldWise, Fjall, LastWriteWins, Memory, Room};
use peerloom_signaling::permit::StockPeers;
use rxdb_rooms::{Peerloom, RxdbPeer, Signaling, held, is_there, todo};
use serde_json::{Value, json};

const TOPIC: &str = "todos-of-many";

async fn unlinked(url: &str, token: Option<&str>) -> anyhow::Result<RxdbPeer> {
    RxdbPeer::open(json!({ "url": url, "topic": TOPIC, "token": token, "link": false })).await
}

/// Storage that outlives a process.
#[derive(Clone, Copy, Debug)]
enum OnDisk {
    Fjall,
    #[cfg(feature = "rocksdb")]
    RocksDb,
}

impl OnDisk {
    const ALL: &[Self] = &[
        Self::Fjall,
        #[cfg(feature = "rocksdb")]
        Self::RocksDb,
    ];

    async fn open(self, directory: &Path, handler: impl ConflictHandler) -> anyhow::Result<Peerloom> {
        match self {
            Self::Fjall => Peerloom::open(Fjall::at(directory), handler).await,
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => Peerloom::open(peerloom::RocksDb::at(directory), handler).await,
        }
    }
}

async fn close(peerloom: Peerloom, room: Room) -> anyhow::Result<()> {
    room.leave().await;
    Ok(peerloom.node.close().await?)
}

async fn goes_on_from_its_store(storage: OnDisk, rxdb_is: Role) -> anyhow::Result<()> {
    let signaling = Signaling::start(StockPeers::Introduced).await?;
    let directory = tempfile::tempdir()?;
    let peerloom = storage.open(directory.path(), LastWriteWins).await?;
    peerloom.todos.put("milk", &todo("milk", "one")).await?;
    let room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
    let rxdb = unlinked(&signaling.url, Some(&peerloom.token_for(rxdb_is))).await?;
    rxdb.ask("link", json!({})).await?;
    rxdb.until(json!({ "milk": held(&todo("milk", "one"), false) })).await?;
    rxdb.patch("milk", json!({ "title": "two" })).await?;
    peerloom.until("milk", Some(&todo("milk", "two"))).await?;
    close(peerloom, room).await?;
    // Both go on writing while they are apart: RxDB edits, and Peerloom, when it is back.
    rxdb.patch("milk", json!({ "title": "three" })).await?;
    let peerloom = storage.open(directory.path(), LastWriteWins).await?;
    peerloom.todos.put("other", &todo("other", "while apart")).await?;
    let _room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
    peerloom.until("milk", Some(&todo("milk", "three"))).await?;
    rxdb.until(json!({ "other": held(&todo("other", "while apart"), false) })).await?;
    let conflicts = peerloom.todos.conflicts(None, 10).await?;
    assert_eq!(conflicts.conflicts.len(), 0, "RxDB had seen all that it superseded");
    Ok(())
}

#[tokio::test]
async fn a_restarted_peerloom_goes_on_from_its_store() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    for storage in OnDisk::ALL {
        for role in [Role::Master, Role::Fork] {
            goes_on_from_its_store(*storage, role).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_another_handler_makes_of_a_conflict_reaches_rxdb() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    for role in [Role::Master, Role::Fork] {
        let signaling = Signaling::start(StockPeers::Introduced).await?;
        let directory = tempfile::tempdir()?;
        let peerloom = OnDisk::Fjall.open(directory.path(), LastWriteWins).await?;
        let rxdb = unlinked(&signaling.url, Some(&peerloom.token_for(role))).await?;
        rxdb.insert(&[json!({ "id": "milk", "title": "by RxDB", "count": 0 })]).await?;
        // Neither has seen the other's, so both stand beside each other.
        peerloom.todos.put("milk", &json!({ "id": "milk", "title": "by Peerloom", "note": "oat" })).await?;
        let room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
        rxdb.ask("link", json!({})).await?;
        let ours = json!({ "id": "milk", "title": "by Peerloom", "note": "oat" });
        rxdb.until(json!({ "milk": held(&ours, false) })).await?;
        close(peerloom, room).await?;
        let peerloom = OnDisk::Fjall.open(directory.path(), FieldWise).await?;
        let merged = peerloom.todos.get("milk").await?.unwrap_or_default();
        assert_ne!(merged, ours, "the other handler makes something else of it");
        let _room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
        rxdb.until(json!({ "milk": held(&merged, false) })).await?;
    }
    Ok(())
}

/// RxDB's process is killed and another one begins with empty storage.
async fn comes_back_empty(rxdb_is: Role, keeps_token: bool) -> anyhow::Result<()> {
    let signaling = Signaling::start(StockPeers::Introduced).await?;
    let peerloom = Peerloom::open(Memory::new(), LastWriteWins).await?;
    let token = peerloom.token_for(rxdb_is);
    let rxdb = unlinked(&signaling.url, Some(&token)).await?;
    rxdb.insert(&[todo("theirs", "one"), todo("gone", "one"), todo("edited", "one")]).await?;
    peerloom.todos.put("ours", &todo("ours", "one")).await?;
    let _room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
    rxdb.ask("link", json!({})).await?;
    rxdb.until(json!({ "ours": held(&todo("ours", "one"), false) })).await?;
    for id in ["theirs", "gone", "edited"] {
        peerloom.until(id, Some(&todo(id, "one"))).await?;
    }
    rxdb.kill().await?;
    assert!(peerloom.todos.remove("gone").await?);
    peerloom.todos.put("edited", &todo("edited", "two")).await?;
    let rxdb = unlinked(&signaling.url, keeps_token.then_some(&*token)).await?;
    // It has what it had before of one that was deleted here meanwhile, as from an old backup; and something new.
    rxdb.insert(&[todo("gone", "one"), todo("new", "three")]).await?;
    rxdb.ask("link", json!({})).await?;
    rxdb.until(json!({
        "ours": held(&todo("ours", "one"), false), "theirs": held(&todo("theirs", "one"), false),
        "edited": held(&todo("edited", "two"), false), "gone": held(&todo("gone", "one"), true),
    }))
    .await?;
    peerloom.until("new", Some(&todo("new", "three"))).await?;
    assert_eq!(peerloom.todos.get("gone").await?, None, "nothing is revived");
    assert_eq!(peerloom.todos.get("edited").await?, Some(todo("edited", "two")));
    Ok(())
}

#[tokio::test]
async fn an_rxdb_peer_that_comes_back_empty_catches_up_and_revives_nothing() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    for role in [Role::Master, Role::Fork] {
        for keeps_token in [true, false] {
            comes_back_empty(role, keeps_token).await?;
        }
    }
    Ok(())
}

/// How many documents Peerloom has sent to the RxDB peer that it is linked to, and received.
fn moved(room: &Room) -> Option<(u64, u64)> {
    let peers = room.peers();
    let counters = peers.iter().find(|peer| peer.rxdb_token.is_some())?.counters;
    Some((counters.documents_sent, counters.documents_received))
}

#[tokio::test]
async fn after_a_disconnection_only_what_has_changed_is_moved() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    for role in [Role::Master, Role::Fork] {
        let signaling = Signaling::start(StockPeers::Introduced).await?;
        let peerloom = Peerloom::open(Memory::new(), LastWriteWins).await?;
        for number in 0..200 {
            let id = format!("ours-{number}");
            peerloom.todos.put(id.as_str(), &todo(&id, "ours")).await?;
        }
        let rxdb = unlinked(&signaling.url, Some(&peerloom.token_for(role))).await?;
        let theirs: Vec<Value> = (0..200).map(|number| todo(&format!("theirs-{number}"), "theirs")).collect();
        rxdb.insert(&theirs).await?;
        let room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
        rxdb.ask("link", json!({})).await?;
        rxdb.ask("counted", json!({ "count": 400 })).await?;
        for document in &theirs {
            peerloom.until(document["id"].as_str().unwrap_or(""), Some(document)).await?;
        }
        // Written last, so that what came before is known to have been handled on both sides.
        rxdb.insert(&[todo("mark", "theirs")]).await?;
        peerloom.until("mark", Some(&todo("mark", "theirs"))).await?;
        peerloom.todos.put("mark", &todo("mark", "ours")).await?;
        rxdb.until(json!({ "mark": held(&todo("mark", "ours"), false) })).await?;
        rxdb.ask("unlink", json!({})).await?;
        rxdb.patch("theirs-7", json!({ "title": "edited" })).await?;
        peerloom.todos.put("ours-7", &todo("ours-7", "edited")).await?;
        rxdb.ask("link", json!({})).await?;
        rxdb.until(json!({ "ours-7": held(&todo("ours-7", "edited"), false) })).await?;
        peerloom.until("theirs-7", Some(&todo("theirs-7", "edited"))).await?;
        let (sent, received) = moved(&room).unwrap_or_default();
        assert!((1..20).contains(&sent) && (1..20).contains(&received), "{sent} sent, {received} received");
    }
    Ok(())
}
