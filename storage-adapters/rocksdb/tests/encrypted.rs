//! The storage contract, on encrypted RocksDB.

use peerloom_conformance::StorageFixture;
use peerloom_encrypted::{Encrypted, Secret};
use peerloom_rocksdb::RocksDb;
use tempfile::TempDir;
use tokio::runtime::Handle;

struct Directory(TempDir);

impl StorageFixture for Directory {
    type Adapter = Encrypted<RocksDb>;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// A value of its own each time, as in another program.
    fn storage(&self) -> Encrypted<RocksDb> {
        let (storage, secret) = (RocksDb::at(self.0.path().join("not/yet/there")), Secret::key([7; 32]));
        let opening = async { Encrypted::open_or_create(storage, &secret).await };
        tokio::task::block_in_place(|| Handle::current().block_on(opening)).expect("the storage opens")
    }
}

peerloom_conformance::storage_tests!(Directory);
