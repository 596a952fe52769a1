//! The storage contract, on fjall.

#[path = "../../contract.rs"]
mod contract;

use peerloom_fjall::Fjall;
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn storage(&self) -> Fjall {
        Fjall::at(self.0.path().join("not/yet/there"))
    }
}
