//! The process that is killed: it writes without a pause, replicates, and says on its output what it does.
//!
//! It says `begin N` before it calls an operation and `done N` when the call has returned, hence what is acknowledged. Whoever
//! started it reads that from a pipe, which outlives a kill. It ends by itself when its input ends.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use futures_util::StreamExt;
use peerloom::{Collection, Error, Node, Room, RoomEvent, WriteError};

use crate::disk::{Disk, Kind};
use crate::loopback::Loopback;
use crate::plan::{COLLECTION, Numbers, Operation, Side, handler};

pub(crate) const TOPIC: &str = "crash";

/// What a writer is told.
#[derive(Args)]
pub(crate) struct Task {
    #[arg(long)]
    pub(crate) storage: Kind,
    #[arg(long)]
    pub(crate) directory: PathBuf,
    #[arg(long)]
    pub(crate) side: Side,
    #[arg(long)]
    pub(crate) seed: u64,
    /// The number of its first operation.
    #[arg(long)]
    pub(crate) from: u64,
    /// How many operations it makes before it joins the room.
    #[arg(long)]
    pub(crate) alone: u64,
    /// Whom to dial; without it, it listens.
    #[arg(long)]
    pub(crate) dial: Option<SocketAddr>,
}

/// A word to whoever started this process, in one write to the pipe.
fn say(word: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{word}\n").as_bytes())?;
    Ok(output.flush()?)
}

pub(crate) async fn run(task: Task) -> anyhow::Result<()> {
    let transport = match task.dial {
        Some(address) => Loopback::Dialing(address),
        None => {
            let (transport, address) = Loopback::listen()?;
            say(&format!("listening {address}"))?;
            transport
        }
    };
    let stopped = input_ended();
    let disk = task.storage.open(&task.directory).await?;
    let node = Node::open(disk.clone()).await?;
    let numbers = node.collection(COLLECTION).handler(handler()).open().await?;
    say("open")?;

    let writer = Writer { disk, numbers, seed: task.seed, side: task.side };
    let mut number = task.from;
    while number < task.from + task.alone && !stopped.load(Ordering::Relaxed) {
        writer.operate(number).await?;
        number += 1;
    }
    let room = node.room(TOPIC).share(&writer.numbers).join(transport).await?;
    tell_of_peers(&room);
    while !stopped.load(Ordering::Relaxed) {
        writer.operate(number).await?;
        number += 1;
    }
    room.leave().await;
    node.close().await?;
    say("closed")
}

/// Becomes true when whoever started this process wants it to end, or is gone.
fn input_ended() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::Relaxed);
    });
    ended
}

fn tell_of_peers(room: &Room) {
    let mut events = room.events();
    // It may have joined before anybody listened.
    let mut joined = room.peers().iter().any(|peer| peer.replica.is_some());
    tokio::spawn(async move {
        while !joined {
            match events.next().await {
                Some(RoomEvent::PeerJoined { .. }) => joined = true,
                Some(_) => {}
                None => return,
            }
        }
        let _ = say("joined");
    });
}

struct Writer {
    disk: Disk,
    numbers: Collection<Numbers>,
    seed: u64,
    side: Side,
}

impl Writer {
    async fn operate(&self, number: u64) -> anyhow::Result<()> {
        let operation = Operation::drawn(self.seed, self.side, number);
        say(&format!("begin {number}"))?;
        self.perform(&operation, number)
            .await
            .with_context(|| format!("operation {number}, {operation:?}"))?;
        say(&format!("done {number}"))
    }

    async fn perform(&self, operation: &Operation, number: u64) -> anyhow::Result<()> {
        let fresh = Numbers::default().with(self.side, number);
        match operation {
            Operation::Put { id } => self.numbers.put(id.as_str(), &fresh).await?,
            Operation::Remove { id } => drop(self.numbers.remove(id.as_str()).await?),
            Operation::Page { ids } => {
                self.numbers.put_many(ids.iter().map(|id| (id.as_str(), &fresh))).await?;
            }
            Operation::Shared { id } => self.share(id, number, &fresh).await?,
            Operation::Upkeep => self.disk.upkeep().await?,
        }
        Ok(())
    }
    /// Adds this side's number to what is there. The other side's first write may arrive after a look that found nothing: a plain
    /// put would supersede it unseen.
    async fn share(&self, id: &str, number: u64, fresh: &Numbers) -> anyhow::Result<()> {
        loop {
            if let Some(mut draft) = self.numbers.read(id).await? {
                *draft = draft.clone().into_value().with(self.side, number);
                return Ok(self.numbers.save(draft).await?);
            }
            match self.numbers.insert(id, fresh).await {
                Err(Error::Write(WriteError::Exists { .. })) => {}
                inserted => return Ok(inserted?),
            }
        }
    }
}
