//! A picture of a room that does not settle: who shows what, and what is on the wire.
//!
//! An RxDB peer that is flooded with messages takes seconds to answer, or does not. So all are asked at once, and a picture without it is
//! taken in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{Peerloom, RxdbPeer};

/// For how long messages are counted, at least.
const COUNTED_FOR: Duration = Duration::from_secs(1);

/// How long a peer may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How many messages have gone from one peer to another, by their names.
type Traffic = BTreeMap<(String, String), u64>;

/// Takes a picture, which takes a while. Peerloom peers are `node0` and so on, RxDB peers `peer0`.
pub(crate) async fn picture(nodes: &[Peerloom], peers: &[RxdbPeer]) -> anyhow::Result<String> {
    let (before, counted_from) = (traffic(nodes, peers).await, Instant::now());
    sleep(COUNTED_FOR).await;
    let (after, counted_for) = (traffic(nodes, peers).await, counted_from.elapsed());

    let mut lines = String::new();
    for line in differing(nodes, peers).await? {
        writeln!(lines, "  {line}")?;
    }
    let links: Vec<_> = after.keys().map(|(from, to)| format!("{from}-{to}")).collect();
    writeln!(lines, "  links: {}", links.join(" "))?;
    let moved = after.iter().filter_map(|(link, count)| Some((link, count.checked_sub(*before.get(link)?)?)));
    let moved: Vec<_> = moved
        .filter(|(_, count)| *count > 0)
        .map(|((from, to), count)| format!("{from}-{to} {count}"))
        .collect();
    let moved = if moved.is_empty() { "none".to_owned() } else { moved.join(", ") };
    writeln!(lines, "  messages in {counted_for:.1?}: {moved}")?;
    for (index, errors) in asked(peers, "errors").await.into_iter().enumerate() {
        let Some(errors) = errors else {
            writeln!(lines, "  peer{index} has not answered within {ANSWERED_WITHIN:?}")?;
            continue;
        };
        for error in errors.as_array().into_iter().flatten() {
            writeln!(lines, "  peer{index} has told of an error: {error}")?;
        }
    }
    Ok(lines)
}

/// What each peer answers, `None` if it does not in time.
async fn asked(peers: &[RxdbPeer], command: &str) -> Vec<Option<Value>> {
    let asked = peers.iter().map(|peer| timeout(ANSWERED_WITHIN, peer.ask(command, json!({}))));
    join_all(asked).await.into_iter().map(|answer| answer.ok()?.ok()).collect()
}

/// What everybody holds: the nodes, then the RxDB peers.
pub(crate) async fn shown(nodes: &[Peerloom], peers: &[RxdbPeer]) -> anyhow::Result<Vec<Value>> {
    let mut shown = try_join_all(nodes.iter().map(Peerloom::documents)).await?;
    shown.extend(try_join_all(peers.iter().map(RxdbPeer::documents)).await?);
    Ok(shown)
}

/// A line for each document that is not the same everywhere.
async fn differing(nodes: &[Peerloom], peers: &[RxdbPeer]) -> anyhow::Result<Vec<String>> {
    let mut shown: Vec<Option<Value>> = Vec::new();
    for node in nodes {
        shown.push(Some(node.documents().await?));
    }
    shown.extend(asked(peers, "documents").await);
    let names = (0..nodes.len()).map(|index| format!("node{index}"));
    let names: Vec<_> = names.chain((0..peers.len()).map(|index| format!("peer{index}"))).collect();
    let ids: BTreeSet<&String> =
        shown.iter().flatten().filter_map(Value::as_object).flat_map(serde_json::Map::keys).collect();
    let mut lines = Vec::new();
    for id in ids {
        let mut holders: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, documents) in names.iter().zip(&shown) {
            let Some(documents) = documents else { continue };
            let title =
                documents.get(id).map_or("nothing".to_owned(), |document| document["title"].to_string());
            holders.entry(title).or_default().push(name);
        }
        if holders.len() > 1 {
            let states = holders.iter().map(|(title, names)| format!("{title} at {}", names.join(" ")));
            lines.push(format!("{id}: {}", states.collect::<Vec<_>>().join(", ")));
        }
    }
    if lines.is_empty() {
        lines.push("all that answer show the same".to_owned());
    }
    Ok(lines)
}

async fn traffic(nodes: &[Peerloom], peers: &[RxdbPeer]) -> Traffic {
    let told = asked(peers, "traffic").await;
    let token = |traffic: &Value| traffic["token"].as_str().unwrap_or_default().to_owned();
    let mut names: BTreeMap<String, String> =
        nodes.iter().enumerate().map(|(index, node)| (node.token(), format!("node{index}"))).collect();
    let tokens = told.iter().enumerate().filter_map(|(index, told)| Some((token(told.as_ref()?), index)));
    names.extend(tokens.map(|(token, index)| (token, format!("peer{index}"))));
    let mut counts = Traffic::new();
    for traffic in told.iter().flatten() {
        let own = &names[&token(traffic)];
        for (token, count) in traffic["links"].as_object().into_iter().flatten() {
            let other = names.get(token).unwrap_or(token);
            counts.insert((own.clone(), other.clone()), count["sent"].as_u64().unwrap_or_default());
            // What another RxDB peer has sent it says itself.
            if other.starts_with("node") {
                counts.insert((other.clone(), own.clone()), count["received"].as_u64().unwrap_or_default());
            }
        }
    }
    counts
}
