//! Watching a collection: its changefeed as a stream.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream;
use peerloom_core::{Checkpoint, DocumentId, Record, Sequence, Snapshot, StorageError, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::content::{Content, ContentError};
use super::handle::{page_limits, value_of};
use super::open::Core;
use super::shared::{Progress, Shared};
use crate::error::Error;

/// How many documents are read from the store at a time.
const PAGE_DOCUMENTS: u32 = 256;

/// A document as it is after a change.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// The document.
    pub id: DocumentId,
    /// Its value, `None` if it is deleted, or why it cannot be read as a `T`.
    pub value: Result<Option<T>, ContentError>,
    /// Whether several versions stand beside each other.
    pub in_conflict: bool,
    /// Where to go on after this change, with [`Collection::watch_from`](super::Collection::watch_from).
    pub checkpoint: Checkpoint,
}

/// A stream of changes. Ends when the collection is closed, and after an error: with [`Error::MustReopen`] when it takes nothing more.
#[must_use = "streams do nothing unless polled"]
pub struct Changes<T> {
    records: Pin<Box<dyn Stream<Item = Result<Seen, Error>> + Send>>,
    content: PhantomData<fn() -> T>,
}

struct Seen {
    record: Record,
    checkpoint: Checkpoint,
}

struct Feed {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    progress: watch::Receiver<Progress>,
    closed: CancellationToken,
    cursor: Sequence,
    /// What was read, and the snapshot taken before.
    page: VecDeque<Record>,
    snapshot: Snapshot,
}

impl<T: Content> Changes<T> {
    pub(super) fn new(core: &Core, cursor: Sequence) -> Self {
        let progress = core.shared.progress();
        let snapshot = core.snapshot();
        let (store, closed) = (core.store.clone(), core.shared.closed().clone());
        let feed = Feed {
            shared: core.shared.clone(),
            store,
            progress,
            closed,
            cursor,
            page: VecDeque::new(),
            snapshot,
        };
        let records = stream::unfold(Some(feed), |feed| async {
            let mut feed = feed?;
            match feed.next().await? {
                Ok(next) => Some((Ok(next), Some(feed))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Self { records: Box::pin(records), content: PhantomData }
    }
}

impl Feed {
    async fn next(&mut self) -> Option<Result<Seen, Error>> {
        loop {
            if let Some(record) = self.page.pop_front() {
                self.cursor = record.sequence;
                let checkpoint =
                    self.snapshot.checkpoint(record.sequence).expect("the feed holds this record");
                return Some(Ok(Seen { record, checkpoint }));
            }
            self.snapshot = self.progress.borrow_and_update().snapshot.clone();
            if self.cursor < self.snapshot.end {
                match self.store.changes(self.cursor, page_limits(PAGE_DOCUMENTS)).await {
                    Ok(records) => self.page = self.up_to_the_snapshot(records),
                    Err(StorageError::Closed) => return None,
                    Err(error) => return Some(Err(error.into())),
                }
                continue;
            }
            if self.shared.is_failed() {
                return Some(Err(Error::MustReopen));
            }
            tokio::select! {
                biased;
                changed = self.progress.changed() => changed.ok()?,
                () = self.closed.cancelled() => return None,
            }
        }
    }

    /// What was committed since the snapshot is read again with the next one, which knows its place in the history.
    fn up_to_the_snapshot(&mut self, records: Vec<Record>) -> VecDeque<Record> {
        let end = self.snapshot.end;
        let page: VecDeque<Record> =
            records.into_iter().take_while(|record| record.sequence <= end).collect();
        if page.is_empty() {
            self.cursor = end;
        }
        page
    }
}

impl<T: Content> Stream for Changes<T> {
    type Item = Result<Change<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.records.as_mut().poll_next(context).map(|next| {
            next.map(|next| {
                next.map(|Seen { record, checkpoint }| Change {
                    value: value_of(record.view()),
                    in_conflict: record.document.in_conflict(),
                    id: record.id,
                    checkpoint,
                })
            })
        })
    }
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Changes").finish_non_exhaustive()
    }
}
