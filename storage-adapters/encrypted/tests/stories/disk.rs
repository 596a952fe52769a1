//! What the stories are made of: a disk in memory, small records, and ways to look beneath the encryption.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use peerloom_core::{
    Batch, CollectionName, DocumentId, Dot, Head, Incarnation, PageLimits, Put, Record, Sequence, Stamp,
    State, Storage, Store, StoreName,
};
use peerloom_encrypted::{Encrypted, PasswordCost, Secret};
use peerloom_memory::Memory;

pub(crate) const ALL: PageLimits = PageLimits { documents_max: NonZeroU32::MAX, bytes_max: NonZeroU32::MAX };

/// No cost to speak of, for stories that are not about it.
pub(crate) const CHEAP: PasswordCost = PasswordCost { memory_kib: 8, passes: 1, lanes: 1 };

pub(crate) fn secret() -> Secret {
    Secret::key([7; 32])
}

pub(crate) fn name(text: &str) -> StoreName {
    CollectionName::new(text).expect("a valid name").store().clone()
}

pub(crate) fn id(text: &str) -> DocumentId {
    DocumentId::new(text).expect("a valid id")
}

pub(crate) fn head(stamp: u64, body: impl Into<Bytes>, annotations: impl Into<Bytes>) -> Head {
    let stamp = Stamp::new(stamp).expect("below 2^63");
    let state = State { deleted: false, body: body.into(), annotations: annotations.into() };
    Head { dot: Dot { incarnation: Incarnation::new(7), stamp }, state }
}

pub(crate) fn record(text: &str, sequence: u64, body: impl Into<Bytes>) -> Record {
    let document = head(sequence, body, "").into();
    Record { id: id(text), sequence: Sequence::new(sequence), document, resolved: None }
}

pub(crate) fn puts(records: impl IntoIterator<Item = Record>) -> Batch {
    let put = |record| Put { record, replaces: None };
    Batch { records: records.into_iter().map(put).collect(), metadata: Vec::new() }
}

/// Puts other records in the place of those with the same sequences, or an entry in the place of another.
pub(crate) fn exchanges(records: impl IntoIterator<Item = Record>) -> Batch {
    let put = |record: Record| Put { replaces: Some(record.sequence), record };
    Batch { records: records.into_iter().map(put).collect(), metadata: Vec::new() }
}

pub(crate) fn entry(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Batch {
    Batch { records: Vec::new(), metadata: vec![(key.into(), Some(value.into()))] }
}

pub(crate) async fn commit(store: &dyn Store, batch: Batch) {
    store.commit(batch).await.expect("the batch is fine");
}

pub(crate) async fn open(storage: &impl Storage, text: &str) -> Arc<dyn Store> {
    storage.open(&name(text)).await.expect("the store opens")
}

pub(crate) async fn feed(store: &dyn Store) -> Vec<Record> {
    store.changes(Sequence::ZERO, ALL).await.expect("the feed is readable")
}

pub(crate) async fn metadata(store: &dyn Store) -> Vec<(Bytes, Bytes)> {
    store.metadata(b"", None, NonZeroU32::MAX).await.expect("metadata is readable")
}

pub(crate) async fn opened(disk: &Memory) -> Encrypted<Memory> {
    Encrypted::open_or_create(disk.clone(), &secret()).await.expect("the storage opens")
}
