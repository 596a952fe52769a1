//! One state: replicas with their stores, and between them both sessions of every connection, with all that is under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use peerloom_core::{
    Applied, CollectionIndex, Context, DocumentId, Incarnation, Input, Page, PageLimits, Replica, Scanned,
    Sequence, Session, Snapshot, State,
};

use crate::shared::{Shared, fingerprint};
use crate::store::Store;
use crate::writes::{Chronicle, Writes};

/// The only collection.
pub(crate) const COLLECTION: CollectionIndex = CollectionIndex(0);

/// A replica and its store.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) store: Store,
    /// How many incarnations it has had.
    pub(crate) openings: u8,
    pub(crate) writes: u8,
    /// Whom it hears from directly, by the end of a connection.
    pub(crate) direct: BTreeMap<usize, Incarnation>,
    /// An old copy of its store, empty before the first.
    pub(crate) backup: Arc<Store>,
}

/// One end of a connection that is up.
#[derive(Clone, Debug, Hash)]
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) terms: Terms,
    /// Frames on their way to this end.
    pub(crate) inbox: VecDeque<Bytes>,
    /// What the session wants done, in the order of its calls.
    pub(crate) work: VecDeque<Work>,
    /// What was done, and the session was not told yet.
    pub(crate) answers: VecDeque<Answer>,
    /// The replica has committed something that the session was not told of.
    pub(crate) untold: bool,
}

/// What one end serves the other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Terms {
    /// Everything.
    Full,
    /// Nothing but the first document.
    Filtered,
}

/// An effect that waits.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Work {
    Scan { after: Sequence, limits: PageLimits },
    Apply(Page),
}

/// The answer to an effect.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Answer {
    Scanned { snapshot: Snapshot, records: Vec<Scanned> },
    Applied(Applied),
}

impl From<Answer> for Input {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Scanned { snapshot, records } => {
                Self::Scanned { collection: COLLECTION, snapshot, records }
            }
            Answer::Applied(applied) => Self::Applied { collection: COLLECTION, applied },
        }
    }
}

/// What somebody read of a document some time ago.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Reading {
    pub(crate) document: usize,
    pub(crate) context: Context,
    pub(crate) state: Option<State>,
    pub(crate) writes: Writes,
}

/// How often something may still happen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Budget {
    /// Writes, by all replicas together.
    pub writes: u8,
    /// Readings, each of which replaces the one before.
    pub readings: u8,
    /// Connections lost.
    pub disconnects: u8,
    /// Stores closed and opened again.
    pub crashes: u8,
    /// Copies made of a store.
    pub backups: u8,
    /// Stores replaced by their copy, or emptied if there is none.
    pub restores: u8,
    /// Connections that serve one document only.
    pub filtered: u8,
}

/// A state of the model.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) nodes: Vec<Shared<Node>>,
    /// Two by two: the other end of `ends[n]` is `ends[n ^ 1]`. `None` while the connection is down.
    pub(crate) ends: Vec<Option<Shared<End>>>,
    pub(crate) chronicle: Shared<Chronicle>,
    pub(crate) reading: Option<Shared<Reading>>,
    pub(crate) budget: Budget,
    /// An assertion that failed on the way here.
    pub(crate) failure: Option<String>,
}

impl Hash for Room {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.nodes, &self.ends, &self.chronicle, &self.reading, &self.budget, &self.failure).hash(hasher);
    }
}

impl PartialEq for Room {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Room {
    pub(crate) fn fingerprint(&self) -> u64 {
        fingerprint(self)
    }

    /// The ends of connections that are up.
    pub(crate) fn live(&self) -> impl Iterator<Item = (usize, &End)> {
        self.ends.iter().enumerate().filter_map(|(end, of)| Some((end, &**of.as_ref()?)))
    }

    /// The writes that a replica's copy of a document includes.
    pub(crate) fn included(&self, replica: usize, document: usize) -> Writes {
        let Some(record) = self.nodes[replica].store.read(&document_id(document)) else {
            return Writes::default();
        };
        let includes =
            self.chronicle.of(document).filter(|(_, fact)| fact.dot.is_in(record.document.context()));
        includes.fold(Writes::default(), |writes, (name, _)| writes.with(name))
    }

    pub(crate) fn documents(&self) -> BTreeSet<usize> {
        self.chronicle.facts.values().map(|fact| fact.document).collect()
    }

    /// Nothing is under way and every connection is up and serves everything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.ends.iter().all(|end| {
            end.as_ref().is_some_and(|end| {
                end.terms == Terms::Full
                    && end.inbox.is_empty()
                    && end.work.is_empty()
                    && end.answers.is_empty()
                    && !end.untold
            })
        })
    }
}

impl Node {
    pub(crate) fn heard_directly(&self) -> Arc<BTreeSet<Incarnation>> {
        Arc::new(self.direct.values().copied().collect())
    }
}

pub(crate) fn document_id(document: usize) -> DocumentId {
    DocumentId::new(format!("d{document}")).expect("a valid id")
}
