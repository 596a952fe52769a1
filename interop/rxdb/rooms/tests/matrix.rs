//! Real RxDB in the rooms that users have: conflicts, large documents, several of each kind, either signaling server.

use peerloom::rxdb::Role;
use peerloom::{FieldWise, LastWriteWins, Memory};
use peerloom_signaling::permit::StockPeers;
use rxdb_rooms::{Peerloom, Plan, RxdbPeer, RxdbSignaling, Signaling, held, is_there, round, todo};
use serde_json::{Value, json};

const TOPIC: &str = "todos-of-many";

async fn unlinked(url: &str, token: &str, handler: &str) -> anyhow::Result<RxdbPeer> {
    let options = json!({ "url": url, "topic": TOPIC, "token": token, "handler": handler, "link": false });
    RxdbPeer::open(options).await
}

/// Both edit the same document while they are apart, and are linked again. Returns what both have in the end.
async fn conflict(rxdb_is: Role, handler: &str) -> anyhow::Result<Value> {
    let signaling = Signaling::start(StockPeers::Introduced).await?;
    let peerloom = match handler {
        "field-wise" => Peerloom::open(Memory::new(), FieldWise).await?,
        _ => Peerloom::open(Memory::new(), LastWriteWins).await?,
    };
    peerloom.todos.put("milk", &todo("milk", "base")).await?;
    let _room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
    let rxdb = unlinked(&signaling.url, &peerloom.token_for(rxdb_is), handler).await?;
    rxdb.ask("link", json!({})).await?;
    rxdb.until(json!({ "milk": held(&todo("milk", "base"), false) })).await?;
    rxdb.ask("unlink", json!({})).await?;
    rxdb.patch("milk", json!({ "title": "by RxDB" })).await?;
    let ours = json!({ "id": "milk", "title": "base", "count": 7 });
    peerloom.todos.put("milk", &ours).await?;
    peerloom.todos.put("mark", &todo("mark", "after")).await?;
    rxdb.ask("link", json!({})).await?;
    rxdb.until(json!({ "mark": held(&todo("mark", "after"), false) })).await?;
    // Written last, so what came before has arrived.
    rxdb.insert(&[todo("end", "of it")]).await?;
    peerloom.until("end", Some(&todo("end", "of it"))).await?;
    let settled = peerloom.todos.get("milk").await?.unwrap_or_default();
    rxdb.until(json!({ "milk": held(&settled, false) })).await?;
    Ok(settled)
}

#[tokio::test]
async fn concurrent_edits_of_different_fields_both_survive_field_wise() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    let merged = json!({ "id": "milk", "title": "by RxDB", "count": 7 });
    for role in [Role::Master, Role::Fork] {
        assert_eq!(conflict(role, "field-wise").await?, merged, "RxDB is {role:?}");
    }
    Ok(())
}

#[tokio::test]
async fn concurrent_edits_settle_with_the_default_handlers() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    for role in [Role::Master, Role::Fork] {
        let settled = conflict(role, "default").await?;
        let either = [json!({ "id": "milk", "title": "base", "count": 7 }), todo("milk", "by RxDB")];
        assert!(either.contains(&settled), "RxDB is {role:?}: {settled}");
    }
    Ok(())
}

#[tokio::test]
async fn large_and_odd_documents_survive_the_round_trip() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    let signaling = Signaling::start(StockPeers::Introduced).await?;
    for role in [Role::Master, Role::Fork] {
        let peerloom = Peerloom::open(Memory::new(), LastWriteWins).await?;
        let large = json!({ "id": "large", "text": "Éclair 😀 \"quoted\" \\ \u{1} ".repeat(20_000) });
        let odd = json!({
            "id": "odd", "list": [[1, [2, null]], { "a": null }], "n": -0.5, "big": 9_007_199_254_740_992_u64,
            "tiny": 5e-324, "empty": {}, "none": null,
        });
        peerloom.todos.put_many([("large", &large), ("odd", &odd)]).await?;
        let room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
        let rxdb = unlinked(&signaling.url, &peerloom.token_for(role), "default").await?;
        rxdb.ask("link", json!({})).await?;
        rxdb.until(json!({ "large": held(&large, false), "odd": held(&odd, false) })).await?;
        let back = |document: &Value, id: &str| {
            let mut back = document.clone();
            back["id"] = id.into();
            back
        };
        let (large, odd) = (back(&large, "large-back"), back(&odd, "odd-back"));
        rxdb.insert(&[large.clone(), odd.clone()]).await?;
        peerloom.until("large-back", Some(&large)).await?;
        peerloom.until("odd-back", Some(&odd)).await?;
        room.leave().await;
    }
    Ok(())
}

#[tokio::test]
async fn rxdb_peers_meet_peerloom_at_rxdbs_own_signaling_server() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    let signaling = RxdbSignaling::start().await?;
    let peerloom = Peerloom::open(Memory::new(), LastWriteWins).await?;
    peerloom.todos.put("ours", &todo("ours", "by Peerloom")).await?;
    let _room = peerloom.join(&signaling.url, TOPIC, peerloom.bridge()).await?;
    let rxdb = unlinked(&signaling.url, "aaaaaaaaaa", "default").await?;
    rxdb.insert(&[todo("theirs", "by RxDB")]).await?;
    rxdb.ask("link", json!({})).await?;
    rxdb.until(json!({ "ours": held(&todo("ours", "by Peerloom"), false) })).await?;
    peerloom.until("theirs", Some(&todo("theirs", "by RxDB"))).await
}

#[tokio::test]
async fn rxdb_peers_meet_each_other_at_our_signaling_server() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    let signaling = Signaling::start(StockPeers::Introduced).await?;
    let left = unlinked(&signaling.url, "tok0x0aaaa", "default").await?;
    let right = unlinked(&signaling.url, "tok1x0aaaa", "default").await?;
    left.insert(&[todo("left", "of the left")]).await?;
    right.insert(&[todo("right", "of the right")]).await?;
    left.ask("link", json!({})).await?;
    right.ask("link", json!({})).await?;
    left.until(json!({ "right": held(&todo("right", "of the right"), false) })).await?;
    right.until(json!({ "left": held(&todo("left", "of the left"), false) })).await
}

#[tokio::test]
async fn one_peerloom_and_three_rxdb_peers_settle_though_they_are_linked_to_each_other() -> anyhow::Result<()>
{
    if !is_there() {
        return Ok(());
    }
    let signaling = Signaling::start(StockPeers::Introduced).await?;
    let plan = Plan { url: &signaling.url, topic: "contested-by-three", peerloom: 1, rxdb: 3, edits: 1 };
    let outcome = round(plan).await?;
    assert!(outcome.settled.is_ok(), "{outcome:?}");
    assert!(outcome.lost.is_empty(), "{outcome:?}");
    Ok(())
}

async fn kept_apart(topic: &str, peerloom: usize) -> anyhow::Result<()> {
    let signaling = Signaling::start(StockPeers::KeptApart).await?;
    let outcome = round(Plan { url: &signaling.url, topic, peerloom, rxdb: 3, edits: 4 }).await?;
    assert!(
        outcome.settled.is_ok() && outcome.stale_wins.is_empty() && outcome.lost.is_empty(),
        "{outcome:?}"
    );
    Ok(())
}

#[tokio::test]
async fn one_peerloom_and_three_rxdb_peers_kept_apart_settle_without_a_stale_win() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    kept_apart("one-and-three", 1).await
}

#[tokio::test]
async fn two_peerloom_and_three_rxdb_peers_kept_apart_settle_without_a_stale_win() -> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    kept_apart("two-and-three", 2).await
}
