//! The handle that applications hold: reading, writing, listing, settling.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Bound, Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use peerloom_core::{
    CONFLICT_PREFIX, Checkpoint, CollectionName, Condition, Context, DocumentId, Dot, IdRange, PageLimits,
    Record, Seen, State, Write, WriteError,
};

use super::content::{Content, ContentError};
use super::open::Core;
use super::watch::Changes;
use crate::error::Error;

/// The most bytes of bodies that one page of a listing reads.
pub(super) const LIST_BYTES_MAX: NonZeroU32 = NonZeroU32::new(4 << 20).expect("a literal above zero");

/// A collection of documents that hold a `T`. Cheap to clone; all clones are the same collection.
///
/// Every write is durable when its method returns, as far as the storage promises it. Dropping the future of a write leaves it made or
/// not made, never in part.
pub struct Collection<T> {
    core: Arc<Core>,
    content: PhantomData<fn() -> T>,
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), content: PhantomData }
    }
}

impl<T> fmt::Debug for Collection<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Collection").field(&self.core.shared.name().as_str()).finish()
    }
}

impl<T: Content> Collection<T> {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, content: PhantomData }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The collection's name.
    pub fn name(&self) -> &CollectionName {
        self.core.shared.name()
    }

    /// The value of a document. `None` if there is none or it is deleted.
    ///
    /// To change it, [`read`](Self::read) it and [`save`](Self::save) what it was changed to: that replaces what was read alone.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if the document does not hold a `T`.
    pub async fn get(&self, id: impl TryInto<DocumentId, Error: Into<Error>>) -> Result<Option<T>, Error> {
        Ok(self.read(id).await?.map(Draft::into_value))
    }

    /// The value of a document together with what was seen of it, to be changed and saved with [`Collection::save`].
    /// `None` if there is none or it is deleted.
    pub async fn read(
        &self,
        id: impl TryInto<DocumentId, Error: Into<Error>>,
    ) -> Result<Option<Draft<T>>, Error> {
        let id = id.try_into().map_err(Into::into)?;
        let mut records = self.core.store.read(std::slice::from_ref(&id)).await?;
        let Some(record) = records.pop().flatten().filter(|record| !record.view().deleted) else {
            return Ok(None);
        };
        let state = record.view().clone();
        let value = T::from_body(&state.body).map_err(|source| content_error(&id, source))?;
        Ok(Some(Draft { id, value, context: record.document.context().clone(), state }))
    }

    /// Writes a document over whatever is there now: over what has come from peers since it was looked at, too, and over all versions that stand
    /// beside each other. For a change there are [`read`](Self::read) and [`save`](Self::save), which keep what was not seen.
    pub async fn put(
        &self,
        id: impl TryInto<DocumentId, Error: Into<Error>>,
        value: &T,
    ) -> Result<(), Error> {
        self.write_one(write(id, value, Condition::None)?).await
    }

    /// Writes many documents in one commit, all or none.
    pub async fn put_many<'v, I>(&self, documents: impl IntoIterator<Item = (I, &'v T)>) -> Result<(), Error>
    where
        I: TryInto<DocumentId, Error: Into<Error>>,
    {
        let writes = documents.into_iter().map(|(id, value)| write(id, value, Condition::None));
        self.core.write(writes.collect::<Result<_, _>>()?).await?;
        Ok(())
    }

    /// Writes a document that is not there yet, or is deleted.
    ///
    /// # Errors
    ///
    /// [`WriteError::Exists`] if this replica has the document. Two replicas that do not hear each other may both insert it;
    /// then the two versions are in conflict.
    pub async fn insert(
        &self,
        id: impl TryInto<DocumentId, Error: Into<Error>>,
        value: &T,
    ) -> Result<(), Error> {
        self.write_one(write(id, value, Condition::Absent)?).await
    }

    /// Saves what was read: it supersedes what had been seen, and stands beside what had not.
    ///
    /// # Errors
    ///
    /// [`WriteError::TooManyHeads`] if too many versions stand beside each other already.
    pub async fn save(&self, draft: Draft<T>) -> Result<(), Error> {
        let body = draft.value.to_body().map_err(|source| content_error(&draft.id, source))?;
        let seen = match planted!(DraftOverCurrent) {
            true => Seen::Current,
            false => Seen::Read { context: draft.context, state: Some(draft.state) },
        };
        self.write_one(Write { id: draft.id, deleted: false, body, seen, condition: Condition::None }).await
    }

    /// Deletes a document. Returns whether there was one.
    ///
    /// What remains is a tombstone, which replicates like any other version. It has no content, only what the conflict handler notes of it.
    pub async fn remove(&self, id: impl TryInto<DocumentId, Error: Into<Error>>) -> Result<bool, Error> {
        let id = id.try_into().map_err(Into::into)?;
        let removal = Write { condition: Condition::Present, ..removal(id, Seen::Current) };
        match self.write_one(removal).await {
            Ok(()) => Ok(true),
            Err(Error::Write(WriteError::Missing { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lists documents in the order of their ids, at most `documents_max` and 4 MiB of them. Deleted ones are left out, so a page may hold
    /// fewer, even none, and still not be the last.
    ///
    /// ```
    /// # use peerloom::{Collection, Error, IdRange};
    /// # async fn list(todos: Collection<serde_json::Value>) -> Result<(), Error> {
    /// let mut range = Some(IdRange::prefix("2026/"));
    /// while let Some(within) = range {
    ///     let page = todos.list(within, 100).await?;
    ///     page.entries.iter().for_each(|entry| println!("{}", entry.id));
    ///     range = page.next;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self, range: IdRange, documents_max: u32) -> Result<Page<T>, Error> {
        let limits = page_limits(documents_max);
        let records = self.core.store.list(range.clone(), limits).await?;
        let next =
            records.last().map(|last| IdRange { start: Bound::Excluded(last.id.clone()), end: range.end });
        let alive = records.into_iter().filter(|record| !record.view().deleted);
        Ok(Page { entries: alive.map(Entry::new).collect(), next })
    }

    /// Lists the documents in conflict, in the order of their ids, at most `documents_max` of those after `after`, with all their versions.
    pub async fn conflicts(
        &self,
        after: Option<&DocumentId>,
        documents_max: u32,
    ) -> Result<ConflictPage<T>, Error> {
        let after = after.map(|id| [CONFLICT_PREFIX, id.as_bytes()].concat());
        let entries_max = page_limits(documents_max).documents_max;
        let listed = self.core.store.metadata(CONFLICT_PREFIX, after.as_deref(), entries_max).await?;
        let ids = listed.iter().map(|(key, _)| DocumentId::from_utf8(&key[CONFLICT_PREFIX.len()..]));
        let ids: Vec<DocumentId> = ids.collect::<Result<_, _>>()?;
        let next = ids.last().filter(|_| ids.len() >= entries_max.get() as usize).cloned();
        let records = self.core.store.read(&ids).await?;
        // One that was settled since the ids were read is left out.
        let in_conflict = records.into_iter().flatten().filter(|record| record.document.in_conflict());
        Ok(ConflictPage { conflicts: in_conflict.map(Conflict::new).collect(), next })
    }

    /// Settles a conflict by a value: an ordinary write that supersedes all the versions listed, and stands beside any that
    /// came since.
    pub async fn settle(&self, conflict: Conflict<T>, value: &T) -> Result<(), Error> {
        let body = value.to_body().map_err(|source| content_error(&conflict.id, source))?;
        let seen = Seen::Read { context: conflict.context, state: Some(conflict.state) };
        self.write_one(Write { id: conflict.id, deleted: false, body, seen, condition: Condition::None })
            .await
    }

    /// Settles a conflict by deleting the document.
    pub async fn settle_by_removing(&self, conflict: Conflict<T>) -> Result<(), Error> {
        let seen = Seen::Read { context: conflict.context, state: Some(conflict.state) };
        self.write_one(removal(conflict.id, seen)).await
    }

    /// Forgets what peers have said of what this replica knows, and compares everything with all of them again, for those who were
    /// lied to: a peer that vouches for documents it does not send makes others leave them out.
    ///
    /// When this returns, that is durable, and every connection that shares the collection is made again. The comparison
    /// goes on from there, with peers that connect later as well; [`Room::caught_up`](crate::Room::caught_up) waits for those that are connected.
    /// It costs as much as a first sync: peers send again all that was not written here. No document and no write is forgotten.
    ///
    /// Whoever lied will do so again: [`Room::revoke`](crate::Room::revoke) it before. What it made this replica believe may have been passed on in
    /// good faith, so the others may have to recheck too.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it done or not done. An error may leave it half done, which harms nothing; call it again.
    pub async fn recheck(&self) -> Result<(), Error> {
        self.core.recheck().await
    }

    /// The changes from now on, from wherever they come. A document that changes many times while nobody looks is seen once,
    /// at its latest; nothing is missed and nothing piles up.
    pub fn watch(&self) -> Changes<T> {
        Changes::new(&self.core, self.core.snapshot().end)
    }

    /// The changes after a checkpoint taken from an earlier [`Change`](super::Change), or from the start with `None`. Where the checkpoint does
    /// not fit, because the store was restored since, from the start as well.
    pub fn watch_from(&self, checkpoint: Option<Checkpoint>) -> Changes<T> {
        Changes::new(&self.core, self.core.snapshot().position(checkpoint))
    }

    async fn write_one(&self, write: Write) -> Result<(), Error> {
        self.core.write(vec![write]).await.map(drop)
    }
}

fn write<T: Content>(
    id: impl TryInto<DocumentId, Error: Into<Error>>,
    value: &T,
    condition: Condition,
) -> Result<Write, Error> {
    let id = id.try_into().map_err(Into::into)?;
    let body = value.to_body().map_err(|source| content_error(&id, source))?;
    Ok(Write { id, deleted: false, body, seen: Seen::Current, condition })
}

fn removal(id: DocumentId, seen: Seen) -> Write {
    Write { id, deleted: true, body: Bytes::new(), seen, condition: Condition::None }
}

fn content_error(id: &DocumentId, source: ContentError) -> Error {
    Error::Content { id: id.as_str().to_owned(), source }
}

pub(super) fn page_limits(documents_max: u32) -> PageLimits {
    let documents_max = NonZeroU32::new(documents_max).unwrap_or(NonZeroU32::MIN);
    PageLimits { documents_max, bytes_max: LIST_BYTES_MAX }
}

/// A document's value and what was seen of it. Dereferences to the value.
#[derive(Clone, Debug)]
pub struct Draft<T> {
    id: DocumentId,
    value: T,
    context: Context,
    state: State,
}

impl<T> Draft<T> {
    /// The document.
    pub fn id(&self) -> &DocumentId {
        &self.id
    }

    /// What was seen: every write that the document included when it was read. Saving supersedes these and no others.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The value alone.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Draft<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Draft<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The documents.
    pub entries: Vec<Entry<T>>,
    /// Where the next page begins. `None` after the last.
    pub next: Option<IdRange>,
}

/// A document in a listing.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// Its id.
    pub id: DocumentId,
    /// Its value, or why it cannot be read as a `T`.
    pub value: Result<T, ContentError>,
}

impl<T: Content> Entry<T> {
    fn new(record: Record) -> Self {
        Self { value: T::from_body(&record.view().body), id: record.id }
    }
}

/// A page of documents in conflict.
#[derive(Clone, Debug)]
pub struct ConflictPage<T> {
    /// The conflicts.
    pub conflicts: Vec<Conflict<T>>,
    /// After which id the next page begins. `None` after the last.
    pub next: Option<DocumentId>,
}

/// A document of which several versions stand beside each other.
#[derive(Clone, Debug)]
pub struct Conflict<T> {
    /// The document.
    pub id: DocumentId,
    /// What the conflict handler made of the versions, `None` if it is deleted, or why it cannot be read as a `T`.
    pub view: Result<Option<T>, ContentError>,
    /// The versions, oldest stamp first.
    pub versions: Vec<Version<T>>,
    context: Context,
    state: State,
}

impl<T> Conflict<T> {
    /// What was seen: every write that the document included when it was listed. Settling supersedes these and no others.
    pub fn context(&self) -> &Context {
        &self.context
    }
}

/// One of several versions.
#[derive(Clone, Debug)]
pub struct Version<T> {
    /// The write that made it.
    pub dot: Dot,
    /// Its value, `None` if it deletes the document, or why it cannot be read as a `T`.
    pub value: Result<Option<T>, ContentError>,
}

impl<T: Content> Conflict<T> {
    fn new(record: Record) -> Self {
        let version = |head: &peerloom_core::Head| Version { dot: head.dot, value: value_of(&head.state) };
        Self {
            view: value_of(record.view()),
            versions: record.document.heads().iter().map(version).collect(),
            context: record.document.context().clone(),
            state: record.view().clone(),
            id: record.id,
        }
    }
}

/// The value of a state, `None` if it is deleted.
pub(super) fn value_of<T: Content>(state: &State) -> Result<Option<T>, ContentError> {
    if state.deleted { Ok(None) } else { T::from_body(&state.body).map(Some) }
}
