//! Documents and the two rules: how copies merge, and how a write is placed.
//!
//! Both rules are set operations on writes. They know no conflict handler, so every replica reaches the same
//! heads whatever the handler does.

use alloc::vec::Vec;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::broken::{self, Rule};
use crate::feed::Sequence;
use crate::id::{DocumentId, Incarnation};
use crate::stamp::Stamp;
use crate::version_vector::Context;

/// The name of one write.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Dot {
    /// Who wrote.
    pub incarnation: Incarnation,
    /// When, by the writer's clock.
    pub stamp: Stamp,
}

impl Dot {
    /// The canonical order of heads: by stamp, then by incarnation.
    pub fn canonical(&self) -> (Stamp, Incarnation) {
        (self.stamp, self.incarnation)
    }

    /// Whether a context includes this write.
    pub fn is_in(&self, context: &Context) -> bool {
        context.stamp(self.incarnation) >= self.stamp
    }
}

/// The content of a document at one write, or what a conflict handler made of several.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct State {
    /// Whether the document is deleted. A deleted state keeps its body.
    pub deleted: bool,
    /// The content, opaque to replication.
    pub body: Bytes,
    /// Bytes that belong to the conflict handler, empty for handlers that need none.
    pub annotations: Bytes,
}

impl State {
    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.annotations.len()
    }
}

/// A write that no other known write has superseded.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Head {
    /// The write.
    pub dot: Dot,
    /// What it wrote.
    pub state: State,
}

/// Heads that do not belong to their context, so that no replica could have made the document.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedDocument {
    /// Every document has at least one head.
    #[error("the document has no head")]
    NoHead,
    /// A head's dot must be covered by the document's context.
    #[error("a head lies outside the document's context")]
    OutsideContext,
    /// Heads come in canonical order, each dot once.
    #[error("the heads are not in canonical order")]
    Order,
    /// A write has a stamp above zero.
    #[error("a head has the stamp zero")]
    ZeroStamp,
}

/// What merging another copy did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Merged {
    /// The other copy held nothing new: no commit, no event, no echo.
    Unchanged,
    /// The merged document.
    Changed(Document),
}

/// The heads of a document. Nearly every document has one, which needs no allocation.
pub(crate) type Heads = SmallVec<[Head; 1]>;

/// A document as it replicates: the writes that it includes, and the heads among them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Document {
    context: Context,
    heads: Heads,
}

impl Document {
    /// Puts a document together from parts that a peer sent or a disk held.
    pub fn new(context: Context, heads: Vec<Head>) -> Result<Self, MalformedDocument> {
        Self::of(context, heads.into_iter().collect())
    }

    pub(crate) fn of(context: Context, heads: Heads) -> Result<Self, MalformedDocument> {
        if heads.is_empty() {
            return Err(MalformedDocument::NoHead);
        }
        if !heads.is_sorted_by(|left, right| left.dot.canonical() < right.dot.canonical()) {
            return Err(MalformedDocument::Order);
        }
        if heads[0].dot.stamp == Stamp::ZERO {
            return Err(MalformedDocument::ZeroStamp);
        }
        if !heads.iter().all(|head| head.dot.is_in(&context)) {
            return Err(MalformedDocument::OutsideContext);
        }
        Ok(Self { context, heads })
    }

    /// Rule 2: places a write that had seen `seen` on top of the local copy.
    ///
    /// It supersedes the heads in `seen`, those too that arrive later, and stands beside the others.
    pub fn write(local: Option<&Self>, dot: Dot, state: State, seen: &Context) -> Self {
        Self::write_after(local, dot, state, seen, None)
    }

    /// Like [`Self::write`], by a writer who has also seen one write of the local copy that stands alone: `seen` need not include what
    /// its incarnation had written before.
    pub fn write_after(
        local: Option<&Self>,
        dot: Dot,
        state: State,
        seen: &Context,
        alone: Option<Dot>,
    ) -> Self {
        let mut context = local.map(|document| document.context.clone()).unwrap_or_default();
        assert!(!dot.is_in(&context) && !dot.is_in(seen), "a dot is handed out once");
        context.join(seen);
        context.advance(dot.incarnation, dot.stamp);
        let is_seen = |head: &Head| head.dot.is_in(seen) || Some(head.dot) == alone;
        let unseen = local.into_iter().flat_map(|document| &document.heads).filter(|head| !is_seen(head));
        let mut heads: Heads = unseen.cloned().collect();
        heads.push(Head { dot, state });
        Self::from_heads(heads, context)
    }

    /// Rule 1: merges two copies. Commutative, associative and idempotent.
    ///
    /// A head stays if both copies have it, or if the other copy's context does not cover its dot.
    #[must_use]
    pub fn merge(&self, remote: &Self) -> Merged {
        if planted!(StampsDecide) && self.context.newest() >= remote.context.newest() {
            return Merged::Unchanged;
        }
        if self.context.covers(&remote.context)
            && !(planted!(EqualCopyIsNews) && self.context == remote.context)
        {
            return Merged::Unchanged;
        }
        if remote.context.covers(&self.context) {
            return Merged::Changed(remote.clone());
        }
        let mut heads: Heads = self.heads_surviving(remote).cloned().collect();
        heads.extend(remote.heads_surviving(self).filter(|head| !self.has(head.dot)).cloned());
        if planted!(ThirdHeadDropped) {
            heads.truncate(2);
        }
        let mut context = remote.context.clone();
        if !broken::is(Rule::ContextInMerge) {
            context.join(&self.context);
        }
        Merged::Changed(Self::from_heads(heads, context))
    }

    /// Every write the document includes.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The heads in canonical order: by stamp, then incarnation. At least one.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Whether concurrent writes stand beside each other.
    pub fn in_conflict(&self) -> bool {
        self.heads.len() > 1
    }

    /// How many bytes the bodies and annotations hold together.
    pub fn bytes(&self) -> usize {
        self.heads.iter().map(|head| head.state.bytes()).sum()
    }

    fn has(&self, dot: Dot) -> bool {
        self.heads.iter().any(|head| head.dot == dot)
    }

    fn heads_surviving<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Head> {
        self.heads.iter().filter(|head| other.has(head.dot) || !head.dot.is_in(&other.context))
    }

    fn from_heads(mut heads: Heads, context: Context) -> Self {
        heads.sort_unstable_by_key(|head| head.dot.canonical());
        assert!(!heads.is_empty(), "a merge or a write leaves at least one head");
        Self { context, heads }
    }
}

/// What a store keeps of one document.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Record {
    /// The document's id.
    pub id: DocumentId,
    /// Its position in the store's changefeed.
    pub sequence: Sequence,
    /// The document as it replicates.
    pub document: Document,
    /// What the conflict handler made of several heads. `None` when the only head is the view.
    pub resolved: Option<State>,
}

impl Record {
    /// What applications see.
    pub fn view(&self) -> &State {
        match &self.resolved {
            Some(state) => state,
            None => &self.document.heads()[self.document.heads().len() - 1].state,
        }
    }

    /// How many bytes the record holds for limits on pages: id, bodies, annotations and a fixed share
    /// for each context entry and head.
    pub fn bytes(&self) -> usize {
        let resolved = self.resolved.as_ref().map_or(0, State::bytes);
        let fixed = 16 * self.document.context().len() + 24 * self.document.heads().len();
        self.id.as_bytes().len() + self.document.bytes() + resolved + fixed
    }
}

impl From<Head> for Document {
    /// The document that this one write alone makes.
    fn from(head: Head) -> Self {
        let context = core::iter::once((head.dot.incarnation, head.dot.stamp)).collect();
        Self { context, heads: smallvec![head] }
    }
}
