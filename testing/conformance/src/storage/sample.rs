//! What the stories are made of: small records, batches of them, and short ways to ask a store.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use peerloom_core::{
    Batch, CollectionName, DocumentId, Dot, Head, IdRange, Incarnation, PageLimits, Put, Record, Sequence,
    Stamp, State, Storage, Store, StoreName,
};

use super::StorageFixture;

pub(super) const ALL: PageLimits = PageLimits { documents_max: NonZeroU32::MAX, bytes_max: NonZeroU32::MAX };

pub(super) fn at_most(documents_max: u32, bytes_max: usize) -> PageLimits {
    let bytes_max = u32::try_from(bytes_max).expect("small pages");
    let limit = |number| NonZeroU32::new(number).expect("a page holds something");
    PageLimits { documents_max: limit(documents_max), bytes_max: limit(bytes_max) }
}

pub(super) fn id(text: &str) -> DocumentId {
    DocumentId::new(text).expect("a valid id")
}

pub(super) fn dot(incarnation: u64, stamp: u64) -> Dot {
    let stamp = Stamp::new(stamp).expect("below 2^63");
    Dot { incarnation: Incarnation::new(incarnation), stamp }
}

/// A document with one head.
pub(super) fn record(text: &str, sequence: u64, body: impl Into<Bytes>) -> Record {
    let state = State { deleted: false, body: body.into(), annotations: Bytes::new() };
    Record {
        id: id(text),
        sequence: Sequence::new(sequence),
        document: Head { dot: dot(7, 1 + sequence % 1000), state }.into(),
        resolved: None,
    }
}

/// Empty documents with these ids, at the sequences from 1 on.
pub(super) fn records(ids: &[&str]) -> Vec<Record> {
    ids.iter().zip(1..).map(|(id, sequence)| record(id, sequence, "")).collect()
}

pub(super) fn new(record: Record) -> Put {
    Put { record, replaces: None }
}

pub(super) fn replacing(sequence: u64, record: Record) -> Put {
    Put { record, replaces: Some(Sequence::new(sequence)) }
}

pub(super) fn batch(puts: impl IntoIterator<Item = Put>) -> Batch {
    Batch { records: puts.into_iter().collect(), metadata: Vec::new() }
}

pub(super) fn entries(entries: &[(&[u8], Option<&[u8]>)]) -> Batch {
    let metadata = entries.iter().map(|(key, value)| (copy(key), value.map(copy))).collect();
    Batch { records: Vec::new(), metadata }
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// The name of a collection's store.
pub(super) fn name(text: &str) -> StoreName {
    CollectionName::new(text).expect("a valid name").store().clone()
}

/// The store that most stories are about, opened by an adapter that is dropped at once.
pub(super) async fn open(fixture: &impl StorageFixture) -> Arc<dyn Store> {
    open_named(fixture, &name("documents")).await
}

pub(super) async fn open_named(fixture: &impl StorageFixture, name: &StoreName) -> Arc<dyn Store> {
    fixture.storage().open(name).await.expect("the store opens")
}

pub(super) async fn close(store: &dyn Store) {
    store.close().await.expect("the store closes");
}

pub(super) async fn commit(store: &dyn Store, batch: Batch) {
    store.commit(batch).await.expect("the batch is fine");
}

/// Commits each put on its own.
pub(super) async fn commit_each(store: &dyn Store, puts: impl IntoIterator<Item = Put>) {
    for put in puts {
        commit(store, batch([put])).await;
    }
}

/// Puts each record, none of which is there yet, on its own.
pub(super) async fn put_each(store: &dyn Store, records: &[Record]) {
    commit_each(store, records.iter().cloned().map(new)).await;
}

/// Puts each entry of metadata on its own, with the value `v`.
pub(super) async fn put_keys(store: &dyn Store, keys: &[&[u8]]) {
    for key in keys {
        commit(store, entries(&[(key, Some(b"v"))])).await;
    }
}

pub(super) async fn feed(store: &dyn Store) -> Vec<Record> {
    changes(store, 0, ALL).await
}

pub(super) async fn changes(store: &dyn Store, after: u64, limits: PageLimits) -> Vec<Record> {
    store.changes(Sequence::new(after), limits).await.expect("the feed is readable")
}

pub(super) async fn list(store: &dyn Store, range: IdRange, limits: PageLimits) -> Vec<Record> {
    store.list(range, limits).await.expect("documents are listed")
}

pub(super) async fn read(store: &dyn Store, ids: &[DocumentId]) -> Vec<Option<Record>> {
    store.read(ids).await.expect("documents are readable")
}

/// The only document with this id.
pub(super) async fn read_one(store: &dyn Store, id: &DocumentId) -> Option<Record> {
    let mut answers = read(store, std::slice::from_ref(id)).await;
    assert_eq!(answers.len(), 1, "one answer for one id");
    answers.remove(0)
}

/// Every entry of metadata.
pub(super) async fn metadata(store: &dyn Store) -> Vec<(Bytes, Bytes)> {
    store.metadata(b"", None, NonZeroU32::MAX).await.expect("metadata is readable")
}

/// The keys of metadata.
pub(super) async fn keys(
    store: &dyn Store,
    prefix: &[u8],
    after: Option<&[u8]>,
    entries_max: u32,
) -> Vec<Bytes> {
    let entries_max = NonZeroU32::new(entries_max).expect("at least one");
    let entries = store.metadata(prefix, after, entries_max).await.expect("metadata is readable");
    entries.into_iter().map(|(key, _)| key).collect()
}

pub(super) fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

pub(super) fn sequences(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.sequence.number()).collect()
}

/// What the document says that one head wrote.
pub(super) fn body(record: &Record) -> &[u8] {
    &record.view().body
}
