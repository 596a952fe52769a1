//! A peer: an open storage with its collections, and the answers to what is asked of it.
//!
//! The same answers are given over the control socket while the peer is served, and to the command itself otherwise.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::OnceLock;

use futures_util::{Stream, StreamExt};
use peerloom::{
    Collection, Conflict, ContentError, DocumentId, Error, FieldWise, Fjall, IdRange, LastWriteWins, Memory,
    Node, OpenError, PeerState, Room,
};

use crate::control::{
    Answer, InConflict, Kind, Listed, PeerStatus, Refusal, Request, RoomStatus, RxdbStatus, Status, Version,
    WatchFrom,
};
use crate::document::{Body, Deleted, Document, DocumentContent};
use crate::rxdb::RxdbSettings;
use crate::settings::{Handler, Settings, StorageKind};

/// The most documents of one page. The bytes of a page are bounded as well.
const PAGE_DOCUMENTS_MAX: u32 = 10_000;

pub(crate) struct Peer {
    pub(crate) node: Node,
    /// At least one.
    pub(crate) collections: Vec<Opened>,
    storage: StorageKind,
    /// Once they are joined.
    rooms: OnceLock<Vec<Joined>>,
}

pub(crate) struct Opened {
    pub(crate) collection: Collection<Body>,
    handler: Handler,
}

/// A room that was joined, and the server through which its peers find each other.
pub(crate) struct Joined {
    pub(crate) topic: String,
    pub(crate) signaling: String,
    /// With which collection RxDB peers replicate there, and how.
    pub(crate) rxdb: Option<RxdbSettings>,
    pub(crate) room: Room,
}

/// Why the peer's storage could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("the directory {0} cannot be made")]
    Directory(String, #[source] io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Peer {
    /// Opens the peer's storage, which is made if there is none.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, PeerError> {
        make_directory(&settings.data)?;
        let node = match settings.storage {
            StorageKind::Memory => Node::open(Memory::new()).await?,
            StorageKind::Fjall => Node::open(Fjall::at(settings.data.join("fjall"))).await?,
            #[cfg(feature = "rocksdb")]
            StorageKind::RocksDb => Node::open(peerloom::RocksDb::at(settings.data.join("rocksdb"))).await?,
        };
        let mut collections = Vec::new();
        for setting in &settings.collections {
            let builder = node.collection(setting.name.as_str());
            let builder = match setting.handler {
                Handler::LastWriteWins => builder.handler(LastWriteWins),
                Handler::FieldWise => builder.handler(FieldWise),
            };
            collections.push(Opened { collection: builder.open().await?, handler: setting.handler });
        }
        Ok(Self { node, collections, storage: settings.storage, rooms: OnceLock::new() })
    }

    /// Says which rooms were joined.
    ///
    /// # Panics
    ///
    /// If it was said before.
    pub(crate) fn joined(&self, rooms: Vec<Joined>) {
        assert!(self.rooms.set(rooms).is_ok(), "a peer joins its rooms once");
    }

    /// Answers anything but [`Request::Watch`].
    pub(crate) async fn answer(&self, request: Request) -> Result<Answer, Refusal> {
        match request {
            Request::Put { collection, documents } => {
                put(self.collection(collection.as_deref())?, documents).await?;
                Ok(Answer::Written)
            }
            Request::Get { collection, id } => {
                let found = self.collection(collection.as_deref())?.get(id.as_str()).await?;
                Ok(Answer::Document(Document { id, content: found.into() }))
            }
            Request::Delete { collection, id } => {
                let existed = self.collection(collection.as_deref())?.remove(id).await?;
                Ok(Answer::Deleted { existed })
            }
            Request::List { collection, prefix, after, documents_max } => {
                let collection = self.collection(collection.as_deref())?;
                list(collection, &prefix, after, documents_max).await
            }
            Request::Conflicts { collection, after, documents_max } => {
                conflicts(self.collection(collection.as_deref())?, after, documents_max).await
            }
            Request::Watch { .. } => Err(not_served("`watch`")),
            Request::Status => Ok(Answer::Status(self.status())),
            Request::CatchUp => {
                for joined in self.rooms.get().ok_or_else(|| not_served("`catch-up`"))? {
                    let left = |error: peerloom::RoomError| Refusal::new(Kind::Stopping, error.to_string());
                    joined.room.caught_up().await.map_err(left)?;
                }
                Ok(Answer::CaughtUp)
            }
        }
    }

    /// The changes of a collection, without end as long as the peer is served.
    pub(crate) fn watch(
        &self,
        collection: Option<&str>,
        from: WatchFrom,
    ) -> Result<impl Stream<Item = Answer> + use<>, Refusal> {
        let collection = self.collection(collection)?;
        let changes = match from {
            WatchFrom::Now => collection.watch(),
            WatchFrom::Start => collection.watch_from(None),
        };
        Ok(changes.map(|change| match change {
            Ok(change) => Answer::Changed(Listed {
                document: Document { id: change.id.as_str().to_owned(), content: content(change.value) },
                in_conflict: change.in_conflict,
            }),
            Err(error) => Answer::Refused(error.into()),
        }))
    }

    fn collection(&self, name: Option<&str>) -> Result<&Collection<Body>, Refusal> {
        let names = || {
            let names = self.collections.iter().map(|opened| opened.collection.name().as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let unknown = |message| Refusal::new(Kind::UnknownCollection, message);
        match (name, &self.collections[..]) {
            (None, [only]) => Ok(&only.collection),
            (None, _) => Err(unknown(format!("which collection? This peer has {}", names()))),
            (Some(name), opened) => {
                let found = opened.iter().find(|opened| opened.collection.name().as_str() == name);
                let unknown = || unknown(format!("this peer has no collection {name:?}, only {}", names()));
                Ok(&found.ok_or_else(unknown)?.collection)
            }
        }
    }

    fn status(&self) -> Status {
        let name = |opened: &Opened| format!("{}={}", opened.collection.name(), opened.handler);
        let rooms = self.rooms.get().into_iter().flatten().map(|joined| RoomStatus {
            topic: joined.topic.clone(),
            signaling: joined.signaling.clone(),
            rxdb: joined.rxdb.as_ref().map(|rxdb| RxdbStatus {
                collection: rxdb.collection.clone(),
                primary_key: rxdb.primary_key.clone(),
                direction: rxdb.direction.to_string(),
            }),
            peers: joined.room.peers().iter().map(peer_status).collect(),
        });
        Status {
            replica: self.node.replica_id().to_string(),
            storage: self.storage.to_string(),
            collections: self.collections.iter().map(name).collect(),
            rooms: rooms.collect(),
        }
    }
}

/// Makes the directory of a peer, which its user alone can open, if there is none.
pub(crate) fn make_directory(path: &Path) -> Result<(), PeerError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| PeerError::Directory(path.display().to_string(), error))
}

async fn put(collection: &Collection<Body>, documents: Vec<Document>) -> Result<(), Refusal> {
    let (mut written, mut deleted) = (Vec::new(), Vec::new());
    for Document { id, content } in documents {
        match content {
            DocumentContent::Value(value) => written.push((id, Body::Json(value))),
            DocumentContent::Base64(bytes) => written.push((id, Body::Binary(bytes))),
            DocumentContent::Deleted(Deleted) => deleted.push(id),
        }
    }
    if !written.is_empty() {
        collection.put_many(written.iter().map(|(id, body)| (id.as_str(), body))).await?;
    }
    for id in deleted {
        collection.remove(id).await?;
    }
    Ok(())
}

async fn list(
    collection: &Collection<Body>,
    prefix: &str,
    after: Option<String>,
    documents_max: u32,
) -> Result<Answer, Refusal> {
    let mut range = IdRange::prefix(prefix);
    if let Some(after) = after {
        range.start = std::ops::Bound::Excluded(document_id(after)?);
    }
    let page = collection.list(range, documents_max.min(PAGE_DOCUMENTS_MAX)).await?;
    let next = page.next.and_then(|range| match range.start {
        std::ops::Bound::Excluded(id) => Some(id.as_str().to_owned()),
        _ => None,
    });
    let document = |entry: peerloom::Entry<Body>| Document {
        id: entry.id.as_str().to_owned(),
        content: content(entry.value.map(Some)),
    };
    Ok(Answer::Documents { documents: page.entries.into_iter().map(document).collect(), next })
}

async fn conflicts(
    collection: &Collection<Body>,
    after: Option<String>,
    documents_max: u32,
) -> Result<Answer, Refusal> {
    let after = after.map(document_id).transpose()?;
    let page = collection.conflicts(after.as_ref(), documents_max.min(PAGE_DOCUMENTS_MAX)).await?;
    let in_conflict = |conflict: Conflict<Body>| InConflict {
        id: conflict.id.as_str().to_owned(),
        view: content(conflict.view),
        versions: conflict
            .versions
            .into_iter()
            .map(|version| Version {
                written_by: version.dot.incarnation.to_string(),
                written_at_unix_ms: version.dot.stamp.unix_ms(),
                content: content(version.value),
            })
            .collect(),
    };
    let next = page.next.map(|id| id.as_str().to_owned());
    Ok(Answer::Conflicts { conflicts: page.conflicts.into_iter().map(in_conflict).collect(), next })
}

fn document_id(id: String) -> Result<DocumentId, Refusal> {
    DocumentId::new(id).map_err(|error| Refusal::new(Kind::Invalid, error.to_string()))
}

fn content(value: Result<Option<Body>, ContentError>) -> DocumentContent {
    value.expect("every body can be read as one").into()
}

fn not_served(what: &str) -> Refusal {
    Refusal::new(Kind::NotServed, format!("{what} needs a peer that is being served"))
}

fn peer_status(peer: &peerloom::Peer) -> PeerStatus {
    let state = match peer.state {
        PeerState::Connecting => "connecting",
        PeerState::CatchingUp => "catching_up",
        PeerState::CaughtUp => "caught_up",
        _ => "unknown",
    };
    PeerStatus {
        replica: peer.replica.map(|replica| replica.to_string()),
        rxdb_token: peer.rxdb_token.clone(),
        address: peer.address.to_string(),
        state: state.to_owned(),
        bytes_sent: peer.counters.bytes_sent,
        bytes_received: peer.counters.bytes_received,
        documents_sent: peer.counters.documents_sent,
        documents_received: peer.counters.documents_received,
        documents_duplicate: peer.counters.documents_duplicate,
        documents_left_out: peer.documents_left_out,
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Name(_) | Error::Content { .. } | Error::Write(_) => Kind::Invalid,
            Error::Closed => Kind::Stopping,
            _ => Kind::Storage,
        };
        // What lies below belongs to the message: it goes through the socket as one.
        let mut message = error.to_string();
        let mut below = std::error::Error::source(&error);
        while let Some(source) = below {
            let source_message = source.to_string();
            if !message.contains(&source_message) {
                message = format!("{message}: {source_message}");
            }
            below = source.source();
        }
        Self::new(kind, message)
    }
}
