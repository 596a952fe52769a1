//! Mistakes that can be planted, for a simulator to prove that it finds them: each is one that could be made in the
//! very place where it stands.
//!
//! Exists with the feature `planted-bugs` only. With it nothing is planted until somebody asks, because cargo builds core with the
//! features of all who use it, and then only on the thread that asked: what runs on other threads stays sound, so that
//! simulations of one thread each can run beside each other. That makes it useless under a runtime with several threads.

use core::cell::Cell;
use core::marker::PhantomData;
use std::thread_local;

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident,)+) => {
        /// A mistake, named for what it does.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug),+];
        }
    };
}

bugs! {
    /// The clock does not look at what it handed out before: two writes of one millisecond get the same stamp.
    StampGivenTwice,
    /// A merge compares the newest stamps of two copies, not their contexts: what was written with a clock that is behind is old.
    StampsDecide,
    /// A copy with the very context of the local one counts as news: it is committed and sent on.
    EqualCopyIsNews,
    /// A merge keeps two heads of three.
    ThirdHeadDropped,
    /// A store that is opened again goes on under its last incarnation: after a restore or on a clone, two histories share it.
    IncarnationOfDevice,
    /// Applying a page stops at the first document that holds nothing new.
    PageEndsAtDuplicate,
    /// A document that was merged with a local one counts as it was sent: the peer never gets the local part.
    MergedCountsAsSent,
    /// A document that has a view keeps it when its heads change.
    ViewKept,
    /// A conflict that was settled stays in the list of conflicts.
    SettledStaysListed,
    /// The handler's `annotate` is given what is there now, not what the writer had read.
    AnnotatedOverCurrent,
    /// The first change of the following incarnation counts as one of the incarnation before: a checkpoint fits though its end was
    /// rolled back.
    HistoryOffByOne,
    /// The checkpoint stands at the first document held back, not before it.
    CheckpointAtHeldBack,
    /// The source remembers the latest document that it holds back, not the first.
    LatestHeldBack,
    /// Of a document held back, only one of the origins that the peer lacks is kept from being vouched for.
    OneOriginHeldBack,
    /// A change that stands right before what the peer sent is passed over with it.
    ReceivedOffByOne,
    /// Tombstones are passed over by scans.
    TombstonesNotServed,
    /// The last page acknowledged does not open the window again: a held pull is never answered after two pages in a row.
    WindowNotReopened,
    /// An origin that was pruned stays lazy when the peer asks for it.
    PrunedForGood,
    /// After going back for what was held back, what was reached before is still vouched for.
    VouchedThoughRewound,
    /// The sink never asks for what was announced.
    NeverGrafts,
    /// What the peer is heard to know is joined with each of its pages.
    PeersKnowledgeJoined,
    /// Nothing is said any more to a peer with whom everything is caught up.
    NoKeepAliveWhenCaughtUp,
    /// A link on which something was sent counts as alive.
    SentCountsAsHeard,
    /// Checkpoints and knowledge are committed first, and the documents of the page after them.
    CheckpointBeforePage,
    /// The replica goes on from a batch before it is durable.
    StateBeforeCommit,
    /// A page that could not be committed counts as applied.
    FailedPageSkipped,
    /// A write whose commit failed is acknowledged.
    FailedWriteAcknowledged,
    /// A commit whose fate is unknown counts as not applied, and the next one follows.
    UnknownCommitTrusted,
    /// What is looked up for the next commit while one is under way may be what was there before it.
    LookUpOvertakesCommit,
    /// Commits may happen between a snapshot and the scan that belongs to it.
    FeedNotHeldStill,
    /// What came from a peer wakes no session: it is passed on with the next own write.
    OnlyOwnWritesWake,
    /// A draft is saved over whatever is there.
    DraftOverCurrent,
    /// A connection whose handshake took too long is not made again.
    LateHandshakeNotRedialed,
    /// A copied replica keeps its identity.
    CloneKeepsIdentity,
    /// A peer that is in the room again, after the signaling server was gone, takes no notice of the list of those who are there.
    ListOfRejoinIgnored,
    /// Who has to call does not call again after a connection has ended.
    EndedLineNotRedialed,
}

/// Keeps a mistake planted on this thread until it is dropped.
#[must_use = "the mistake is gone when this is dropped"]
#[derive(Debug)]
pub struct Planted {
    /// To be dropped on the thread where it was made.
    of_this_thread: PhantomData<*const ()>,
}

/// Plants a mistake in everything that runs on this thread, in place of any other.
pub fn plant(bug: Bug) -> Planted {
    PLANTED.set(Some(bug));
    Planted { of_this_thread: PhantomData }
}

impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}

/// Whether this mistake is planted on this thread. For Peerloom's own crates.
#[doc(hidden)]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
