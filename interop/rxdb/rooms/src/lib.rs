//! Real RxDB peers in rooms with Peerloom: what the tests and the measurements have in common.
//!
//! RxDB runs in processes of its own, driven by `node/peer.mjs`. Everything meets through a signaling server on this machine.

mod picture;
mod rounds;
mod rxdb_peer;

use std::sync::Arc;

use futures_util::StreamExt;
use peerloom::webrtc::WebRtc;
use peerloom::{Collection, ConflictHandler, Node, Room, RxdbBridge, Sharing, Storage, WebSocketSignaling};
use peerloom_signaling::environment::SystemEnvironment;
use peerloom_signaling::permit::StockPeers;
use peerloom_signaling::rooms::RoomsOptions;
use peerloom_signaling::server::{Server, ServerOptions};
use serde_json::{Value, json};

pub use rounds::{Outcome, Plan, round};
pub use rxdb_peer::{RxdbPeer, RxdbSignaling, is_there};

/// Our signaling server. Ends when this is dropped.
#[derive(Debug)]
pub struct Signaling {
    /// Where it listens.
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Signaling {
    /// Starts it.
    pub async fn start(stock_peers: StockPeers) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", listener.local_addr()?);
        let rooms = RoomsOptions { stock_peers, ..RoomsOptions::default() };
        let options = ServerOptions { rooms, ..ServerOptions::default() };
        let server = Server::new(options, Arc::new(SystemEnvironment::new()));
        let task = tokio::spawn(server.serve(listener, std::future::pending()));
        Ok(Self { url, task })
    }
}

impl Drop for Signaling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A Peerloom node with the collection `todos`.
#[derive(Debug)]
pub struct Peerloom {
    /// The node.
    pub node: Node,
    /// The collection.
    pub todos: Collection<Value>,
}

impl Peerloom {
    /// Opens it.
    pub async fn open(storage: impl Storage, handler: impl ConflictHandler) -> anyhow::Result<Self> {
        let node = Node::open(storage).await?;
        let todos = node.collection("todos").handler(handler).open().await?;
        Ok(Self { node, todos })
    }

    /// The bridge that the tests use.
    pub fn bridge(&self) -> RxdbBridge {
        RxdbBridge::new(&self.todos).patience(std::time::Duration::ZERO)
    }

    /// Joins a room in which RxDB peers are spoken with.
    pub async fn join(&self, url: &str, topic: &str, bridge: RxdbBridge) -> anyhow::Result<Room> {
        let room = self.node.room(topic).share_as(&self.todos, Sharing::new()).rxdb(bridge);
        Ok(room.join(WebRtc::new(WebSocketSignaling::new(url)?)).await?)
    }

    /// The token under which RxDB peers know it.
    pub fn token(&self) -> String {
        peerloom::rxdb::Token::of_replica(&self.node.replica_id()).as_str().to_owned()
    }

    /// A token with which an RxDB peer is the master of this one, or its fork.
    pub fn token_for(&self, rxdb_is: peerloom::rxdb::Role) -> String {
        let own = peerloom::rxdb::Token::of_replica(&self.node.replica_id());
        let candidates = (0..1000).map(|number| format!("token{number:05}"));
        let fits = |token: &String| {
            peerloom::rxdb::Token::new(token).is_some_and(|token| token.role_towards(&own) == rxdb_is)
        };
        candidates.into_iter().find(fits).expect("half of all tokens fit")
    }

    /// Waits until a document is as expected: without RxDB's `_deleted`; `None` for one that is deleted or not there.
    pub async fn until(&self, id: &str, expected: Option<&Value>) -> anyhow::Result<()> {
        let mut changes = self.todos.watch();
        loop {
            if self.todos.get(id).await?.as_ref() == expected {
                return Ok(());
            }
            changes.next().await.transpose()?;
        }
    }

    /// All documents by id, as an RxDB peer would have those that are not deleted.
    pub async fn documents(&self) -> anyhow::Result<Value> {
        let mut all = serde_json::Map::new();
        let mut range = Some(peerloom::IdRange::prefix(""));
        while let Some(within) = range {
            let page = self.todos.list(within, 1000).await?;
            for entry in page.entries {
                let mut document = entry.value?;
                document["_deleted"] = false.into();
                all.insert(entry.id.as_str().to_owned(), document);
            }
            range = page.next;
        }
        Ok(Value::Object(all))
    }
}

/// A document as the tests write it.
pub fn todo(id: &str, title: &str) -> Value {
    json!({ "id": id, "title": title, "count": 0 })
}

/// A document as RxDB peers have it.
pub fn held(document: &Value, deleted: bool) -> Value {
    let mut held = document.clone();
    held["_deleted"] = deleted.into();
    held
}
