//! Rooms: where the peers with one topic meet, and what they share there.

mod connection;
mod event;
mod outgoing;
mod peers;
mod retry;
#[cfg(feature = "rxdb")]
mod rxdb;
mod sharing;
mod task;
mod validator;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use peerloom_core::{
    CLAIM_BYTES_MAX, Capabilities, Invitation, Refusal, ReplicaId, SessionLimits, Topic, TopicKey, Transport,
    TransportError,
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;
use zeroize::Zeroizing;

pub use event::{Events, RoomEvent};
pub use peers::{Peer, PeerState};
pub use retry::Retry;
#[cfg(feature = "rxdb")]
pub use rxdb::RxdbBridge;
pub use sharing::{Candidate, Sharing};
pub use validator::{Applicant, PeerValidator, Verdict};

use crate::collection::{Collection, Content, Core, Mark};
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
    key: Key,
    claim: Bytes,
    validator: Option<Arc<dyn PeerValidator>>,
    shares: Vec<SharedCollection>,
    limits: SessionLimits,
    retry: Retry,
    peers_max: usize,
    #[cfg(feature = "rxdb")]
    rxdb: Option<RxdbBridge>,
}

/// Where the key of a room comes from.
enum Key {
    Open,
    Given(TopicKey),
    Passphrase(Zeroizing<String>),
}

impl Key {
    /// The key, and the topic as the transport sees it.
    async fn resolve(self, topic: Topic) -> Result<(TopicKey, Topic), RoomError> {
        let key = match self {
            Self::Open => return Ok((TopicKey::of_open_topic(&topic), topic)),
            Self::Given(key) => key,
            Self::Passphrase(passphrase) => {
                let topic = topic.clone();
                let made =
                    tokio::task::spawn_blocking(move || TopicKey::from_passphrase(&passphrase, &topic));
                made.await.expect("making a key does not panic, and is not aborted")?
            }
        };
        let topic = Topic::with_key(topic.as_str(), &key)?;
        Ok((key, topic))
    }
}

impl RoomBuilder {
    pub(crate) fn new(node: Node, topic: &str) -> Self {
        Self {
            node,
            topic: topic.to_owned(),
            key: Key::Open,
            claim: Bytes::new(),
            validator: None,
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

    pub(crate) fn invited(node: Node, invitation: &Invitation) -> Self {
        let builder = Self::new(node, invitation.topic());
        match invitation.topic_key() {
            Some(key) => builder.key(key.clone()),
            None => builder,
        }
    }

    /// The key that peers must know: 32 random bytes, such as [`Node::new_topic_key`] makes.
    ///
    /// Both sides prove it, bound to the connection as far as the transport can, before anything else is said. The room is met under
    /// a name derived from the key ([`Topic::with_key`]), so peers with another key, or none, are never met as a rule; one that is
    /// met all the same is refused. Whoever runs the transport's meeting place can neither join, nor read, nor sit between.
    ///
    /// Without a key, whoever knows the topic and can reach the transport may join, read and write, the
    /// meeting place among them. What is said is still hidden from whoever does not join, and every peer has still proven its identity.
    pub fn key(mut self, key: TopicKey) -> Self {
        self.key = Key::Given(key);
        self
    }

    /// As [`RoomBuilder::key`], with the key that a passphrase makes: see [`TopicKey::from_passphrase`] for what it withstands.
    /// The key is made when the room is joined, on a thread that may block.
    pub fn passphrase(mut self, passphrase: &str) -> Self {
        self.key = Key::Passphrase(Zeroizing::new(passphrase.to_owned()));
        self
    }

    /// Who is admitted among those who know the key. Without a validator, everybody is.
    pub fn validator(mut self, validator: impl PeerValidator) -> Self {
        self.validator = Some(Arc::new(validator));
        self
    }

    /// What the validators of peers get to know of this node: at most 4,096 bytes in a form of the application's own, such as a name, a token,
    /// or a certificate for [`Node::public_key`]. Only peers that have proven the topic key see it. A node that takes a new identity
    /// ([`RoomEvent::IdentityChanged`]) goes on with the same claim until the room is joined again.
    pub fn claim(mut self, claim: impl Into<Bytes>) -> Self {
        self.claim = claim.into();
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
    /// Of the replicas in the room that have a bridge and are connected to each other, the one with the smallest id speaks with them, and when it
    /// leaves, the next does. RxDB's topics have 6 to 99 characters.
    #[cfg(feature = "rxdb")]
    pub fn rxdb(mut self, bridge: RxdbBridge) -> Self {
        self.rxdb = Some(bridge);
        self
    }

    /// Joins the room over a transport.
    ///
    /// # Errors
    ///
    /// [`RoomError::Passphrase`] if no key can be made of the passphrase, [`RoomError::ClaimTooLong`], [`RoomError::RxdbWithKey`],
    /// [`RoomError::Rxdb`] if its collection takes no commit, [`RoomError::Closed`], and what the transport says.
    pub async fn join(self, transport: impl Transport) -> Result<Room, RoomError> {
        let topic = Topic::new(&self.topic)?;
        if self.claim.len() > CLAIM_BYTES_MAX {
            return Err(RoomError::ClaimTooLong { bytes: self.claim.len() });
        }
        let node = self.node.core().clone();
        if node.is_closed() {
            return Err(RoomError::Closed);
        }
        let mut shares: Vec<SharedCollection> = Vec::new();
        for share in self.shares {
            check(&node, &shares, &share)?;
            shares.push(share);
        }
        #[cfg(feature = "rxdb")]
        if let Some(bridge) = &self.rxdb {
            if !matches!(self.key, Key::Open) {
                return Err(RoomError::RxdbWithKey);
            }
            check_node(&node, bridge.core())?;
            bridge.keep_past_views().await.map_err(RoomError::Rxdb)?;
        }
        let (topic_key, met_as) = self.key.resolve(topic.clone()).await?;
        let membership = transport.join(&met_as).await?;
        let (events, _) = broadcast::channel(EVENTS_MAX);
        shares.iter().for_each(|share| share.core.shared.listen(&events));
        #[cfg(feature = "rxdb")]
        let now = node.environment().now().monotonic;
        let core = Arc::new(RoomCore {
            #[cfg(feature = "rxdb")]
            rxdb: self.rxdb.map(|options| rxdb::Bridge::new(options, now)),
            node,
            topic_key,
            claim: self.claim,
            validator: self.validator,
            revoked: Mutex::default(),
            limits: self.limits,
            retry: self.retry,
            peers_max: self.peers_max,
            shares: watch::Sender::new(shares),
            peers: Peers::default(),
            events,
            ended: OnceLock::new(),
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
#[must_use = "dropping a room leaves it"]
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

    /// Speaks no longer with a replica: its connections are closed and new ones refused, in this room and until it is
    /// left, and the replica is told why, of which 512 bytes count. What it has got it keeps, and other members go on speaking with it
    /// unless they revoke it too. For longer than this room lives, let the [`PeerValidator`] refuse it.
    ///
    /// A replica id costs nothing: who knows the topic key may come again under another, unless a validator admits
    /// only those it knows.
    pub fn revoke(&self, replica: ReplicaId, reason: impl Into<String>) {
        let core = &self.handle.core;
        let mut revoked = core.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = reason.into();
        revoked.insert(replica, reason.clone());
        // Under the lock, so that none is admitted between the two.
        core.peers.refuse(replica, &Refusal::Revoked(reason));
    }

    /// Takes a [`Room::revoke`] back. Connections come back when the waits after refusals have passed, on both sides: see
    /// [`Retry::refused_max`].
    pub fn reinstate(&self, replica: ReplicaId) {
        self.handle.core.revoked.lock().unwrap_or_else(PoisonError::into_inner).remove(&replica);
    }

    /// Waits for the first peer, and until every connected peer has, durably, all that was written here before the call, and there is
    /// nothing left to get from any of them, as far as they have said.
    ///
    /// That is for the collections that both sides share, in one schema version, and the ways that both let them replicate: a peer that shares
    /// none of them is not waited for. [`RoomEvent::NotShared`] and [`RoomEvent::SchemaMismatch`] tell of the others. A peer whose
    /// store fails is waited for until it is open again, or gone.
    ///
    /// Peers that are still connecting are waited for, if they began before the call or before the first one had joined. One
    /// that failed to prove itself, or was refused, is not waited for when it comes again.
    ///
    /// # Errors
    ///
    /// [`RoomError::Left`] if the room is left meanwhile, [`RoomError::Transport`] if its transport ends, [`RoomError::MustReopen`] if a collection takes nothing more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does nothing.
    pub async fn caught_up(&self) -> Result<(), RoomError> {
        let core = &self.handle.core;
        let marks: Vec<Mark> = core.shares.borrow().iter().map(|share| share.core.mark()).collect();
        let mut changes = core.peers.changes();
        // Who connects later could keep this from ever ending, without knowing the key.
        let mut newest = None;
        loop {
            changes.mark_unchanged();
            if newest.is_none() && core.peers.has_any_joined() {
                newest = core.peers.newest();
            }
            if let Some(failed) = core.shares.borrow().iter().find(|share| share.core.shared.is_failed()) {
                return Err(RoomError::MustReopen(failed.core.shared.name().clone()));
            }
            if core.peers.are_caught_up(&marks, newest) {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = core.closed.cancelled() => return Err(core.why_closed()),
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
    claim: Bytes,
    validator: Option<Arc<dyn PeerValidator>>,
    /// Whom to refuse, and what for. Held while a peer is admitted; taken before the lock of `peers`.
    revoked: Mutex<BTreeMap<ReplicaId, String>>,
    limits: SessionLimits,
    retry: Retry,
    peers_max: usize,
    /// Grows only.
    shares: watch::Sender<Vec<SharedCollection>>,
    peers: Peers,
    events: broadcast::Sender<RoomEvent>,
    #[cfg(feature = "rxdb")]
    rxdb: Option<rxdb::Bridge>,
    /// Why the transport has ended, if it has.
    ended: OnceLock<TransportError>,
    /// Cancelled when all sessions have ended.
    closed: CancellationToken,
}

impl RoomCore {
    fn tell(&self, event: RoomEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    /// The transport has ended by itself.
    fn end(&self, error: TransportError) {
        // Before the event, so that whoever has seen it finds the error.
        let _ = self.ended.set(error.clone());
        self.tell(RoomEvent::Ended { error });
    }

    /// Why there is no room any more.
    fn why_closed(&self) -> RoomError {
        self.ended.get().cloned().map_or(RoomError::Left, RoomError::Transport)
    }

    /// What peers are told that this node does here besides replicating.
    fn capabilities(&self) -> Capabilities {
        #[cfg(feature = "rxdb")]
        if self.rxdb.is_some() {
            return Capabilities::SPEAKS_RXDB;
        }
        Capabilities::NONE
    }

    /// Why a replica is to be refused, if it was revoked.
    fn revocation(&self, replica: ReplicaId) -> Option<Refusal> {
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.get(&replica).cloned().map(Refusal::Revoked)
    }

    /// Admits a replica unless it was revoked, and lets nobody revoke it meanwhile.
    fn unless_revoked(
        &self,
        replica: ReplicaId,
        admit: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        match revoked.get(&replica) {
            Some(reason) => Err(Refusal::Revoked(reason.clone())),
            None => admit(),
        }
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
