//! What runs tasks: tokio, or whatever a simulator chooses.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use futures_util::future::{AbortHandle, abortable};
use webrtc::runtime::{JoinHandle, Runtime, TokioRuntime};

/// A task to be run in the background.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs tasks.
#[derive(Clone)]
pub(crate) enum Spawner {
    /// Tokio does.
    Tokio,
    /// A simulator does.
    Simulator(Arc<dyn Fn(Task) + Send + Sync>),
}

impl Spawner {
    pub(crate) fn simulator(spawn: impl Fn(Task) + Send + Sync + 'static) -> Self {
        Self::Simulator(Arc::new(spawn))
    }

    /// Runs a task until it ends by itself.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tokio => drop(tokio::spawn(task)),
            Self::Simulator(spawn) => spawn(Box::pin(task)),
        }
    }

    /// Runs a task of the stack, which holds on to it.
    pub(crate) fn spawn_for_stack(&self, task: Task) -> Box<dyn JoinHandle> {
        let Self::Simulator(spawn) = self else { return TokioRuntime.spawn(task) };
        let (task, abort) = abortable(task);
        let lives = Arc::new(());
        let handle = Handle { abort, lives: Arc::downgrade(&lives) };
        spawn(Box::pin(async move {
            let _lives = lives;
            // Whether it ended by itself or was aborted is nothing to anybody.
            let _ = task.await;
        }));
        Box::new(handle)
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tokio => "Tokio",
            Self::Simulator(_) => "Simulator",
        })
    }
}

/// A task that a simulator runs.
struct Handle {
    abort: AbortHandle,
    /// Gone with the task.
    lives: Weak<()>,
}

impl JoinHandle for Handle {
    fn detach(&self) {}

    fn abort(&self) {
        self.abort.abort();
    }

    fn is_finished(&self) -> bool {
        self.lives.strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_task_of_the_stack_can_be_aborted_wherever_it_runs() {
        let given = Arc::new(Mutex::new(Vec::new()));
        let taken = given.clone();
        let simulator = Spawner::simulator(move |task| taken.lock().expect("whole").push(task));
        let handle = simulator.spawn_for_stack(Box::pin(std::future::pending()));
        let task = given.lock().expect("whole").pop().expect("the simulator was given it");
        assert!(!handle.is_finished());
        handle.abort();
        task.await;
        assert!(handle.is_finished());
    }
}
