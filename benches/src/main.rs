//! The benchmarks: each subject is a scenario that is run once and reports figures, some of them against a target.
//!
//! `cargo xtask bench` runs them all, `cargo xtask bench mesh line` these two. Figures of time
//! depend on the machine and on who else uses it; figures of bytes come from a virtual clock and repeat themselves, unless
//! they say otherwise.

mod clock;
mod contact;
mod contexts;
mod disk;
mod document;
mod encrypted;
mod first_sync;
mod group;
mod latency;
mod live;
mod memory;
mod report;
mod simulator;
mod synthetic;
mod traffic;

use std::process::ExitCode;

use report::Figure;

/// One benchmark.
struct Subject {
    name: &'static str,
    run: fn() -> anyhow::Result<Vec<Figure>>,
}

const SUBJECTS: [Subject; 11] = [
    Subject { name: "first-sync", run: first_sync::run },
    Subject { name: "live", run: live::run },
    Subject { name: "contact", run: contact::run },
    Subject { name: "mesh", run: traffic::mesh },
    Subject { name: "line", run: traffic::line },
    Subject { name: "newcomer", run: traffic::newcomer },
    Subject { name: "latency", run: latency::run },
    Subject { name: "contexts", run: contexts::run },
    Subject { name: "disk", run: disk::run },
    Subject { name: "encrypted", run: encrypted::run },
    Subject { name: "simulator", run: simulator::run },
];

/// Takes the most time and space, and is left out unless it is named.
const MEMORY: Subject = Subject { name: "memory", run: memory::run };

fn main() -> anyhow::Result<ExitCode> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if let [first, directory] = names.as_slice()
        && let Some(ran) = memory::run_part(first, directory.as_ref())
    {
        return ran.map(|()| ExitCode::SUCCESS);
    }
    let every = || SUBJECTS.iter().chain([&MEMORY]);
    if let Some(unknown) = names.iter().find(|name| every().all(|subject| subject.name != **name)) {
        let known: Vec<_> = every().map(|subject| subject.name).collect();
        eprintln!("there is no benchmark {unknown}, only {}", known.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    let chosen: Vec<&Subject> = match names.is_empty() {
        true => SUBJECTS.iter().collect(),
        false => every().filter(|subject| names.iter().any(|name| name == subject.name)).collect(),
    };
    for subject in chosen {
        report::print(subject.name, &(subject.run)()?);
    }
    Ok(ExitCode::SUCCESS)
}
