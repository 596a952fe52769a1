//! RxDB's role-based replication in the place of Peerloom: the negative control of the simulator, and a comparison for users.
//!
//! A model of RxDB's peers, see [`peerloom_rxdb_mesh`]. It keeps everything in memory: a peer that crashes comes back empty, so it
//! belongs into plans without crashes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use peerloom::core::{Connection, DocumentId, Membership, MessageSender, Topic};
use peerloom::{Environment, Transport, json};
use peerloom_rxdb_mesh::{Input, LinkId, Message, Output, Peer, RxdbConflictHandler, Settings};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::{PeerContext, Running, Subject, TOPIC};
use crate::plan::Action;

/// How many messages wait for a connection to take them.
const QUEUE_MESSAGES_MAX: usize = 1024;

/// How long a peer waits before it asks for a connection that has ended. RxDB waits half a second at first.
const REDIAL: Duration = Duration::from_millis(500);

/// RxDB's peers with some conflict handler. Documents have their id in the field `id`.
pub struct Rxdb {
    tokens: Vec<String>,
    handler: Arc<dyn RxdbConflictHandler>,
}

impl Rxdb {
    /// Peers with these storage tokens, in the order of their numbers; those beyond have tokens of their own. The tokens decide who is whose
    /// master, see [`peerloom_rxdb_mesh::tokens_for`].
    pub fn new(tokens: Vec<String>, handler: impl RxdbConflictHandler + 'static) -> Self {
        Self { tokens, handler: Arc::new(handler) }
    }
}

impl std::fmt::Debug for Rxdb {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Rxdb").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

#[async_trait]
impl Subject for Rxdb {
    async fn start(&self, context: &PeerContext) -> Result<Box<dyn Running>, String> {
        let number = context.number().index();
        let token = self.tokens.get(number).cloned().unwrap_or_else(|| format!("token-{number}"));
        let topic = Topic::new(TOPIC).map_err(|error| error.to_string())?;
        let membership = context.transport().join(&topic).await.map_err(|error| error.to_string())?;
        let (inbox, received) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let actor = Actor {
            peer: Peer::new(token, Settings::default(), self.handler.clone()),
            context: context.clone(),
            links: BTreeMap::new(),
            inbox: inbox.clone(),
            last_link: 0,
        };
        context.environment().spawn(Box::pin(actor.run(membership, received)));
        Ok(Box::new(Installed { inbox }))
    }
}

/// What a peer is told.
enum Told {
    Write(Value, oneshot::Sender<Result<(), String>>),
    Read(String, oneshot::Sender<Option<Value>>),
    Arrived(LinkId, Bytes),
    Ended(LinkId),
}

struct Installed {
    inbox: mpsc::Sender<Told>,
}

impl Installed {
    async fn write(&self, value: Value) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the peer is gone".to_owned();
        self.inbox.send(Told::Write(value, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn read(&self, id: &str) -> Option<Value> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Told::Read(id.to_owned(), reply)).await.ok()?;
        answer.await.ok()?
    }
}

#[async_trait]
impl Running for Installed {
    async fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Put { document, value } => self.write(with_id(document, value)).await,
            Action::Bulk { documents } => {
                for (document, value) in documents {
                    self.write(with_id(document, value)).await?;
                }
                Ok(())
            }
            Action::Edit { document, fields, ponders_ms } => {
                let Some(mut value) = self.read(document).await else { return Ok(()) };
                tokio::time::sleep(Duration::from_millis(*ponders_ms)).await;
                let object = value.as_object_mut().expect("documents are objects");
                object.extend(fields.iter().map(|(field, value)| (field.clone(), value.clone())));
                self.write(value).await
            }
            Action::Delete { document } => {
                let Some(mut value) = self.read(document).await else { return Ok(()) };
                let object = value.as_object_mut().expect("documents are objects");
                object.insert("_deleted".to_owned(), Value::Bool(true));
                self.write(value).await
            }
            // Conflicts are resolved when they are met, and never seen by users.
            Action::Settle { .. } => Ok(()),
        }
    }

    async fn stop(self: Box<Self>) {}
}

fn with_id(id: &str, value: &Value) -> Value {
    let mut object = match value {
        Value::Object(object) => object.clone(),
        other => Map::from_iter([("value".to_owned(), other.clone())]),
    };
    object.insert("id".to_owned(), Value::String(id.to_owned()));
    Value::Object(object)
}

/// The task that owns the peer.
struct Actor {
    peer: Peer,
    context: PeerContext,
    links: BTreeMap<LinkId, mpsc::Sender<Bytes>>,
    inbox: mpsc::Sender<Told>,
    last_link: u32,
}

impl Actor {
    async fn run(mut self, mut membership: Box<dyn Membership>, mut received: mpsc::Receiver<Told>) {
        let (ended, mut redials) = mpsc::channel(QUEUE_MESSAGES_MAX);
        loop {
            tokio::select! {
                biased;
                told = received.recv() => match told {
                    Some(told) => self.hear(told),
                    None => return,
                },
                Some(address) = redials.recv() => membership.redial(&address),
                accepted = membership.accept() => {
                    let Ok(connection) = accepted else { return };
                    self.link(connection, ended.clone());
                }
            }
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Write(value, reply) => {
                let written = self.handle(Input::Write(value)).map_err(|error| error.to_string());
                let _ = reply.send(written);
            }
            Told::Read(id, reply) => {
                let alive = self.peer.state(&id).filter(|state| state["_deleted"] != Value::Bool(true));
                let _ = reply.send(alive.cloned());
            }
            Told::Arrived(link, bytes) => {
                // What is not JSON is ignored, and so is what a link brings that has ended.
                if let Ok(message) = serde_json::from_slice::<Message>(&bytes)
                    && self.links.contains_key(&link)
                {
                    let _ = self.handle(Input::Message(link, message));
                }
            }
            Told::Ended(link) => {
                if self.links.remove(&link).is_some() {
                    let _ = self.handle(Input::LinkDown(link));
                }
            }
        }
    }

    fn link(&mut self, connection: Connection, ended: mpsc::Sender<peerloom::PeerAddress>) {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        let Connection { peer, mut receiver, sender, .. } = connection;
        let (queue, queued) = mpsc::channel(QUEUE_MESSAGES_MAX);
        self.links.insert(link, queue);
        let environment = self.context.environment();
        environment.spawn(Box::pin(send_all(sender, queued)));
        let inbox = self.inbox.clone();
        environment.spawn(Box::pin(async move {
            while let Some(message) = receiver.receive().await {
                if inbox.send(Told::Arrived(link, message)).await.is_err() {
                    return;
                }
            }
            let _ = inbox.send(Told::Ended(link)).await;
            tokio::time::sleep(REDIAL).await;
            let _ = ended.send(peer).await;
        }));
        let _ = self.handle(Input::LinkUp(link));
    }

    fn handle(&mut self, input: Input) -> Result<(), peerloom_rxdb_mesh::PeerError> {
        let mut outputs = Vec::new();
        let handled = self.peer.handle(input, &mut outputs);
        for output in outputs {
            match output {
                Output::Send(link, message) => {
                    let bytes = serde_json::to_vec(&message).expect("messages are JSON");
                    if let Some(queue) = self.links.get(&link) {
                        // A queue that is full belongs to a link that is as good as gone.
                        let _ = queue.try_send(bytes.into());
                    }
                }
                Output::Changed { id, state } => self.observe(&id, &state),
            }
        }
        handled
    }

    fn observe(&self, id: &str, state: &Value) {
        let deleted = state["_deleted"] == Value::Bool(true);
        let body =
            (!deleted).then(|| json::to_canonical(state).expect("plans hold values that can be written"));
        if let Ok(id) = DocumentId::new(id) {
            self.context.observe(&id, body);
        }
    }
}

async fn send_all(mut sender: Box<dyn MessageSender>, mut queued: mpsc::Receiver<Bytes>) {
    while let Some(message) = queued.recv().await {
        if sender.send(message).await.is_err() {
            return;
        }
    }
}
