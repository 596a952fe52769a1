//! A replica: a directory, a runtime of its own, and a place in the room.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use peerloom::{Collection, Fjall, InProcess, Memory, Network, Node, Room};
use tokio::runtime::Runtime;

use crate::earthquake::Earthquake;

/// Where the replicas meet.
const TOPIC: &str = "earthquakes of the week";

/// The longest wait for the threads of an aborted replica. They stop at once; this only keeps the demo from hanging.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a replica keeps its documents.
#[derive(Clone)]
pub(crate) enum Disk {
    Memory(Memory),
    Fjall(PathBuf),
    #[cfg(feature = "rocksdb")]
    RocksDb(PathBuf),
}

/// An open replica that has not joined the room yet.
pub(crate) struct Opened {
    pub(crate) name: &'static str,
    pub(crate) earthquakes: Collection<Earthquake>,
    node: Node,
    disk: Disk,
    machine: Machine,
}

impl Opened {
    /// Opens the replica on its disk, whether that is empty or not.
    pub(crate) async fn open(name: &'static str, disk: Disk) -> anyhow::Result<Self> {
        let machine = Machine::start(name)?;
        let storage = disk.clone();
        let opening = async move {
            let node = match storage {
                Disk::Memory(memory) => Node::open(memory).await?,
                Disk::Fjall(directory) => Node::open(Fjall::at(directory)).await?,
                #[cfg(feature = "rocksdb")]
                Disk::RocksDb(directory) => Node::open(peerloom::RocksDb::at(directory)).await?,
            };
            let earthquakes = node.collection("earthquakes").open().await?;
            anyhow::Ok((node, earthquakes))
        };
        let opened = machine.run(opening).await;
        let (node, earthquakes) = opened.with_context(|| format!("{name} could not be opened"))?;
        Ok(Self { name, earthquakes, node, disk, machine })
    }

    /// Joins the room and shares the collection there.
    pub(crate) async fn join(self, network: &Network) -> anyhow::Result<Replica> {
        let joining = self.node.room(TOPIC).share(&self.earthquakes);
        let transport = InProcess::new(network).named(self.name);
        let room = self.machine.run(async { Ok(joining.join(transport).await?) }).await?;
        let Self { name, earthquakes, node, disk, machine } = self;
        Ok(Replica { name, earthquakes, room, node, disk, machine })
    }
}

/// A replica in the room.
pub(crate) struct Replica {
    pub(crate) name: &'static str,
    pub(crate) earthquakes: Collection<Earthquake>,
    pub(crate) room: Room,
    node: Node,
    disk: Disk,
    machine: Machine,
}

impl Replica {
    /// Runs a task on this replica's own threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.machine.run(task).await
    }

    /// Starts a task on this replica's own threads and leaves it there.
    pub(crate) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.machine.runtime().spawn(task));
    }

    /// Waits until exactly so many peers are in the room.
    pub(crate) async fn wait_for_peers(&self, count: usize) {
        // From before the look at the peers, so that no event falls between.
        let mut events = self.room.events();
        loop {
            let peers = self.room.peers();
            if peers.len() == count && peers.iter().all(|peer| peer.replica.is_some()) {
                return;
            }
            if events.next().await.is_none() {
                return;
            }
        }
    }

    /// Ends the replica as a crash would: its threads stop where they are, and nothing is closed or said to anybody.
    /// Returns the disk as it was left.
    pub(crate) async fn abort(self) -> anyhow::Result<Disk> {
        let Self { mut machine, disk, .. } = self;
        let runtime = machine.0.take().expect("a machine runs until it is dropped");
        // Waits for the threads, which hold the locks of the directory, as the kernel does when it ends a process.
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(ABORT_TIMEOUT)).await?;
        Ok(disk)
    }

    /// Leaves the room and closes the storage, in order.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        Ok(self.node.close().await?)
    }
}

/// Stands for a computer: a tokio runtime that ends, with everything on it, when this is dropped.
struct Machine(Option<Runtime>);

impl Machine {
    fn start(name: &str) -> anyhow::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ok(Self(Some(builder.worker_threads(2).thread_name(name).enable_all().build()?)))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("a machine runs until it is dropped")
    }

    async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.runtime().spawn(task).await?
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
