//! The one task that writes to a collection's store.
//!
//! Local writes and peers' pages come in as requests; as many as wait become one transaction and one commit. The task, not the caller,
//! awaits the commit, so that dropping a caller's future never leaves the replica in doubt about its own store.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use peerloom_core::{
    Applied, Batch, CommitError, Committable, ConflictHandler, DocumentId, Dot, Head, Incarnation, Notice,
    Outcome, PastViews, Replica, ReplicaId, Resolver, State, StorageError, Store, Written, past_views_key,
};
use tokio::sync::{mpsc, oneshot};

use super::gathered::{Alone, Found, Gathered, look_up};
use super::open::PAGE_ENTRIES;
use super::request::{Chain, Request};
use super::shared::{Era, Shared};
use crate::environment::random_u64;
use crate::error::Error;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Arc<dyn Store>,
    pub(super) replica: Replica,
    /// Pages of sessions that began in another era are refused: their peers left out what this replica no longer claims to know.
    pub(super) era: Era,
    pub(super) requests: mpsc::Receiver<Request>,
}

/// A request's reply and what it will say once the commit is durable.
enum Pending {
    Written(oneshot::Sender<Result<Vec<Written>, Error>>, Result<Vec<Written>, Error>),
    Applied(oneshot::Sender<Result<Option<Applied>, Error>>, Chain),
    Decided(oneshot::Sender<Result<(), Error>>),
}

/// What a commit reads before it is decided.
struct Needed {
    found: Vec<Found>,
    past: Vec<(DocumentId, PastViews)>,
    metadata: Vec<Option<Bytes>>,
}

/// What is to be committed, and what is to be said then.
struct Decided {
    batch: Batch,
    committable: Committable,
    outcome: Outcome,
    pending: Vec<Pending>,
    /// Whose pages they are, in their order.
    peers: Vec<ReplicaId>,
}

impl Writer {
    /// Runs until the collection is closed, or nobody holds it any more. Then the store is closed too, whoever still reads from it.
    pub(super) async fn run(mut self) {
        let _closed = self.shared.closed().clone().drop_guard();
        let mut next = Gathered::default();
        loop {
            if next.is_empty() {
                let Some(first) = self.requests.recv().await else { break };
                next.add(first, self.era, &self.store);
            }
            next.fill(&mut self.requests, self.era, &self.store);
            let mut gathered = std::mem::take(&mut next);
            let alone = gathered.alone.take();
            if !gathered.requests.is_empty() {
                // Whatever comes after something that is done alone must wait for it.
                let ahead = if alone.is_none() { Some(&mut next) } else { None };
                self.commit(gathered, ahead).await;
            }
            // A caller who has gone away does not want to know.
            match alone {
                Some(Alone::Decide(decision, reply)) => {
                    let decide = Gathered::alone(Request::Decide { decision, reply });
                    self.commit(decide, Some(&mut next)).await;
                }
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

    /// Commits, and gathers what comes meanwhile in `next`, if that is given.
    async fn commit(&mut self, mut gathered: Gathered, next: Option<&mut Gathered>) {
        let found = gathered.found().await;
        if self.shared.is_failed() {
            return refuse(gathered.requests, &Error::MustReopen);
        }
        let requests: Vec<Request> =
            gathered.requests.into_iter().filter_map(Request::unless_broken).collect();
        let needed = match self.read(wanted(&requests), found).await {
            Ok(needed) => needed,
            Err(error) => return refuse(requests, &error.into()),
        };
        let Decided { mut batch, committable, outcome, pending, peers } = self.decide(requests, needed);
        let shared = self.shared.clone();
        let moving = shared.moving_feed().await;
        if planted!(CheckpointBeforePage) {
            let metadata = std::mem::take(&mut batch.metadata);
            let _ = self.store.commit(Batch { records: Vec::new(), metadata }).await;
        }
        if planted!(StateBeforeCommit) {
            self.replica.committed(committable.clone());
        }
        let committed = if batch.is_empty() { Ok(()) } else { self.write_down(batch, next).await };
        if let Err(error) = committed {
            if matches!(error, CommitError::Unknown(_)) && !planted!(UnknownCommitTrusted) {
                self.shared.fail(&error);
            }
            tracing::error!(collection = %self.shared.name(), %error, "a commit failed");
            return pending.into_iter().for_each(|pending| pending.fail(&error));
        }
        self.replica.committed(committable);
        self.shared.publish(self.replica.snapshot());
        drop(moving);
        let mut pages = outcome.pages.into_iter();
        for pending in pending {
            pending.succeed(|| pages.next().expect("one outcome for each page"));
        }
        self.tell(outcome.notices, &peers);
    }

    /// Reads what a commit needs besides the documents of its pages, which were found already.
    async fn read(
        &mut self,
        (ids, keys): (Vec<DocumentId>, Vec<Bytes>),
        found: Result<Vec<Found>, StorageError>,
    ) -> Result<Needed, StorageError> {
        let mut found = found?;
        if !ids.is_empty() {
            found.push(look_up(self.store.clone(), ids).await?);
        }
        let shown: Vec<DocumentId> = match self.replica.keeps_past_views() {
            true => found.iter().flat_map(Found::present).cloned().collect(),
            false => Vec::new(),
        };
        let past = past_views(&*self.store, &shown).await?;
        let metadata = read_metadata(&*self.store, &keys).await?;
        Ok(Needed { found, past, metadata })
    }

    /// Makes one transaction of the requests.
    fn decide(&mut self, requests: Vec<Request>, needed: Needed) -> Decided {
        let Needed { found, past, mut metadata } = needed;
        let mut resolver = Caught { handler: self.shared.handler() };
        let environment = self.shared.environment();
        let fresh = || Incarnation::new(random_u64(environment));
        let documents = found.into_iter().flat_map(Found::into_documents);
        let mut transaction = self.replica.begin(environment.now(), fresh(), documents).with_past_views(past);
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
        let (batch, committable, outcome) = transaction.finish(&mut resolver);
        Decided { batch, committable, outcome, pending, peers }
    }

    /// Has a batch committed, and gathers what comes meanwhile.
    async fn write_down(&mut self, batch: Batch, next: Option<&mut Gathered>) -> Result<(), CommitError> {
        let committing = self.store.commit(batch);
        let Some(next) = next else { return committing.await };
        if planted!(LookUpOvertakesCommit) {
            next.fill(&mut self.requests, self.era, &self.store);
            next.looked_up().await;
        }
        tokio::pin!(committing);
        loop {
            tokio::select! {
                // Polled first, so that the store takes up the commit before any look-up.
                biased;
                committed = &mut committing => return committed,
                () = next.looked_up(), if next.is_looking_up() => {}
                Some(request) = self.requests.recv(), if next.is_open() => {
                    next.add(request, self.era, &self.store);
                }
            }
        }
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
                if let Err(error @ CommitError::Unknown(_)) = &committed {
                    self.shared.fail(error);
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

impl Pending {
    /// A caller who has gone away does not want to know.
    fn succeed(self, applied: impl FnOnce() -> Applied) {
        match self {
            Self::Written(reply, written) => drop(reply.send(written)),
            Self::Applied(reply, _) => drop(reply.send(Ok(Some(applied())))),
            Self::Decided(reply) => drop(reply.send(Ok(()))),
        }
    }

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

/// The documents that are not in pages, each once, and the keys of metadata.
fn wanted(requests: &[Request]) -> (Vec<DocumentId>, Vec<Bytes>) {
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    for request in requests {
        match request {
            Request::Write { writes, .. } => ids.extend(writes.iter().map(|write| write.id.clone())),
            Request::Decide { decision, .. } => {
                ids.extend_from_slice(&decision.ids);
                keys.extend_from_slice(&decision.keys);
            }
            Request::Apply { .. } | Request::Recheck { .. } | Request::Close { .. } => {}
        }
    }
    ids.sort();
    ids.dedup();
    (ids, keys)
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
    requests.into_iter().for_each(|request| request.refuse(error));
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
