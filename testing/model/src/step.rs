//! What one step does to a room: the driver of the sessions, as small as it can be.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::*;

use crate::model::{Action, RoomModel, Seeing};
use crate::room::{Answer, COLLECTION, End, Node, Reading, Room, Terms, Work, document_id};
use crate::shared::Shared;
use crate::store::Store;
use crate::users::Content;
use crate::writes::{Fact, WriteName, incarnation};

/// Time stands still: whatever may wait is due at once, and how long it waits is left to the order of the steps.
pub(crate) const NOW: Now = Now { monotonic: Duration::from_secs(1), unix_ms: 1 };

/// The inputs that one step gives to sessions, in order.
type Inputs = VecDeque<(usize, Input)>;

/// A room in the middle of a step.
pub(crate) struct Step<'m> {
    pub(crate) model: &'m RoomModel,
    pub(crate) room: Room,
}

impl Step<'_> {
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Write { replica, document, seeing } => self.write(replica, document, seeing),
            Action::Read { replica, document } => self.read(replica, document),
            Action::Deliver { end } => {
                let frame = self.end(end).inbox.pop_front().expect("a frame is there");
                self.handle(end, Input::Received(frame));
            }
            Action::Perform { end } => {
                let work = self.end(end).work.pop_front().expect("an effect is there");
                let mut inputs = Inputs::new();
                self.perform(end, work, &mut inputs);
                self.settle(inputs);
            }
            Action::Answer { end } => {
                let answer = self.end(end).answers.pop_front().expect("an answer is there");
                self.handle(end, answer.into());
            }
            Action::Tell { end } => {
                let input = self.news(end);
                self.end(end).untold = false;
                self.handle(end, input);
            }
            Action::Tick { end } => self.handle(end, Input::Tick),
            Action::Connect { connection, terms } => {
                self.room.budget.filtered -= u8::from(terms == Terms::Filtered);
                self.connect(connection, terms);
            }
            Action::Disconnect { connection } => {
                self.room.budget.disconnects = self.room.budget.disconnects.saturating_sub(1);
                self.disconnect(connection);
            }
            Action::Crash { replica } => {
                self.room.budget.crashes -= 1;
                let store = self.room.nodes[replica].store.clone();
                self.reopen(replica, store);
            }
            Action::Backup { replica } => {
                self.room.budget.backups -= 1;
                let node = self.node(replica);
                node.backup = Arc::new(node.store.clone());
            }
            Action::Restore { replica } => self.restore(replica),
        }
    }

    // What users do.

    fn write(&mut self, replica: usize, document: usize, seeing: Seeing) {
        self.room.budget.writes -= 1;
        let included = self.room.included(replica, document);
        let (seen, of) = match (seeing, &self.room.reading) {
            (Seeing::Reading, Some(reading)) => {
                let (context, state) = (reading.context.clone(), reading.state.clone());
                (Seen::Read { context, state }, reading.writes)
            }
            (Seeing::Current, _) => (Seen::Current, included),
            _ => (Seen::Read { context: Context::default(), state: None }, Default::default()),
        };
        let name = WriteName::new(replica, usize::from(self.room.nodes[replica].writes));
        let id = document_id(document);
        let Content { deleted, body } = self.model.users.content(name);
        let mut users = self.model.users.clone();
        let node = self.node(replica);
        node.writes += 1;
        let fresh = incarnation(replica, node.openings + 1);
        let local = node.store.read(&id).cloned();
        let mut transaction = node.replica.begin(NOW, fresh, [(id.clone(), local)]);
        let write = Write { id, deleted, body, seen, condition: Condition::None };
        let written = transaction.write(write, &mut users).expect("within all limits");
        let (batch, committable, _) = transaction.finish(&mut users);
        let chronicle = self.room.chronicle.edit();
        chronicle.facts.insert(name, Fact { document, dot: written.dot, seen: of });
        chronicle.owed = chronicle.owed.with(name);
        let mut inputs = Inputs::new();
        self.commit(replica, batch, committable, &mut inputs);
        self.settle(inputs);
    }

    fn read(&mut self, replica: usize, document: usize) {
        self.room.budget.readings -= 1;
        let record = self.room.nodes[replica].store.read(&document_id(document));
        self.room.reading = Some(Shared::new(Reading {
            document,
            context: record.map(|record| record.document.context().clone()).unwrap_or_default(),
            state: record.map(|record| record.view().clone()),
            writes: self.room.included(replica, document),
        }));
    }

    /// Puts the backup in place of the store. What nobody has any more need not survive.
    fn restore(&mut self, replica: usize) {
        self.room.budget.restores -= 1;
        let backup = Store::clone(&self.room.nodes[replica].backup);
        self.reopen(replica, backup);
        let held = (0..self.room.nodes.len())
            .flat_map(|replica| self.room.documents().into_iter().map(move |document| (replica, document)))
            .fold(Default::default(), |held: crate::writes::Writes, (replica, document)| {
                held.and(self.room.included(replica, document))
            });
        let chronicle = self.room.chronicle.edit();
        chronicle.owed = chronicle.owed.in_common(held);
    }

    /// Opens a store: under a new incarnation, and with nothing left of what was under way.
    fn reopen(&mut self, replica: usize, store: Store) {
        for connection in self.model.connections_of(replica) {
            self.disconnect(connection);
        }
        let node = self.node(replica);
        node.openings += 1;
        node.replica = self::replica(replica, node.openings, &store);
        node.store = store;
    }

    // Connections.

    /// Handshake and offers are one step: there is nothing in them that an interleaving could change.
    pub(crate) fn connect(&mut self, connection: usize, terms: Terms) {
        let (left, right) = (2 * connection, 2 * connection + 1);
        for (end, session) in [left, right].into_iter().zip(self.model.greeted(connection)) {
            self.room.ends[end] = Some(Shared::new(End {
                session: session.clone(),
                terms,
                inbox: VecDeque::new(),
                work: VecDeque::new(),
                answers: VecDeque::new(),
                untold: false,
            }));
        }
        for end in [left, right] {
            let node = &self.room.nodes[self.model.replica_at(end)];
            let share = Share {
                name: CollectionName::new("notes").expect("a valid name"),
                schema_version: 1,
                handler: self.model.users.handler().into(),
                serves: true,
                pulls: true,
                filter: (terms == Terms::Filtered).then(|| "d0".into()),
                snapshot: node.replica.snapshot().clone(),
                direct: node.heard_directly(),
            };
            self.handle(end, Input::Share(share));
        }
        for end in [left, right] {
            let offer = self.end(end).inbox.pop_front().expect("the peer has offered its collection");
            self.handle(end, Input::Received(offer));
        }
    }

    /// Both ends lose the connection, and what was on its way is gone.
    pub(crate) fn disconnect(&mut self, connection: usize) {
        for end in [2 * connection, 2 * connection + 1] {
            self.room.ends[end] = None;
        }
        let mut inputs = Inputs::new();
        for end in [2 * connection, 2 * connection + 1] {
            let replica = self.model.replica_at(end);
            if self.room.nodes[replica].direct.contains_key(&end) {
                self.node(replica).direct.remove(&end);
                self.spread(replica, &mut inputs);
            }
        }
        self.settle(inputs);
    }

    // Sessions.

    fn handle(&mut self, end: usize, input: Input) {
        self.settle(Inputs::from([(end, input)]));
    }

    fn settle(&mut self, mut inputs: Inputs) {
        while let Some((end, input)) = inputs.pop_front() {
            self.take(end, input, &mut inputs);
        }
    }

    fn take(&mut self, end: usize, input: Input, inputs: &mut Inputs) {
        let Some(of) = &mut self.room.ends[end] else { return };
        let (session, mut effects) = (&mut of.edit().session, Vec::new());
        session.handle(NOW, input, &mut effects);
        let frames: Vec<Bytes> = std::iter::from_fn(|| session.transmit(NOW)).collect();
        if !frames.is_empty() {
            self.end(end ^ 1).inbox.extend(frames);
        }
        for effect in effects {
            let work = match effect {
                // Nobody but this session changes it, so waiting would change nothing.
                Effect::LoadCheckpoint { key, .. } => {
                    let value = self.room.nodes[self.model.replica_at(end)].store.entry(&key);
                    let checkpoint = value.and_then(checkpoint_from_value);
                    inputs.push_back((end, Input::CheckpointLoaded { collection: COLLECTION, checkpoint }));
                    continue;
                }
                Effect::Direct { origin, .. } => {
                    let replica = self.model.replica_at(end);
                    self.node(replica).direct.insert(end, origin);
                    self.spread(replica, inputs);
                    continue;
                }
                Effect::Admit(_) => panic!("everybody is admitted"),
                Effect::Report(_) => continue,
                Effect::Close(reason) => panic!("honest peers have no reason to close: {reason}"),
                Effect::Scan { after, limits, .. } => Work::Scan { after, limits },
                Effect::Apply { page, .. } => Work::Apply(page),
            };
            match self.model.scope.waits.effects {
                true => self.end(end).work.push_back(work),
                false => self.perform(end, work, inputs),
            }
        }
    }

    /// Does what a session wants done, in one piece.
    fn perform(&mut self, end: usize, work: Work, inputs: &mut Inputs) {
        let replica = self.model.replica_at(end);
        let answer = match work {
            Work::Scan { after, limits } => {
                let node = &self.room.nodes[replica];
                let terms = self.room.ends[end].as_ref().expect("the connection is up").terms;
                let scanned = |record: Record| Scanned {
                    served: terms == Terms::Full || record.id == document_id(0),
                    record,
                };
                let records = node.store.changes(after, limits).into_iter().map(scanned).collect();
                Answer::Scanned { snapshot: node.replica.snapshot().clone(), records }
            }
            Work::Apply(page) => {
                let mut users = self.model.users.clone();
                let node = self.node(replica);
                let fresh = incarnation(replica, node.openings + 1);
                let read = |(id, _): &(DocumentId, Document)| (id.clone(), node.store.read(id).cloned());
                let documents: Vec<_> = page.documents.iter().map(read).collect();
                let mut transaction = node.replica.begin(NOW, fresh, documents);
                transaction.apply(page);
                let (batch, committable, mut outcome) = transaction.finish(&mut users);
                self.commit(replica, batch, committable, inputs);
                Answer::Applied(outcome.pages.pop().expect("one page"))
            }
        };
        match self.model.scope.waits.answers {
            true => self.end(end).answers.push_back(answer),
            false => inputs.push_back((end, answer.into())),
        }
    }

    fn commit(&mut self, replica: usize, batch: Batch, committable: Committable, inputs: &mut Inputs) {
        let node = self.node(replica);
        node.store.commit(batch);
        node.replica.committed(committable);
        let rotated = node.replica.snapshot().incarnation == incarnation(replica, node.openings + 1);
        node.openings += u8::from(rotated);
        self.spread(replica, inputs);
    }

    /// All sessions of a replica will hear how it is now.
    fn spread(&mut self, replica: usize, inputs: &mut Inputs) {
        for end in self.model.ends_of(replica) {
            if self.room.ends[end].is_none() {
                continue;
            }
            match self.model.scope.waits.news {
                true => self.end(end).untold = true,
                false => inputs.push_back((end, self.news(end))),
            }
        }
    }

    fn news(&self, end: usize) -> Input {
        let node = &self.room.nodes[self.model.replica_at(end)];
        let (snapshot, direct) = (node.replica.snapshot().clone(), node.heard_directly());
        Input::Committed { collection: COLLECTION, snapshot, direct }
    }

    fn node(&mut self, replica: usize) -> &mut Node {
        self.room.nodes[replica].edit()
    }

    fn end(&mut self, end: usize) -> &mut End {
        self.room.ends[end].as_mut().expect("the connection is up").edit()
    }
}

/// A replica as it is right after its store was opened.
pub(crate) fn replica(number: usize, opening: u8, store: &Store) -> Replica {
    Replica::load(ReplicaLimits::default(), incarnation(number, opening), store.metadata())
        .expect("metadata that a replica wrote")
}
