//! The storage contract, on log files.

use custom_storage::LogFiles;
use peerloom_conformance::StorageFixture;
use tempfile::TempDir;

struct Directory(TempDir);

impl StorageFixture for Directory {
    type Adapter = LogFiles;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn storage(&self) -> LogFiles {
        LogFiles::at(self.0.path().join("stores"))
    }
}

peerloom_conformance::storage_tests!(Directory);
