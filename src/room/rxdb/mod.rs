//! RxDB peers in a room: the collection that they replicate with, and which replica speaks with them.
//!
//! Of the replicas that are connected to each other and have a bridge, only the one with the smallest id speaks with RxDB peers; the others
//! keep still. A peer that two replicas speak with would carry states from one to the other, where nobody could tell them from its own writes.

mod conversation;
mod driver;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peerloom_core::ReplicaId;
use peerloom_rxdb::{Direction, Settings, Token};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{RoomCore, Sharing};
use crate::collection::{Collection, Content, Core, SessionNumber};
use crate::error::Error;

pub(super) use driver::{Line, run};

/// Lets RxDB peers in a room replicate with a collection. Given to [`RoomBuilder::rxdb`](super::RoomBuilder::rxdb).
///
/// RxDB's WebRTC replication has one collection for each topic, and this names the one that the room's topic stands for. Documents are
/// JSON objects; the field that is the RxDB collection's primary key is the document's id. A document that RxDB cannot hold (its body is
/// not a JSON object, it has an integer that JavaScript would round, or a field that is RxDB's own) stays out of its sight.
///
/// RxDB peers prove nothing: whoever can reach the room by its signaling reads and writes this collection, also in a room with a key.
///
/// ```
/// # use peerloom::{InProcess, Memory, Network, Node, RxdbBridge};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let transport = InProcess::new(&Network::new());
/// let node = Node::open(Memory::new()).await?;
/// let todos = node.collection::<serde_json::Value>("todos").open().await?;
/// let room = node.room("todos-of-ann").share(&todos).rxdb(RxdbBridge::new(&todos)).join(transport).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RxdbBridge {
    core: Arc<Core>,
    sharing: Sharing,
    settings: Settings,
    patience: Duration,
}

impl RxdbBridge {
    /// The room's topic stands for this collection, whose primary key is `id`.
    pub fn new<T: Content>(collection: &Collection<T>) -> Self {
        Self {
            core: collection.core().clone(),
            sharing: Sharing::new(),
            settings: Settings::default(),
            patience: Duration::from_secs(2),
        }
    }

    /// The field that is the primary key of the RxDB collection. Default `id`.
    #[must_use]
    pub fn primary_key(mut self, field: &str) -> Self {
        field.clone_into(&mut self.settings.primary_key);
        self
    }

    /// Which way the collection replicates with RxDB peers, and what of it they see. Default both ways and whole.
    ///
    /// With [`Sharing::pull_only`] all that RxDB peers write is taken, and they are shown nothing. With [`Sharing::push_only`]
    /// nothing that they write is taken, and where it differs from a document here, that replaces it.
    #[must_use]
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        self.settings.direction = match (sharing.pulls(), sharing.serves()) {
            (true, false) => Direction::PullOnly,
            (false, _) => Direction::PushOnly,
            (true, true) => Direction::Both,
        };
        self.sharing = sharing;
        self
    }

    /// How many documents are asked for or pushed at a time. Default 200; zero counts as 1.
    #[must_use]
    pub fn batch_documents(mut self, documents: u32) -> Self {
        self.settings.batch_documents = documents.max(1);
        self
    }

    /// How long a peer may take to answer. Default 20 seconds, as in RxDB.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// How long after a failed request the next one is made. Default 5 seconds, as in RxDB.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.settings.retry_after = wait;
        self
    }

    /// How long to keep still after joining, so that other replicas are met before RxDB peers are spoken with. Default 2 seconds.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Has the collection keep past views from now on, also while another replica speaks with RxDB peers. When that one is gone, they
    /// come with what they were shown by it, and with documents that were deleted under it.
    pub(super) async fn keep_past_views(&self) -> Result<(), Error> {
        self.core.decide(Vec::new(), Vec::new(), |transaction, _, _, _| transaction.keep_past_views()).await
    }
}

impl std::fmt::Debug for RxdbBridge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RxdbBridge")
            .field("collection", &self.core.shared.name().as_str())
            .field("sharing", &self.sharing)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The bridge of a room that was joined.
pub(super) struct Bridge {
    pub(super) options: RxdbBridge,
    /// Before this moment it keeps still.
    speaks_from: Duration,
    /// Who is spoken with, and what ends the conversation.
    conversations: Mutex<BTreeMap<Token, (SessionNumber, CancellationToken)>>,
}

impl Bridge {
    pub(super) fn new(options: RxdbBridge, now: Duration) -> Self {
        let speaks_from = now.saturating_add(options.patience);
        Self { options, speaks_from, conversations: Mutex::default() }
    }

    /// A conversation with this peer begins: an earlier one with it ends. Returns what tells this one to end.
    fn enter(&self, token: &Token, session: SessionNumber) -> CancellationToken {
        let replaced = CancellationToken::new();
        let earlier = self.lock().insert(token.clone(), (session, replaced.clone()));
        if let Some((_, earlier)) = earlier {
            earlier.cancel();
        }
        replaced
    }

    fn leave(&self, token: &Token, session: SessionNumber) {
        let mut conversations = self.lock();
        if conversations.get(token).is_some_and(|(present, _)| *present == session) {
            conversations.remove(token);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Token, (SessionNumber, CancellationToken)>> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this replica is the one that speaks, as a stream of answers.
struct Election {
    room: Arc<RoomCore>,
    own: ReplicaId,
    changes: watch::Receiver<()>,
}

impl Election {
    fn new(room: &Arc<RoomCore>) -> Self {
        let own = room.node.identity().replica_id();
        Self { own, changes: room.peers.changes(), room: room.clone() }
    }

    fn is_won(&self) -> bool {
        !self.room.peers.has_bridge_below(&self.own)
    }

    /// Waits until the answer may have changed. Cancel-safe.
    async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
