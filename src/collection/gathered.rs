//! What one commit is made of, while it is gathered.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use peerloom_core::{DocumentId, Record, StorageError, Store};
use tokio::sync::{mpsc, oneshot};

use super::request::{Decision, Request};
use super::shared::Era;
use crate::BoxFuture;
use crate::error::Error;

/// The most documents in one commit. A request is never split, so one alone may have more.
const COMMIT_DOCUMENTS_MAX: usize = 4096;

/// The documents of one look-up as they are stored, in the order of their ids.
pub(super) struct Found {
    ids: Vec<DocumentId>,
    records: Vec<Option<Record>>,
}

/// The requests of one commit, and what is done alone after it.
///
/// The documents of pages are looked up at once, whatever commit is under way then: a store takes operations up in their order, so that
/// what it finds is what that commit left. Nothing else may be committed before these requests are.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) requests: Vec<Request>,
    pub(super) alone: Option<Alone>,
    documents: usize,
    looking_up: FuturesOrdered<BoxFuture<Result<Found, StorageError>>>,
    found: Vec<Result<Found, StorageError>>,
}

/// What is done alone, after everything before it.
pub(super) enum Alone {
    Decide(Decision, oneshot::Sender<Result<(), Error>>),
    Recheck(oneshot::Sender<Result<(), Error>>),
    Close(oneshot::Sender<Result<(), Error>>),
}

impl Gathered {
    /// One request, with a commit for itself.
    pub(super) fn alone(request: Request) -> Self {
        Self { requests: vec![request], ..Self::default() }
    }

    /// Whether nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.alone.is_none()
    }

    /// Whether another request may be added.
    pub(super) fn is_open(&self) -> bool {
        self.alone.is_none() && self.documents < COMMIT_DOCUMENTS_MAX
    }

    /// Adds a request. A page of another era than this is answered instead.
    pub(super) fn add(&mut self, request: Request, era: Era, store: &Arc<dyn Store>) {
        self.documents += request.documents();
        match request {
            Request::Decide { decision, reply } => self.alone = Some(Alone::Decide(decision, reply)),
            Request::Recheck { reply } => self.alone = Some(Alone::Recheck(reply)),
            Request::Close { reply } => self.alone = Some(Alone::Close(reply)),
            Request::Apply { era: of, reply, .. } if of != era => drop(reply.send(Ok(None))),
            Request::Apply { ref page, .. } => {
                let ids = page.documents.iter().map(|(id, _)| id.clone()).collect();
                self.looking_up.push_back(Box::pin(look_up(store.clone(), ids)));
                self.requests.push(request);
            }
            Request::Write { .. } => self.requests.push(request),
        }
    }

    /// Adds the requests that wait, as far as there is room.
    pub(super) fn fill(&mut self, requests: &mut mpsc::Receiver<Request>, era: Era, store: &Arc<dyn Store>) {
        while self.is_open()
            && let Ok(request) = requests.try_recv()
        {
            self.add(request, era, store);
        }
    }

    pub(super) fn is_looking_up(&self) -> bool {
        !self.looking_up.is_empty()
    }

    /// Waits for what is being looked up. To be polled from when something is added, for else it is not begun.
    pub(super) async fn looked_up(&mut self) {
        while let Some(found) = self.looking_up.next().await {
            self.found.push(found);
        }
    }

    /// The documents of its pages.
    pub(super) async fn found(&mut self) -> Result<Vec<Found>, StorageError> {
        self.looked_up().await;
        std::mem::take(&mut self.found).into_iter().collect()
    }
}

impl Found {
    /// The ids that have a document.
    pub(super) fn present(&self) -> impl Iterator<Item = &DocumentId> {
        self.ids.iter().zip(&self.records).filter_map(|(id, record)| record.is_some().then_some(id))
    }

    pub(super) fn into_documents(self) -> impl Iterator<Item = (DocumentId, Option<Record>)> {
        self.ids.into_iter().zip(self.records)
    }
}

/// Reads documents by their ids.
pub(super) async fn look_up(store: Arc<dyn Store>, ids: Vec<DocumentId>) -> Result<Found, StorageError> {
    let records = store.read(&ids).await?;
    Ok(Found { ids, records })
}
