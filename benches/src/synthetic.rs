//! Stores as they are after many openings: documents and knowledge made up, and committed as if a peer had sent them.

use peerloom::core::{Batch, Document, Page, Replica, Resolver};
use peerloom::core::{Knowledge, Storage};
use peerloom::{
    CollectionName, Context, DocumentId, Dot, Head, Incarnation, Memory, Now, ReplicaLimits, Stamp, State,
};

use crate::clock::scattered;
use crate::document;

/// The incarnation with this number, the same in every store.
pub(crate) fn incarnation(number: usize) -> Incarnation {
    Incarnation::new(scattered(number as u64))
}

/// A stamp of our time, a millisecond after the one with the number before.
pub(crate) fn stamp(number: usize) -> Stamp {
    Stamp::new((1_735_689_600_000 + number as u64) << 16).expect("a stamp of our time")
}

/// A document that each of `incarnations` incarnations wrote once, one on top of the other.
pub(crate) fn document(number: usize, incarnations: usize) -> Document {
    let dot = |writer: usize| Dot {
        incarnation: incarnation(writer),
        stamp: stamp(number * incarnations + writer),
    };
    let context: Context =
        (0..incarnations).map(|writer| (dot(writer).incarnation, dot(writer).stamp)).collect();
    let head = Head { dot: dot(incarnations - 1), state: document::state(number) };
    Document::new(context, vec![head]).expect("the last writer is in the context")
}

/// A document that one of `incarnations` incarnations wrote.
pub(crate) fn document_by_one(number: usize, incarnations: usize) -> Document {
    let dot = Dot { incarnation: incarnation(number % incarnations), stamp: stamp(number) };
    Document::from(Head { dot, state: document::state(number) })
}

/// A disk with a collection `orders` that holds these documents and knows every write in them.
pub(crate) async fn store(
    documents: impl IntoIterator<Item = (DocumentId, Document)>,
) -> anyhow::Result<Memory> {
    let memory = Memory::new();
    let store = memory.open(CollectionName::new("orders")?.store()).await?;
    let documents: Vec<_> = documents.into_iter().collect();
    let knowledge: Knowledge = documents.iter().flat_map(|(_, document)| document.context().iter()).collect();
    // Never used: whoever opens the store takes an incarnation of its own.
    let unused = Incarnation::new(1);
    let mut replica = Replica::load(ReplicaLimits::default(), unused, [])?;
    let now = Now { monotonic: std::time::Duration::ZERO, unix_ms: stamp(usize::pow(2, 30)).unix_ms() };
    let ids = documents.iter().map(|(id, _)| (id.clone(), None)).collect::<Vec<_>>();
    let mut transaction = replica.begin(now, unused, ids);
    transaction.apply(Page { documents, checkpoint: None, knowledge });
    let (batch, _, _): (Batch, _, _) = transaction.finish(&mut NoConflict);
    store.commit(batch).await?;
    store.close().await?;
    Ok(memory)
}

/// Documents with one head need no handler.
struct NoConflict;

impl Resolver for NoConflict {
    fn resolve(&mut self, _heads: &[Head]) -> Option<State> {
        None
    }

    fn annotate(&mut self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Option<bytes::Bytes> {
        None
    }
}
