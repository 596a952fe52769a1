//! The scopes: what is explored in every test run, what takes longer, and where each missing rule is noticed.

#[cfg(feature = "broken-rules")]
use peerloom_core::broken::Rule;

use crate::model::{Landmark, Scope, Start, Waits};
use crate::room::Budget;

const LINE: &[(usize, usize)] = &[(0, 1), (1, 2)];
const TRIANGLE: &[(usize, usize)] = &[(0, 1), (1, 2), (0, 2)];

const NEVER: Budget =
    Budget { writes: 0, readings: 0, disconnects: 0, crashes: 0, backups: 0, restores: 0, filtered: 0 };

const NOTHING_WAITS: Waits = Waits { effects: false, answers: false, news: false };
const EFFECTS_WAIT: Waits = Waits { effects: true, answers: false, news: false };
const ANYTHING_WAITS: Waits = Waits { effects: true, answers: true, news: true };

/// What is explored in every test run.
pub const SMALL: &[Scope] = &[
    PAIR,
    PAIR_OLD_CONTEXTS,
    PAIR_DISCONNECTS,
    PAIR_CRASHES,
    PAIR_RESTORES,
    PAIR_MOVED_BACK,
    PAIR_FILTERED,
    LINE_QUIET,
    LINE_CONNECTED,
    TRIANGLE_QUIET,
    TRIANGLE_CLOSES,
    TRIANGLE_EFFECTS,
];

/// What is explored with a conflict handler of somebody's own: three writes to one document, in every order of everything.
pub const HANDLED: &[Scope] = &[HANDLED_PAIR, HANDLED_LINE, HANDLED_TRIANGLE];

/// What takes minutes, some of it hours.
pub const LARGE: &[Scope] = &[
    TRIANGLE_TWO_WRITERS,
    TRIANGLE_DISCONNECTS,
    TRIANGLE_CRASHES,
    LINE_RESTORES,
    PAIR_THREE_WRITES,
    PAIR_THREE_WRITES_RESTORES,
    PAIR_RESTORES_ANYTHING_WAITS,
    PAIR_EVERYTHING,
];

/// The scope in which it is noticed that a rule is missing.
#[cfg(feature = "broken-rules")]
pub const fn catching(rule: Rule) -> Scope {
    let scope = match rule {
        Rule::SessionIdentity => PAIR_CRASHES,
        Rule::CheckpointFits => PAIR_RESTORES,
        Rule::CheckpointEnd => PAIR_MOVED_BACK,
        Rule::KnowledgeOnlyWhenComplete | Rule::ContextInMerge => PAIR,
        Rule::KnowledgeNotOnFiltered => PAIR_FILTERED,
        Rule::SeenContext => PAIR_OLD_CONTEXTS,
        Rule::VouchPerOrigin => TRIANGLE_QUIET,
    };
    // The way to rest is long; what is found on it is found nearer by.
    Scope { settles: false, ..scope }
}

// Two replicas.

/// Two connected replicas that write twice.
const PAIR: Scope = Scope {
    name: "pair",
    replicas: 2,
    edges: &[(0, 1)],
    start: Start::Connected,
    documents: 2,
    writers: &[0, 1],
    unstable: &[],
    budget: Budget { writes: 2, ..NEVER },
    waits: ANYTHING_WAITS,
    settles: true,
    reaches: &[Landmark::Conflict],
};

const PAIR_OLD_CONTEXTS: Scope = Scope {
    name: "pair-old-contexts",
    documents: 1,
    budget: Budget { writes: 2, readings: 1, ..NEVER },
    waits: EFFECTS_WAIT,
    ..PAIR
};

const PAIR_DISCONNECTS: Scope = Scope {
    name: "pair-disconnects",
    budget: Budget { writes: 2, disconnects: 1, ..NEVER },
    waits: EFFECTS_WAIT,
    ..PAIR
};

const PAIR_CRASHES: Scope = Scope {
    name: "pair-crashes",
    documents: 2,
    unstable: &[1],
    budget: Budget { writes: 2, crashes: 1, ..NEVER },
    waits: EFFECTS_WAIT,
    reaches: &[Landmark::Conflict, Landmark::PageAtRisk],
    ..PAIR
};

const PAIR_RESTORES: Scope = Scope {
    name: "pair-restores",
    documents: 2,
    unstable: &[0],
    budget: Budget { writes: 2, backups: 1, restores: 1, ..NEVER },
    waits: EFFECTS_WAIT,
    reaches: &[Landmark::Conflict, Landmark::Misfit, Landmark::Forgotten],
    ..PAIR
};

/// A restore may move a document back to where the reader had passed.
const PAIR_MOVED_BACK: Scope = Scope {
    name: "pair-moved-back",
    start: Start::Apart,
    writers: &[0],
    budget: Budget { writes: 3, backups: 1, restores: 1, ..NEVER },
    waits: NOTHING_WAITS,
    reaches: &[Landmark::Misfit],
    ..PAIR_RESTORES
};

const PAIR_FILTERED: Scope = Scope {
    name: "pair-filtered",
    start: Start::Apart,
    writers: &[1],
    budget: Budget { writes: 2, disconnects: 1, filtered: 1, ..NEVER },
    waits: EFFECTS_WAIT,
    reaches: &[],
    ..PAIR
};

const PAIR_THREE_WRITES: Scope =
    Scope { name: "pair-three-writes", budget: Budget { writes: 3, ..NEVER }, ..PAIR };

const PAIR_THREE_WRITES_RESTORES: Scope = Scope {
    name: "pair-three-writes-restores",
    budget: Budget { writes: 3, backups: 1, restores: 1, ..NEVER },
    ..PAIR_RESTORES
};

const PAIR_RESTORES_ANYTHING_WAITS: Scope =
    Scope { name: "pair-restores-anything-waits", waits: ANYTHING_WAITS, ..PAIR_RESTORES };

const PAIR_EVERYTHING: Scope = Scope {
    name: "pair-everything",
    unstable: &[0, 1],
    budget: Budget {
        writes: 2,
        readings: 1,
        disconnects: 1,
        crashes: 1,
        backups: 1,
        restores: 1,
        filtered: 0,
    },
    waits: EFFECTS_WAIT,
    ..PAIR
};

const HANDLED_PAIR: Scope = Scope {
    name: "pair",
    documents: 1,
    budget: Budget { writes: 3, ..NEVER },
    waits: NOTHING_WAITS,
    settles: false,
    ..PAIR
};

// Three in a line: what the ends write is relayed by the one between.

const LINE_QUIET: Scope = Scope {
    name: "line-quiet",
    replicas: 3,
    start: Start::Quiet,
    edges: LINE,
    documents: 1,
    writers: &[0, 2],
    budget: Budget { writes: 2, ..NEVER },
    waits: NOTHING_WAITS,
    reaches: &[Landmark::Conflict],
    ..PAIR
};

const LINE_CONNECTED: Scope = Scope { name: "line-connected", start: Start::Connected, ..LINE_QUIET };

const LINE_RESTORES: Scope = Scope {
    name: "line-restores",
    writers: &[0, 2],
    unstable: &[1],
    budget: Budget { writes: 2, restores: 1, ..NEVER },
    ..LINE_QUIET
};

const HANDLED_LINE: Scope =
    Scope { budget: Budget { writes: 3, ..NEVER }, settles: false, name: "line", ..LINE_QUIET };

// Three in a triangle: everybody hears everybody, so what is relayed is held back.

const TRIANGLE_QUIET: Scope = Scope {
    name: "triangle-quiet",
    replicas: 3,
    edges: TRIANGLE,
    start: Start::Quiet,
    documents: 1,
    writers: &[0],
    budget: Budget { writes: 1, ..NEVER },
    waits: NOTHING_WAITS,
    reaches: &[Landmark::HeldBack, Landmark::Graft],
    ..PAIR
};

/// A line becomes a triangle, so that a write goes both ways round.
const TRIANGLE_CLOSES: Scope = Scope {
    name: "triangle-closes",
    start: Start::QuietBut(0),
    reaches: &[Landmark::HeldBack, Landmark::Graft, Landmark::Prune],
    ..TRIANGLE_QUIET
};

const TRIANGLE_EFFECTS: Scope = Scope { name: "triangle-effects", waits: EFFECTS_WAIT, ..TRIANGLE_QUIET };

const TRIANGLE_TWO_WRITERS: Scope = Scope {
    name: "triangle-two-writers",
    documents: 2,
    writers: &[0, 1],
    budget: Budget { writes: 2, ..NEVER },
    ..TRIANGLE_QUIET
};

const HANDLED_TRIANGLE: Scope = Scope {
    name: "triangle",
    documents: 1,
    settles: false,
    reaches: &[Landmark::Conflict],
    ..TRIANGLE_TWO_WRITERS
};

const TRIANGLE_DISCONNECTS: Scope = Scope {
    name: "triangle-disconnects",
    budget: Budget { writes: 1, disconnects: 1, ..NEVER },
    reaches: &[Landmark::HeldBack, Landmark::Graft, Landmark::Prune],
    ..TRIANGLE_QUIET
};

const TRIANGLE_CRASHES: Scope = Scope {
    name: "triangle-crashes",
    unstable: &[0],
    budget: Budget { writes: 1, crashes: 1, ..NEVER },
    ..TRIANGLE_QUIET
};
