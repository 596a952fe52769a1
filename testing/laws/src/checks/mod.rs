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

/// What kind of histories a law is tried on. `None` for laws that are not about one history.
pub(crate) fn focus(law: Law) -> Option<Focus> {
    Some(match law {
        Law::Purity | Law::Stability | Law::Equality | Law::Idempotence | Law::NoInvention => Focus::Any,
        Law::Totality => Focus::Hostile,
        Law::Closure => Focus::Strange,
        Law::OrderFreeFold | Law::Associativity | Law::BoundedGrowth => Focus::Apart,
        Law::Commutativity => Focus::Pair,
        Law::DisjointEdits => Focus::Disjoint,
        Law::DeletionPolicy => Focus::Deletion,
        Law::LaterWrites => Focus::Settling,
        Law::CostPerCall | Law::EveryInterleaving => return None,
    })
}

/// Judges a history by a law. Only totality is about documents that the application could not have written.
pub(crate) fn judge(law: Law, subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    if law != Law::Totality && subject.validity.is_some() {
        let room = Room::after(subject, history)?;
        let mut heads = room.first.iter().chain(room.writes.iter().map(|written| &written.head));
        if !heads.all(|head| subject.is_valid(&head.state)) {
            return Ok(Verdict::DoesNotApply);
        }
    }
    match law {
        Law::Purity => safety::purity(subject, history),
        Law::Totality => Ok(safety::totality(subject, history)),
        Law::Closure => safety::closure(subject, history),
        Law::Stability => safety::stability(subject, history),
        Law::Equality => safety::equality(subject, history),
        Law::OrderFreeFold => folding::order_free_fold(subject, history),
        Law::Idempotence => folding::idempotence(subject, history),
        Law::Commutativity => folding::commutativity(subject, history),
        Law::Associativity => folding::associativity(subject, history),
        Law::NoInvention => intent::no_invention(subject, history),
        Law::DisjointEdits => intent::disjoint_edits(subject, history),
        Law::DeletionPolicy => intent::deletion_policy(subject, history),
        Law::BoundedGrowth => growth::bounded_growth(subject, history),
        Law::LaterWrites => intent::later_writes(subject, history),
        Law::CostPerCall | Law::EveryInterleaving => Ok(Verdict::DoesNotApply),
    }
}
