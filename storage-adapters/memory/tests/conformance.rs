//! The storage contract, on memory.

use peerloom_conformance::StorageFixture;
use peerloom_memory::Memory;

struct Disk(Memory);

impl StorageFixture for Disk {
    type Adapter = Memory;

    fn fresh() -> Self {
        Self(Memory::new())
    }

    fn storage(&self) -> Memory {
        self.0.clone()
    }
}

peerloom_conformance::storage_tests!(Disk);
