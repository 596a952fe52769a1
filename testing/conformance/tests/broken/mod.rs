//! Runs every promise on a broken adapter, and compares what breaks with what should.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::thread;

use peerloom_conformance::Promise;

/// One fault, and what must come of it.
pub(crate) struct Mutation {
    /// The name of the fault. `Nothing` is none, and breaks `nothing`.
    pub(crate) fault: &'static str,
    /// Gives it to the adapters that are made from then on.
    pub(crate) break_adapters: fn(),
    /// The promises that break.
    pub(crate) breaks: Vec<&'static str>,
}

/// Checks that each fault breaks its promises and no other, and that there is a fault for every promise.
/// `check` panics if a promise is broken.
pub(crate) fn assert_caught<const N: usize>(
    promises: &[Promise],
    check: fn(&Promise),
    mutations: [Mutation; N],
) {
    keep_broken_promises_quiet(promises);
    let mut never_broken: BTreeSet<_> = promises.iter().map(Promise::name).collect();
    let mut surprises = Vec::new();
    for Mutation { fault, break_adapters, breaks } in mutations {
        let expected: BTreeSet<_> = breaks.into_iter().filter(|name| *name != "nothing").collect();
        break_adapters();
        let broken = broken(promises, check);
        surprises.extend(expected.difference(&broken).map(|name| format!("{fault} does not break {name}")));
        surprises.extend(broken.difference(&expected).map(|name| format!("{fault} breaks {name}")));
        never_broken.retain(|name| !expected.contains(name));
    }
    surprises.extend(never_broken.into_iter().map(|name| format!("no fault breaks {name}")));
    assert!(surprises.is_empty(), "\n{}", surprises.join("\n"));
}

/// The names of the promises that are broken. All are tested at the same time, because most of that is
/// waiting.
fn broken(promises: &[Promise], check: fn(&Promise)) -> BTreeSet<&'static str> {
    let kept = |promise: &Promise| catch_unwind(AssertUnwindSafe(|| check(promise))).is_ok();
    thread::scope(|scope| {
        let spawn = |promise| {
            // Named as the promise, so that it is quiet.
            let thread = thread::Builder::new().name(Promise::name(promise).into());
            (promise, thread.spawn_scoped(scope, move || kept(promise)).expect("the system has threads"))
        };
        let checks: Vec<_> = promises.iter().map(spawn).collect();
        let broken = checks.into_iter().filter_map(|(promise, check)| {
            let kept = check.join().expect("panics are caught");
            (!kept).then(|| promise.name())
        });
        broken.collect()
    })
}

/// The threads on which a promise is tested have its name. Their panics are what the table is about.
fn keep_broken_promises_quiet(promises: &[Promise]) {
    let quiet: BTreeSet<_> = promises.iter().map(Promise::name).collect();
    let loud = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !thread::current().name().is_some_and(|name| quiet.contains(name)) {
            loud(info);
        }
    }));
}
