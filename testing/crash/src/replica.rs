//! What is on a disk when nobody writes, and what two disks make of each other.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use peerloom::core::{Document, IdRange, PageLimits, Record, Sequence};
use peerloom::{Collection, CollectionName, DocumentId, Node, Room, Storage};

use crate::disk::Kind;
use crate::loopback::Loopback;
use crate::model::Found;
use crate::plan::{COLLECTION, Numbers, Side, handler};
use crate::writer::TOPIC;

const ALL: PageLimits = PageLimits { documents_max: NonZeroU32::MAX, bytes_max: NonZeroU32::MAX };

/// How long two replicas may take to catch up. They take some tenths of a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// All documents of a replica, and what each reads as.
pub(crate) struct Contents {
    documents: BTreeMap<DocumentId, (Document, Option<Numbers>)>,
}

impl Contents {
    /// Opens a storage as it was left, reads all of it, and closes it.
    pub(crate) async fn read(kind: Kind, directory: &Path) -> anyhow::Result<Self> {
        let disk = kind.open(directory).await?;
        let store = disk.open(CollectionName::new(COLLECTION)?.store()).await?;
        let feed = store.changes(Sequence::ZERO, ALL).await?;
        let listed = store.list(IdRange::ALL, ALL).await?;
        store.close().await?;

        ensure!(feed.is_sorted_by(|one, next| one.sequence < next.sequence), "the feed is out of order");
        let mut by_id = feed;
        by_id.sort_by(|one, other| one.id.cmp(&other.id));
        ensure!(by_id == listed, "the changefeed and the documents differ");
        let documents = listed.into_iter().map(|record| {
            let numbers = numbers(&record).with_context(|| format!("document {}", record.id))?;
            Ok((record.id, (record.document, numbers)))
        });
        Ok(Self { documents: documents.collect::<anyhow::Result<_>>()? })
    }

    /// What the documents hold of one side.
    pub(crate) fn of(&self, side: Side) -> Found {
        let numbers = self.documents.iter().filter_map(|(id, (_, numbers))| Some((id, numbers.as_ref()?)));
        numbers.filter_map(|(id, numbers)| Some((id.as_str().to_owned(), numbers.of(side)?))).collect()
    }

    /// How many of the other's documents hold writes that this one lacks.
    pub(crate) fn lacks(&self, other: &Self) -> u64 {
        let has = |id: &DocumentId, theirs: &Document| {
            self.documents.get(id).is_some_and(|(ours, _)| ours.context().covers(theirs.context()))
        };
        other.documents.iter().filter(|(id, (theirs, _))| !has(id, theirs)).count() as u64
    }

    /// That every document includes at least what it did before.
    pub(crate) fn ensure_includes(&self, before: &Self) -> anyhow::Result<()> {
        ensure!(self.lacks(before) == 0, "a document includes less than it did");
        Ok(())
    }

    /// That two replicas hold the same.
    pub(crate) fn ensure_equal(&self, other: &Self) -> anyhow::Result<()> {
        let differing = self.documents.iter().find(|(id, (document, _))| {
            other.documents.get(*id).is_none_or(|(theirs, _)| theirs != document)
        });
        ensure!(differing.is_none(), "after catching up the replicas differ in {differing:?}");
        ensure!(self.documents.len() == other.documents.len(), "after catching up one replica has more");
        Ok(())
    }
}

/// `None` if the document is deleted.
fn numbers(record: &Record) -> anyhow::Result<Option<Numbers>> {
    let state = record.view();
    if state.deleted {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&state.body)?))
}

/// How much one replica got when it caught up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    pub(crate) documents: u64,
    pub(crate) duplicates: u64,
}

/// Opens both replicas in this process and lets them catch up. Returns what each received, left first.
pub(crate) async fn catch_up(kind: Kind, directories: &[&Path; 2]) -> anyhow::Result<[Received; 2]> {
    let (listening, address) = Loopback::listen()?;
    let left = Open::new(kind, directories[0], listening).await?;
    let right = Open::new(kind, directories[1], Loopback::Dialing(address)).await?;
    let both = async { tokio::try_join!(left.room.caught_up(), right.room.caught_up()) };
    tokio::time::timeout(PATIENCE, both).await.context("the replicas do not catch up")??;
    let received = [left.received(), right.received()];
    left.close().await?;
    right.close().await?;
    Ok(received)
}

struct Open {
    node: Node,
    /// Held, because a collection closes with its last handle.
    _numbers: Collection<Numbers>,
    room: Room,
}

impl Open {
    async fn new(kind: Kind, directory: &Path, transport: Loopback) -> anyhow::Result<Self> {
        let node = Node::open(kind.open(directory).await?).await?;
        let numbers = node.collection(COLLECTION).handler(handler()).open().await?;
        let room = node.room(TOPIC).share(&numbers).join(transport).await?;
        Ok(Self { node, _numbers: numbers, room })
    }

    fn received(&self) -> Received {
        let peers = self.room.peers();
        let sum = |count: fn(&peerloom::SessionCounters) -> u64| {
            peers.iter().map(|peer| count(&peer.counters)).sum()
        };
        Received {
            documents: sum(|counters| counters.documents_received),
            duplicates: sum(|counters| counters.documents_duplicate),
        }
    }

    async fn close(self) -> anyhow::Result<()> {
        self.room.leave().await;
        Ok(self.node.close().await?)
    }
}
