//! Two processes of this program in a room with stock RxDB peers: what becomes of the documents when the one that speaks with
//! those is killed, and when it comes back.

mod harness;

use std::future::Future;
use std::process::Stdio;

use peerloom_signaling::permit::StockPeers;
use rxdb_rooms::{RxdbPeer, Signaling, held, is_there, todo};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use harness::{PATIENCE, Peer};

const TOPIC: &str = "todos-of-a-team";

/// Waits for something, and says what it was if it does not come.
async fn within<T>(what: &str, awaited: impl Future<Output = anyhow::Result<T>>) -> T {
    match timeout(PATIENCE, awaited).await {
        Ok(outcome) => outcome.unwrap_or_else(|error| panic!("{what}: {error:#}")),
        Err(_) => panic!("waited in vain for {PATIENCE:?}: {what}"),
    }
}

/// Waits until `watch` tells that a document is as expected: `None` for one that is deleted.
async fn until(peer: &Peer, id: &str, expected: Option<&Value>) {
    let what = format!("{id} is {expected:?} in {}", peer.name);
    let mut watch = tokio::process::Command::from(peer.command(&["--json", "watch", "--from-start"]));
    let mut watching = watch.kill_on_drop(true).stderr(Stdio::inherit()).spawn().expect("it can be run");
    let mut lines = BufReader::new(watching.stdout.take().expect("it is piped")).lines();
    within(&what, async {
        while let Some(line) = lines.next_line().await? {
            let change: Value = serde_json::from_str(&line)?;
            if change["id"] == id && change.get("value") == expected {
                return Ok(());
            }
        }
        anyhow::bail!("there are no more changes")
    })
    .await;
}

/// Waits until all RxDB peers hold these documents.
async fn all_hold(peers: &[RxdbPeer], when: &str, expected: Value) {
    for (number, peer) in peers.iter().enumerate() {
        let what = format!("RxDB peer {number} holds, {when}: {expected}");
        within(&what, peer.until(expected.clone())).await;
    }
}

fn put(peer: &Peer, document: &Value) {
    peer.ok(&["put", document["id"].as_str().expect("a string"), &document.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_peer_that_speaks_with_rxdb_is_killed_the_other_goes_on_and_nothing_is_lost()
-> anyhow::Result<()> {
    if !is_there() {
        return Ok(());
    }
    let signaling = Signaling::start(StockPeers::KeptApart).await?;
    let settings = [
        "--topic",
        TOPIC,
        "--signaling",
        &signaling.url,
        "--collections",
        "todos",
        "--rxdb",
        "todos",
        "--dead-after-seconds",
        "5",
    ];
    let peers = ["one", "two"].map(|name| Peer::new(name, &settings));
    let [mut first, mut second] = peers.each_ref().map(Peer::serve);
    for served in [&mut first, &mut second] {
        served.wait_for("a peer has joined", 1);
    }
    let open = |number| {
        RxdbPeer::open(json!({ "url": signaling.url, "topic": TOPIC, "name": format!("rxdb{number}") }))
    };
    let rxdb = futures_util::future::try_join_all((0..3).map(open)).await?;
    for id in ["milk", "gone", "kept", "dropped"] {
        put(&peers[0], &todo(id, "one"));
    }
    let of_one = |id: &str| held(&todo(id, "one"), false);
    let all = json!({
        "milk": of_one("milk"), "gone": of_one("gone"), "kept": of_one("kept"), "dropped": of_one("dropped"),
    });
    all_hold(&rxdb, "at first", all).await;
    let spoken = [&mut first, &mut second].map(|served| served.times("an RxDB peer has joined"));
    assert!(spoken == [3, 0] || spoken == [0, 3], "one of the two speaks with all RxDB peers: {spoken:?}");
    let (bridge, other, bridge_served, mut other_served) = match spoken {
        [3, _] => (&peers[0], &peers[1], first, second),
        _ => (&peers[1], &peers[0], second, first),
    };

    // Before: everybody writes and deletes, and it is everywhere.
    rxdb[0].patch("milk", json!({ "title": "two" })).await?;
    rxdb[1].remove("dropped").await?;
    rxdb[2].insert(&[todo("tea", "one")]).await?;
    bridge.ok(&["delete", "gone"]);
    let before = json!({
        "milk": held(&todo("milk", "two"), false), "gone": held(&todo("gone", "one"), true),
        "dropped": held(&todo("dropped", "one"), true), "tea": of_one("tea"), "kept": of_one("kept"),
    });
    all_hold(&rxdb, "before the kill", before).await;
    until(other, "milk", Some(&todo("milk", "two"))).await;
    until(other, "tea", Some(&todo("tea", "one"))).await;
    until(other, "gone", None).await;
    until(other, "dropped", None).await;

    bridge_served.kill();
    // During: nobody speaks with the RxDB peers, and both sides go on.
    rxdb[1].insert(&[todo("bread", "while nobody speaks")]).await?;
    put(other, &todo("ours", "while nobody speaks"));
    other.ok(&["delete", "kept"]);
    put(other, &todo("milk", "three"));
    other_served.wait_for("an RxDB peer has joined", 3);
    let during = json!({
        "milk": held(&todo("milk", "three"), false), "kept": held(&todo("kept", "one"), true),
        "gone": held(&todo("gone", "one"), true), "dropped": held(&todo("dropped", "one"), true),
        "tea": of_one("tea"), "bread": held(&todo("bread", "while nobody speaks"), false),
        "ours": held(&todo("ours", "while nobody speaks"), false),
    });
    all_hold(&rxdb, "after the kill", during).await;
    until(other, "bread", Some(&todo("bread", "while nobody speaks"))).await;

    // After: whoever writes or deletes is heard by everybody, and nothing from before comes back.
    rxdb[0].patch("milk", json!({ "title": "four" })).await?;
    rxdb[1].remove("tea").await?;
    other.ok(&["delete", "bread"]);
    let after = json!({
        "milk": held(&todo("milk", "four"), false), "tea": held(&todo("tea", "one"), true),
        "bread": held(&todo("bread", "while nobody speaks"), true),
        "gone": held(&todo("gone", "one"), true), "dropped": held(&todo("dropped", "one"), true),
        "kept": held(&todo("kept", "one"), true), "ours": held(&todo("ours", "while nobody speaks"), false),
    });
    all_hold(&rxdb, "once the other has taken over", after.clone()).await;
    until(other, "milk", Some(&todo("milk", "four"))).await;
    until(other, "tea", None).await;

    // The killed one comes back with what it had then. It is to speak again, and tells nothing that is over.
    let mut bridge_served = bridge.serve();
    bridge_served.wait_for("an RxDB peer has joined", 3);
    put(bridge, &todo("back", "again"));
    rxdb[2].insert(&[todo("too", "again")]).await?;
    let mut at_last = after;
    at_last["back"] = held(&todo("back", "again"), false);
    at_last["too"] = held(&todo("too", "again"), false);
    all_hold(&rxdb, "once the killed one is back", at_last).await;
    for peer in [bridge, other] {
        until(peer, "back", Some(&todo("back", "again"))).await;
        until(peer, "too", Some(&todo("too", "again"))).await;
        until(peer, "milk", Some(&todo("milk", "four"))).await;
        let left: Vec<Value> =
            peer.json(&["list"]).into_iter().map(|mut listed| listed["id"].take()).collect();
        assert_eq!(left, ["back", "milk", "ours", "too"], "{}", peer.name);
    }
    Ok(())
}
