//! When two states of a mesh are the same for everything that can still happen.
//!
//! Some of what peers keep grows for ever and is only ever compared, so a mesh that goes round in circles would never be in
//! exactly the same state twice. What is compared is put in the place of what grows. Each replacement keeps all future answers:
//!
//! - **Times and checkpoints.** A checkpoint is only used to find the documents of one peer that were written after it, in
//!   the order of their writes, and a new write is later than all. So the documents are listed in that order, without
//!   times, and a checkpoint is replaced by *how many of them are after it*. As that order is total, the number tells which.
//! - **Revisions of a document.** They are only compared with the current one of the same peer, and only grow. So a revision that
//!   is remembered somewhere is replaced by whether it is still the current one: what no longer is will never be again.
//!   The same goes for the revisions of what a fork assumes.
//! - **Request numbers.** Messages of one direction do not overtake each other and a peer answers at once, so answers come in
//!   the order of the requests, and the order alone tells which is which.
//! - **Where a revision was pulled from** counts only for the current revision, and the store keeps it only for that.
//!
//! Numbers in documents are as they are in JSON: `1` and `1.0` count as different here, which can only hide a circle, not make one up.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

use crate::mesh::{Direction, Mesh};
use crate::message::{Answer, Change, Changes, Checkpoint, Message, Request};
use crate::peer::{Assumed, Fork, Memory, Peer, Stage, Store, Task};

/// Names a state of a mesh, up to what makes no difference to its future. 128 bits of SHA-256: states with equal
/// fingerprints are taken to be the same.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint(u128);

impl Mesh {
    /// The fingerprint of the mesh's state.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint_with(&())
    }

    /// The fingerprint of the mesh's state together with something else.
    pub(crate) fn fingerprint_with(&self, other: &impl Hash) -> Fingerprint {
        let mut hasher = Collected(Vec::with_capacity(4096));
        other.hash(&mut hasher);
        for peer in &self.peers {
            self.peer_state(peer, &mut hasher);
        }
        for (direction, queue) in &self.queues {
            (direction, queue.len()).hash(&mut hasher);
            for message in queue {
                self.message_state(*direction, message, &mut hasher);
            }
        }
        let digest = Sha256::digest(&hasher.0);
        Fingerprint(u128::from_be_bytes(digest[..16].try_into().expect("16 of 32 bytes")))
    }

    fn peer_state(&self, peer: &Peer, hasher: &mut Collected) {
        let mut documents: Vec<_> = peer.store.documents().collect();
        documents.sort_by_key(|(id, stored)| (stored.lwt, *id));
        documents.len().hash(hasher);
        for (id, stored) in documents {
            (id, &stored.state, &stored.pulled_from).hash(hasher);
        }
        for (token, memory) in &peer.memories {
            token.hash(hasher);
            let states = memory.assumed.iter().map(|(id, assumed)| (id, &assumed.state));
            states.collect::<Vec<_>>().hash(hasher);
            remaining(memory.pulled_to.as_ref(), self.store_of(token)).hash(hasher);
            remaining(memory.pushed_to.as_ref(), &peer.store).hash(hasher);
        }
        for (id, link) in &peer.links {
            id.hash(hasher);
            std::mem::discriminant(&link.stage).hash(hasher);
            if let Stage::Fork(fork) = &link.stage {
                self.fork_state(peer, fork, hasher);
            }
        }
    }

    fn fork_state(&self, peer: &Peer, fork: &Fork, hasher: &mut Collected) {
        let memory = &peer.memories[&fork.master];
        (&fork.master, fork.running, fork.resynced, fork.up.active, fork.down.pull.is_some()).hash(hasher);
        for tasks in [&fork.up.tasks, &fork.down.tasks] {
            tasks.len().hash(hasher);
            tasks.iter().for_each(|task| self.task_state(peer, fork, task, hasher));
        }
        fork.down.held.len().hash(hasher);
        fork.down.held.iter().for_each(|task| self.task_state(peer, fork, task, hasher));
        fork.up.push.is_some().hash(hasher);
        if let Some(push) = &fork.up.push {
            for (id, row) in &push.rows {
                (id, &row.new.state, current(&peer.store, id, row.new.revision)).hash(hasher);
                (row.assumed.as_ref().map(|assumed| &assumed.state)).hash(hasher);
                assumed_still(memory, id, row.assumed.as_ref()).hash(hasher);
            }
            (push.rows.len(), push.requests.len(), push.pass).hash(hasher);
            push.refused.iter().collect::<Vec<_>>().hash(hasher);
            // Without a checkpoint, the one that is kept stays.
            push.checkpoint.is_some().hash(hasher);
            remaining(push.checkpoint.as_ref(), &peer.store).hash(hasher);
        }
    }

    fn task_state(&self, peer: &Peer, fork: &Fork, task: &Task, hasher: &mut Collected) {
        std::mem::discriminant(task).hash(hasher);
        match task {
            Task::Resync => {}
            Task::Written { documents, checkpoint } => {
                remaining(Some(checkpoint), &peer.store).hash(hasher);
                documents.len().hash(hasher);
                for document in documents {
                    let current = current(&peer.store, &document.id, document.revision);
                    (&document.id, &document.state, current).hash(hasher);
                }
            }
            Task::Pulled { documents, checkpoint } => {
                (checkpoint.is_some(), documents).hash(hasher);
                remaining(checkpoint.as_ref(), self.store_of(&fork.master)).hash(hasher);
            }
        }
    }

    fn message_state(&self, direction: Direction, message: &Message, hasher: &mut Collected) {
        let (from, to) = (&self.peers[direction.from].store, &self.peers[direction.to].store);
        std::mem::discriminant(message).hash(hasher);
        let changes_state = |changes: &Changes, hasher: &mut Collected| {
            (changes.checkpoint.is_some(), &changes.documents).hash(hasher);
            remaining(changes.checkpoint.as_ref(), from).hash(hasher);
        };
        match message {
            Message::Request { request, .. } => {
                std::mem::discriminant(request).hash(hasher);
                match request {
                    Request::Token => {}
                    Request::ChangesSince { checkpoint, batch_size } => {
                        (remaining(checkpoint.as_ref(), to), batch_size).hash(hasher);
                    }
                    Request::Write { rows } => {
                        let rows =
                            rows.iter().map(|row| (&row.assumed_master_state, &row.new_document_state));
                        rows.collect::<Vec<_>>().hash(hasher);
                    }
                }
            }
            Message::Answer { answer, .. } => {
                std::mem::discriminant(answer).hash(hasher);
                match answer {
                    Answer::Token(token) => token.hash(hasher),
                    Answer::Changes(changes) => changes_state(changes, hasher),
                    Answer::Refused(states) => states.hash(hasher),
                }
            }
            Message::Change(change) => {
                std::mem::discriminant(change).hash(hasher);
                if let Change::Documents(changes) = change {
                    changes_state(changes, hasher);
                }
            }
        }
    }

    fn store_of(&self, token: &str) -> &Store {
        let peer = self.peers.iter().find(|peer| peer.token() == token);
        &peer.expect("peers only meet peers of the mesh").store
    }
}

fn remaining(checkpoint: Option<&Checkpoint>, store: &Store) -> usize {
    store.count_since(checkpoint)
}

fn current(store: &Store, id: &str, revision: u64) -> bool {
    store.find(id).is_some_and(|stored| stored.revision == revision)
}

fn assumed_still(memory: &Memory, id: &str, assumed: Option<&Assumed>) -> bool {
    memory.assumed.get(id).map(|assumed| assumed.revision) == assumed.map(|assumed| assumed.revision)
}

/// Collects what the standard library's way of hashing a value feeds to a hasher: SHA-256 is slow in small pieces.
struct Collected(Vec<u8>);

impl Hasher for Collected {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the collected bytes are hashed as a whole")
    }
}
