//! A promise as a value: its name, and how it is put to the test.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a promise may take before it counts as broken: far more than a working adapter needs, on any
/// machine.
pub const TIME_MAX: Duration = Duration::from_secs(60);

/// How much longer a test may take that hears of the end of its time, before its thread is given up as
/// blocked.
const GRACE: Duration = Duration::from_secs(2);

const WORKER_THREADS: usize = 2;

/// One promise of a contract, bound to the fixture on which it is tested.
#[derive(Clone, Copy)]
pub struct Promise {
    name: &'static str,
    story: fn() -> Pin<Box<dyn Future<Output = ()>>>,
}

impl Promise {
    /// A promise and the story that shows whether it is kept. A story panics if not.
    pub const fn new(name: &'static str, story: fn() -> Pin<Box<dyn Future<Output = ()>>>) -> Self {
        Self { name, story }
    }

    /// The promise, in words joined by underscores.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The story itself, for whoever brings a tokio runtime and a limit. A transport that waits for nothing
    /// but tokio's clock is tested in no time where that is paused.
    pub fn story(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        (self.story)()
    }

    /// Puts the promise to the test.
    ///
    /// # Panics
    ///
    /// If it is broken, or [`TIME_MAX`] is over. Code of the adapter that waits is dropped then; a thread
    /// that it blocks is left behind.
    pub fn check(&self) {
        self.check_within(TIME_MAX);
    }

    /// As [`Promise::check`], with another limit.
    pub fn check_within(&self, time_max: Duration) {
        let (done, outcome) = mpsc::channel();
        let (name, story) = (self.name, self.story);
        let work = move || {
            let kept = catch_unwind(AssertUnwindSafe(|| tell(name, story, time_max)));
            // Nobody listens any more if this took too long.
            let _ = done.send(kept);
        };
        let thread = thread::Builder::new().name(name.into()).spawn(work).expect("the system has threads");
        match outcome.recv_timeout(time_max + GRACE) {
            Ok(kept) => {
                thread.join().expect("panics were caught");
                kept.unwrap_or_else(|panic| resume_unwind(panic));
            }
            Err(_) => panic!("{name}: a thread is still blocked after {time_max:?}"),
        }
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Promise").field(&self.name).finish()
    }
}

fn tell(name: &'static str, story: fn() -> Pin<Box<dyn Future<Output = ()>>>, time_max: Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name(name)
        .enable_all()
        .build()
        .expect("the system has threads");
    let kept = runtime.block_on(async { tokio::time::timeout(time_max, story()).await });
    runtime.shutdown_background();
    assert!(kept.is_ok(), "{name}: still waiting after {time_max:?}");
}
