//! An encrypted storage on a disk that somebody has written to. What is altered is told as an error, and never served.

use std::num::NonZeroU32;
use std::sync::LazyLock;

use bytes::Bytes;
use peerloom_core::{
    Batch, CollectionName, DocumentId, Dot, Head, IdRange, Incarnation, PageLimits, Put, Record, Sequence,
    Stamp, State, Storage, StorageError, StoreName,
};
use peerloom_encrypted::{Encrypted, PasswordCost, Secret};
use peerloom_memory::Memory;
use tokio::runtime::Runtime;

const ALL: PageLimits = PageLimits { documents_max: NonZeroU32::MAX, bytes_max: NonZeroU32::MAX };
const KEY: &[u8] = b"key";
const VALUE: &[u8] = b"value";

/// So little that a fuzzer can afford it, and the most that a header may ask for.
const COST: PasswordCost = PasswordCost { memory_kib: 8, passes: 1, lanes: 1 };

static DISK: LazyLock<Disk> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
    let sealed = runtime.block_on(untouched()).expect("memory takes everything");
    Disk { runtime, sealed }
});

/// A storage with a document and an entry of metadata, as it is sealed.
struct Disk {
    runtime: Runtime,
    sealed: Memory,
}

/// Something on the disk of an encrypted storage, replaced by any bytes; what, says the first of them.
pub fn sealed(data: &[u8]) {
    let Some((what, data)) = data.split_first() else { return };
    let Disk { runtime, sealed } = &*DISK;
    runtime.block_on(async {
        let disk = sealed.fork();
        let put = replace(&disk, *what, Bytes::copy_from_slice(data)).await;
        put.expect("memory takes what has the shape of a record or an entry");
        read(disk).await;
    });
}

async fn untouched() -> Result<Memory, StorageError> {
    let disk = Memory::new();
    // Always the same, so that a stored input means the same in every process.
    let storage = Encrypted::builder(disk.clone()).password_cost(COST).randomness(|bytes| bytes.fill(7));
    let storage = storage.create(&password()).await?;
    let store = storage.open(&notes()).await?;
    let put = Put { record: record(), replaces: None };
    let entry = (Bytes::from_static(KEY), Some(Bytes::from_static(VALUE)));
    let committed = store.commit(Batch { records: vec![put], metadata: vec![entry] }).await;
    committed.expect("memory takes everything");
    store.close().await?;
    Ok(disk)
}

async fn replace(disk: &Memory, what: u8, bytes: Bytes) -> Result<(), StorageError> {
    let part = what % 4;
    let name = if part == 0 { StoreName::keys() } else { notes() };
    let store = disk.open(&name).await?;
    let first = store.metadata(b"", None, NonZeroU32::MAX).await?;
    let mut batch = Batch::default();
    match part {
        // The header, the marker of the store, the entry.
        0 | 1 => batch.metadata.push((first[0].0.clone(), Some(bytes))),
        2 => batch.metadata.push((Bytes::from_static(KEY), Some(bytes))),
        // The document: with any shape, or with any content in the shape that it has.
        _ => {
            let sequence = record().sequence;
            let found = store.changes(Sequence::ZERO, ALL).await?.remove(0);
            let record = Record::decode(id(), &bytes).unwrap_or_else(|_| {
                let state = State { body: bytes, ..found.document.heads()[0].state.clone() };
                Record { document: Head { state, ..found.document.heads()[0] }.into(), ..found }
            });
            batch.records.push(Put { record: Record { sequence, ..record }, replaces: Some(sequence) });
        }
    }
    store.commit(batch).await.expect("memory takes everything");
    store.close().await
}

/// Reads everything in every way. Whatever is served is what was written.
async fn read(disk: Memory) {
    let storage = Encrypted::builder(disk).password_cost_max(COST);
    let Ok(storage) = storage.open(&password()).await else { return };
    let Ok(store) = storage.open(&notes()).await else { return };
    let (ids, entry) = ([id()], (Bytes::from_static(KEY), Bytes::from_static(VALUE)));
    for _ in 0..2 {
        assert_true(store.read(&ids).await, &vec![Some(record())]);
        assert_true(store.changes(Sequence::ZERO, ALL).await, &vec![record()]);
        assert_true(store.list(IdRange::ALL, ALL).await, &vec![record()]);
        assert_true(store.metadata(b"", None, NonZeroU32::MAX).await, &vec![entry.clone()]);
        // What cannot be opened stays as it is.
        let _ = storage.rotate().await;
    }
}

fn assert_true<T: PartialEq + std::fmt::Debug>(served: Result<T, StorageError>, written: &T) {
    if let Ok(served) = served {
        assert_eq!(served, *written);
    }
}

fn password() -> Secret {
    Secret::password("correct horse battery staple")
}

fn notes() -> StoreName {
    CollectionName::new("notes").expect("it is a name").store().clone()
}

fn id() -> DocumentId {
    DocumentId::new("fuzz").expect("it is an id")
}

fn record() -> Record {
    let dot = Dot { incarnation: Incarnation::new(7), stamp: Stamp::new(1).expect("below 2^63") };
    let state = State { body: "body".into(), annotations: "annotations".into(), deleted: false };
    Record { id: id(), sequence: Sequence::new(1), document: Head { dot, state }.into(), resolved: None }
}
