//! How a fork takes over what its master has: where it has nothing of its own to push.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fork::Task;
use super::{LinkId, Output, Peer, PeerError, Row, Writer};
use crate::message::{Changes, Checkpoint, Request};

impl Peer {
    /// Takes over what the master has streamed, or asks for what it has. Says whether there was anything to do.
    pub(super) fn step_downstream(&mut self, link: LinkId, outputs: &mut Vec<Output>) -> bool {
        let Some(fork) = self.fork(link).filter(|fork| fork.running && fork.down.pull.is_none()) else {
            return false;
        };
        let (mut documents, mut position) = (Vec::new(), None);
        match fork.down.tasks.front() {
            None => return false,
            Some(Task::Resync) => {
                let master = fork.master.clone();
                let checkpoint = self.memories[&master].pulled_to.clone();
                self.pull(link, checkpoint, outputs);
                return true;
            }
            Some(_) => {}
        }
        while let Some(Task::Pulled { .. }) = fork.down.tasks.front() {
            if let Some(Task::Pulled { documents: streamed, checkpoint }) = fork.down.tasks.pop_front() {
                documents.extend(streamed);
                position = checkpoint.or(position);
            }
        }
        self.take_over(link, documents, position, outputs);
        true
    }

    fn pull(&mut self, link: LinkId, checkpoint: Option<Checkpoint>, outputs: &mut Vec<Output>) {
        let batch_size = self.settings.batch_size;
        let request = self.request(link, Request::ChangesSince { checkpoint, batch_size }, outputs);
        let down = &mut self.fork(link).expect("only a fork pulls").down;
        // The answer will have all of it.
        down.tasks.clear();
        down.pull = Some(request);
    }

    /// The master answered a pull.
    pub(super) fn pulled(
        &mut self,
        link: LinkId,
        changes: Changes,
        outputs: &mut Vec<Output>,
    ) -> Result<(), PeerError> {
        let documents: Vec<_> = changes
            .documents
            .into_iter()
            .map(|state| Ok((self.id_of(&state)?, state)))
            .collect::<Result<_, _>>()?;
        let more = documents.len() >= self.settings.batch_size;
        self.fork(link).expect("only a fork pulls").down.pull = None;
        self.take_over(link, documents, changes.checkpoint.clone(), outputs);
        if more {
            self.pull(link, changes.checkpoint, outputs);
        }
        Ok(())
    }

    fn take_over(
        &mut self,
        link: LinkId,
        documents: Vec<(String, Value)>,
        checkpoint: Option<Checkpoint>,
        outputs: &mut Vec<Output>,
    ) {
        if documents.is_empty() {
            return;
        }
        let master = self.fork(link).expect("only a fork pulls").master.clone();
        let latest: BTreeMap<_, _> = documents.into_iter().collect();
        let memory = &self.memories[&master];
        let (mut rows, mut learnt) = (Vec::new(), Vec::new());
        for (id, theirs) in latest {
            let (current, assumed) = (self.store.find(&id), memory.assumed.get(&id));
            if let Some(ours) = current {
                let as_assumed =
                    assumed.is_some_and(|assumed| self.handler.is_equal(&assumed.state, &ours.state));
                if !as_assumed && ours.pulled_from.as_ref() != Some(&master) {
                    // Something is to be pushed first, and the upstream resolves the conflict.
                    continue;
                }
                if self.handler.is_equal(&theirs, &ours.state) {
                    if !as_assumed {
                        learnt.push((id, ours.state.clone(), assumed.cloned()));
                    }
                    continue;
                }
            }
            learnt.push((id.clone(), theirs.clone(), assumed.cloned()));
            let previous = current.map(|stored| stored.revision);
            rows.push(Row { id, state: theirs, previous, pulled_from: Some(master.clone()) });
        }
        self.commit(rows, &Writer::Downstream(link), outputs);
        let memory = self.memory(&master);
        for (id, state, previous) in learnt {
            memory.learn(&id, state, previous.as_ref());
        }
        memory.pulled_to = checkpoint.or_else(|| memory.pulled_to.take());
    }
}
