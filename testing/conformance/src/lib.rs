//! Tests for the authors of adapters: one `#[test]` for each promise of [`Storage`] and [`Transport`].
//!
//! Say how a fresh place for your adapter is made, and one line gives you the tests. They are named as the
//! promises, and the documentation of [`storage`] and [`transport`] says of each what it asks for:
//!
//! ```
//! // tests/conformance.rs of the adapter
//! use peerloom_conformance::StorageFixture;
//! use peerloom_memory::Memory;
//!
//! struct Disk(Memory);
//!
//! impl StorageFixture for Disk {
//!     type Adapter = Memory;
//!
//!     fn fresh() -> Self {
//!         Self(Memory::new())
//!     }
//!
//!     fn storage(&self) -> Memory {
//!         self.0.clone()
//!     }
//! }
//!
//! peerloom_conformance::storage_tests!(Disk);
//!
//! // The same tests as values, for whoever wants to choose or to count.
//! for promise in peerloom_conformance::storage::promises::<Disk>() {
//!     promise.check();
//! }
//! ```
//!
//! For transports it is [`TransportFixture`] and [`transport_tests!`].
//!
//! # What a test runs on
//!
//! A thread and a tokio runtime of its own, with two worker threads, timer and, if the adapter asks tokio for
//! it, input and output. Nothing else is asked of an adapter; one that does not use tokio needs not know of
//! it. A test that does not end within [`TIME_MAX`] fails, whether the adapter waits or blocks.
//!
//! # What is not tested
//!
//! What takes a fault from outside the traits: power cuts, full disks, damaged files, later formats,
//! [`CommitError::Unknown`], networks that break. An adapter needs tests of its own for these. Time is not
//! tested either: where the contract says that something does *not* happen, a test waits a fifth of a second
//! for it, so a slow adapter may break such a promise unseen, and a slow machine never fails one that keeps
//! it.
//!
//! [`CommitError::Unknown`]: peerloom_core::CommitError::Unknown
//! [`Storage`]: peerloom_core::Storage
//! [`Transport`]: peerloom_core::Transport

mod poll;
mod promise;
pub mod storage;
pub mod transport;

pub use promise::{Promise, TIME_MAX};
pub use storage::StorageFixture;
pub use transport::TransportFixture;

/// One `#[test]` for each promise of the storage contract, on a [`StorageFixture`].
///
/// `storage_tests!(Fixture);` stands at the top of a test file or module. See the [`crate`] for an
/// example.
#[macro_export]
macro_rules! storage_tests {
    ($fixture:ty) => {
        $crate::__storage_promises!(__tests storage $fixture);
    };
}

/// One `#[test]` for each promise of the transport contract, on a [`TransportFixture`].
///
/// `transport_tests!(Fixture);` stands at the top of a test file or module. See [`TransportFixture`] for an
/// example.
#[macro_export]
macro_rules! transport_tests {
    ($fixture:ty) => {
        $crate::__transport_promises!(__tests transport $fixture);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ($suite:ident $fixture:ty; $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let story = || Box::pin($crate::$suite::$name::<$fixture>()) as _;
                $crate::Promise::new(stringify!($name), story).check();
            }
        )*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __table {
    ($suite:ident $fixture:ty; $($name:ident)*) => {
        [$($crate::Promise::new(stringify!($name), || Box::pin($crate::$suite::$name::<$fixture>()))),*]
    };
}
