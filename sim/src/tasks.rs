//! The tasks of one peer, which can be stopped between two instructions and held for a while.
//!
//! A simulated process is the set of its tasks. Killing it drops all of them at once; pausing it leaves them as they are, deaf to
//! whatever wakes them. A task that panics is noted, and fails the run.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::task::{Context, Poll, Waker};

use peerloom::BoxFuture;

/// Called with the message of a panic.
pub(crate) type OnPanic = Arc<dyn Fn(String) + Send + Sync>;

/// The tasks of one lifetime of a peer.
#[derive(Clone)]
pub(crate) struct Tasks {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    on_panic: OnPanic,
}

#[derive(Default)]
struct State {
    killed: bool,
    paused: bool,
    next: u64,
    /// By number, so that they are dropped in the order in which they were spawned.
    slots: BTreeMap<u64, Slot>,
    /// Who wanted to run while all were held.
    held: Vec<Waker>,
}

/// Empty once the task has ended or was killed. Locked while it runs.
type Slot = Arc<Mutex<Option<BoxFuture<()>>>>;

impl Tasks {
    pub(crate) fn new(on_panic: OnPanic) -> Self {
        install_quiet_hook();
        Self { shared: Arc::new(Shared { state: Mutex::default(), on_panic }) }
    }

    /// A task to be given to the runtime. It does nothing if its peer was killed.
    pub(crate) fn managed(&self, task: BoxFuture<()>) -> Managed {
        let slot: Slot = Arc::new(Mutex::new(Some(task)));
        let mut state = lock(&self.shared.state);
        let number = state.next;
        state.next += 1;
        if state.killed {
            drop(state);
            lock(&slot).take();
        } else {
            state.slots.insert(number, slot.clone());
        }
        Managed { tasks: self.clone(), number, slot }
    }

    /// Drops all tasks, except that one that is running right now goes on to where it waits next.
    pub(crate) fn kill(&self) {
        let (slots, held) = {
            let mut state = lock(&self.shared.state);
            state.killed = true;
            (std::mem::take(&mut state.slots), std::mem::take(&mut state.held))
        };
        for slot in slots.into_values() {
            // Taken out first: what a future does when it is dropped must find its slot unlocked.
            let task = slot.try_lock().ok().and_then(|mut slot| slot.take());
            drop(task);
        }
        held.into_iter().for_each(Waker::wake);
    }

    /// Whether [`Tasks::kill`] was called.
    pub(crate) fn is_killed(&self) -> bool {
        lock(&self.shared.state).killed
    }

    pub(crate) fn pause(&self) {
        lock(&self.shared.state).paused = true;
    }

    pub(crate) fn resume(&self) {
        let held = {
            let mut state = lock(&self.shared.state);
            state.paused = false;
            std::mem::take(&mut state.held)
        };
        held.into_iter().for_each(Waker::wake);
    }

    fn forget(&self, number: u64) {
        lock(&self.shared.state).slots.remove(&number);
    }
}

/// A task under the hand of its [`Tasks`].
pub(crate) struct Managed {
    tasks: Tasks,
    number: u64,
    slot: Slot,
}

impl Future for Managed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = lock(&self.tasks.shared.state);
            if state.paused && !state.killed {
                state.held.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        let mut slot = lock(&self.slot);
        let Some(task) = slot.as_mut() else { return Poll::Ready(()) };
        let polled = catch_unwind(AssertUnwindSafe(|| in_simulation(|| task.as_mut().poll(context))));
        if matches!(polled, Ok(Poll::Pending)) && !self.tasks.is_killed() {
            return Poll::Pending;
        }
        let task = slot.take();
        drop(slot);
        drop(task);
        self.tasks.forget(self.number);
        if let Err(payload) = polled {
            (self.tasks.shared.on_panic)(last_panic().unwrap_or_else(|| message_of(&*payload)));
        }
        Poll::Ready(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Thrown by a conflict handler because the plan says so.
pub(crate) struct PlannedPanic;

thread_local! {
    /// What the last panic within a simulation on this thread said, and where. `None` outside of simulations.
    static PANIC: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Keeps panics of simulated tasks, which are part of the trace, off the terminal.
fn install_quiet_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let simulated = PANIC.with_borrow_mut(|panic| {
                if let Some(last) = panic {
                    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
                    *last = Some(message_of(info.payload()) + &place.unwrap_or_default());
                }
                panic.is_some()
            });
            if !simulated {
                before(info);
            }
        }));
    });
}

/// Calls somebody else's code, and gives what its panic says.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    install_quiet_hook();
    let caught = catch_unwind(AssertUnwindSafe(|| in_simulation(call)));
    caught.map_err(|payload| last_panic().unwrap_or_else(|| message_of(&*payload)))
}

fn in_simulation<T>(poll: impl FnOnce() -> T) -> T {
    struct Outside(Option<Option<String>>);
    impl Drop for Outside {
        fn drop(&mut self) {
            let before = self.0.take();
            // A panic leaves its message for whoever catches it.
            if !std::thread::panicking() {
                PANIC.set(before);
            }
        }
    }
    let _outside = Outside(PANIC.replace(Some(None)));
    poll()
}

/// Takes the message of the panic that was just caught.
fn last_panic() -> Option<String> {
    PANIC.take().flatten()
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn tasks() -> (Tasks, Arc<Mutex<Vec<String>>>) {
        let panics = Arc::new(Mutex::new(Vec::new()));
        let noted = panics.clone();
        (Tasks::new(Arc::new(move |message| noted.lock().expect("whole").push(message))), panics)
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_task_is_dropped_where_it_waits() {
        struct Dropped(Arc<AtomicUsize>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let ((tasks, _), dropped) = (tasks(), Arc::new(AtomicUsize::new(0)));
        let guard = Dropped(dropped.clone());
        tokio::spawn(tasks.managed(Box::pin(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        })));
        tokio::task::yield_now().await;
        tasks.kill();
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        tokio::spawn(tasks.managed(Box::pin(async { unreachable!("nothing runs after the kill") })));
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_task_goes_on_where_it_was() {
        let ((tasks, _), (done, mut wait)) = (tasks(), tokio::sync::oneshot::channel());
        let running = tasks.managed(Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            done.send(()).expect("somebody waits");
        }));
        tokio::spawn(running);
        tokio::task::yield_now().await;
        tasks.pause();
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert!(wait.try_recv().is_err(), "it was held");
        tasks.resume();
        wait.await.expect("it went on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_told_with_its_place() {
        let (tasks, panics) = tasks();
        tokio::spawn(tasks.managed(Box::pin(async { panic!("as the test wants") }))).await.expect("caught");
        let told = panics.lock().expect("whole").clone();
        assert!(told.len() == 1 && told[0].starts_with("as the test wants (sim/src/tasks.rs"), "{told:?}");
    }
}
