//! One round: a room of Peerloom and RxDB peers with default handlers, edits at the same time, and what came of them.
//!
//! Every document has a writer of its own that writes last, so that it is known what must be there in the end: a state that was
//! overwritten by somebody who had seen it must not come back (a *stale win*). One document is edited by two RxDB peers at once,
//! and must settle.

use std::time::Duration;

use anyhow::Context;
use futures_util::stream::select_all;
use futures_util::{Stream, StreamExt};
use peerloom::{LastWriteWins, Memory, Room};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::{Peerloom, RxdbPeer, todo};

/// How long a round may take to settle. RxDB's retries take seconds.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'p> {
    /// The signaling server.
    pub url: &'p str,
    /// The topic, another one for each round.
    pub topic: &'p str,
    /// How many Peerloom peers.
    pub peerloom: usize,
    /// How many RxDB peers.
    pub rxdb: usize,
    /// How often each of the documents is handed on and edited.
    pub edits: u32,
}

/// What came of a round.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it took until all were equal after the last edit, or `None` if they were not in time.
    pub settled_after: Option<Duration>,
    /// Documents whose last edit is not what is there in the end.
    pub stale_wins: Vec<String>,
    /// Acknowledged writes of Peerloom peers that are not there in the end, nor superseded by somebody who had seen them.
    pub lost: Vec<String>,
}

/// Plays a round.
pub async fn round(plan: Plan<'_>) -> anyhow::Result<Outcome> {
    let mut nodes = Vec::new();
    let mut rooms: Vec<Room> = Vec::new();
    for _ in 0..plan.peerloom {
        let node = Peerloom::open(Memory::new(), LastWriteWins).await?;
        rooms.push(
            node.join(plan.url, plan.topic, node.bridge().patience(Duration::from_millis(1500))).await?,
        );
        nodes.push(node);
    }
    nodes[0].todos.put("contested", &todo("contested", "base")).await?;
    for room in rooms.iter().take(if plan.peerloom > 1 { plan.peerloom } else { 0 }) {
        room.caught_up().await?;
    }
    let open = |name: String| RxdbPeer::open(json!({ "url": plan.url, "topic": plan.topic, "name": name }));
    let names = (0..plan.rxdb).map(|number| format!("peer{number}"));
    let peers: Vec<RxdbPeer> = futures_util::future::try_join_all(names.map(open)).await?;
    for peer in &peers {
        peer.ask(
            "until",
            json!({ "expected": { "contested": crate::held(&todo("contested", "base"), false) } }),
        )
        .await?;
    }
    // Each Peerloom peer writes documents of its own all the while.
    let own_writes = async {
        for number in 0..plan.edits {
            for (index, node) in nodes.iter().enumerate() {
                let id = format!("own-{index}-{number}");
                node.todos.put(id.as_str(), &todo(&id, "by Peerloom")).await?;
            }
        }
        anyhow::Ok(())
    };
    // All RxDB peers edit one document at once, again and again.
    let contested = async {
        for number in 0..plan.edits {
            let edit = |index: usize| {
                peers[index].patch("contested", json!({ "title": format!("{index}-{number}") }))
            };
            futures_util::future::try_join_all((0..plan.rxdb.min(2)).map(edit)).await?;
        }
        anyhow::Ok(())
    };
    // One document is edited by one peer after the other, each having seen what the one before wrote.
    let handed_on = async {
        let mut last = todo("handed-on", "0");
        nodes[0].todos.put("handed-on", &last).await?;
        for number in 1..=plan.edits {
            let peer = &peers[number as usize % plan.rxdb];
            peer.until(json!({ "handed-on": crate::held(&last, false) })).await?;
            last = todo("handed-on", &number.to_string());
            peer.patch("handed-on", json!({ "title": number.to_string() })).await?;
        }
        anyhow::Ok(last)
    };
    let play = async { tokio::try_join!(own_writes, contested, handed_on) };
    let deadline = Instant::now() + SETTLES_WITHIN;
    let last = match timeout_at(deadline, play).await {
        Ok(played) => Some(played?.2),
        // A writer waits for what never comes: somebody's edit was overwritten by what had been before it.
        Err(_) => None,
    };
    let started = Instant::now();
    let settled = timeout_at(started + SETTLES_WITHIN, settle(&nodes, &peers)).await;
    let settled_after = match settled {
        Ok(settled) => settled.map(|()| Some(started.elapsed()))?,
        Err(_) => None,
    };
    let mut stale_wins = Vec::new();
    if last.is_none() || nodes[0].todos.get("handed-on").await? != last {
        stale_wins.push("handed-on".to_owned());
    }
    Ok(Outcome { settled_after, stale_wins, lost: lost(&plan, &nodes).await? })
}

/// Waits until all hold the same, and still do after everybody has heard from everybody else again.
async fn settle(nodes: &[Peerloom], peers: &[RxdbPeer]) -> anyhow::Result<()> {
    let of_nodes = nodes.iter().map(|node| node.todos.watch().map(drop).boxed());
    let of_peers = peers.iter().map(RxdbPeer::changes);
    let mut changes = select_all(of_nodes.chain(of_peers));
    let mut marks: Vec<String> = Vec::new();
    loop {
        let before = all_equal(nodes, peers, &marks, &mut changes).await?;
        // A link delivers in order: a mark that has arrived has everything before it.
        let mark = |from: String| format!("mark-{}-{from}", marks.len());
        let of_nodes: Vec<_> = (0..nodes.len()).map(|index| mark(format!("node-{index}"))).collect();
        let of_peers: Vec<_> = (0..peers.len()).map(|index| mark(format!("peer-{index}"))).collect();
        for (node, mark) in nodes.iter().zip(&of_nodes) {
            node.todos.put(mark.as_str(), &todo(mark, "mark")).await?;
        }
        for (peer, mark) in peers.iter().zip(&of_peers) {
            peer.insert(&[todo(mark, "mark")]).await?;
        }
        marks.extend(of_nodes.into_iter().chain(of_peers));
        let after = all_equal(nodes, peers, &marks, &mut changes).await?;
        if without(&marks, after) == without(&marks, before) {
            return Ok(());
        }
    }
}

fn without(marks: &[String], mut documents: Value) -> Value {
    if let Some(documents) = documents.as_object_mut() {
        marks.iter().for_each(|mark| drop(documents.remove(mark)));
    }
    documents
}

/// Waits until all hold the same documents, these among them.
async fn all_equal(
    nodes: &[Peerloom],
    peers: &[RxdbPeer],
    ids: &[String],
    changes: &mut (impl Stream<Item = ()> + Unpin),
) -> anyhow::Result<Value> {
    loop {
        let first = nodes[0].documents().await?;
        let mut all_equal = ids.iter().all(|id| first.get(id).is_some());
        for node in &nodes[1..] {
            all_equal &= node.documents().await? == first;
        }
        for peer in peers {
            all_equal &= peer.documents().await? == first;
        }
        if all_equal {
            return Ok(first);
        }
        changes.next().await.context("a peer has ended")?;
    }
}

async fn lost(plan: &Plan<'_>, nodes: &[Peerloom]) -> anyhow::Result<Vec<String>> {
    let mut lost = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        for number in 0..plan.edits {
            let id = format!("own-{index}-{number}");
            if node.todos.get(id.as_str()).await?.as_ref() != Some(&todo(&id, "by Peerloom")) {
                lost.push(id);
            }
        }
    }
    Ok(lost)
}
