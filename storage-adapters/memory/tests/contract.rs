//! The storage contract, on memory.

#[path = "../../contract.rs"]
mod contract;

use peerloom_memory::Memory;

struct Place(Memory);

impl Place {
    fn new() -> Self {
        Self(Memory::new())
    }

    fn storage(&self) -> Memory {
        self.0.clone()
    }
}
