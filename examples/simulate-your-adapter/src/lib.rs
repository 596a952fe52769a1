//! A storage adapter with a durability bug, found by simulation: how to put an adapter of your own to the test.
//!
//! The adapter is the log of the `custom-storage` example, which now and then writes what it holds into a new file and renames
//! that over the log, so that it does not grow for ever. Its tests pass. On a real disk it loses what users had saved, once in a few thousand power
//! cuts, and nobody ever finds out why.
//!
//! ```text
//! cargo run -p simulate-your-adapter                     # finds the bug, tells its story, shows that the fix holds
//! cargo run -p simulate-your-adapter -- fuzz --for 1m    # the same campaign by hand
//! ```
//!
//! Three steps lead there, and they are the same for any adapter:
//!
//! 1. **Put the file system behind a trait.** [`files`] has the few operations that the adapter needs, and implements them on real files.
//! 2. **Implement it on the simulator's disk.** [`simulated`] takes forty lines. It is the very same adapter that then runs in
//!    production and in the simulator: no mock of it, and no copy.
//! 3. **Write a scenario.** [`scenario`](simulated::scenario) says how many peers there are, what users do and what goes wrong. No check is needed: whenever a peer opens its
//!    storage again, the simulator compares what is there with what had been acknowledged.
//!
//! [`log`](mod@log) is the adapter's file and the place of the bug, [`storage`] the adapter.

pub mod files;
pub mod log;
pub mod simulated;
pub mod storage;

pub use files::{Directory, Files, LogFile};
pub use storage::{Flaw, LogStorage};
