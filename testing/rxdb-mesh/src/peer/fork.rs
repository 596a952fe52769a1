//! The state of a fork: what it has yet to push and to pull, and what it knows of its master.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::Snapshot;
use crate::message::Checkpoint;

/// One side of a link that replicates with its master.
#[derive(Clone, Debug)]
pub(crate) struct Fork {
    /// The master's token.
    pub(crate) master: String,
    /// Whether replication has begun.
    pub(crate) running: bool,
    /// Whether the master said that it is ready.
    pub(crate) resynced: bool,
    pub(crate) up: Upstream,
    pub(crate) down: Downstream,
}

/// Pushes what is written here.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// While it is, what the master streams is held back.
    pub(crate) active: bool,
    pub(crate) tasks: VecDeque<Task>,
    /// What was sent and not all answered.
    pub(crate) push: Option<Push>,
}

/// Takes over what the master has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Downstream {
    /// Streamed by the master while the upstream was active.
    pub(crate) held: Vec<Task>,
    pub(crate) tasks: VecDeque<Task>,
    /// The request for changes that was sent and not answered.
    pub(crate) pull: Option<u64>,
}

/// Something for the upstream or the downstream to do.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Go through everything after the checkpoint.
    Resync,
    /// Documents that were written here.
    Written { documents: Vec<Snapshot>, checkpoint: Checkpoint },
    /// Documents that the master has streamed.
    Pulled { documents: Vec<(String, Value)>, checkpoint: Option<Checkpoint> },
}

/// Documents on their way to the master.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    /// The requests that are not answered.
    pub(crate) requests: BTreeSet<u64>,
    pub(crate) rows: BTreeMap<String, PushedRow>,
    /// The master's states of the documents that it refused so far.
    pub(crate) refused: BTreeMap<String, Value>,
    /// Where the upstream stands when this is done.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Whether this is part of a pass through everything, which is repeated after a conflict.
    pub(crate) pass: Pass,
}

/// Why documents are pushed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Pass {
    /// They are after the checkpoint.
    Resync,
    /// They were just written.
    Live,
}

#[derive(Clone, Debug)]
pub(crate) struct PushedRow {
    pub(crate) new: Snapshot,
    pub(crate) assumed: Option<Assumed>,
}

/// What a fork keeps about its master, also while they are not connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) assumed: BTreeMap<String, Assumed>,
    pub(crate) pulled_to: Option<Checkpoint>,
    pub(crate) pushed_to: Option<Checkpoint>,
}

/// What the master is believed to have.
#[derive(Clone, Debug)]
pub(crate) struct Assumed {
    pub(crate) state: Value,
    /// Counts how often this changed.
    pub(crate) revision: u64,
}

impl Fork {
    pub(crate) fn new(master: String) -> Self {
        let up = Upstream { active: true, tasks: VecDeque::new(), push: None };
        Fork { master, running: false, resynced: false, up, down: Downstream::default() }
    }

    /// What the master streams. Lost before replication has begun, which pulls everything.
    pub(crate) fn hear(&mut self, task: Task) {
        let resync = matches!(task, Task::Resync);
        self.resynced |= resync;
        if !self.running {
            return;
        }
        if resync {
            self.up.active = true;
            self.up.tasks.push_back(Task::Resync);
        }
        if self.up.active {
            self.down.held.push(task);
        } else {
            self.down.tasks.push_back(task);
        }
    }

    /// The upstream rests, so what was held back may come in.
    pub(crate) fn rest(&mut self) {
        self.up.active = false;
        self.down.tasks.extend(self.down.held.drain(..));
    }
}

impl Upstream {
    /// Something was written here; `told` is empty if it came from this master.
    pub(crate) fn written(&mut self, told: &[Snapshot], checkpoint: Checkpoint) {
        self.active = true;
        self.tasks.push_back(Task::Written { documents: told.to_vec(), checkpoint });
    }

    pub(crate) fn awaits(&self, request: u64) -> bool {
        self.push.as_ref().is_some_and(|push| push.requests.contains(&request))
    }
}

impl Downstream {
    pub(crate) fn awaits(&self, request: u64) -> bool {
        self.pull == Some(request)
    }
}

impl Memory {
    /// Takes `state` for the master's, unless that was learnt otherwise since `previous` was looked up: RxDB writes with the
    /// revision it had read and ignores that the write then fails.
    pub(crate) fn learn(&mut self, id: &str, state: Value, previous: Option<&Assumed>) {
        let current = self.assumed.get(id).map(|assumed| assumed.revision);
        if current == previous.map(|assumed| assumed.revision) {
            self.assumed.insert(id.into(), Assumed { state, revision: current.unwrap_or(0) + 1 });
        }
    }
}
