//! What each law asks of a handler, given one history.
//!
//! A check is sound for every history, also for one that was shrunk or edited by hand: where its law says nothing about a
//! history, it says so.

mod folding;
mod growth;
mod intent;
mod safety;

pub(crate) use growth::cost;
pub(crate) use safety::answers;

use peerloom_core::State;

use crate::generate::Focus;
use crate::history::History;
use crate::law::Law;
use crate::pointer::Pointer;
use crate::room::Room;
use crate::subject::{Panicked, Subject};

/// What a history says about a law.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The handler keeps the law here.
    Holds,
    /// The law says nothing about such a history.
    DoesNotApply,
    /// It does not keep it.
    Broken(Evidence),
}

/// What is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// One sentence.
    pub(crate) what: String,
    /// States to look at beside the versions in conflict, with a title for each.
    pub(crate) columns: Vec<(String, State)>,
    /// Where to look, if the differences between the columns do not tell.
    pub(crate) places: Vec<Pointer>,
}

impl Verdict {
    pub(crate) fn broken(what: impl Into<String>, columns: Vec<(&str, State)>) -> Self {
        let columns = columns.into_iter().map(|(title, state)| (title.to_string(), state)).collect();
        Self::Broken(Evidence { what: what.into(), columns, places: Vec::new() })
    }

    fn at(self, place: Pointer) -> Self {
        match self {
            Self::Broken(evidence) => Self::Broken(Evidence { places: vec![place], ..evidence }),
            other => other,
        }
    }
}

/// What a law is tried on, and how it is judged. `None` for laws that are not about one history.
pub(crate) fn check(law: Law) -> Option<(Focus, fn(&Subject, &History) -> Result<Verdict, Panicked>)> {
    Some(match law {
        Law::Purity => (Focus::Any, safety::purity),
        Law::Totality => (Focus::Hostile, safety::totality),
        Law::Closure => (Focus::Strange, safety::closure),
        Law::Stability => (Focus::Any, safety::stability),
        Law::Equality => (Focus::Any, safety::equality),
        Law::OrderFreeFold => (Focus::Apart, folding::order_free_fold),
        Law::Idempotence => (Focus::Any, folding::idempotence),
        Law::Commutativity => (Focus::Pair, folding::commutativity),
        Law::Associativity => (Focus::Apart, folding::associativity),
        Law::NoInvention => (Focus::Any, intent::no_invention),
        Law::DisjointEdits => (Focus::Disjoint, intent::disjoint_edits),
        Law::DeletionPolicy => (Focus::Deletion, intent::deletion_policy),
        Law::BoundedGrowth => (Focus::Apart, growth::bounded_growth),
        Law::LaterWrites => (Focus::Settling, intent::later_writes),
        Law::CostPerCall | Law::EveryInterleaving => return None,
    })
}

/// Judges a history by a law. Only totality is about documents that the application could not have written.
pub(crate) fn judge(law: Law, subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    let Some((_, check)) = check(law) else { return Ok(Verdict::DoesNotApply) };
    if law != Law::Totality && subject.validity.is_some() {
        let room = Room::after(subject, history)?;
        if !room
            .first
            .iter()
            .chain(room.writes.iter().map(|written| &written.head))
            .all(|head| subject.is_valid(&head.state))
        {
            return Ok(Verdict::DoesNotApply);
        }
    }
    check(subject, history)
}
