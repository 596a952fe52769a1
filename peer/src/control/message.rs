//! What clients of a peer ask, and what it answers.

use serde::{Deserialize, Serialize};

use crate::document::{Document, DocumentContent};

/// What a client asks. Without a collection, the only one is meant.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Writes documents over whatever is there, those that are not deleted in one commit.
    Put { collection: Option<String>, documents: Vec<Document> },
    /// Reads a document.
    Get { collection: Option<String>, id: String },
    /// Deletes a document.
    Delete { collection: Option<String>, id: String },
    /// Lists documents in the order of their ids: those with the prefix, after the id.
    List {
        collection: Option<String>,
        #[serde(default)]
        prefix: String,
        after: Option<String>,
        documents_max: u32,
    },
    /// Lists the documents in conflict in the order of their ids: those after the id.
    Conflicts { collection: Option<String>, after: Option<String>, documents_max: u32 },
    /// Tells each change.
    Watch { collection: Option<String>, from: WatchFrom },
    /// Tells who this peer is, and who is connected.
    Status,
    /// Answers once every connected peer has all that was written before, and this one all that they have.
    CatchUp,
}

/// Where watching begins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WatchFrom {
    Now,
    Start,
}

/// What the peer answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The documents are written, durably.
    Written,
    /// The document, which may be deleted or never have been.
    Document(Document),
    /// The document is deleted, durably.
    Deleted { existed: bool },
    /// Documents, and after which id to go on.
    Documents { documents: Vec<Document>, next: Option<String> },
    /// Documents in conflict, and after which id to go on.
    Conflicts { conflicts: Vec<InConflict>, next: Option<String> },
    /// Changes are told from now on.
    Watching,
    /// A document as it is after a change.
    Changed(Listed),
    /// Who this peer is, and who is connected.
    Status(Status),
    /// Everything is on both sides.
    CaughtUp,
    /// Nothing was done.
    Refused(Refusal),
}

/// A document, and whether several versions of it stand beside each other.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Listed {
    #[serde(flatten)]
    pub(crate) document: Document,
    pub(crate) in_conflict: bool,
}

/// A document of which several versions stand beside each other.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct InConflict {
    pub(crate) id: String,
    /// What reading gives.
    pub(crate) view: DocumentContent,
    /// The oldest first.
    pub(crate) versions: Vec<Version>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Version {
    /// One opening of a replica's storage.
    pub(crate) written_by: String,
    /// By the clock of that replica.
    pub(crate) written_at_unix_ms: u64,
    pub(crate) content: DocumentContent,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Status {
    pub(crate) replica: String,
    pub(crate) storage: String,
    pub(crate) collections: Vec<String>,
    pub(crate) rooms: Vec<RoomStatus>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RoomStatus {
    pub(crate) topic: String,
    pub(crate) signaling: String,
    /// If RxDB peers are let in.
    pub(crate) rxdb: Option<RxdbStatus>,
    pub(crate) peers: Vec<PeerStatus>,
}

/// What RxDB peers replicate with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RxdbStatus {
    pub(crate) collection: String,
    pub(crate) primary_key: String,
    /// `both`, `pull-only` or `push-only`, as in the settings.
    pub(crate) direction: String,
}

/// A connection, and what has gone over it since it began.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct PeerStatus {
    /// Who it is, once that is proven.
    pub(crate) replica: Option<String>,
    /// The storage token of an RxDB peer, which proves nothing, once it has said it.
    pub(crate) rxdb_token: Option<String>,
    pub(crate) address: String,
    /// `connecting`, `catching_up` or `caught_up`.
    pub(crate) state: String,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) documents_sent: u64,
    pub(crate) documents_received: u64,
    /// Received, though there already.
    pub(crate) documents_duplicate: u64,
    /// Those that could not cross over to an RxDB peer, or from it, each time it was met.
    pub(crate) documents_left_out: u64,
}

/// Why nothing was done.
#[derive(Clone, Debug, Deserialize, Serialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

/// What a client can do about a refusal.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Send something else: this is no request, or what is in it cannot be used.
    Invalid,
    /// Name one of the collections of this peer.
    UnknownCollection,
    /// See what the storage says.
    Storage,
    /// Serve the peer: it is not.
    NotServed,
    /// Try again later: the peer has as many clients as it takes.
    TooManyClients,
    /// Serve the peer again: it stops.
    Stopping,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_can_be_written_by_hand() {
        for line in [
            r#"{"do":"put","documents":[{"id":"1","value":{"done":true}},{"id":"2","deleted":true}]}"#,
            r#"{"do":"get","collection":"todos","id":"1"}"#,
            r#"{"do":"list","documents_max":10}"#,
            r#"{"do":"watch","from":"start"}"#,
            r#"{"do":"status"}"#,
        ] {
            serde_json::from_str::<Request>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
