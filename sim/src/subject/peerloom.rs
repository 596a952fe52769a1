//! Peerloom itself: a node with one collection in one room.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use peerloom::core::DocumentId;
use peerloom::{
    Collection, ConflictHandler, Context, Dot, Environment, Error, Head, Node, ReplicaLimits, Room,
    SessionLimits, State, Storage, json,
};
use serde_json::Value;

use super::{PeerContext, Running, Subject, TOPIC};
use crate::device::StorageEnvironment;
use crate::outcome::Violation;
use crate::plan::{Action, Draw};
use crate::storage::Watched;
use crate::tasks::{PlannedPanic, caught};
use crate::trace::What;
use crate::world::Held;

/// The collection of every simulated peer.
const COLLECTION: &str = "documents";

/// How many conflicts a user looks through.
const CONFLICTS_LISTED: u32 = 100;

/// Makes the storage of a peer at each of its starts.
pub(crate) type MakeStorage = Arc<dyn Fn(&StorageEnvironment) -> Arc<dyn Storage> + Send + Sync>;

/// Peerloom with some storage and some conflict handler.
pub(crate) struct Peerloom {
    pub(crate) storage: MakeStorage,
    pub(crate) handler: Arc<dyn ConflictHandler>,
}

#[async_trait]
impl Subject for Peerloom {
    async fn start(&self, peer: &PeerContext) -> Result<Box<dyn Running>, String> {
        let storage = Watched {
            inner: (self.storage)(&peer.storage),
            seed: peer.seed,
            peer: peer.number,
            world: peer.world.clone(),
            faults: peer.storage_faults.clone(),
            disk: peer.storage.device.disk.clone(),
            die: peer.die.clone(),
            wake: peer.wake.clone(),
            open: peer.open_store.clone(),
        };
        let words = |error: &dyn std::error::Error| format!("it does not start: {error}");
        let (replica_limits, session_limits) = limits(peer);
        let node = Node::builder(storage).environment(peer.environment.clone()).limits(replica_limits);
        let opening = node.open();
        let node = opening.await.map_err(|error| words(&error))?;
        peer.world.lock().peers[peer.number.index()].replica = Some(node.replica_id());
        let handler = Observed { inner: self.handler.clone(), peer: peer.clone() };
        let opening = node.collection::<Value>(COLLECTION).handler(handler).open();
        let documents = match opening.await {
            Ok(documents) => documents,
            Err(error) => {
                let _ = node.close().await;
                return Err(words(&error));
            }
        };
        let room = node.room(TOPIC).share(&documents).limits(session_limits);
        let joining = room.join(peer.transport.clone());
        let room = joining.await.map_err(|error| words(&error))?;
        listen(&room, peer);
        Ok(Box::new(Installed { peer: peer.clone(), node, documents, _room: room }))
    }
}

/// The bounds of a room: in half of the rooms so tight that catching up takes many pages, and histories are trimmed.
fn limits(peer: &PeerContext) -> (ReplicaLimits, SessionLimits) {
    let (mut replica, mut session) = (ReplicaLimits::default(), SessionLimits::default());
    let mut draw = Draw::new(peer.seed, "limits");
    if draw.chance(0.5) {
        // A page takes half a round trip, and a room that is healed must not spend its time on that alone.
        let is_near = peer.transport.ways.message_takes_max() <= Duration::from_millis(50);
        let documents_max = draw.mostly_small(if is_near { 1 } else { 10 }, 100) as u32;
        session.page.documents_max = NonZeroU32::new(documents_max).expect("drawn from 1 up");
        replica.history_incarnations_max = draw.mostly_small(1, 8) as usize;
    }
    (replica, session)
}

/// Writes what the room tells its application into the trace.
fn listen(room: &Room, peer: &PeerContext) {
    let (mut events, world, number) = (room.events(), peer.world.clone(), peer.number);
    peer.environment.spawn(Box::pin(async move {
        while let Some(event) = events.next().await {
            if let peerloom::RoomEvent::IdentityChanged { replica } = &event {
                world.lock().peers[number.index()].replica = Some(*replica);
            }
            let recorded = world.lock().recorder.wants_events();
            let says = if recorded { format!("{event:?}") } else { String::new() };
            world.record(Some(number), What::Told { says });
        }
    }));
}

struct Installed {
    peer: PeerContext,
    node: Node,
    documents: Collection<Value>,
    _room: Room,
}

#[async_trait]
impl Running for Installed {
    async fn act(&mut self, action: &Action) -> Result<(), String> {
        self.perform(action).await.map_err(|error| error.to_string())?;
        self.read_what_was_written().await;
        Ok(())
    }

    async fn stop(self: Box<Self>) {
        if let Err(error) = self.node.close().await {
            let says = format!("it does not close: {error}");
            self.peer.world.record(Some(self.peer.number), What::Told { says });
        }
    }
}

impl Installed {
    async fn perform(&self, action: &Action) -> Result<(), Error> {
        match action {
            Action::Put { document, value } => {
                self.intend([(document, Some(value))], None);
                self.documents.put(document.as_str(), value).await
            }
            Action::Bulk { documents } => {
                self.intend(documents.iter().map(|(id, value)| (id, Some(value))), None);
                self.documents.put_many(documents.iter().map(|(id, value)| (id.as_str(), value))).await
            }
            Action::Delete { document } => {
                self.intend([(document, None)], None);
                if !self.documents.remove(document.as_str()).await? {
                    self.intend([], None);
                }
                Ok(())
            }
            Action::Edit { document, fields, ponders_ms } => {
                let Some(mut draft) = self.documents.read(document.as_str()).await? else { return Ok(()) };
                if *ponders_ms > 0 {
                    tokio::time::sleep(Duration::from_millis(*ponders_ms)).await;
                }
                let read = json::to_canonical(&draft).ok();
                edit(&mut draft, fields);
                self.intend([(document, Some(&*draft))], Some(draft.context().clone()));
                if let Some(doing) = &mut self.peer.world.lock().peers[self.peer.number.index()].doing {
                    doing.read = read;
                }
                self.documents.save(draft).await
            }
            Action::Settle { nth } => {
                let mut page = self.documents.conflicts(None, CONFLICTS_LISTED).await?;
                if page.conflicts.is_empty() {
                    return Ok(());
                }
                let conflict = page.conflicts.swap_remove(*nth as usize % page.conflicts.len());
                let view = conflict.view.as_ref().ok().cloned().flatten();
                let id = conflict.id.as_str().to_owned();
                self.intend([(&id, view.as_ref())], Some(conflict.context().clone()));
                match view {
                    Some(view) => self.documents.settle(conflict, &view).await,
                    None => self.documents.settle_by_removing(conflict).await,
                }
            }
        }
    }

    /// Tells the observer what the user is about to write.
    fn intend<'v>(
        &self,
        writes: impl IntoIterator<Item = (&'v String, Option<&'v Value>)>,
        seen: Option<Context>,
    ) {
        let bodies = writes.into_iter().filter_map(|(id, value)| {
            let body =
                value.map(|value| json::to_canonical(value).expect("plans hold values that can be written"));
            Some((DocumentId::new(id.as_str()).ok()?, body))
        });
        let intends: BTreeMap<DocumentId, Option<Bytes>> = bodies.collect();
        let mut world = self.peer.world.lock();
        if let Some(doing) = &mut world.peers[self.peer.number.index()].doing {
            doing.intends = intends;
            doing.seen = seen;
        }
    }

    /// What the user was told to be written was committed, and is in what the user reads.
    async fn read_what_was_written(&self) {
        let (wrote, intends) = {
            let mut world = self.peer.world.lock();
            let doing = world.peers[self.peer.number.index()].doing.as_mut();
            doing.map(|doing| (doing.wrote.clone(), std::mem::take(&mut doing.intends))).unwrap_or_default()
        };
        if let Some(id) = intends.keys().find(|id| !wrote.iter().any(|(written, _)| written == *id)) {
            let says = "a write was acknowledged, and no commit holds it";
            let violation = Violation::of("what was acknowledged is durable", says).at(self.peer.number);
            self.peer.world.violate(violation.about(id.as_str()));
        }
        // Of a bulk the ends will do.
        let ends = [wrote.first(), wrote.last()];
        for (id, dot) in ends.into_iter().flatten() {
            let before = self.held(id);
            let shown = match self.documents.read(id.clone()).await {
                Ok(Some(draft)) => dot.is_in(draft.context()),
                // Deleted by somebody; or it has just changed, and then there is nothing to compare with.
                Ok(None) => before.view.is_none() || self.held(id).version != before.version,
                // A read that the plan lets fail says nothing.
                Err(_) => true,
            };
            if !shown {
                let says = "a user does not see what was just written and acknowledged";
                let violation = Violation::of("users read their writes", says).at(self.peer.number);
                self.peer.world.violate(violation.about(id.as_str()));
            }
        }
    }
}

impl Installed {
    /// A document that the observer has seen at this peer.
    fn held(&self, id: &DocumentId) -> Held {
        let world = self.peer.world.lock();
        let held = world.peers[self.peer.number.index()].holdings.documents.get(id);
        held.expect("what was written was committed").clone()
    }
}

/// Sets fields of a value, or replaces one that has no fields.
fn edit(value: &mut Value, fields: &[(String, Value)]) {
    let Value::Object(object) = value else {
        if let Some((_, first)) = fields.first() {
            *value = first.clone();
        }
        return;
    };
    for (field, to) in fields {
        match to {
            Value::Null => drop(object.remove(field)),
            to => drop(object.insert(field.clone(), to.clone())),
        }
    }
}

/// The conflict handler of a peer. It panics at some conflicts, the same ones on every peer, if the plan says so.
struct Observed {
    inner: Arc<dyn ConflictHandler>,
    peer: PeerContext,
}

impl Observed {
    /// The handler must be told what the writer had read, not what is there by now.
    fn check_seen(&self, seen: Option<&State>) {
        let world = &self.peer.world;
        let doing = world.lock().peers[self.peer.number.index()].doing.clone();
        let Some(read) = doing.and_then(|doing| doing.read) else { return };
        if seen.is_none_or(|seen| seen.body != read) {
            let says = "the conflict handler was not given what the writer of a draft had read";
            world.violate(Violation::of("handlers see what writers saw", says).at(self.peer.number));
        }
    }
}

impl Observed {
    /// Calls the user's handler. The shell would catch its panic and show the last write: here it is a verdict.
    fn call<T>(&self, call: impl FnOnce(&dyn ConflictHandler) -> T) -> T {
        match caught(|| call(&*self.inner)) {
            Ok(made) => made,
            Err(panic) => {
                let violation = Violation::of("the conflict handler does not panic", panic);
                self.peer.world.violate(violation.at(self.peer.number));
                std::panic::panic_any(PlannedPanic)
            }
        }
    }
}

impl ConflictHandler for Observed {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let dots: Vec<Dot> = heads.iter().map(|head| head.dot).collect();
        let draws = |one_in: u32| {
            Draw::new(self.peer.seed, ("handler panics", dots)).below(one_in.max(1).into()) == 0
        };
        if self.peer.handler_panics_one_in.is_some_and(draws) {
            crate::marks::reach("a conflict handler that panics");
            std::panic::panic_any(PlannedPanic);
        }
        self.call(|handler| handler.resolve(heads))
    }

    fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Bytes {
        self.check_seen(seen);
        self.call(|handler| handler.annotate(seen, next, dot))
    }
}
