//! The handle to a store, and the thread behind it.
//!
//! Every operation passes through one bounded queue to one thread. That is what makes operations take effect in the order
//! of their calls: the queue is fair, so a place in it is taken when a future is first polled, and an operation whose
//! future is dropped later is still done in its turn, before any that was called after. A pool of threads would
//! need a lock held from call to end for the same promise. It also means that a read never sees a commit in part, though
//! a library may apply one key by key, and that no async thread ever waits for a disk.

use std::fs::File;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{
    Batch, CommitError, DocumentId, IdRange, PageLimits, Record, Sequence, StorageError, Store, StoreName,
};
use tokio::sync::{mpsc, oneshot};

use crate::directory::Directory;
use crate::failure;

/// The most bytes a metadata key may have, by the contract.
const METADATA_KEY_BYTES_MAX: usize = 2048;

/// How often, and after how long a wait each, a database is tried again whose store is not locked but which is itself: for
/// 200 ms, far longer than a process takes to start.
const LOCKED_RETRIES: usize = 20;
const LOCKED_WAIT: Duration = Duration::from_millis(10);

/// A database: every operation on it as a plain call that blocks, one at a time.
///
/// What each promises is what [`Store`] does, but for the order of calls and the visibility of commits, which follow from the
/// calls coming one after the other.
pub trait Tables: Send + Sized + 'static {
    /// As [`Store::read`].
    fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError>;

    /// As [`Store::changes`].
    fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError>;

    /// As [`Store::list`].
    fn list(&self, range: &IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError>;

    /// As [`Store::metadata`].
    fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError>;

    /// As [`Store::commit`], and whatever a batch must be by the contract was asserted already, as far as it can be told
    /// without a look at the store.
    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError>;

    /// Lets go of the database. When this returns, it can be opened again.
    fn close(self);
}

/// What the thread is asked to do.
enum Request<T> {
    Operate(Box<dyn FnOnce(&mut T) + Send>),
    Close(oneshot::Sender<()>),
}

/// Why there is no answer.
enum Unanswered {
    /// The operation was not begun: the thread had ended.
    NotBegun(StorageError),
    /// The thread ended meanwhile.
    Lost(StorageError),
}

/// A handle to an open store.
pub struct OnDisk<T> {
    // Before the worker, which waits for the thread when it is dropped, and the thread ends when the queue does.
    queue: mpsc::Sender<Request<T>>,
    _worker: Worker,
    closed: AtomicBool,
}

impl<T: Tables> OnDisk<T> {
    /// Opens a store on a thread of its own, and creates it if there is none. At most `operations_max` operations wait for the thread; callers
    /// wait their turn beyond that.
    ///
    /// `open` opens the database at a path, and creates it if there is none.
    ///
    /// # Errors
    ///
    /// `Locked` while another handle is open, in any process; `Foreign` and `Newer` for a directory that is not this layout's, which is
    /// not touched then; and what `open` gives.
    pub async fn open(
        directory: &Directory,
        name: &StoreName,
        operations_max: usize,
        open: impl Fn(&Path) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<Self, StorageError> {
        let (queue, requests) = mpsc::channel(operations_max);
        let (opened, answer) = oneshot::channel();
        let (directory, store) = (directory.clone(), name.clone());
        let work = move || match Opened::open(&directory, &store, open) {
            // Nobody waits any more if the future was dropped. Then the queue has ended too, and so does the thread.
            Ok(store) => {
                let _ = opened.send(Ok(()));
                store.serve(requests);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = spawn(&format!("peerloom-{name}"), work)?;
        // Whole before it waits, so that dropping the future ends the queue before it joins the thread.
        let store = Self { queue, _worker: Worker(Some(thread)), closed: AtomicBool::new(false) };
        answer.await.map_err(|_| panicked())??;
        Ok(store)
    }

    /// Has an operation done. What it gives besides its answer is dropped behind that, when somebody else can go on already.
    async fn operate<A: Send + 'static, R>(
        &self,
        operation: impl FnOnce(&mut T) -> (A, R) + Send + 'static,
    ) -> Result<A, Unanswered> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Unanswered::NotBegun(StorageError::Closed));
        }
        let (reply, answer) = oneshot::channel();
        let operate = Box::new(move |tables: &mut T| {
            let (answer, _rest) = operation(tables);
            // Nobody waits for the answer if the future was dropped.
            let _ = reply.send(answer);
        });
        self.enqueue(Request::Operate(operate)).await.map_err(|_| Unanswered::NotBegun(self.ended()))?;
        answer.await.map_err(|_| Unanswered::Lost(self.ended()))
    }

    /// Takes a place in the queue at the first poll. A task that has used up its budget would not get to that, and be
    /// overtaken by later calls of others.
    async fn enqueue(&self, request: Request<T>) -> Result<(), mpsc::error::SendError<Request<T>>> {
        tokio::task::unconstrained(self.queue.send(request)).await
    }

    async fn ask<A: Send + 'static, R>(
        &self,
        operation: impl FnOnce(&mut T) -> (Result<A, StorageError>, R) + Send + 'static,
    ) -> Result<A, StorageError> {
        match self.operate(operation).await {
            Ok(answer) => answer,
            Err(Unanswered::NotBegun(error) | Unanswered::Lost(error)) => Err(error),
        }
    }

    fn ended(&self) -> StorageError {
        match self.closed.load(Ordering::Acquire) {
            true => StorageError::Closed,
            false => panicked(),
        }
    }
}

#[async_trait]
impl<T: Tables> Store for OnDisk<T> {
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        let ids = ids.to_vec();
        self.ask(move |tables| (tables.read(&ids), ids)).await
    }

    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.ask(move |tables| (tables.changes(after, limits), ())).await
    }

    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.ask(move |tables| (tables.list(&range, limits), ())).await
    }

    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        self.ask(move |tables| (tables.metadata(&prefix, after.as_deref(), entries_max), ())).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        assert_well_formed(&batch);
        match self.operate(move |tables| (tables.commit(&batch), batch)).await {
            Ok(answer) => answer,
            Err(Unanswered::NotBegun(error)) => Err(CommitError::NotApplied(error)),
            Err(Unanswered::Lost(error)) => Err(CommitError::Unknown(error)),
        }
    }

    async fn close(&self) -> Result<(), StorageError> {
        self.closed.store(true, Ordering::Release);
        let (reply, answer) = oneshot::channel();
        // No queue and no answer both mean that the thread has ended, and it lets go of everything before.
        if self.enqueue(Request::Close(reply)).await.is_ok() {
            let _ = answer.await;
        }
        Ok(())
    }
}

/// The thread of a store, which ends when it is closed or its queue does.
struct Worker(Option<JoinHandle<()>>);

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic was reported when it happened, and every operation since has failed.
            let _ = thread.join();
        }
    }
}

/// What the thread owns: the database, and the lock that must outlive it.
struct Opened<T> {
    tables: T,
    lock: File,
}

impl<T: Tables> Opened<T> {
    fn open(
        directory: &Directory,
        name: &StoreName,
        open: impl Fn(&Path) -> Result<T, StorageError>,
    ) -> Result<Self, StorageError> {
        let place = directory.place(name)?;
        let lock = place.lock()?;
        let path = place.database(|path| patiently(|| open(path)).map(T::close))?;
        Ok(Self { tables: patiently(|| open(path))?, lock })
    }

    fn serve(self, mut requests: mpsc::Receiver<Request<T>>) {
        // Dropped before the queue if an operation panics: who finds no queue may rely on the lock being free.
        let mut opened = self;
        let mut closing = None;
        while let Some(request) = requests.blocking_recv() {
            match request {
                Request::Operate(operate) => operate(&mut opened.tables),
                Request::Close(reply) => {
                    closing = Some(reply);
                    break;
                }
            }
        }
        let Self { tables, lock } = opened;
        tables.close();
        // Before the file is closed: a child process that is just being started has a copy of it for an instant, and the lock with it.
        let _ = lock.unlock();
        if let Some(reply) = closing {
            // Whoever closed may have stopped waiting.
            let _ = reply.send(());
        }
    }
}

/// Opens a database, and waits for an instant if it is locked. Its store's own lock is held by then, so whoever has the database's is
/// a child process that is just being started, which has copies of all files until it becomes another program, or somebody
/// who opened the database without the adapter.
fn patiently<T>(open: impl Fn() -> Result<T, StorageError>) -> Result<T, StorageError> {
    for _ in 0..LOCKED_RETRIES {
        match open() {
            Err(StorageError::Locked { .. }) => thread::sleep(LOCKED_WAIT),
            opened => return opened,
        }
    }
    open()
}

/// Runs a call that blocks on a thread of its own.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let (reply, answer) = oneshot::channel();
    spawn(name, move || {
        // Nobody waits for the answer if the future was dropped.
        let _ = reply.send(work());
    })?;
    answer.await.map_err(|_| panicked())?
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StorageError> {
    thread::Builder::new().name(name.into()).spawn(work).map_err(|error| failure::of_system(&error))
}

/// Libraries panic at some damage, such as files that they never make.
fn panicked() -> StorageError {
    StorageError::Corrupt { detail: "the thread of the store panicked".into() }
}

/// Asserts what can be told without a look at the store.
fn assert_well_formed(batch: &Batch) {
    let mut previous = Sequence::ZERO;
    for put in &batch.records {
        let sequence = put.record.sequence;
        assert!(sequence > previous, "the records of a batch ascend from {previous:?}, not to {sequence:?}");
        previous = sequence;
    }
    for (key, _) in &batch.metadata {
        assert!((1..=METADATA_KEY_BYTES_MAX).contains(&key.len()), "a metadata key of {} bytes", key.len());
    }
}
