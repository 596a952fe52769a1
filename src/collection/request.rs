//! What the writer of a collection is asked for.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use peerloom_core::{
    Applied, DocumentId, Incarnation, Page, ReplicaId, Resolver, Transaction, Write, Written,
};
use tokio::sync::oneshot;

use super::shared::Era;
use crate::error::Error;

/// The most requests waiting for the writer; callers wait beyond that.
pub(super) const REQUESTS_MAX: usize = 64;

/// Something to commit.
pub(super) enum Request {
    Write {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<Vec<Written>, Error>>,
    },
    /// `None` for a page of an earlier era.
    Apply {
        page: Page,
        peer: ReplicaId,
        era: Era,
        chain: Chain,
        reply: oneshot::Sender<Result<Option<Applied>, Error>>,
    },
    Recheck {
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Decide {
        decision: Decision,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Close {
        reply: oneshot::Sender<Result<(), Error>>,
    },
}

/// What another dialect wants to have decided on documents and on what it keeps in the metadata. Has a commit for itself.
pub(super) struct Decision {
    /// The documents it decides on.
    pub(super) ids: Vec<DocumentId>,
    /// The metadata it needs.
    pub(super) keys: Vec<Bytes>,
    pub(super) decide: Box<Decide>,
}

/// Decides with the metadata of the keys, in their order, and with a random incarnation.
pub(super) type Decide =
    dyn FnOnce(&mut Transaction<'_>, Vec<Option<Bytes>>, Incarnation, &mut dyn Resolver) + Send;

/// The pages of one link in one session. Each counts on those before it: once one has failed, none is committed any more, because its
/// checkpoint would pass what was lost. Holds why it failed.
#[derive(Clone, Default)]
pub(super) struct Chain(Arc<OnceLock<Error>>);

impl Request {
    /// How many documents it may change.
    pub(super) fn documents(&self) -> usize {
        match self {
            Self::Write { writes, .. } => writes.len(),
            Self::Apply { page, .. } => page.documents.len(),
            Self::Decide { decision, .. } => decision.ids.len(),
            Self::Recheck { .. } | Self::Close { .. } => 0,
        }
    }

    /// Tells whoever asked why nothing came of it.
    pub(super) fn refuse(self, error: &Error) {
        // A caller who has gone away does not want to know.
        match self {
            Self::Write { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Apply { reply, chain, .. } => chain.fail(reply, error),
            Self::Recheck { reply } | Self::Close { reply } | Self::Decide { reply, .. } => {
                drop(reply.send(Err(error.clone())));
            }
        }
    }

    /// Answers a page that comes after one that failed.
    pub(super) fn unless_broken(self) -> Option<Self> {
        match self {
            Self::Apply { page, peer, era, chain, reply } => match chain.0.get() {
                Some(error) => {
                    drop(reply.send(Err(error.clone())));
                    None
                }
                None => Some(Self::Apply { page, peer, era, chain, reply }),
            },
            request => Some(request),
        }
    }
}

impl Chain {
    /// Answers a page that was not committed.
    pub(super) fn fail(&self, reply: oneshot::Sender<Result<Option<Applied>, Error>>, error: &Error) {
        // Of several in one commit the first says why.
        let error = self.0.get_or_init(|| error.clone());
        drop(reply.send(Err(error.clone())));
    }
}
