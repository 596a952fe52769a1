//! How a fork pushes: one push at a time; what the master refuses is resolved, written here, and pushed again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fork::{Assumed, Pass, Push, PushedRow, Task};
use super::{LinkId, Output, Peer, PeerError, Row, Snapshot, Writer};
use crate::message::{Checkpoint, Request, WriteRow};

impl Peer {
    /// Begins to replicate once the master is ready.
    pub(super) fn step_start(&mut self, link: LinkId, outputs: &mut Vec<Output>) -> bool {
        let ready = self.fork(link).is_some_and(|fork| fork.resynced && !fork.running);
        if ready {
            self.start_fork(link, outputs);
        }
        ready
    }

    pub(super) fn start_fork(&mut self, link: LinkId, outputs: &mut Vec<Output>) {
        let fork = self.fork(link).expect("only a fork starts");
        fork.running = true;
        fork.down.tasks.push_back(Task::Resync);
        self.push_all(link, outputs);
    }

    /// Pushes what was written here since it last did. Says whether there was anything to do.
    pub(super) fn step_upstream(&mut self, link: LinkId, outputs: &mut Vec<Output>) -> bool {
        let Some(fork) = self.fork(link).filter(|fork| fork.running && fork.up.push.is_none()) else {
            return false;
        };
        if fork.up.tasks.is_empty() {
            let was_active = fork.up.active;
            fork.rest();
            return was_active;
        }
        let (mut documents, mut position) = (Vec::new(), None);
        while let Some(task) = fork.up.tasks.pop_front() {
            match task {
                // It finds again what was collected so far.
                Task::Resync => {
                    fork.rest();
                    self.push_all(link, outputs);
                    return true;
                }
                Task::Written { documents: written, checkpoint } => {
                    documents.extend(written);
                    position = Some(checkpoint);
                }
                Task::Pulled { .. } => unreachable!("the upstream is not told what the master streams"),
            }
        }
        self.push(link, documents, position, Pass::Live, outputs);
        true
    }

    /// Pushes everything after the checkpoint, and again as long as a push ends in a conflict.
    fn push_all(&mut self, link: LinkId, outputs: &mut Vec<Output>) {
        let fork = self.fork(link).expect("only a fork pushes");
        // All of it is found after the checkpoint.
        fork.up.tasks.clear();
        let master = fork.master.clone();
        let found = self.store.since(self.memories[&master].pushed_to.as_ref());
        let Some((last, _)) = found.last() else { return };
        let last = last.clone();
        let documents = found.into_iter().map(|(_, snapshot)| snapshot).collect();
        self.push(link, documents, Some(last), Pass::Resync, outputs);
    }

    fn push(
        &mut self,
        link: LinkId,
        documents: Vec<Snapshot>,
        checkpoint: Option<Checkpoint>,
        pass: Pass,
        outputs: &mut Vec<Output>,
    ) {
        let master = self.fork(link).expect("only a fork pushes").master.clone();
        let memory = &self.memories[&master];
        let latest: BTreeMap<_, _> = documents.into_iter().map(|new| (new.id.clone(), new)).collect();
        let row = |(id, new): (String, Snapshot)| {
            let assumed = memory.assumed.get(&id).cloned();
            let known = |assumed: &Assumed| self.handler.is_equal(&assumed.state, &new.state);
            (!assumed.as_ref().is_some_and(known)).then_some((id, PushedRow { new, assumed }))
        };
        let rows: BTreeMap<_, _> = latest.into_iter().filter_map(row).collect();
        if rows.is_empty() {
            self.pushed_to(&master, checkpoint);
            return;
        }
        let sent: Vec<_> = rows.values().map(WriteRow::from).collect();
        let batch_size = self.settings.batch_size;
        let requests: BTreeSet<_> = sent
            .chunks(batch_size)
            .map(|rows| self.request(link, Request::Write { rows: rows.to_vec() }, outputs))
            .collect();
        let push = Push { requests, rows, refused: BTreeMap::new(), checkpoint, pass };
        self.fork(link).expect("only a fork pushes").up.push = Some(push);
    }

    /// The master answered a push.
    pub(super) fn pushed(
        &mut self,
        link: LinkId,
        request: u64,
        refused: Vec<Value>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), PeerError> {
        let refused = refused
            .into_iter()
            .map(|state| Ok((self.id_of(&state)?, state)))
            .collect::<Result<Vec<_>, _>>()?;
        let fork = self.fork(link).expect("only a fork pushes");
        let push = fork.up.push.as_mut().expect("the answer was awaited");
        push.requests.remove(&request);
        push.refused.extend(refused.into_iter().filter(|(id, _)| push.rows.contains_key(id)));
        if push.requests.is_empty() {
            let push = fork.up.push.take().expect("it was there");
            let master = fork.master.clone();
            self.finish_push(link, &master, push, outputs)?;
        }
        Ok(())
    }

    fn finish_push(
        &mut self,
        link: LinkId,
        master: &str,
        push: Push,
        outputs: &mut Vec<Output>,
    ) -> Result<(), PeerError> {
        let Push { mut rows, refused, checkpoint, pass, .. } = push;
        let conflicts: Vec<_> = refused
            .into_iter()
            .map(|(id, real)| {
                let row = rows.remove(&id).expect("answers for other documents were ignored");
                (id, row, real)
            })
            .collect();
        let memory = self.memory(master);
        for (id, row) in rows {
            memory.learn(&id, row.new.state, row.assumed.as_ref());
        }
        let resolved = conflicts.iter().map(|(id, row, real)| self.resolve(id, row, real));
        // A document that was written meanwhile stays as it is: its next push runs into the same conflict.
        let resolved = resolved.collect::<Result<_, _>>()?;
        let written = self.commit(resolved, &Writer::Other, outputs);
        let had_conflicts = !conflicts.is_empty();
        let memory = self.memory(master);
        for (id, row, real) in conflicts.into_iter().filter(|(id, ..)| written.contains(id)) {
            memory.learn(&id, real, row.assumed.as_ref());
        }
        self.pushed_to(master, checkpoint);
        if pass == Pass::Resync && had_conflicts {
            self.push_all(link, outputs);
        }
        Ok(())
    }

    fn resolve(&self, id: &str, row: &PushedRow, real: &Value) -> Result<Row, PeerError> {
        let assumed = row.assumed.as_ref().map(|assumed| &assumed.state);
        let state = self.handler.resolve(real, &row.new.state, assumed);
        if self.id_of(&state).is_ok_and(|of| of == id) {
            Ok(Row { id: id.into(), state, previous: Some(row.new.revision), pulled_from: None })
        } else {
            Err(PeerError::NotAResolution { id: id.into(), resolved: state.to_string() })
        }
    }

    fn pushed_to(&mut self, master: &str, checkpoint: Option<Checkpoint>) {
        let memory = self.memory(master);
        memory.pushed_to = checkpoint.or_else(|| memory.pushed_to.take());
    }
}

impl From<&PushedRow> for WriteRow {
    fn from(row: &PushedRow) -> Self {
        WriteRow {
            assumed_master_state: row.assumed.as_ref().map(|assumed| assumed.state.clone()),
            new_document_state: row.new.state.clone(),
        }
    }
}
