//! How a command reaches the documents: through the socket if the peer is being served, by opening its storage otherwise.

use std::sync::Arc;

use peerloom::{OpenError, StorageError};

use crate::control::{Answer, Client, InConflict, Request, Status, WatchFrom};
use crate::document::{Document, DocumentContent};
use crate::failure::Failure;
use crate::peer::{Peer, PeerError};
use crate::settings::{Settings, StorageKind};

pub(crate) enum Access {
    /// Another process serves the peer.
    Served(Client),
    /// This one has opened its storage.
    Direct(Arc<Peer>),
}

impl Access {
    pub(crate) async fn to(settings: &Settings) -> Result<Self, Failure> {
        if let Some(client) = connect(settings).await? {
            return Ok(Self::Served(client));
        }
        if settings.storage == StorageKind::Memory {
            return Err(Failure::NotServed { socket: settings.socket.clone() });
        }
        match Peer::open(settings).await {
            Ok(peer) => Ok(Self::Direct(Arc::new(peer))),
            Err(PeerError::Open(OpenError::Storage(StorageError::Locked { place }))) => {
                // It may have begun to be served since.
                let served = connect(settings).await?.map(Self::Served);
                served.ok_or(Failure::InUse { place, socket: settings.socket.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reaches a peer that is being served.
    pub(crate) async fn to_served(settings: &Settings) -> Result<Self, Failure> {
        let client = connect(settings).await?;
        client.map(Self::Served).ok_or_else(|| Failure::NotServed { socket: settings.socket.clone() })
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Served(_) => Ok(()),
            Self::Direct(peer) => Ok(peer.node.close().await?),
        }
    }

    /// Writes documents, those that are not deleted in one commit. They are durable when this returns.
    pub(crate) async fn put(
        &mut self,
        collection: Option<String>,
        documents: Vec<Document>,
    ) -> Result<(), Failure> {
        match self.ask(Request::Put { collection, documents }).await? {
            Answer::Written => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn get(
        &mut self,
        collection: Option<String>,
        id: String,
    ) -> Result<DocumentContent, Failure> {
        match self.ask(Request::Get { collection, id }).await? {
            Answer::Document(document) => Ok(document.content),
            other => Err(unexpected(&other)),
        }
    }

    /// Says whether there was one.
    pub(crate) async fn delete(&mut self, collection: Option<String>, id: String) -> Result<bool, Failure> {
        match self.ask(Request::Delete { collection, id }).await? {
            Answer::Deleted { existed } => Ok(existed),
            other => Err(unexpected(&other)),
        }
    }

    /// A page of documents, and after which id the next one begins.
    pub(crate) async fn list(
        &mut self,
        collection: Option<String>,
        prefix: String,
        after: Option<String>,
        documents_max: u32,
    ) -> Result<(Vec<Document>, Option<String>), Failure> {
        match self.ask(Request::List { collection, prefix, after, documents_max }).await? {
            Answer::Documents { documents, next } => Ok((documents, next)),
            other => Err(unexpected(&other)),
        }
    }

    /// A page of documents in conflict, and after which id the next one begins.
    pub(crate) async fn conflicts(
        &mut self,
        collection: Option<String>,
        after: Option<String>,
        documents_max: u32,
    ) -> Result<(Vec<InConflict>, Option<String>), Failure> {
        match self.ask(Request::Conflicts { collection, after, documents_max }).await? {
            Answer::Conflicts { conflicts, next } => Ok((conflicts, next)),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn status(&mut self) -> Result<Status, Failure> {
        match self.ask(Request::Status).await? {
            Answer::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Returns once every connected peer has what this one has.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Failure> {
        match self.ask(Request::CatchUp).await? {
            Answer::CaughtUp => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Begins to watch a peer that is being served, and returns where its changes come from.
    pub(crate) async fn watch(
        mut self,
        collection: Option<String>,
        from: WatchFrom,
    ) -> Result<Client, Failure> {
        match self.ask(Request::Watch { collection, from }).await? {
            Answer::Watching => match self {
                Self::Served(client) => Ok(client),
                Self::Direct(_) => unreachable!("a peer that is not served refuses to be watched"),
            },
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&mut self, request: Request) -> Result<Answer, Failure> {
        match self {
            Self::Direct(peer) => Ok(peer.answer(request).await?),
            Self::Served(client) => {
                client.send(&request).await.map_err(Failure::Socket)?;
                match client.receive().await.map_err(Failure::Socket)? {
                    None => Err(Failure::Stopped),
                    Some(Answer::Refused(refusal)) => Err(refusal.into()),
                    Some(answer) => Ok(answer),
                }
            }
        }
    }
}

/// Connects to the socket of the peer, if somebody serves it.
pub(crate) async fn connect(settings: &Settings) -> Result<Option<Client>, Failure> {
    Client::connect(&settings.socket).await.map_err(Failure::Socket)
}

fn unexpected(answer: &Answer) -> Failure {
    let answer = format!("the answer is another one than was asked for: {answer:.80?}");
    Failure::Socket(std::io::Error::new(std::io::ErrorKind::InvalidData, answer))
}
