//! The storage contract, on encrypted memory and encrypted fjall.

use peerloom_conformance::StorageFixture;
use peerloom_core::Storage;
use peerloom_encrypted::{Encrypted, Secret};
use tokio::runtime::Handle;

/// A value of its own each time, as in another program.
fn opened<S: Storage>(storage: S) -> Encrypted<S> {
    let opening = async { Encrypted::open_or_create(storage, &Secret::key([7; 32])).await };
    tokio::task::block_in_place(|| Handle::current().block_on(opening)).expect("the storage opens")
}

mod memory {
    use super::*;
    use peerloom_memory::Memory;

    struct Disk(Memory);

    impl StorageFixture for Disk {
        type Adapter = Encrypted<Memory>;

        fn fresh() -> Self {
            Self(Memory::new())
        }

        fn storage(&self) -> Encrypted<Memory> {
            opened(self.0.clone())
        }
    }

    peerloom_conformance::storage_tests!(Disk);
}

mod fjall {
    use super::*;
    use peerloom_fjall::Fjall;
    use tempfile::TempDir;

    struct Directory(TempDir);

    impl StorageFixture for Directory {
        type Adapter = Encrypted<Fjall>;

        fn fresh() -> Self {
            Self(tempfile::tempdir().expect("a temporary directory"))
        }

        fn storage(&self) -> Encrypted<Fjall> {
            opened(Fjall::at(self.0.path().join("not/yet/there")))
        }
    }

    peerloom_conformance::storage_tests!(Directory);
}
