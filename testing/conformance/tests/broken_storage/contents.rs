//! Faults of what records and metadata hold.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{
    Batch, CommitError, Document, DocumentId, Head, PageLimits, Record, Sequence, State, StorageError, Store,
};

use super::{Fault, at_once, failed};

/// A fault that keeps other records than those it is given.
macro_rules! keeps_other_records {
    ($($(#[$doc:meta])* $fault:ident: $change:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Default)]
            pub(crate) struct $fault;

            #[async_trait]
            impl Fault for $fault {
                async fn commit(&self, store: &Arc<dyn Store>, mut batch: Batch) -> Result<(), CommitError> {
                    let change: fn(&mut Record) = $change;
                    batch.records.iter_mut().for_each(|put| change(&mut put.record));
                    store.commit(batch).await
                }
            }
        )*
    };
}

keeps_other_records! {
    DropsByteOrderMarks: |record| rename(record, &record.id.as_str().replace('\u{feff}', ""));
    /// As file systems do.
    ComposesCharacters: |record| rename(record, &record.id.as_str().replace("a\u{308}", "ä"));
    TruncatesIds: |record| {
        let end = record.id.as_str().floor_char_boundary(1023);
        let id = record.id.as_str()[..end].to_owned();
        rename(record, &id);
    };
    KeepsTheContextOfHeadsOnly: |record| {
        let heads = record.document.heads().to_vec();
        let context = heads.iter().map(|head| (head.dot.incarnation, head.dot.stamp)).collect();
        record.document = Document::new(context, heads).expect("the heads belong to their own context");
    };
    TruncatesLargeBodies: |record| change_bodies(record, |body| body.slice(..body.len().min(1 << 20)));
    TakesAnEmptyViewForNone: |record| {
        record.resolved.take_if(|view| *view == State::default());
    };
    KeepsBodiesAsText: |record| {
        change_bodies(record, |body| String::from_utf8_lossy(&body).into_owned().into());
    };
}

fn rename(record: &mut Record, id: &str) {
    record.id = DocumentId::new(id).expect("a valid id");
}

fn change_bodies(record: &mut Record, change: impl Fn(Bytes) -> Bytes) {
    let changed = |head: &Head| {
        let state = State { body: change(head.state.body.clone()), ..head.state.clone() };
        Head { dot: head.dot, state }
    };
    let heads = record.document.heads().iter().map(changed).collect();
    record.document =
        Document::new(record.document.context().clone(), heads).expect("the same heads but for bodies");
}

/// A fault that keeps other metadata than it is given.
macro_rules! keeps_other_metadata {
    ($($fault:ident: $change:expr;)*) => {
        $(
            #[derive(Default)]
            pub(crate) struct $fault;

            #[async_trait]
            impl Fault for $fault {
                async fn commit(&self, store: &Arc<dyn Store>, mut batch: Batch) -> Result<(), CommitError> {
                    let change: fn(&mut Option<Bytes>) = $change;
                    batch.metadata.iter_mut().for_each(|(_, value)| change(value));
                    store.commit(batch).await
                }
            }
        )*
    };
}

keeps_other_metadata! {
    TruncatesValues: |value| *value = value.take().map(|value| value.slice(..value.len().min(65_536)));
    RemovesWhatIsEmpty: |value| *value = value.take().filter(|value| !value.is_empty());
}

fn keys(store: &dyn Store) -> BTreeSet<Bytes> {
    let found = at_once(store.metadata(b"", None, NonZeroU32::MAX)).unwrap_or_default();
    found.into_iter().map(|(key, _)| key).collect()
}

#[derive(Default)]
pub(crate) struct KeepsTheFirstValue;

#[async_trait]
impl Fault for KeepsTheFirstValue {
    async fn commit(&self, store: &Arc<dyn Store>, mut batch: Batch) -> Result<(), CommitError> {
        let there = keys(&**store);
        batch.metadata.retain(|(key, value)| value.is_none() || !there.contains(key));
        store.commit(batch).await
    }
}

#[derive(Default)]
pub(crate) struct RemovesOnlyWhatIsThere;

#[async_trait]
impl Fault for RemovesOnlyWhatIsThere {
    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        let there = keys(&**store);
        match batch.metadata.iter().all(|(key, value)| value.is_some() || there.contains(key)) {
            true => store.commit(batch).await,
            false => Err(CommitError::NotApplied(failed("no such key"))),
        }
    }
}

/// One table for both.
#[derive(Default)]
pub(crate) struct RemovesDocumentsWithMetadata {
    removed: Mutex<BTreeSet<Bytes>>,
}

#[async_trait]
impl Fault for RemovesDocumentsWithMetadata {
    async fn commit(&self, store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
        let removals = batch.metadata.iter().filter(|(_, value)| value.is_none());
        self.removed.lock().expect("no panic").extend(removals.map(|(key, _)| key.clone()));
        store.commit(batch).await
    }

    async fn changes(
        &self,
        store: &dyn Store,
        after: Sequence,
        limits: PageLimits,
    ) -> Result<Vec<Record>, StorageError> {
        let mut page = store.changes(after, limits).await?;
        page.retain(|record| !self.removed.lock().expect("no panic").contains(record.id.as_bytes()));
        Ok(page)
    }
}

/// A fault that asks the store for other metadata than it was asked for.
macro_rules! finds_other_metadata {
    ($(
        $(#[$doc:meta])*
        $fault:ident: |$store:ident, $prefix:ident, $after:ident, $max:ident| $find:expr;
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Default)]
            pub(crate) struct $fault;

            #[async_trait]
            impl Fault for $fault {
                async fn metadata(
                    &self,
                    $store: &dyn Store,
                    $prefix: &[u8],
                    $after: Option<&[u8]>,
                    $max: NonZeroU32,
                ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
                    $find
                }
            }
        )*
    };
}

finds_other_metadata! {
    /// The key that follows the last with the prefix is found, too.
    EndsThePrefixOneTooLate: |store, prefix, after, entries_max| {
        let mut all = store.metadata(b"", after, NonZeroU32::MAX).await?;
        all.retain(|(key, _)| &key[..] >= prefix);
        let end = all.iter().position(|(key, _)| !key.starts_with(prefix)).map_or(all.len(), |end| end + 1);
        all.truncate(end.min(entries_max.get() as usize));
        Ok(all)
    };
    /// A range up to the prefix with its last byte increased, which overflows.
    FindsNothingByTheHighestByte: |store, prefix, after, entries_max| {
        match prefix.last() {
            Some(0xff) => Ok(Vec::new()),
            _ => store.metadata(prefix, after, entries_max).await,
        }
    };
    BeginsAtTheKey: |store, prefix, after, entries_max| {
        let all = store.metadata(prefix, None, NonZeroU32::MAX).await?;
        let from = all.into_iter().filter(|(key, _)| after.is_none_or(|after| &key[..] >= after));
        Ok(from.take(entries_max.get() as usize).collect())
    };
    IgnoresEntriesMax: |store, prefix, after, _entries_max| {
        store.metadata(prefix, after, NonZeroU32::MAX).await
    };
}
