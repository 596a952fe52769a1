//! Rooms: where the peers with one topic meet, and what they share there.

mod connection;
mod event;
mod peers;
mod retry;
#[cfg(feature = "rxdb")]
mod rxdb;
mod sharing;
mod task;

use std::fmt;
use std::sync::Arc;

use peerloom_core::{ReplicaId, Sequence, SessionLimits, Topic, TopicKey, Transport};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

pub use event::{Events, RoomEvent};
pub use peers::{Peer, PeerState};
pub use retry::Retry;
#[cfg(feature = "rxdb")]
pub use rxdb::RxdbBridge;
pub use sharing::{Candidate, Sharing};

use crate::collection::{Collection, Content, Core};
use crate::error::RoomError;
use crate::node::{Node, NodeCore};
use event::EVENTS_MAX;
use peers::Peers;
use task::RoomTask;

/// The default of [`RoomBuilder::peers_max`].
const PEERS_MAX: usize = 256;

/// A collection in a room.
#[derive(Clone)]
pub(crate) struct SharedCollection {
    pub(crate) core: Arc<Core>,
    pub(crate) sharing: Sharing,
}

/// Joins a room. Made by [`Node::room`].
#[must_use = "nothing is joined before `join`"]
pub struct RoomBuilder {
    node: Node,
    topic: String,
    key: Option<TopicKey>,
    shares: Vec<SharedCollection>,
    limits: SessionLimits,
    retry: Retry,
    peers_max: usize,
    #[cfg(feature = "rxdb")]
    rxdb: Option<RxdbBridge>,
}

impl RoomBuilder {
    pub(crate) fn new(node: Node, topic: &str) -> Self {
        Self {
            node,
            topic: topic.to_owned(),
            key: None,
            shares: Vec::new(),
            limits: SessionLimits::default(),
            retry: Retry::default(),
            peers_max: PEERS_MAX,
            #[cfg(feature = "rxdb")]
            rxdb: None,
        }
    }

    /// Shares a collection in the room, both ways and whole. What is not shared stays unseen.
    pub fn share<T: Content>(self, collection: &Collection<T>) -> Self {
        self.share_as(collection, Sharing::new())
    }

    /// Shares a collection in the room one way or in part.
    pub fn share_as<T: Content>(mut self, collection: &Collection<T>, sharing: Sharing) -> Self {
        self.shares.push(SharedCollection { core: collection.core().clone(), sharing });
        self
    }

    /// The key that peers must know. Without one, whoever knows the topic and can reach the transport may join.
    pub fn key(mut self, key: TopicKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The bounds of each session: pages, messages, time-outs.
    pub fn limits(mut self, limits: SessionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// When to connect again after a failure.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The most peers at a time, default 256; others are refused.
    pub fn peers_max(mut self, peers_max: usize) -> Self {
        self.peers_max = peers_max;
        self
    }

    /// Lets RxDB peers in the room replicate with a collection.
    ///
    /// Of the replicas in the room that are connected to each other, the one with the smallest id speaks with them, so enable it on all
    /// replicas that may be the one, or on a room of their own. RxDB's topics have 6 to 99 characters.
    #[cfg(feature = "rxdb")]
    pub fn rxdb(mut self, bridge: RxdbBridge) -> Self {
        self.rxdb = Some(bridge);
        self
    }

    /// Joins the room over a transport.
    pub async fn join(self, transport: impl Transport) -> Result<Room, RoomError> {
        let topic = Topic::new(&self.topic)?;
        let node = self.node.core().clone();
        let mut shares: Vec<SharedCollection> = Vec::new();
        for share in self.shares {
            check(&node, &shares, &share)?;
            shares.push(share);
        }
        #[cfg(feature = "rxdb")]
        if let Some(bridge) = &self.rxdb {
            check_node(&node, bridge.core())?;
        }
        let membership = transport.join(&topic).await?;
        let (events, _) = broadcast::channel(EVENTS_MAX);
        shares.iter().for_each(|share| share.core.shared.listen(&events));
        #[cfg(feature = "rxdb")]
        let now = node.environment().now().monotonic;
        let core = Arc::new(RoomCore {
            #[cfg(feature = "rxdb")]
            rxdb: self.rxdb.map(|options| rxdb::Bridge::new(options, now)),
            node,
            topic_key: self.key.unwrap_or_else(|| TopicKey::of_open_topic(&topic)),
            limits: self.limits,
            retry: self.retry,
            peers_max: self.peers_max,
            shares: watch::Sender::new(shares),
            peers: Peers::default(),
            events,
            closed: CancellationToken::new(),
        });
        let leave = CancellationToken::new();
        let span = tracing::info_span!("room", %topic);
        let task = RoomTask::new(core.clone(), membership).run(leave.clone()).instrument(span);
        core.node.spawn_in_room(task);
        let handle = Handle { core, leave: leave.clone(), _leave_on_drop: leave.drop_guard() };
        Ok(Room { handle: Arc::new(handle) })
    }
}

/// A room that was joined. Cheap to clone; all clones are the same room. Dropping the last one leaves it.
#[derive(Clone)]
pub struct Room {
    handle: Arc<Handle>,
}

struct Handle {
    core: Arc<RoomCore>,
    leave: CancellationToken,
    _leave_on_drop: DropGuard,
}

impl Room {
    /// Shares another collection in the room, both ways and whole.
    pub fn share<T: Content>(&self, collection: &Collection<T>) -> Result<(), RoomError> {
        self.share_as(collection, Sharing::new())
    }

    /// Shares another collection in the room one way or in part.
    pub fn share_as<T: Content>(
        &self,
        collection: &Collection<T>,
        sharing: Sharing,
    ) -> Result<(), RoomError> {
        let core = &self.handle.core;
        let share = SharedCollection { core: collection.core().clone(), sharing };
        let mut checked = Ok(());
        core.shares.send_if_modified(|shares| {
            checked = check(&core.node, shares, &share);
            if checked.is_ok() {
                share.core.shared.listen(&core.events);
                shares.push(share);
            }
            checked.is_ok()
        });
        checked
    }

    /// The peers that are connected now.
    pub fn peers(&self) -> Vec<Peer> {
        self.handle.core.peers.list()
    }

    /// What happens in the room from now on.
    pub fn events(&self) -> Events {
        Events::new(self.handle.core.events.subscribe(), self.handle.core.closed.clone())
    }

    /// Waits for the first peer, and until every connected peer has, durably, all that was written here before the call, and there is
    /// nothing left to get from any of them, as far as they have said.
    ///
    /// Peers that are still connecting are waited for.
    ///
    /// # Errors
    ///
    /// [`RoomError::Left`] if the room is left meanwhile, [`RoomError::MustReopen`] if a collection takes nothing more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does nothing.
    pub async fn caught_up(&self) -> Result<(), RoomError> {
        let core = &self.handle.core;
        let ends: Vec<Sequence> =
            core.shares.borrow().iter().map(|share| share.core.snapshot().end).collect();
        let mut changes = core.peers.changes();
        loop {
            changes.mark_unchanged();
            if let Some(failed) = core.shares.borrow().iter().find(|share| share.core.shared.is_failed()) {
                return Err(RoomError::MustReopen(failed.core.shared.name().clone()));
            }
            if core.peers.are_caught_up(&ends) {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = core.closed.cancelled() => return Err(RoomError::Left),
                _ = changes.changed() => {}
            }
        }
    }

    /// Leaves the room: says so to every peer and waits until the sessions have ended.
    pub async fn leave(self) {
        self.handle.leave.cancel();
        self.handle.core.closed.cancelled().await;
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Room").field("peers", &self.peers().len()).finish_non_exhaustive()
    }
}

/// What the handle, the task and the sessions of one room share.
pub(crate) struct RoomCore {
    pub(crate) node: Arc<NodeCore>,
    topic_key: TopicKey,
    limits: SessionLimits,
    retry: Retry,
    peers_max: usize,
    /// Grows only.
    shares: watch::Sender<Vec<SharedCollection>>,
    peers: Peers,
    events: broadcast::Sender<RoomEvent>,
    #[cfg(feature = "rxdb")]
    rxdb: Option<rxdb::Bridge>,
    /// Cancelled when all sessions have ended.
    closed: CancellationToken,
}

impl RoomCore {
    fn tell(&self, event: RoomEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    /// Takes a new identity in place of `replica` in the background and says so. Sessions that are open go on under the old one.
    fn change_identity(self: &Arc<Self>, replica: ReplicaId) {
        let room = self.clone();
        self.node.spawn_in_room(async move {
            match room.node.change_identity(replica).await {
                Ok(Some(replica)) => room.tell(RoomEvent::IdentityChanged { replica }),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the identity is shared with a copy and could not be changed");
                }
            }
        });
    }
}

fn check(
    node: &Arc<NodeCore>,
    shares: &[SharedCollection],
    share: &SharedCollection,
) -> Result<(), RoomError> {
    let name = share.core.shared.name();
    check_node(node, &share.core)?;
    if shares.iter().any(|other| other.core.shared.name() == name) {
        return Err(RoomError::SharedTwice(name.clone()));
    }
    Ok(())
}

fn check_node(node: &Arc<NodeCore>, core: &Core) -> Result<(), RoomError> {
    match Arc::ptr_eq(node, &core.node) {
        true => Ok(()),
        false => Err(RoomError::AnotherNode(core.shared.name().clone())),
    }
}
