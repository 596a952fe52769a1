//! The storage contract, on real files and on the simulator's disk. The flaw that the example is about breaks none of it.

use peerloom_conformance::StorageFixture;
use peerloom_sim::Disk;
use simulate_your_adapter::{Directory, Flaw, LogStorage};
use tempfile::TempDir;

struct OnFiles(TempDir);

impl StorageFixture for OnFiles {
    type Adapter = LogStorage<Directory>;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn storage(&self) -> Self::Adapter {
        // Compacts all the time.
        LogStorage { compact_bytes_min: 0, ..LogStorage::on(Directory::at(self.0.path().join("stores"))) }
    }
}

mod on_files {
    peerloom_conformance::storage_tests!(super::OnFiles);
}

struct OnSimulatedDisk(Disk);

impl StorageFixture for OnSimulatedDisk {
    type Adapter = LogStorage<Disk>;

    fn fresh() -> Self {
        Self(Disk::default())
    }

    fn storage(&self) -> Self::Adapter {
        let flaw = Some(Flaw::ForgetsTheName);
        LogStorage { compact_bytes_min: 0, flaw, ..LogStorage::on(self.0.clone()) }
    }
}

mod on_a_simulated_disk_with_a_flaw {
    peerloom_conformance::storage_tests!(super::OnSimulatedDisk);
}
