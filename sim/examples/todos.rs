//! A scenario as a program: `cargo run -p peerloom-sim --example todos -- fuzz --for 1m`.

use std::process::ExitCode;

use peerloom_sim::Scenario;
use peerloom_sim::plan::{Faults, mix};

fn main() -> ExitCode {
    let users = mix().insert(3).edit(6).delete(2).bulk(1..200, 1).settle(1).hot_documents(0.6);
    peerloom_sim::cli(Scenario::new("todos").peers(3..=6).workload(users).faults(Faults::swarm()))
}
