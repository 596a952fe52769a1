//! The laws: what each one says, why one wants it, and what usually mends a handler that breaks it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that holds for a right conflict handler.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Law {
    /// The same heads make the same bytes, also in another process in another country.
    Purity,
    /// No document and no annotations, however odd, make the handler panic.
    Totality,
    /// What it makes is a valid document, and keeps whatever all versions agree on, unknown fields included.
    Closure,
    /// Who writes down what is shown changes nothing of what is shown.
    Stability,
    /// Documents that differ only in how they are written down are treated the same.
    Equality,
    /// Folding the versions one after the other, in any order, shows what folding all at once shows.
    OrderFreeFold,
    /// Two users who make the same change have made that change.
    Idempotence,
    /// It makes no difference who is who; only who was last may count.
    Commutativity,
    /// Which two of three versions are folded first makes no difference.
    Associativity,
    /// Every value that is shown was written by somebody, or is declared to be combined.
    NoInvention,
    /// Changes to different fields all survive.
    DisjointEdits,
    /// What becomes of a document that is deleted here and edited there is what was declared.
    DeletionPolicy,
    /// Documents do not grow by being in conflict again and again.
    BoundedGrowth,
    /// A write on top of a view wins over what its writer saw in it.
    LaterWrites,
    /// A call is over in good time, with many versions too.
    CostPerCall,
    /// Replicas that are done show the same, in whatever order the messages between them arrived.
    EveryInterleaving,
}

/// A law that is not asked of a handler.
#[derive(Clone, Debug)]
pub struct Skip {
    pub(crate) law: Law,
    pub(crate) reason: String,
}

impl Law {
    /// All laws, the ones of safety first.
    pub const ALL: [Self; 16] = [
        Self::Purity,
        Self::Totality,
        Self::Closure,
        Self::Stability,
        Self::Equality,
        Self::OrderFreeFold,
        Self::Idempotence,
        Self::Commutativity,
        Self::Associativity,
        Self::NoInvention,
        Self::DisjointEdits,
        Self::DeletionPolicy,
        Self::BoundedGrowth,
        Self::LaterWrites,
        Self::CostPerCall,
        Self::EveryInterleaving,
    ];

    /// Leaves this law out. The reason stands in the table.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Skip {
        Skip { law: self, reason: reason.into() }
    }

    /// Its name, which is that of the test.
    pub fn name(self) -> &'static str {
        match self {
            Self::Purity => "purity",
            Self::Totality => "totality",
            Self::Closure => "closure",
            Self::Stability => "stability",
            Self::Equality => "equality",
            Self::OrderFreeFold => "order_free_fold",
            Self::Idempotence => "idempotence",
            Self::Commutativity => "commutativity",
            Self::Associativity => "associativity",
            Self::NoInvention => "no_invention",
            Self::DisjointEdits => "disjoint_edits",
            Self::DeletionPolicy => "deletion_policy",
            Self::BoundedGrowth => "bounded_growth",
            Self::LaterWrites => "later_writes",
            Self::CostPerCall => "cost_per_call",
            Self::EveryInterleaving => "every_interleaving",
        }
    }

    /// Whether documents are lost or replicas differ when it is broken. The other laws are about what users expect.
    pub fn is_of_safety(self) -> bool {
        let safety = [Self::Purity, Self::Totality, Self::Closure, Self::Stability, Self::Equality];
        safety.contains(&self) || self == Self::EveryInterleaving
    }

    /// What usually mends a handler that breaks it.
    pub fn usual_fix(self) -> &'static str {
        match self {
            Self::Purity => {
                "Use nothing but the heads: no clock, no randomness, no locale, no state kept between calls, and a BTreeMap \
                 or a sorted list where a HashMap is walked through. Time is in the stamps of the dots."
            }
            Self::Totality => {
                "Read documents as what a stranger sent: fall back to the last write where a field is missing or of another \
                 kind, take annotations that you cannot read for none, and use checked or saturating arithmetic."
            }
            Self::Closure => {
                "Start from a whole version and change what is in conflict in it, rather than building a new document: with \
                 serde, keep the rest in a #[serde(flatten)] map. Keep integers integers, and keys as they are."
            }
            Self::Stability => {
                "Make a view of views what it was: join lists as sets, and count what annotate recorded as changed, not what \
                 the versions contain."
            }
            Self::Equality => {
                "Compare parsed documents, not bytes, or bring them into canonical form first \
                 (peerloom_core::json::to_canonical)."
            }
            Self::OrderFreeFold | Self::Associativity => {
                "Choose by something that every version keeps through a fold: the maximum of a total order, a union, a sum of \
                 recorded changes. A rule that looks at both sides (an average, a threshold, \"if they differ, then ...\") \
                 has no such thing; and annotations that the view drops are missing in the next fold."
            }
            Self::Idempotence => {
                "Compare before you combine: equal values have no conflict. Numbers are only added up if annotate records \
                 what was added."
            }
            Self::Commutativity => {
                "Do not give a version a role by its place in the list or by its incarnation. Decide by the contents, or for \
                 the later write: the last head is the latest."
            }
            Self::NoInvention => {
                "Take each value from a version as it is. If it is meant to be computed, declare it: combines: [\"/field\"]."
            }
            Self::DisjointEdits => {
                "Merge field by field: find out in annotate which fields a write changed, and keep each field's latest change \
                 (FieldWise does this). If the last write is meant to win as a whole, skip this law and say so."
            }
            Self::DeletionPolicy => {
                "Decide about deletion first, over all heads, and merge contents only if the document stays: DeleteWins and \
                 EditWins wrap any handler with one of the two."
            }
            Self::BoundedGrowth => {
                "Join as sets, not by appending, and let annotations name each field and each replica once, not each write."
            }
            Self::LaterWrites => {
                "Let annotations forget what a write has replaced: annotate gets the state that the writer had seen, and what \
                 it changed there is over. Causality, not stamps, decides between a write and what it saw."
            }
            Self::CostPerCall => {
                "Parse each head once, and avoid comparing every head with every other one. The handler runs inside the \
                 commit, so nothing else is committed meanwhile."
            }
            Self::EveryInterleaving => "See to purity first: nothing but an impure handler can break this.",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
