//! A storage that acknowledges what it does not keep is named when the room settles, not only when it is opened again.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use peerloom::core::{Batch, DocumentId, Record, Sequence, Store, StoreName};
use peerloom::{CommitError, IdRange, PageLimits, Storage, StorageError};
use peerloom_sim::plan::{Faults, mix};
use peerloom_sim::{RunOptions, Scenario, Verdict};

/// Forgets one document of each large commit.
struct Lossy<S>(S);

struct LossyStore(Arc<dyn Store>);

#[async_trait]
impl<S: Storage> Storage for Lossy<S> {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        Ok(Arc::new(LossyStore(self.0.open(name).await?)))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        self.0.delete(name).await
    }
}

#[async_trait]
impl Store for LossyStore {
    async fn read(&self, ids: &[DocumentId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.0.read(ids).await
    }

    async fn changes(&self, after: Sequence, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.0.changes(after, limits).await
    }

    async fn list(&self, range: IdRange, limits: PageLimits) -> Result<Vec<Record>, StorageError> {
        self.0.list(range, limits).await
    }

    async fn metadata(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        entries_max: NonZeroU32,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.0.metadata(prefix, after, entries_max).await
    }

    async fn commit(&self, mut batch: Batch) -> Result<(), CommitError> {
        if batch.records.len() >= 20 {
            batch.records.remove(batch.records.len() / 2);
        }
        self.0.commit(batch).await
    }

    async fn close(&self) -> Result<(), StorageError> {
        self.0.close().await
    }
}

#[test]
fn a_storage_that_loses_a_document_is_named_at_once() {
    let scenario = Scenario::new("lossy")
        .peers(1..=1)
        .operations(10)
        .rounds(1..=1, 5_000..=5_000)
        .workload(mix().bulk(20..40, 1))
        .faults(Faults::none())
        .storage(|environment| Lossy(environment.memory()));
    let outcome = scenario.run(&scenario.plan(1), RunOptions::default());
    let Verdict::Violated(violation) = &outcome.verdict else { panic!("nothing was found") };
    assert_eq!(violation.signature(), "what was acknowledged is durable");
    let says = violation.to_string();
    assert!(says.contains("in a settled room, the storage does not hold a document"), "{says}");
}
