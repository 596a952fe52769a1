//! A node: one storage with its identity, the collections in it, and the rooms it has joined.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use peerloom_core::{
    Batch, CollectionName, ConflictHandler, ENCRYPTION_MARKER_KEY, Identity, Invitation, Opening, ReplicaId,
    ReplicaLimits, Storage, StorageError, Store, StoreName, TopicKey,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::collection::{CollectionBuilder, Content, Core, OpenCollections, SessionNumber};
use crate::environment::{Environment, SystemEnvironment, random_u64};
use crate::error::{Error, OpenError};
use crate::room::RoomBuilder;

/// Where the secret of the identity is kept in the node's own store.
const IDENTITY_KEY: &[u8] = b"identity";

/// A storage taking part in replication. Cheap to clone; all clones are the same node.
///
/// Dropping the last handle to a node, its collections and its rooms stops its tasks, some time later. [`Node::close`] does so in order, and
/// waits: only after it can the storage be opened again for certain.
#[derive(Clone)]
pub struct Node {
    core: Arc<NodeCore>,
}

impl Node {
    /// Opens the node whose collections are in this storage. A storage that is opened for the first time gets an identity.
    ///
    /// # Errors
    ///
    /// [`OpenError::Storage`] with `Locked` while another node has the storage open, `Foreign` and `Newer` if what is there cannot be
    /// used.
    pub async fn open(storage: impl Storage) -> Result<Self, OpenError> {
        Self::builder(storage).open().await
    }

    /// Opens a node with other than the default options.
    pub fn builder(storage: impl Storage) -> NodeBuilder {
        NodeBuilder { storage: Arc::new(storage), environment: None, limits: ReplicaLimits::default() }
    }

    /// The stable id of this node's storage.
    pub fn replica_id(&self) -> ReplicaId {
        self.core.identity().replica_id()
    }

    /// The public half of this node's identity, an Ed25519 key. Its SHA-256 is the replica id.
    pub fn public_key(&self) -> [u8; 32] {
        self.core.identity().public_key()
    }

    /// A collection of documents that hold a `T`: any type with serde's traits, or [`Binary`](crate::Binary).
    /// 1 to 64 ASCII letters, digits, `-`, `_` and `.` name it.
    pub fn collection<T: Content>(&self, name: &str) -> CollectionBuilder<T> {
        CollectionBuilder::new(self.clone(), name)
    }

    /// A room, where the peers with the same topic meet. The topic has 1 to 256 bytes.
    pub fn room(&self, topic: &str) -> RoomBuilder {
        RoomBuilder::new(self.clone(), topic)
    }

    /// The room that an invitation is for, with its key. Its signaling servers are for whoever makes the transport.
    ///
    /// ```
    /// # use peerloom::{Collection, InProcess, Invitation, Network, Node};
    /// # async fn join(node: Node, todos: Collection<String>) -> Result<(), Box<dyn std::error::Error>> {
    /// let invitation = Invitation::new("our-todos")?.key(node.new_topic_key());
    /// println!("Join me: {invitation}");
    /// let room = node.room_of(&invitation).share(&todos).join(InProcess::new(&Network::new())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn room_of(&self, invitation: &Invitation) -> RoomBuilder {
        RoomBuilder::invited(self.clone(), invitation)
    }

    /// A random key for a new room.
    pub fn new_topic_key(&self) -> TopicKey {
        let mut key = Zeroizing::new([0; 32]);
        self.core.environment().fill_random(&mut *key);
        TopicKey::new(*key)
    }

    /// Leaves all rooms, waits for everything in flight, and closes the collections. When it returns, the
    /// storage can be opened again. Handles that are left answer with an error.
    ///
    /// # Errors
    ///
    /// The first that a store gave on closing; the others are closed all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the node closing: nothing can be opened or joined any more, and another call goes on with the rest.
    pub async fn close(&self) -> Result<(), Error> {
        let core = &self.core;
        core.leave.cancel();
        let mut closed = Ok(());
        // Whatever was being opened has the lock, and is among them.
        let open: Vec<Arc<Core>> = core.collections.lock().await.iter().collect();
        // Rooms first: their sessions commit through the collections.
        core.rooms.close();
        core.rooms.wait().await;
        for collection in &open {
            closed = closed.and(collection.close().await);
        }
        core.tasks.close();
        core.tasks.wait().await;
        closed.and(core.store.close().await.map_err(Error::from))
    }

    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        &self.core
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Node").field(&self.replica_id()).finish()
    }
}

/// Opens a node. Made by [`Node::builder`].
#[must_use = "nothing is opened before `open`"]
pub struct NodeBuilder {
    storage: Arc<dyn Storage>,
    environment: Option<Arc<dyn Environment>>,
    limits: ReplicaLimits,
}

impl NodeBuilder {
    /// Where the node gets time, randomness and tasks from. Default [`SystemEnvironment`].
    pub fn environment(mut self, environment: impl Environment) -> Self {
        self.environment = Some(Arc::new(environment));
        self
    }

    /// The bounds of the node's replicas.
    pub fn limits(mut self, limits: ReplicaLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Opens the node, as [`Node::open`] does.
    pub async fn open(self) -> Result<Node, OpenError> {
        let environment = self.environment.unwrap_or_else(|| Arc::new(SystemEnvironment::new()));
        let store = self.storage.open(&StoreName::node()).await?;
        let identity = match load_identity(&*store).await? {
            Some(identity) => identity,
            None => make_identity(&*store, &*environment).await?,
        };
        let opening = Opening::new(random_u64(&*environment));
        Ok(Node {
            core: Arc::new(NodeCore {
                storage: self.storage,
                environment,
                store,
                identity: Mutex::new(identity),
                changing_identity: tokio::sync::Mutex::new(()),
                opening,
                limits: self.limits,
                collections: tokio::sync::Mutex::default(),
                tasks: TaskTracker::new(),
                rooms: TaskTracker::new(),
                leave: CancellationToken::new(),
                sessions: AtomicU64::new(0),
            }),
        })
    }
}

/// What the handles to one node share.
pub(crate) struct NodeCore {
    storage: Arc<dyn Storage>,
    environment: Arc<dyn Environment>,
    /// The node's own store.
    store: Arc<dyn Store>,
    identity: Mutex<Identity>,
    /// Held across the commit of a new identity.
    changing_identity: tokio::sync::Mutex<()>,
    pub(crate) opening: Opening,
    limits: ReplicaLimits,
    /// `None` once the node is closed. Held across the opening of a collection, so that it is opened once.
    collections: tokio::sync::Mutex<OpenCollections>,
    tasks: TaskTracker,
    /// The tasks that must end before the collections are closed.
    rooms: TaskTracker,
    leave: CancellationToken,
    sessions: AtomicU64,
}

impl NodeCore {
    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    pub(crate) fn environment(&self) -> &dyn Environment {
        &*self.environment
    }

    pub(crate) fn environment_handle(&self) -> Arc<dyn Environment> {
        self.environment.clone()
    }

    pub(crate) fn replica_limits(&self) -> &ReplicaLimits {
        &self.limits
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cancelled when the node is closed.
    pub(crate) fn leave(&self) -> &CancellationToken {
        &self.leave
    }

    pub(crate) fn next_session(&self) -> SessionNumber {
        SessionNumber(self.sessions.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.environment.spawn(Box::pin(self.tasks.track_future(task)));
    }

    pub(crate) fn spawn_in_room(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.environment.spawn(Box::pin(self.rooms.track_future(task)));
    }

    /// Takes a new identity, because a copy of this node is alive under the one of `replica`. `None` if that was done already: several
    /// sessions may meet the copy at once.
    pub(crate) async fn change_identity(&self, replica: ReplicaId) -> Result<Option<ReplicaId>, OpenError> {
        let _one_at_a_time = self.changing_identity.lock().await;
        if self.identity().replica_id() != replica {
            return Ok(None);
        }
        let identity = make_identity(&*self.store, self.environment()).await?;
        let id = identity.replica_id();
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
        Ok(Some(id))
    }

    pub(crate) async fn open_collection(
        self: &Arc<Self>,
        name: CollectionName,
        handler: Arc<dyn ConflictHandler>,
        schema_version: u32,
    ) -> Result<Arc<Core>, OpenError> {
        let mut collections = self.collections.lock().await;
        if self.is_closed() {
            return Err(OpenError::Closed);
        }
        collections.open(self, name, handler, schema_version).await
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.leave.is_cancelled()
    }
}

async fn load_identity(store: &dyn Store) -> Result<Option<Identity>, OpenError> {
    let found = store.metadata(IDENTITY_KEY, None, NonZeroU32::MIN).await?;
    let Some((_, secret)) = found.first() else { return Ok(None) };
    let Ok(secret) = secret.as_ref().try_into() else {
        let marker = store.metadata(ENCRYPTION_MARKER_KEY, None, NonZeroU32::MIN).await?;
        let detail = match marker.is_empty() {
            true => {
                return Err(StorageError::Corrupt { detail: "the identity is not 32 bytes".into() }.into());
            }
            false => "it was opened without any; open it as an encrypted storage".into(),
        };
        return Err(StorageError::OtherKeys { detail }.into());
    };
    Ok(Some(Identity::from_secret(secret)))
}

async fn make_identity(store: &dyn Store, environment: &dyn Environment) -> Result<Identity, OpenError> {
    let mut secret = [0; 32];
    environment.fill_random(&mut secret);
    let entry = (Bytes::from_static(IDENTITY_KEY), Some(Bytes::copy_from_slice(&secret)));
    store.commit(Batch { records: Vec::new(), metadata: vec![entry] }).await?;
    Ok(Identity::from_secret(&secret))
}
