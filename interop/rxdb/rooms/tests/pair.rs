//! One Peerloom peer and one RxDB peer, in both roles.

use peerloom::rxdb::Role;
use peerloom::{LastWriteWins, Memory};
use peerloom_signaling::permit::StockPeers;
use rxdb_rooms::{Peerloom, RxdbPeer, Signaling, held, is_there, todo};
use serde_json::json;

const TOPIC: &str = "todos-of-a-pair";

async fn syncs_both_ways(rxdb_is: Role) -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    let signaling = Signaling::start(StockPeers::Introduced).await?;
    let peerloom = Peerloom::open(Memory::new(), LastWriteWins).await?;
    let ours = todo("ours", "written by Peerloom");
    peerloom.todos.put("ours", &ours).await?;
    let rxdb = RxdbPeer::open(json!({
        "url": signaling.url, "topic": TOPIC, "token": peerloom.token_for(rxdb_is), "link": false,
    }))
    .await?;
    let theirs = todo("theirs", "written by RxDB");
    rxdb.insert(std::slice::from_ref(&theirs)).await?;
    let _room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
    rxdb.ask("link", json!({})).await?;

    rxdb.until(json!({ "ours": held(&ours, false), "theirs": held(&theirs, false) })).await?;
    peerloom.until("theirs", Some(&theirs)).await?;

    let live = todo("live", "written by Peerloom later");
    peerloom.todos.put("live", &live).await?;
    rxdb.until(json!({ "live": held(&live, false) })).await?;
    rxdb.patch("ours", json!({ "title": "edited by RxDB" })).await?;
    peerloom.until("ours", Some(&todo("ours", "edited by RxDB"))).await?;
    peerloom.todos.put("theirs", &todo("theirs", "edited by Peerloom")).await?;
    rxdb.until(json!({ "theirs": held(&todo("theirs", "edited by Peerloom"), false) })).await?;

    rxdb.remove("live").await?;
    peerloom.until("live", None).await?;
    assert!(peerloom.todos.remove("theirs").await?);
    rxdb.until(json!({ "theirs": held(&todo("theirs", "edited by Peerloom"), true) })).await?;
    assert_eq!(rxdb.ask("errors", json!({})).await?, json!([]));
    let conflicts = peerloom.todos.conflicts(None, 100).await?;
    assert_eq!(conflicts.conflicts.len(), 0, "nobody wrote at the same time");
    Ok(())
}

#[tokio::test]
async fn an_rxdb_master_syncs_both_ways() -> anyhow::Result<()> {
    syncs_both_ways(Role::Master).await
}

#[tokio::test]
async fn an_rxdb_fork_syncs_both_ways() -> anyhow::Result<()> {
    syncs_both_ways(Role::Fork).await
}
