//! One round: a room of Peerloom and RxDB peers with default handlers, edits at the same time, and what came of them.
//!
//! Every document has a writer of its own that writes last, so that it is known what must be there in the end: a state that was
//! overwritten by somebody who had seen it must not come back (a *stale win*). One document is edited by two RxDB peers at once,
//! and must settle.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use futures_util::stream::select_all;
use futures_util::{Stream, StreamExt};
use peerloom::{LastWriteWins, Memory, Room};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::picture::{picture, shown};
use crate::{Peerloom, RxdbPeer, held, todo};

/// How long each step of a round may take. RxDB waits 20 seconds for an answer, and asks again.
const STEP_WITHIN: Duration = Duration::from_secs(60);

/// How long a step may take until it is told what it waits for, and how long until that is told again.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// How long a document may take from one peer to the next until it is looked whether it will ever come. It takes milliseconds.
const LOOKED_AFTER: Duration = Duration::from_secs(2);

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'p> {
    /// The signaling server.
    pub url: &'p str,
    /// The topic, another one for each round.
    pub topic: &'p str,
    /// How many Peerloom peers. None shows what RxDB does by itself.
    pub peerloom: usize,
    /// How many RxDB peers, at least one.
    pub rxdb: usize,
    /// How often each of the documents is handed on and edited.
    pub edits: u32,
}

/// What came of a round.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it took until all were equal after the last edit, or what the round waited for when it was given up.
    pub settled: Result<Duration, &'static str>,
    /// Documents whose last edit is not what is there once all has settled. An edit that is overwritten before the next writer has it
    /// is the last one: there is nobody to write upon it.
    pub stale_wins: Vec<String>,
    /// Acknowledged writes of Peerloom peers that are not there in the end, nor superseded by somebody who had seen them.
    pub lost: Vec<String>,
}

/// Plays a round. A step that takes long tells on the standard error what it waits for, who shows what, and what is on the wire.
pub async fn round(plan: Plan<'_>) -> anyhow::Result<Outcome> {
    let Ok(round) = timeout(STEP_WITHIN, Round::open(plan)).await else {
        return Ok(Outcome { settled: Err("the peers to open"), stale_wins: Vec::new(), lost: Vec::new() });
    };
    let round = round?;
    let (settled, stale_wins) = match round.play().await {
        Ok((settled_after, stale_wins)) => (Ok(settled_after), stale_wins),
        Err(Ended::GaveUp { waited_for }) => (Err(waited_for), Vec::new()),
        Err(Ended::Failed(error)) => return Err(error),
    };
    Ok(Outcome { settled, stale_wins, lost: round.lost().await? })
}

/// Why a round ended early.
enum Ended {
    GaveUp { waited_for: &'static str },
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

struct Round<'p> {
    plan: Plan<'p>,
    nodes: Vec<Peerloom>,
    /// Left when they are dropped.
    _rooms: Vec<Room>,
    peers: Vec<RxdbPeer>,
    /// How often marks were set.
    marked: Cell<u32>,
}

impl<'p> Round<'p> {
    async fn open(plan: Plan<'p>) -> anyhow::Result<Self> {
        let base = todo("contested", "base");
        let (mut nodes, mut rooms) = (Vec::new(), Vec::new());
        for _ in 0..plan.peerloom {
            let node = Peerloom::open(Memory::new(), LastWriteWins).await?;
            let bridge = node.bridge().patience(Duration::from_millis(1500));
            rooms.push(node.join(plan.url, plan.topic, bridge).await?);
            nodes.push(node);
        }
        if let Some(first) = nodes.first() {
            first.todos.put("contested", &base).await?;
        }
        if nodes.len() > 1 {
            try_join_all(rooms.iter().map(Room::caught_up)).await?;
        }
        let open =
            |name: String| RxdbPeer::open(json!({ "url": plan.url, "topic": plan.topic, "name": name }));
        let peers = try_join_all((0..plan.rxdb).map(|number| open(format!("peer{number}")))).await?;
        if nodes.is_empty() {
            peers[0].insert(&[base]).await?;
        }
        Ok(Self { plan, nodes, _rooms: rooms, peers, marked: Cell::new(0) })
    }

    /// Has everything done, and says how long all took to settle and what is stale then.
    async fn play(&self) -> Result<(Duration, Vec<String>), Ended> {
        let base = json!({ "contested": held(&todo("contested", "base"), false) });
        let linked = try_join_all(self.peers.iter().map(|peer| peer.until(base.clone())));
        self.step("every RxDB peer to have the first document", linked).await?;

        let edits = async { tokio::try_join!(self.write_own(), self.contest(), self.hand_on()) };
        let (.., last) =
            self.step("each edit to reach the next writer, or all to rest without it", edits).await?;

        let started = Instant::now();
        let settled = self.step("all to show the same", self.settle()).await?;
        let settled_after = started.elapsed();
        let is_stale = last.is_none_or(|last| settled.get("handed-on") != Some(&last));
        let stale_wins = is_stale.then(|| "handed-on".to_owned());
        Ok((settled_after, stale_wins.into_iter().collect()))
    }

    /// Carries out a step. If that takes long, it is told what it waits for. In the end it is given up.
    async fn step<T>(
        &self,
        waits_for: &'static str,
        step: impl Future<Output = anyhow::Result<T>>,
    ) -> Result<T, Ended> {
        tokio::select! {
            biased;
            done = step => Ok(done?),
            Err(error) = self.tell(waits_for) => Err(Ended::Failed(error)),
            () = sleep(STEP_WITHIN) => Err(Ended::GaveUp { waited_for: waits_for }),
        }
    }

    async fn tell(&self, waits_for: &str) -> anyhow::Result<Infallible> {
        loop {
            sleep(TOLD_AFTER).await;
            let picture = picture(&self.nodes, &self.peers).await?;
            eprintln!("{} waits for {waits_for}\n{picture}", self.plan.topic);
        }
    }

    /// Each Peerloom peer writes documents of its own all the while.
    async fn write_own(&self) -> anyhow::Result<()> {
        for number in 0..self.plan.edits {
            for (index, node) in self.nodes.iter().enumerate() {
                let id = format!("own-{index}-{number}");
                node.todos.put(id.as_str(), &todo(&id, "by Peerloom")).await?;
            }
        }
        Ok(())
    }

    /// Two RxDB peers edit one document at once, again and again.
    async fn contest(&self) -> anyhow::Result<()> {
        for number in 0..self.plan.edits {
            let edit = |index: usize| {
                self.peers[index].patch("contested", json!({ "title": format!("{index}-{number}") }))
            };
            try_join_all((0..self.peers.len().min(2)).map(edit)).await?;
        }
        Ok(())
    }

    /// One document is edited by one peer after the other, each having seen what the one before wrote. Returns the last edit, or `None` if
    /// one came to nothing before the next writer had seen it.
    async fn hand_on(&self) -> anyhow::Result<Option<Value>> {
        let mut last = todo("handed-on", "0");
        match self.nodes.first() {
            Some(first) => drop(first.todos.put("handed-on", &last).await?),
            None => self.peers[0].insert(&[last.clone()]).await?,
        }
        for number in 1..=self.plan.edits {
            let peer = &self.peers[number as usize % self.peers.len()];
            if !self.reaches(peer, &last).await? {
                return Ok(None);
            }
            last = todo("handed-on", &number.to_string());
            peer.patch("handed-on", json!({ "title": number.to_string() })).await?;
        }
        Ok(Some(held(&last, false)))
    }

    /// Whether a peer comes to have the document as it is, before everything is at rest without that.
    async fn reaches(&self, peer: &RxdbPeer, document: &Value) -> anyhow::Result<bool> {
        let awaited = held(document, false);
        let rested = async {
            sleep(LOOKED_AFTER).await;
            let settled = self.settle().await?;
            Ok(settled.get("handed-on") == Some(&awaited))
        };
        tokio::select! {
            biased;
            reached = peer.until(json!({ "handed-on": awaited })) => reached.map(|()| true),
            reached = rested => reached,
        }
    }

    /// Waits until all hold the same, and still do after everybody has heard from everybody else again. Returns what they hold.
    async fn settle(&self) -> anyhow::Result<Value> {
        let of_nodes = self.nodes.iter().map(|node| node.todos.watch().map(drop).boxed());
        let of_peers = self.peers.iter().map(RxdbPeer::changes);
        let mut changes = select_all(of_nodes.chain(of_peers));
        let mut marks = Vec::new();
        loop {
            let before = self.all_equal(&marks, &mut changes).await?;
            // A link delivers in order: a mark that has arrived has everything before it.
            marks.extend(self.mark().await?);
            let after = self.all_equal(&marks, &mut changes).await?;
            if without(&marks, after.clone()) == without(&marks, before) {
                return Ok(after);
            }
        }
    }

    /// Has everybody write a document. Returns their ids.
    async fn mark(&self) -> anyhow::Result<Vec<String>> {
        let time = self.marked.replace(self.marked.get() + 1);
        let mut marks = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let id = format!("mark-{time}-node{index}");
            node.todos.put(id.as_str(), &todo(&id, "mark")).await?;
            marks.push(id);
        }
        for (index, peer) in self.peers.iter().enumerate() {
            let id = format!("mark-{time}-peer{index}");
            peer.insert(&[todo(&id, "mark")]).await?;
            marks.push(id);
        }
        Ok(marks)
    }

    /// Waits until all hold the same documents, these among them.
    async fn all_equal(
        &self,
        ids: &[String],
        changes: &mut (impl Stream<Item = ()> + Unpin),
    ) -> anyhow::Result<Value> {
        loop {
            let mut held = shown(&self.nodes, &self.peers).await?;
            let all_equal = held.windows(2).all(|pair| pair[0] == pair[1]);
            let first = held.swap_remove(0);
            if all_equal && ids.iter().all(|id| first.get(id).is_some()) {
                return Ok(first);
            }
            changes.next().await.context("a peer has ended")?;
        }
    }

    async fn lost(&self) -> anyhow::Result<Vec<String>> {
        let mut lost = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for number in 0..self.plan.edits {
                let id = format!("own-{index}-{number}");
                if node.todos.get(id.as_str()).await?.as_ref() != Some(&todo(&id, "by Peerloom")) {
                    lost.push(id);
                }
            }
        }
        Ok(lost)
    }
}

fn without(marks: &[String], mut documents: Value) -> Value {
    if let Some(documents) = documents.as_object_mut() {
        marks.iter().for_each(|mark| drop(documents.remove(mark)));
    }
    documents
}
