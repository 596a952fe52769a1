//! Opening a collection: its store, its replica, its writer.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use peerloom_core::{
    APPLIES_MAX, Applied, CONFLICT_PREFIX, CollectionName, ConflictHandler, DocumentId, Incarnation,
    LastWriteWins, Page, Replica, ReplicaId, Resolver, Snapshot, Store, Transaction, Write, Written,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::handle::Collection;
use super::request::{Chain, Decision, REQUESTS_MAX, Request};
use super::shared::{Era, Mark, Shared};
use super::writer::{Caught, Writer, past_views};
use crate::environment::{Environment, random_u64};
use crate::error::{Error, OpenError};
use crate::node::{Node, NodeCore};

/// How many entries of metadata, or records in conflict, are read at a time.
pub(super) const PAGE_ENTRIES: NonZeroU32 = NonZeroU32::new(1000).expect("a literal above zero");

/// The most bytes of a handler's id.
const HANDLER_ID_BYTES_MAX: usize = 255;

/// Opens a collection. Made by [`Node::collection`].
#[must_use = "nothing is opened before `open`"]
pub struct CollectionBuilder<T> {
    node: Node,
    name: String,
    handler: Arc<dyn ConflictHandler>,
    schema_version: u32,
    content: PhantomData<fn() -> T>,
}

impl<T: super::Content> CollectionBuilder<T> {
    pub(crate) fn new(node: Node, name: &str) -> Self {
        Self {
            node,
            name: name.to_owned(),
            handler: Arc::new(LastWriteWins),
            schema_version: 0,
            content: PhantomData,
        }
    }

    /// What makes one view of concurrent writes. Default [`LastWriteWins`]. All replicas should use the same.
    pub fn handler(mut self, handler: impl ConflictHandler) -> Self {
        self.handler = Arc::new(handler);
        self
    }

    /// The version of the documents' schema, default 0. Replicas whose versions differ do not replicate this collection
    /// with each other; both report it.
    pub fn schema_version(mut self, version: u32) -> Self {
        self.schema_version = version;
        self
    }

    /// Opens the collection, and creates it if there is none. A collection that this node has open already is the same one.
    ///
    /// Where another conflict handler made the views that are stored, they are made again first.
    pub async fn open(self) -> Result<Collection<T>, OpenError> {
        let name = CollectionName::new(&self.name)?;
        let core = self.node.core().open_collection(name, self.handler, self.schema_version).await?;
        Ok(Collection::new(core))
    }
}

/// An open collection, whatever its content. Its writer runs as long as somebody holds this.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) schema_version: u32,
    /// Keeps the node's own store open, and its identity at hand.
    pub(crate) node: Arc<NodeCore>,
    requests: mpsc::Sender<Request>,
}

impl Core {
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// How far the changefeed goes, for whoever wants to know when others have it.
    pub(crate) fn mark(&self) -> Mark {
        self.shared.mark()
    }

    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>, Error> {
        self.ask(|reply| Request::Write { writes, reply }).await
    }

    /// Commits a peer's pages in the order in which they come, and tells in that order what became of each: `None` if the collection has
    /// forgotten what it had learnt since that era. [`APPLIES_MAX`] may be under way. After one that failed none is committed.
    pub(crate) fn apply(
        self: Arc<Self>,
        peer: ReplicaId,
        era: Era,
        pages: mpsc::Receiver<Page>,
    ) -> impl Stream<Item = Result<Option<Applied>, Error>> {
        // Each is handed over before the next is looked at: what runs beside each other are the answers alone.
        let handed_over =
            stream::unfold((self, pages, Chain::default()), move |(core, mut pages, chain)| async move {
                let page = pages.recv().await?;
                let of = chain.clone();
                let answer = core.submit(|reply| Request::Apply { page, peer, era, chain: of, reply }).await;
                Some((answer, (core, pages, chain)))
            });
        handed_over.map(async |answer| answer?.await.map_err(|_| Error::Closed)?).buffered(APPLIES_MAX)
    }

    pub(crate) async fn recheck(&self) -> Result<(), Error> {
        self.ask(|reply| Request::Recheck { reply }).await
    }

    /// Has something decided on documents and metadata, and returns what when it is durable. `decide` gets the metadata of the keys,
    /// in their order, and a random incarnation.
    #[cfg_attr(not(feature = "rxdb"), expect(dead_code, reason = "no other dialect asks"))]
    pub(crate) async fn decide<T: Send + 'static>(
        &self,
        ids: Vec<DocumentId>,
        keys: Vec<Bytes>,
        decide: impl FnOnce(&mut Transaction<'_>, Vec<Option<Bytes>>, Incarnation, &mut dyn Resolver) -> T
        + Send
        + 'static,
    ) -> Result<T, Error> {
        let (tell, mut decided) = oneshot::channel();
        let decide = Box::new(
            move |transaction: &mut Transaction<'_>, metadata, fresh, resolver: &mut dyn Resolver| {
                // A caller who has gone away does not want to know.
                drop(tell.send(decide(transaction, metadata, fresh, resolver)));
            },
        );
        let decision = Decision { ids, keys, decide };
        self.ask(|reply| Request::Decide { decision, reply }).await?;
        Ok(decided.try_recv().expect("what is committed was decided"))
    }

    /// Waits for everything in flight and closes the store.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        match self.ask(|reply| Request::Close { reply }).await {
            Err(Error::Closed) => Ok(()),
            closed => closed,
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        self.submit(request).await?.await.map_err(|_| Error::Closed)?
    }

    /// Returns when the request has its place in the order of the writer's work.
    async fn submit<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<oneshot::Receiver<Result<T, Error>>, Error> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Error::Closed)?;
        Ok(answer)
    }
}

/// The collections that a node has open.
#[derive(Default)]
pub(crate) struct OpenCollections {
    /// With what tells that the store is closed, which is a while after the last holder has let go.
    by_name: BTreeMap<CollectionName, (Weak<Core>, CancellationToken)>,
}

impl OpenCollections {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<Core>> + '_ {
        self.by_name.values().filter_map(|(core, _)| core.upgrade())
    }

    pub(crate) async fn open(
        &mut self,
        node: &Arc<NodeCore>,
        name: CollectionName,
        handler: Arc<dyn ConflictHandler>,
        schema_version: u32,
    ) -> Result<Arc<Core>, OpenError> {
        let bytes = handler.id().len();
        if bytes == 0 || bytes > HANDLER_ID_BYTES_MAX {
            return Err(OpenError::HandlerId { bytes });
        }
        if let Some((core, closed)) = self.by_name.get(&name) {
            if let Some(core) = core.upgrade() {
                let same =
                    core.shared.handler().id() == handler.id() && core.schema_version == schema_version;
                return if same { Ok(core) } else { Err(OpenError::OpenDifferently(name)) };
            }
            closed.cancelled().await;
        }
        let store = node.storage().open(name.store()).await?;
        let incarnation = Incarnation::new(random_u64(node.environment()));
        let mut replica = Replica::load(node.replica_limits().clone(), incarnation, entries(&*store).await?)?;
        if replica.views_are_stale(handler.id()) {
            remake_views(&*store, &mut replica, &*handler, node.environment()).await?;
        }
        let environment = node.environment_handle();
        let snapshot = replica.snapshot().clone();
        let shared = Arc::new(Shared::new(name.clone(), handler, environment, snapshot));
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let writer = Writer {
            shared: shared.clone(),
            store: store.clone(),
            replica,
            era: Era::default(),
            requests: receiver,
        };
        let span = tracing::info_span!("collection", name = %shared.name());
        node.spawn(writer.run().instrument(span));
        let core = Arc::new(Core { shared, store, schema_version, node: node.clone(), requests });
        self.by_name.retain(|_, (core, closed)| core.strong_count() > 0 || !closed.is_cancelled());
        self.by_name.insert(name, (Arc::downgrade(&core), core.shared.closed().clone()));
        Ok(core)
    }
}

/// The metadata that a replica starts from: all but the checkpoints and the list of conflicts.
async fn entries(store: &dyn Store) -> Result<Vec<(Bytes, Bytes)>, OpenError> {
    let mut entries: Vec<(Bytes, Bytes)> = Vec::new();
    for prefix in Replica::LOADED_PREFIXES {
        let mut after: Option<Bytes> = None;
        loop {
            let page = store.metadata(prefix, after.as_deref(), PAGE_ENTRIES).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            entries.extend(page);
        }
    }
    Ok(entries)
}

/// Makes the views of all documents in conflict again, in pages. Starts over if it is interrupted.
async fn remake_views(
    store: &dyn Store,
    replica: &mut Replica,
    handler: &dyn ConflictHandler,
    environment: &dyn Environment,
) -> Result<(), OpenError> {
    let mut after: Option<Bytes> = None;
    loop {
        let page = store.metadata(CONFLICT_PREFIX, after.as_deref(), PAGE_ENTRIES).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        let ids: Vec<DocumentId> = page
            .iter()
            .filter_map(|(key, _)| DocumentId::from_utf8(&key[CONFLICT_PREFIX.len()..]).ok())
            .collect();
        let records = store.read(&ids).await?;
        if !replica.keeps_past_views() {
            let records = records.into_iter().flatten().collect();
            store.commit(Replica::remake(records, &mut Caught { handler })).await?;
            continue;
        }
        let past = past_views(store, &ids).await?;
        let fresh = Incarnation::new(random_u64(environment));
        let documents = ids.into_iter().zip(records);
        let mut transaction = replica.begin(environment.now(), fresh, documents).with_past_views(past);
        transaction.remake(&mut Caught { handler });
        let (batch, committable, _) = transaction.finish(&mut Caught { handler });
        store.commit(batch).await?;
        replica.committed(committable);
    }
    Ok(store.commit(replica.views_made(handler.id())).await?)
}
