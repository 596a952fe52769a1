//! The storage contract, on fjall.

use peerloom_conformance::StorageFixture;
use peerloom_fjall::Fjall;
use tempfile::TempDir;

struct Directory(TempDir);

impl StorageFixture for Directory {
    type Adapter = Fjall;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn storage(&self) -> Fjall {
        Fjall::at(self.0.path().join("not/yet/there"))
    }
}

peerloom_conformance::storage_tests!(Directory);
