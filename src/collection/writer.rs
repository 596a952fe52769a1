//! The one task that writes to a collection's store.
//!
//! Local writes and peers' pages come in as requests; as many as wait become one transaction and one commit. The task, not the caller,
//! awaits the commit, so that dropping a caller's future never leaves the replica in doubt about its own store.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::try_join_all;
use peerloom_core::{
    Applied, Batch, CommitError, ConflictHandler, DocumentId, Dot, Head, Incarnation, Notice, Page,
    PastViews, Record, Replica, ReplicaId, Resolver, State, StorageError, Store, Transaction, Write, Written,
    past_views_key,
};
use tokio::sync::{mpsc, oneshot};

use super::open::PAGE_ENTRIES;
use super::shared::{Era, Shared};
use crate::environment::random_u64;
use crate::error::Error;

/// The most requests waiting for the writer; callers wait beyond that.
pub(super) const REQUESTS_MAX: usize = 64;

/// The most documents in one commit. A request is never split, so one alone may have more.
const COMMIT_DOCUMENTS_MAX: usize = 4096;

/// Something to commit.
pub(super) enum Request {
    Write {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<Vec<Written>, Error>>,
    },
    /// `None` for a page of an earlier era.
    Apply {
        page: Page,
        peer: ReplicaId,
        era: Era,
        chain: Chain,
        reply: oneshot::Sender<Result<Option<Applied>, Error>>,
    },
    Recheck {
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Decide {
        decision: Decision,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Close {
        reply: oneshot::Sender<Result<(), Error>>,
    },
}

/// What another dialect wants to have decided on documents and on what it keeps in the metadata. Has a commit for itself.
pub(super) struct Decision {
    /// The documents it decides on.
    pub(super) ids: Vec<DocumentId>,
    /// The metadata it needs.
    pub(super) keys: Vec<Bytes>,
    pub(super) decide: Box<Decide>,
}

/// Decides with the metadata of the keys, in their order, and with a random incarnation.
pub(super) type Decide =
    dyn FnOnce(&mut Transaction<'_>, Vec<Option<Bytes>>, Incarnation, &mut dyn Resolver) + Send;

/// What is done alone, after everything before it.
enum Alone {
    Recheck(oneshot::Sender<Result<(), Error>>),
    Close(oneshot::Sender<Result<(), Error>>),
}

/// The pages of one link in one session. Each counts on those before it: once one has failed, none is committed any more, because its
/// checkpoint would pass what was lost. Holds why it failed.
#[derive(Clone, Default)]
pub(super) struct Chain(Arc<OnceLock<Error>>);

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Arc<dyn Store>,
    pub(super) replica: Replica,
    /// Pages of sessions that began in another era are refused: their peers left out what this replica no longer claims to know.
    pub(super) era: Era,
    pub(super) requests: mpsc::Receiver<Request>,
    /// Taken from the requests, and not yet attended to.
    pub(super) held: Option<Request>,
}

/// A request's reply and what it will say once the commit is durable.
enum Pending {
    Written(oneshot::Sender<Result<Vec<Written>, Error>>, Result<Vec<Written>, Error>),
    Applied(oneshot::Sender<Result<Option<Applied>, Error>>, Chain),
    Decided(oneshot::Sender<Result<(), Error>>),
}

impl Writer {
    /// Runs until the collection is closed, or nobody holds it any more. Then the store is closed too, whoever still reads from it.
    pub(super) async fn run(mut self) {
        let _closed = self.shared.closed().clone().drop_guard();
        while let Some(first) = self.next().await {
            let (batch, alone) = self.gather(first);
            if !batch.is_empty() {
                self.commit(batch).await;
            }
            // A caller who has gone away does not want to know.
            match alone {
                Some(Alone::Recheck(reply)) => drop(reply.send(self.recheck().await)),
                Some(Alone::Close(reply)) => {
                    self.requests.close();
                    let closed = self.store.close().await.map_err(Error::from);
                    let _ = reply.send(closed);
                    return;
                }
                None => {}
            }
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(collection = %self.shared.name(), %error, "a store could not be closed");
        }
    }

    async fn next(&mut self) -> Option<Request> {
        match self.held.take() {
            Some(held) => Some(held),
            None => self.requests.recv().await,
        }
    }

    /// The first request and those that wait behind it, up to the bound.
    fn gather(&mut self, first: Request) -> (Vec<Request>, Option<Alone>) {
        let (mut batch, mut documents, mut next) = (Vec::new(), 0, Some(first));
        while let Some(request) = next {
            if let Request::Decide { .. } = request {
                match batch.is_empty() {
                    true => batch.push(request),
                    false => self.held = Some(request),
                }
                break;
            }
            documents += match &request {
                Request::Write { writes, .. } => writes.len(),
                Request::Apply { page, .. } => page.documents.len(),
                Request::Decide { .. } | Request::Recheck { .. } | Request::Close { .. } => 0,
            };
            match request {
                Request::Close { reply } => return (batch, Some(Alone::Close(reply))),
                Request::Recheck { reply } => return (batch, Some(Alone::Recheck(reply))),
                Request::Apply { era, reply, .. } if era != self.era => drop(reply.send(Ok(None))),
                request => batch.push(request),
            }
            next = if documents < COMMIT_DOCUMENTS_MAX { self.requests.try_recv().ok() } else { None };
        }
        (batch, None)
    }

    async fn commit(&mut self, requests: Vec<Request>) {
        if self.shared.is_failed() {
            return refuse(requests, &Error::MustReopen);
        }
        let requests: Vec<Request> = requests.into_iter().filter_map(Request::unless_broken).collect();
        let mut ids: Vec<DocumentId> = Vec::new();
        for request in &requests {
            match request {
                Request::Write { writes, .. } => ids.extend(writes.iter().map(|write| write.id.clone())),
                Request::Apply { page, .. } => ids.extend(page.documents.iter().map(|(id, _)| id.clone())),
                Request::Decide { decision, .. } => ids.extend(decision.ids.iter().cloned()),
                Request::Recheck { .. } | Request::Close { .. } => {}
            }
        }
        // A page's ids ascend already, as a rule, and then this is one walk.
        ids.sort();
        ids.dedup();
        let records = match self.store.read(&ids).await {
            Ok(records) => records,
            Err(error) => return refuse(requests, &error.into()),
        };
        let keys: Vec<Bytes> = requests
            .iter()
            .flat_map(|request| match request {
                Request::Decide { decision, .. } => decision.keys.clone(),
                _ => Vec::new(),
            })
            .collect();
        let (past, mut metadata) =
            match besides(&*self.store, self.replica.keeps_past_views(), &ids, &records, &keys).await {
                Ok(besides) => besides,
                Err(error) => return refuse(requests, &error.into()),
            };
        let mut resolver = Caught { handler: self.shared.handler() };
        let environment = self.shared.environment();
        let fresh = || Incarnation::new(random_u64(environment));
        let mut transaction = self
            .replica
            .begin(environment.now(), fresh(), ids.into_iter().zip(records))
            .with_past_views(past);
        let (mut pending, mut peers) = (Vec::new(), Vec::new());
        for request in requests {
            match request {
                Request::Write { writes, reply } => {
                    let written = transaction.write_all(writes, &mut resolver).map_err(Error::from);
                    pending.push(Pending::Written(reply, written));
                }
                Request::Apply { page, peer, era: _, chain, reply } => {
                    transaction.apply(page);
                    peers.push(peer);
                    pending.push(Pending::Applied(reply, chain));
                }
                Request::Decide { decision, reply } => {
                    let metadata = std::mem::take(&mut metadata);
                    (decision.decide)(&mut transaction, metadata, fresh(), &mut resolver);
                    pending.push(Pending::Decided(reply));
                }
                Request::Recheck { .. } | Request::Close { .. } => unreachable!("gathered apart"),
            }
        }
        let (mut batch, committable, outcome) = transaction.finish(&mut resolver);
        let shared = self.shared.clone();
        let moving = shared.moving_feed().await;
        if planted!(CheckpointBeforePage) {
            let metadata = std::mem::take(&mut batch.metadata);
            let _ = self.store.commit(Batch { records: Vec::new(), metadata }).await;
        }
        if planted!(StateBeforeCommit) {
            self.replica.committed(committable.clone());
        }
        let committed = if batch.is_empty() { Ok(()) } else { self.store.commit(batch).await };
        if let Err(error) = committed {
            if matches!(error, CommitError::Unknown(_)) && !planted!(UnknownCommitTrusted) {
                self.shared.fail();
            }
            tracing::error!(collection = %self.shared.name(), %error, "a commit failed");
            return pending.into_iter().for_each(|pending| pending.fail(&error));
        }
        self.replica.committed(committable);
        self.shared.publish(self.replica.snapshot());
        drop(moving);
        let mut pages = outcome.pages.into_iter();
        for pending in pending {
            // A caller who has gone away does not want to know.
            match pending {
                Pending::Written(reply, written) => drop(reply.send(written)),
                Pending::Applied(reply, _) => {
                    let applied = pages.next().expect("one outcome for each page");
                    drop(reply.send(Ok(Some(applied))));
                }
                Pending::Decided(reply) => drop(reply.send(Ok(()))),
            }
        }
        self.tell(outcome.notices, &peers);
    }

    /// Forgets what was learnt from peers, on disk and then in memory. Stopping half-way is sound: to know less always is.
    async fn recheck(&mut self) -> Result<(), Error> {
        if self.shared.is_failed() {
            return Err(Error::MustReopen);
        }
        self.era = self.era.next();
        let forgotten = self.forget_learnt().await;
        let shared = self.shared.clone();
        let _moving = shared.moving_feed().await;
        if forgotten.is_ok() {
            self.replica.forget_learnt();
        }
        self.shared.begin_era(self.replica.snapshot(), self.era);
        forgotten
    }

    async fn forget_learnt(&mut self) -> Result<(), Error> {
        for prefix in Replica::LEARNT_PREFIXES {
            loop {
                let page = self.store.metadata(prefix, None, PAGE_ENTRIES).await?;
                if page.is_empty() {
                    break;
                }
                let metadata = page.into_iter().map(|(key, _)| (key, None)).collect();
                let committed = self.store.commit(Batch { records: Vec::new(), metadata }).await;
                if matches!(committed, Err(CommitError::Unknown(_))) {
                    self.shared.fail();
                }
                committed?;
            }
        }
        Ok(())
    }

    fn tell(&self, notices: Vec<Notice>, peers: &[ReplicaId]) {
        use crate::room::RoomEvent;
        let collection = || self.shared.name().clone();
        for notice in notices {
            let event = match notice {
                Notice::Conflict { id, heads } => {
                    RoomEvent::Conflict { collection: collection(), id, versions: heads }
                }
                Notice::HandlerFailed { id } => RoomEvent::HandlerFailed { collection: collection(), id },
                Notice::ClockAhead { page, id, ahead_ms } => {
                    RoomEvent::ClockAhead { collection: collection(), peer: peers[page], id, ahead_ms }
                }
                Notice::RolledBack { page, .. } => {
                    RoomEvent::RolledBack { collection: collection(), peer: peers[page] }
                }
            };
            self.shared.tell(&event);
        }
    }
}

impl Request {
    /// Answers a page that comes after one that failed.
    fn unless_broken(self) -> Option<Self> {
        match self {
            Self::Apply { page, peer, era, chain, reply } => match chain.0.get() {
                Some(error) => {
                    drop(reply.send(Err(error.clone())));
                    None
                }
                None => Some(Self::Apply { page, peer, era, chain, reply }),
            },
            request => Some(request),
        }
    }
}

impl Chain {
    /// Answers a page that was not committed.
    fn fail(&self, reply: oneshot::Sender<Result<Option<Applied>, Error>>, error: &Error) {
        // Of several in one commit the first says why.
        let error = self.0.get_or_init(|| error.clone());
        drop(reply.send(Err(error.clone())));
    }
}

impl Pending {
    fn fail(self, error: &CommitError) {
        match self {
            Self::Written(reply, written) if planted!(FailedWriteAcknowledged) => drop(reply.send(written)),
            // A write that was refused was not in the batch.
            Self::Written(reply, written) => {
                drop(reply.send(written.and_then(|_| Err(error.clone().into()))));
            }
            Self::Applied(reply, chain) => chain.fail(reply, &error.clone().into()),
            Self::Decided(reply) => drop(reply.send(Err(error.clone().into()))),
        }
    }
}

/// What is read for the requests besides their documents: past views, if they are kept, and the metadata of a decision.
async fn besides(
    store: &dyn Store,
    keeps_past_views: bool,
    ids: &[DocumentId],
    records: &[Option<Record>],
    keys: &[Bytes],
) -> Result<(Vec<(DocumentId, PastViews)>, Vec<Option<Bytes>>), StorageError> {
    let there = ids.iter().zip(records).filter(|(_, record)| keeps_past_views && record.is_some());
    let there: Vec<DocumentId> = there.map(|(id, _)| id.clone()).collect();
    Ok((past_views(store, &there).await?, read_metadata(store, keys).await?))
}

/// Reads the past views of documents, of those that have any.
pub(super) async fn past_views(
    store: &dyn Store,
    ids: &[DocumentId],
) -> Result<Vec<(DocumentId, PastViews)>, StorageError> {
    let keys: Vec<Bytes> = ids.iter().map(past_views_key).collect();
    let found = read_metadata(store, &keys).await?;
    // What does not read as past views was shown to nobody.
    let views = |value: Option<Bytes>| value.and_then(|value| PastViews::from_value(&value).ok());
    Ok(ids.iter().zip(found).filter_map(|(id, value)| Some((id.clone(), views(value)?))).collect())
}

/// Reads entries of metadata by their keys, all at once.
pub(crate) async fn read_metadata(
    store: &dyn Store,
    keys: &[Bytes],
) -> Result<Vec<Option<Bytes>>, StorageError> {
    let entry = async |key: &Bytes| {
        // A key is the first of those that begin with it.
        let found = store.metadata(key, None, NonZeroU32::MIN).await?;
        Ok(found.into_iter().find(|(found, _)| found == key).map(|(_, value)| value))
    };
    try_join_all(keys.iter().map(entry)).await
}

fn refuse(requests: Vec<Request>, error: &Error) {
    for request in requests {
        match request {
            Request::Write { reply, .. } => drop(reply.send(Err(error.clone()))),
            Request::Apply { reply, chain, .. } => chain.fail(reply, error),
            Request::Recheck { reply } | Request::Close { reply } | Request::Decide { reply, .. } => {
                drop(reply.send(Err(error.clone())));
            }
        }
    }
}

/// Calls the handler and catches its panics.
pub(super) struct Caught<'h> {
    pub(super) handler: &'h dyn ConflictHandler,
}

impl Caught<'_> {
    fn call<T>(&self, call: impl FnOnce(&dyn ConflictHandler) -> T) -> Option<T> {
        // The handler is pure by contract, so a panic leaves nothing half done in it.
        let caught = catch_unwind(AssertUnwindSafe(|| call(self.handler)));
        caught
            .inspect_err(|_| tracing::error!(handler = self.handler.id(), "the conflict handler panicked"))
            .ok()
    }
}

impl Resolver for Caught<'_> {
    fn resolve(&mut self, heads: &[Head]) -> Option<State> {
        self.call(|handler| handler.resolve(heads))
    }

    fn annotate(&mut self, seen: Option<&State>, next: &State, dot: Dot) -> Option<Bytes> {
        self.call(|handler| handler.annotate(seen, next, dot))
    }
}
