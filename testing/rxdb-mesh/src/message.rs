//! What two RxDB peers say to each other over their data channel.
//!
//! The messages are RxDB's one to one; their shape as JSON is not. They can be serialized so that they travel over a connection
//! of bytes between two such peers, never to a real one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A position in the changes of one peer's collection: the last document that was read.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Checkpoint {
    /// When that document was last written, on a clock of that peer which counts its writes.
    pub lwt: u64,
    /// Which document, of those written at once.
    pub id: String,
}

/// Documents of a peer, and the position after them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Changes {
    /// The position after the last document.
    pub checkpoint: Option<Checkpoint>,
    /// Their states, oldest write first.
    pub documents: Vec<Value>,
}

/// A document that a fork pushes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WriteRow {
    /// What the fork believes that the master has. None if it has never seen the master's.
    pub assumed_master_state: Option<Value>,
    /// What the master should have.
    pub new_document_state: Value,
}

/// What one peer asks of the other.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Request {
    /// `token`: the other's storage token. Both sides ask, first of all.
    Token,
    /// `masterChangesSince`: a fork asks for the documents after a checkpoint.
    ChangesSince {
        /// Where it stopped reading. None for the start.
        checkpoint: Option<Checkpoint>,
        /// How many documents at most.
        batch_size: usize,
    },
    /// `masterWrite`: a fork pushes documents.
    Write {
        /// The documents, each once.
        rows: Vec<WriteRow>,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// To `token`.
    Token(String),
    /// To `masterChangesSince`.
    Changes(Changes),
    /// To `masterWrite`: the master's states of the documents that it did not take.
    Refused(Vec<Value>),
}

/// What a master sends unasked, on its `masterChangeStream$`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Change {
    /// Sent once, when the master is ready: pull from your checkpoint, and push from your own.
    Resync,
    /// Documents that were just written, whoever wrote them.
    Documents(Changes),
}

/// A message on a link.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Message {
    /// A request, with a number that is not in use by another one of this sender on this link.
    Request {
        /// The number.
        id: u64,
        /// The request.
        request: Request,
    },
    /// An answer, with the number of its request.
    Answer {
        /// The number.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// A change at the master.
    Change(Change),
}
