//! A Peerloom replica in memory, and a session of it whose peer is the test.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::{
    Batch, Condition, ConflictHandler, DocumentId, Dot, Head, Incarnation, Knowledge, Now, PastViews, Record,
    Replica, ReplicaLimits, Resolver, Seen, Sequence, State, Write, json, past_views_key,
};
use peerloom_rxdb::{
    Assembler, CloseReason, Config, Effect, Event, Exchanged, Input, LinkState, Message, Scanned, Session,
    Settings, Token, exchanged_key, link_key,
};
use serde_json::Value;

/// A replica with its store.
pub(crate) struct Store {
    replica: Replica,
    handler: Box<dyn ConflictHandler>,
    pub(crate) records: BTreeMap<DocumentId, Record>,
    metadata: BTreeMap<Bytes, Bytes>,
    pub(crate) now: Now,
    fresh: u64,
}

struct Calls<'h>(&'h dyn ConflictHandler);

impl Resolver for Calls<'_> {
    fn resolve(&mut self, heads: &[Head]) -> Option<State> {
        Some(self.0.resolve(heads))
    }

    fn annotate(&mut self, seen: Option<&State>, next: &State, dot: Dot) -> Option<Bytes> {
        Some(self.0.annotate(seen, next, dot))
    }
}

impl Store {
    pub(crate) fn new(handler: impl ConflictHandler) -> Self {
        let replica =
            Replica::load(ReplicaLimits::default(), Incarnation::new(1), []).expect("an empty store");
        let now = Now { monotonic: Duration::from_secs(1), unix_ms: 1_800_000_000_000 };
        let handler = Box::new(handler);
        let mut store =
            Self { replica, handler, records: BTreeMap::new(), metadata: BTreeMap::new(), now, fresh: 100 };
        store.transact(Vec::new(), |transaction, _, _| transaction.keep_past_views());
        store
    }

    /// As after a restart: what was not committed is gone, and who writes has another incarnation.
    pub(crate) fn reopen(&mut self) {
        self.fresh += 1;
        let prefixes = Replica::LOADED_PREFIXES;
        let loaded = prefixes.iter().flat_map(|prefix| {
            let begins = |entry: &(&Bytes, &Bytes)| entry.0.starts_with(prefix);
            self.metadata.iter().filter(begins).map(|(key, value)| (key.clone(), value.clone()))
        });
        let incarnation = Incarnation::new(self.fresh);
        self.replica = Replica::load(ReplicaLimits::default(), incarnation, loaded).expect("what it wrote");
    }

    /// As after opening it with another handler.
    pub(crate) fn change_handler(&mut self, handler: impl ConflictHandler) {
        self.handler = Box::new(handler);
        let ids = self.records.keys().cloned().collect();
        self.transact(ids, |transaction, _, calls| transaction.remake(calls));
    }

    fn transact<T>(
        &mut self,
        ids: Vec<DocumentId>,
        decide: impl FnOnce(&mut peerloom_core::Transaction<'_>, Incarnation, &mut Calls<'_>) -> T,
    ) -> T {
        self.fresh += 2;
        let past: Vec<(DocumentId, PastViews)> = ids
            .iter()
            .filter_map(|id| {
                let value = self.metadata.get(&past_views_key(id))?;
                Some((id.clone(), PastViews::from_value(value).expect("past views")))
            })
            .collect();
        let records = ids.into_iter().map(|id| (id.clone(), self.records.get(&id).cloned()));
        let mut calls = Calls(&*self.handler);
        let mut transaction =
            self.replica.begin(self.now, Incarnation::new(self.fresh), records).with_past_views(past);
        let decided = decide(&mut transaction, Incarnation::new(self.fresh + 1), &mut calls);
        let (batch, committable, _) = transaction.finish(&mut calls);
        let Batch { records, metadata } = batch;
        self.records.extend(records.into_iter().map(|put| (put.record.id.clone(), put.record)));
        for (key, value) in metadata {
            match value {
                Some(value) => drop(self.metadata.insert(key, value)),
                None => drop(self.metadata.remove(&key)),
            }
        }
        self.replica.committed(committable);
        decided
    }

    /// A write of the application's, over what is there.
    pub(crate) fn put(&mut self, document: &Value) {
        let id = DocumentId::new(document["id"].as_str().expect("an id")).expect("an id");
        self.write(id, false, json::to_canonical(document).expect("JSON"));
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.write(DocumentId::new(id).expect("an id"), true, Bytes::new());
    }

    fn write(&mut self, id: DocumentId, deleted: bool, body: Bytes) {
        self.now.unix_ms += 10;
        let write = Write { id: id.clone(), deleted, body, seen: Seen::Current, condition: Condition::None };
        self.transact(vec![id], |transaction, _, calls| transaction.write(write, calls)).expect("a write");
    }

    /// What applications see, `None` if it is deleted or not there.
    pub(crate) fn get(&self, id: &str) -> Option<Value> {
        let record = self.records.get(&DocumentId::new(id).expect("an id"))?;
        let view = record.view();
        (!view.deleted).then(|| json::parse(&view.body).expect("JSON"))
    }

    pub(crate) fn heads(&self, id: &str) -> usize {
        self.records[&DocumentId::new(id).expect("an id")].document.heads().len()
    }

    pub(crate) fn end(&self) -> Sequence {
        self.replica.snapshot().end
    }

    pub(crate) fn knowledge(&self) -> &Knowledge {
        &self.replica.snapshot().knowledge
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Load { token, .. } => {
                let found = self.metadata.get(&link_key(&token)).and_then(LinkState::decode);
                Some(Input::Loaded(found.unwrap_or_default()))
            }
            Effect::Scan { token, after, limits } => {
                let mut records: Vec<Record> =
                    self.records.values().filter(|record| record.sequence > after).cloned().collect();
                records.sort_by_key(|record| record.sequence);
                records.truncate(limits.documents_max.get() as usize);
                let scanned = records.into_iter().map(|record| {
                    let past = self.metadata.get(&past_views_key(&record.id));
                    let past = past.and_then(|value| PastViews::from_value(value).ok()).unwrap_or_default();
                    let exchanged = self.metadata.get(&exchanged_key(&token, &record.id));
                    Scanned {
                        exchanged: exchanged.and_then(Exchanged::decode),
                        served: true,
                        last_body: past.last_body,
                        record,
                    }
                });
                let records = scanned.collect();
                Some(Input::Scanned { snapshot: self.replica.snapshot().clone(), records })
            }
            Effect::Exchange(exchange) => {
                let metadata = exchange.keys().iter().map(|key| self.metadata.get(key).cloned()).collect();
                let replies = self.transact(exchange.ids(), |transaction, fresh, calls| {
                    exchange.decide(transaction, metadata, fresh, calls)
                });
                Some(Input::Exchanged(replies))
            }
            Effect::Report(_) | Effect::Close(_) => None,
        }
    }
}

/// A session with its store. What it says is collected.
pub(crate) struct Peer {
    pub(crate) store: Store,
    pub(crate) session: Session,
    assembler: Assembler,
    said: VecDeque<Message>,
    pub(crate) events: Vec<Event>,
    pub(crate) closed: Option<CloseReason>,
}

impl Peer {
    pub(crate) fn connect(store: Store, token: &str, settings: Settings) -> Self {
        let token = Token::new(token).expect("a token");
        let config = Config { token, session: 7, frame_bytes_max: 32 << 10, settings };
        let session = Session::new(config, store.replica.snapshot().clone(), store.now);
        let assembler = Assembler::new(64 << 20);
        let mut peer =
            Self { store, session, assembler, said: VecDeque::new(), events: Vec::new(), closed: None };
        peer.drain();
        peer
    }

    /// Gives it a frame.
    pub(crate) fn hear(&mut self, frame: &str) {
        self.hear_bytes(frame.as_bytes());
    }

    /// Gives it a frame of any bytes.
    pub(crate) fn hear_bytes(&mut self, frame: &[u8]) {
        assert!(self.session.wants_to_receive());
        self.input(Input::Received(Bytes::copy_from_slice(frame)));
    }

    pub(crate) fn hear_value(&mut self, message: &Value) {
        self.hear(&message.to_string());
    }

    /// Lets the application write, and the session know.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Store)) {
        write(&mut self.store);
        self.input(Input::Committed(self.store.replica.snapshot().clone()));
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.store.now.monotonic += time;
        self.input(Input::Tick);
    }

    fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.session.handle(self.store.now, input, &mut effects);
            for effect in effects {
                match &effect {
                    Effect::Report(event) => self.events.push(event.clone()),
                    Effect::Close(reason) => self.closed = Some(reason.clone()),
                    _ => {}
                }
                let before = self.store.end();
                inputs.extend(self.store.perform(effect));
                if self.store.end() != before {
                    inputs.push_back(Input::Committed(self.store.replica.snapshot().clone()));
                }
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(frame) = self.session.transmit() {
            if let Some(text) = self.assembler.take(&frame).expect("its own frames fit") {
                self.said.push_back(Message::parse(&text).expect("its own messages read"));
            }
        }
    }

    /// What it has said since the last time.
    pub(crate) fn said(&mut self) -> Vec<Message> {
        self.said.drain(..).collect()
    }

    /// The id of the last request it has made since the last time, if it has made one.
    pub(crate) fn last_request(&mut self) -> Option<String> {
        let mut requests = self.said().into_iter().rev().filter_map(|message| match message {
            Message::Request { id, .. } => Some(id),
            Message::Response { .. } => None,
        });
        requests.next()
    }

    /// The only thing it has said since the last time, a request: its id and parameters.
    pub(crate) fn asked(&mut self, method: &str) -> (String, Vec<Value>) {
        match self.said().as_slice() {
            [Message::Request { id, method: found, params }] if found == method => {
                (id.clone(), params.clone())
            }
            other => panic!("expected one request for {method}, and it said {other:?}"),
        }
    }

    /// The only thing it has said since the last time, a response: its id and result.
    pub(crate) fn answered(&mut self) -> (String, Value) {
        match self.said().as_slice() {
            [Message::Response { id, result, error: None }] => (id.clone(), result.clone()),
            other => panic!("expected one response, and it said {other:?}"),
        }
    }

    pub(crate) fn answer(&mut self, id: &str, result: &Value) {
        self.hear_value(&serde_json::json!({ "id": id, "result": result }));
    }
}
