//! The rules of replication, each of which can be removed: for a model checker, to prove that it would notice.
//!
//! Without the feature `broken-rules` nothing can be removed and every `is` is the constant `false`. With it, nothing
//! is removed until somebody asks, because cargo builds core with the features of all who use it.

/// A rule, named for what it says.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
#[cfg_attr(not(feature = "broken-rules"), allow(unreachable_pub))]
pub enum Rule {
    /// An incarnation belongs to one opening of a store. Without it: to the store, whatever it was restored from.
    SessionIdentity = 1,
    /// A checkpoint that does not fit means "from the start". Without it: every checkpoint fits.
    CheckpointFits,
    /// A checkpoint fits if the history contains the *end* that the feed had. Without it: its sequence.
    CheckpointEnd,
    /// Knowledge is vouched for once everything that it covers was sent. Without it: with every page.
    KnowledgeOnlyWhenComplete,
    /// A filtered link vouches for nothing. Without it: as if it had served everything.
    KnowledgeNotOnFiltered,
    /// A write supersedes what its writer had seen. Without it: whatever is there.
    SeenContext,
    /// Merged contexts join. Without it: the other copy's is taken.
    ContextInMerge,
    /// Origins held back are not vouched for. Without it: they are.
    VouchPerOrigin,
}

#[cfg(feature = "broken-rules")]
mod switch {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Rule;

    static REMOVED: AtomicU8 = AtomicU8::new(0);

    /// Removes this rule, and no other, from everything that runs in this process.
    pub fn remove(rule: Option<Rule>) {
        REMOVED.store(rule.map_or(0, |rule| rule as u8), Ordering::SeqCst);
    }

    pub(crate) fn is(rule: Rule) -> bool {
        REMOVED.load(Ordering::Relaxed) == rule as u8
    }
}

#[cfg(not(feature = "broken-rules"))]
mod switch {
    pub(crate) const fn is(_: super::Rule) -> bool {
        false
    }
}

pub(crate) use switch::is;
#[cfg(feature = "broken-rules")]
pub use switch::remove;
