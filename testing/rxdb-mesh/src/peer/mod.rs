//! One RxDB peer: its collection, its links, and what it says on each of them.
//!
//! A state machine without input or output. Whatever RxDB does between two messages happens at once here: storage is never slow, and
//! a promise that can go on does. Two things that RxDB has are left out because they do nothing there: the mark of a resolved
//! conflict, which compares a revision that a collection's storage never stores, and the throttle on the first push, which
//! sends a backlog in several steps instead of one.

mod downstream;
mod fork;
mod store;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub(crate) use fork::{Assumed, Fork, Memory, Task};
pub(crate) use store::Store;
use store::{Row, Snapshot, Written};

use crate::handler::RxdbConflictHandler;
use crate::message::{Answer, Change, Changes, Message, Request, WriteRow};
use crate::roles::{Role, role};

/// Names a link of a peer, for as long as it is up.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId(pub u32);

/// What happens to a peer.
#[derive(Clone, Debug)]
pub enum Input {
    /// The application writes a document. `_deleted` is false unless the document says otherwise.
    Write(Value),
    /// A connection to another peer is there.
    LinkUp(LinkId),
    /// It is gone. What was learnt from that peer is kept for its return, under its token.
    LinkDown(LinkId),
    /// A message arrived.
    Message(LinkId, Message),
}

/// What a peer does.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// It sends a message.
    Send(LinkId, Message),
    /// A document has another state now. Also told when the states are equal: something was written.
    Changed {
        /// Its primary key.
        id: String,
        /// The state, with `_deleted`.
        state: Value,
    },
}

/// When a fork begins to replicate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ForkStart {
    /// When the master's `RESYNC` arrives. RxDB first opens a store for what it knows of the master, and `RESYNC`
    /// usually comes while it does so and goes unheard.
    #[default]
    AtResync,
    /// As soon as the token is known. `RESYNC` then makes it pull and push a second time.
    AtToken,
}

/// Settings of a peer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The field that names a document. Default `id`.
    pub primary_key: String,
    /// Documents per pull and per push, at least 1. Default 20, as RxDB's.
    pub batch_size: usize,
    /// When a fork begins to replicate.
    pub fork_start: ForkStart,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { primary_key: "id".into(), batch_size: 20, fork_start: ForkStart::default() }
    }
}

/// Why a peer did not take an input.
///
/// What it has done until then is done: a peer whose handler failed is of no further use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// A document is not an object, has no string under its primary key, or a `_deleted` that is not a boolean.
    #[error("a document must be an object with a string in \"{primary_key}\": {document}")]
    NotADocument {
        /// The field that names documents.
        primary_key: String,
        /// The document.
        document: String,
    },
    /// There is no such link, or there is one already.
    #[error("link {0:?} is not as the input says")]
    NoSuchLink(LinkId),
    /// The handler resolved a conflict to something that is not a state of this document.
    #[error("the handler resolved a conflict about \"{id}\" to what is not a state of it: {resolved}")]
    NotAResolution {
        /// The document.
        id: String,
        /// What the handler made of it.
        resolved: String,
    },
    /// The answer does not belong to the request with its number.
    #[error("the answer on link {0:?} is of another kind than the request")]
    UnexpectedAnswer(LinkId),
}

/// A peer.
#[derive(Clone)]
pub struct Peer {
    token: String,
    settings: Settings,
    handler: Arc<dyn RxdbConflictHandler>,
    pub(crate) store: Store,
    pub(crate) links: BTreeMap<LinkId, Link>,
    /// What is known of each master, by its token. Outlives the link.
    pub(crate) memories: BTreeMap<String, Memory>,
}

/// A link that is up.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The number of the next request.
    next_request: u64,
    pub(crate) stage: Stage,
}

/// How far a link has come.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Waiting for the other's token.
    Greeting { request: u64 },
    /// This side streams its changes.
    Master,
    /// This side replicates.
    Fork(Box<Fork>),
    /// Replaced by a second link to the same peer. Only answers.
    Replaced,
}

/// Who writes to the collection.
enum Writer {
    /// The downstream of this link. Its upstream does not push what it wrote.
    Downstream(LinkId),
    Other,
}

impl Peer {
    /// A peer without documents or links. The token decides about its roles, and must differ from that of all others.
    ///
    /// # Panics
    ///
    /// If the batch size is zero.
    pub fn new(token: impl Into<String>, settings: Settings, handler: Arc<dyn RxdbConflictHandler>) -> Self {
        assert!(settings.batch_size > 0, "a batch holds at least one document");
        Peer {
            token: token.into(),
            settings,
            handler,
            store: Store::default(),
            links: BTreeMap::new(),
            memories: BTreeMap::new(),
        }
    }

    /// Its storage token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The state of a document, deleted ones included.
    pub fn state(&self, id: &str) -> Option<&Value> {
        self.store.find(id).map(|stored| &stored.state)
    }

    /// All documents by id, deleted ones included.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.store.documents().map(|(id, stored)| (id, &stored.state))
    }

    /// The peer's role on a link. None before it is decided.
    pub fn role(&self, link: LinkId) -> Option<Role> {
        match self.links.get(&link)?.stage {
            Stage::Greeting { .. } | Stage::Replaced => None,
            Stage::Master => Some(Role::Master),
            Stage::Fork(_) => Some(Role::Fork),
        }
    }

    /// What this peer, as the fork of the peer with that token, believes that it has of a document.
    pub fn assumed_master_state(&self, master: &str, id: &str) -> Option<&Value> {
        Some(&self.memories.get(master)?.assumed.get(id)?.state)
    }

    /// Takes an input and appends what the peer does, in order.
    pub fn handle(&mut self, input: Input, outputs: &mut Vec<Output>) -> Result<(), PeerError> {
        match input {
            Input::Write(document) => self.write(document, outputs)?,
            Input::LinkUp(link) => self.link_up(link, outputs)?,
            Input::LinkDown(link) => {
                self.links.remove(&link).ok_or(PeerError::NoSuchLink(link))?;
            }
            Input::Message(link, message) => self.message(link, message, outputs)?,
        }
        self.run(outputs);
        Ok(())
    }

    fn write(&mut self, mut document: Value, outputs: &mut Vec<Output>) -> Result<(), PeerError> {
        if let Some(fields) = document.as_object_mut() {
            fields.entry("_deleted").or_insert(Value::Bool(false));
        }
        let id = self.id_of(&document)?;
        let previous = self.store.find(&id).map(|stored| stored.revision);
        self.commit(vec![Row { id, state: document, previous, pulled_from: None }], &Writer::Other, outputs);
        Ok(())
    }

    fn link_up(&mut self, link: LinkId, outputs: &mut Vec<Output>) -> Result<(), PeerError> {
        if self.links.contains_key(&link) {
            return Err(PeerError::NoSuchLink(link));
        }
        self.links.insert(link, Link { next_request: 0, stage: Stage::Greeting { request: 0 } });
        self.request(link, Request::Token, outputs);
        Ok(())
    }

    fn message(
        &mut self,
        link: LinkId,
        message: Message,
        outputs: &mut Vec<Output>,
    ) -> Result<(), PeerError> {
        if !self.links.contains_key(&link) {
            return Err(PeerError::NoSuchLink(link));
        }
        match message {
            Message::Request { id, request } => {
                let answer = self.answer(request, outputs)?;
                outputs.push(Output::Send(link, Message::Answer { id, answer }));
                Ok(())
            }
            Message::Answer { id, answer } => self.answered(link, id, answer, outputs),
            Message::Change(change) => self.changed(link, change),
        }
    }

    /// Answers whoever asks, whatever the roles turn out to be.
    fn answer(&mut self, request: Request, outputs: &mut Vec<Output>) -> Result<Answer, PeerError> {
        match request {
            Request::Token => Ok(Answer::Token(self.token.clone())),
            Request::ChangesSince { checkpoint, batch_size } => {
                let mut found = self.store.since(checkpoint.as_ref());
                found.truncate(batch_size);
                let last = found.last().map(|(at, _)| at.clone());
                let documents = found.into_iter().map(|(_, snapshot)| snapshot.state).collect();
                Ok(Answer::Changes(Changes { checkpoint: last.or(checkpoint), documents }))
            }
            Request::Write { rows } => self.take(rows, outputs).map(Answer::Refused),
        }
    }

    /// The master's side of a push: takes the rows that were made on top of what it has, and returns the other documents.
    fn take(&mut self, rows: Vec<WriteRow>, outputs: &mut Vec<Output>) -> Result<Vec<Value>, PeerError> {
        let (mut refused, mut taken) = (Vec::new(), Vec::new());
        for row in rows {
            let (id, state) = (self.id_of(&row.new_document_state)?, row.new_document_state);
            let current = self.store.find(&id);
            let expected = |state: &Value| {
                let assumed = row.assumed_master_state.as_ref();
                assumed.is_some_and(|assumed| self.handler.is_equal(state, assumed))
            };
            match current {
                Some(stored) if !expected(&stored.state) => refused.push(stored.state.clone()),
                _ => {
                    let previous = current.map(|stored| stored.revision);
                    taken.push(Row { id, state, previous, pulled_from: None });
                }
            }
        }
        // Observers are told first, so a fork hears of its own push before it hears that it was taken.
        self.commit(taken, &Writer::Other, outputs);
        Ok(refused)
    }

    fn answered(
        &mut self,
        link: LinkId,
        id: u64,
        answer: Answer,
        outputs: &mut Vec<Output>,
    ) -> Result<(), PeerError> {
        match &self.links[&link].stage {
            Stage::Greeting { request } if *request == id => match answer {
                Answer::Token(token) => self.greeted(link, &token, outputs),
                _ => return Err(PeerError::UnexpectedAnswer(link)),
            },
            Stage::Fork(fork) if fork.up.awaits(id) => match answer {
                Answer::Refused(states) => self.pushed(link, id, states, outputs)?,
                _ => return Err(PeerError::UnexpectedAnswer(link)),
            },
            Stage::Fork(fork) if fork.down.awaits(id) => match answer {
                Answer::Changes(changes) => self.pulled(link, changes, outputs)?,
                _ => return Err(PeerError::UnexpectedAnswer(link)),
            },
            // Nobody waits for it any more.
            _ => {}
        }
        Ok(())
    }

    /// The other's token is known, and with it who is who.
    fn greeted(&mut self, link: LinkId, token: &str, outputs: &mut Vec<Output>) {
        match role(&self.token, token) {
            Role::Master => {
                self.link(link).stage = Stage::Master;
                outputs.push(Output::Send(link, Message::Change(Change::Resync)));
            }
            Role::Fork => {
                for other in self.links.values_mut() {
                    if matches!(&other.stage, Stage::Fork(fork) if fork.master == token) {
                        other.stage = Stage::Replaced;
                    }
                }
                self.memories.entry(token.into()).or_default();
                self.link(link).stage = Stage::Fork(Box::new(Fork::new(token.into())));
                if self.settings.fork_start == ForkStart::AtToken {
                    self.start_fork(link, outputs);
                }
            }
        }
    }

    /// A change at the other side, which is of interest to its fork only.
    fn changed(&mut self, link: LinkId, change: Change) -> Result<(), PeerError> {
        let task = match change {
            Change::Resync => Task::Resync,
            Change::Documents(changes) => {
                let documents = changes.documents.into_iter().map(|state| Ok((self.id_of(&state)?, state)));
                Task::Pulled {
                    documents: documents.collect::<Result<_, _>>()?,
                    checkpoint: changes.checkpoint,
                }
            }
        };
        if let Stage::Fork(fork) = &mut self.link(link).stage {
            fork.hear(task);
        }
        Ok(())
    }

    /// Does on all links what can be done without another message.
    fn run(&mut self, outputs: &mut Vec<Output>) {
        let links: Vec<_> = self.links.keys().copied().collect();
        let mut idle = false;
        while !idle {
            idle = true;
            for &link in &links {
                idle &= !self.step_start(link, outputs);
                idle &= !self.step_upstream(link, outputs);
                idle &= !self.step_downstream(link, outputs);
            }
        }
    }

    /// Writes to the collection, and tells the other side of each link and the upstream of each fork.
    fn commit(&mut self, rows: Vec<Row>, writer: &Writer, outputs: &mut Vec<Output>) -> Vec<String> {
        let Some(Written { ids, told, checkpoint }) = self.store.write(rows) else { return Vec::new() };
        for id in &ids {
            let state = self.store.find(id).expect("it was just written").state.clone();
            outputs.push(Output::Changed { id: id.clone(), state });
        }
        if told.is_empty() {
            return ids;
        }
        for (&id, link) in &mut self.links {
            match &mut link.stage {
                Stage::Master => {
                    let documents = told.iter().map(|snapshot| snapshot.state.clone()).collect();
                    let changes = Changes { checkpoint: Some(checkpoint.clone()), documents };
                    outputs.push(Output::Send(id, Message::Change(Change::Documents(changes))));
                }
                Stage::Fork(fork) if fork.running => {
                    let own = matches!(writer, Writer::Downstream(by) if *by == id);
                    let told = if own { &[][..] } else { &told[..] };
                    fork.up.written(told, checkpoint.clone());
                }
                Stage::Fork(_) | Stage::Greeting { .. } | Stage::Replaced => {}
            }
        }
        ids
    }

    /// Sends a request and returns its number.
    fn request(&mut self, link: LinkId, request: Request, outputs: &mut Vec<Output>) -> u64 {
        let state = self.link(link);
        let id = state.next_request;
        state.next_request += 1;
        outputs.push(Output::Send(link, Message::Request { id, request }));
        id
    }

    fn link(&mut self, link: LinkId) -> &mut Link {
        self.links.get_mut(&link).expect("the link was looked up when the input arrived")
    }

    /// The fork on this link. None if this side is the master or not decided.
    fn fork(&mut self, link: LinkId) -> Option<&mut Fork> {
        match &mut self.links.get_mut(&link)?.stage {
            Stage::Fork(fork) => Some(fork),
            _ => None,
        }
    }

    fn memory(&mut self, master: &str) -> &mut Memory {
        self.memories.get_mut(master).expect("a fork has a memory of its master")
    }

    fn id_of(&self, document: &Value) -> Result<String, PeerError> {
        let deleted = document.get("_deleted").is_none_or(Value::is_boolean);
        match document.get(&self.settings.primary_key).and_then(Value::as_str) {
            Some(id) if deleted => Ok(id.to_owned()),
            _ => Err(PeerError::NotADocument {
                primary_key: self.settings.primary_key.clone(),
                document: document.to_string(),
            }),
        }
    }
}
