//! What can be wrong with a mesh, and how a search for it ended.

use std::fmt;

use serde_json::Value;

use crate::explore::Action;
use crate::trace::Trace;

/// What to look for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sought {
    /// Whatever is nearest.
    #[default]
    Anything,
    /// A loop or a divergence, whichever is nearest: peers that do not agree in the end.
    Disagreement,
    /// A loop.
    Loop,
    /// A mesh at rest whose peers differ.
    Divergence,
    /// A mesh at rest that has lost a newer write to an older one.
    Discard,
}

impl Sought {
    pub(crate) fn includes(self, other: Sought) -> bool {
        match self {
            Sought::Anything => true,
            Sought::Disagreement => matches!(other, Sought::Loop | Sought::Divergence),
            _ => self == other,
        }
    }
}

/// Whether a mesh in a loop can come to rest after all, if only messages arrive in another order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Escape {
    /// It can: the loop goes on as long as the timing repeats itself.
    Possible,
    /// It cannot: whatever arrives when, it goes on for ever, until somebody writes or a link breaks.
    Impossible,
    /// That was not found out within the limits.
    Unknown,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Violation {
    /// The mesh comes back to a state that it was in, so it can go on for ever without anybody writing. No message is held up for ever meanwhile:
    /// of every direction that has messages, some are delivered.
    Loop {
        /// After how many steps of the trace the state is reached first.
        from: usize,
        /// How often a document is written on the way round.
        changes: usize,
        /// Whether other timing would end it.
        escape: Escape,
    },
    /// No message is on its way, and peers have different states.
    Diverged,
    /// No message is on its way, and everybody has a state that a later write had seen and replaced.
    Discarded {
        /// The document.
        id: String,
        /// What everybody has.
        kept: Value,
        /// What was written on top of it, or on top of what was written on top of it, and acknowledged.
        discarded: Value,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Loop { from, changes, escape } => {
                let when = match escape {
                    Escape::Possible => "if timing repeats itself",
                    Escape::Impossible => "whatever the timing",
                    Escape::Unknown => "at least with this timing",
                };
                write!(
                    formatter,
                    "never settles, {when}: {changes} document writes a round, from step {from}"
                )
            }
            Violation::Diverged => formatter.write_str("settles on different states"),
            Violation::Discarded { id, kept, discarded } => {
                write!(
                    formatter,
                    "discards a newer write to \"{id}\": settles on {kept}, replaced by {discarded}"
                )
            }
        }
    }
}

/// Something wrong, and the shortest way there.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What is wrong.
    pub violation: Violation,
    /// What happens, in order. It ends with the last step of the first round of a loop, or at rest.
    pub actions: Vec<Action>,
    /// The same to read.
    pub trace: Trace,
}

/// How an exploration ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Something is wrong. There is no shorter way to what was sought.
    Found(Box<Finding>),
    /// Every order of all that can happen was tried, and nothing is wrong.
    Exhausted {
        /// Different states.
        states: usize,
        /// Steps to the farthest of them.
        depth: usize,
    },
    /// Nothing is wrong within these bounds. What lies beyond is not known.
    BoundReached {
        /// Different states.
        states: usize,
        /// All traces up to this length were tried.
        depth: usize,
    },
}

impl Outcome {
    /// What was found, if anything.
    pub fn finding(&self) -> Option<&Finding> {
        match self {
            Outcome::Found(finding) => Some(finding),
            Outcome::Exhausted { .. } | Outcome::BoundReached { .. } => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Found(finding) => {
                write!(formatter, "{} ({} steps)", finding.violation, finding.actions.len())
            }
            Outcome::Exhausted { states, depth } => {
                write!(formatter, "holds in all {states} states, up to {depth} steps")
            }
            Outcome::BoundReached { states, depth } => {
                write!(
                    formatter,
                    "holds in the first {states} states; all traces of {depth} steps were tried"
                )
            }
        }
    }
}
