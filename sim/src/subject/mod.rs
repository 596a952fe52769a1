//! What is simulated: the software of a peer.
//!
//! Usually that is Peerloom with a user's storage and conflict handler. Anything else that keeps documents and talks over connections
//! can take its place, to be compared.

mod peerloom;
mod rxdb;

use ::peerloom::core::DocumentId;
use ::peerloom::{Environment, Transport};
use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use self::peerloom::{MakeStorage, Peerloom};
pub use self::rxdb::Rxdb;
use crate::device::StorageEnvironment;
use crate::environment::SimEnvironment;
use crate::network::SimTransport;
use crate::plan::{Action, PeerNumber};
use crate::world::World;

/// The topic of every simulated room.
pub const TOPIC: &str = "simulation";

/// The software of a peer, as it is installed on every one of them.
#[async_trait]
pub trait Subject: Send + Sync + 'static {
    /// Starts the software on what is on its device, and joins the room [`TOPIC`].
    ///
    /// # Errors
    ///
    /// What went wrong, for people. It is started again after a second.
    async fn start(&self, peer: &PeerContext) -> Result<Box<dyn Running>, String>;
}

/// A peer's software, running.
#[async_trait]
pub trait Running: Send {
    /// Does what a user does. When it returns `Ok`, what was written is durable.
    ///
    /// # Errors
    ///
    /// What went wrong, for people. What it wrote may be there or not.
    async fn act(&mut self, action: &Action) -> Result<(), String>;

    /// Closes in order.
    async fn stop(self: Box<Self>);
}

/// What a peer's software gets from its surroundings.
#[derive(Clone)]
pub struct PeerContext {
    pub(crate) number: PeerNumber,
    pub(crate) seed: u64,
    pub(crate) environment: SimEnvironment,
    pub(crate) storage: StorageEnvironment,
    pub(crate) storage_faults: crate::storage::StorageFaults,
    pub(crate) open_store: crate::storage::OpenStore,
    pub(crate) die: crate::storage::Die,
    pub(crate) wake: std::sync::Arc<tokio::sync::Notify>,
    pub(crate) transport: SimTransport,
    pub(crate) handler_panics_one_in: Option<u32>,
    pub(crate) world: World,
}

impl PeerContext {
    /// Which peer it is.
    pub fn number(&self) -> PeerNumber {
        self.number
    }

    /// Its clock, randomness and tasks. Whatever it spawns elsewhere outlives its crashes.
    pub fn environment(&self) -> impl Environment + Clone + use<> {
        self.environment.clone()
    }

    /// Its way to the others.
    pub fn transport(&self) -> impl Transport + Clone + use<> {
        self.transport.clone()
    }

    /// Where it keeps what must outlive it.
    pub fn storage(&self) -> &StorageEnvironment {
        &self.storage
    }

    /// Tells the observer what a document looks like from now on; `None` if it is deleted. For software that does not store
    /// [`Record`](::peerloom::core::Record)s; what Peerloom commits is observed at its storage.
    pub fn observe(&self, document: &DocumentId, view: Option<Bytes>) {
        self.world.observed(self.number, document, view);
    }
}

impl std::fmt::Debug for PeerContext {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PeerContext").field("number", &self.number).finish_non_exhaustive()
    }
}
