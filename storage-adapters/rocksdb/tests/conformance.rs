//! The storage contract, on RocksDB.

use peerloom_conformance::StorageFixture;
use peerloom_rocksdb::RocksDb;
use tempfile::TempDir;

struct Directory(TempDir);

impl StorageFixture for Directory {
    type Adapter = RocksDb;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn storage(&self) -> RocksDb {
        RocksDb::at(self.0.path().join("not/yet/there"))
    }
}

peerloom_conformance::storage_tests!(Directory);
