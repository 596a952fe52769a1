//! Replicas of one document that write, keep old drafts and merge, by the real two rules.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use peerloom_core::*;
use proptest::prelude::*;
use serde_json::Value;

pub(crate) const REPLICAS: usize = 3;

/// What happens; `E` says what a write changes.
#[derive(Clone, Debug)]
pub(crate) enum Step<E> {
    /// Writes on top of what is there.
    Write {
        at: usize,
        edit: E,
    },
    /// Reads, to write later.
    Read {
        at: usize,
    },
    /// Writes on top of what was read some time ago, on any replica.
    Save {
        at: usize,
        draft: prop::sample::Index,
        edit: E,
    },
    /// Opens the store anew: another incarnation.
    Reopen {
        at: usize,
    },
    Merge {
        from: usize,
        into: usize,
    },
}

pub(crate) fn steps<E: Clone + std::fmt::Debug>(
    edit: impl Strategy<Value = E> + Clone,
) -> impl Strategy<Value = Vec<Step<E>>> {
    let at = 0..REPLICAS;
    let step = prop_oneof![
        6 => (at.clone(), edit.clone()).prop_map(|(at, edit)| Step::Write { at, edit }),
        2 => at.clone().prop_map(|at| Step::Read { at }),
        2 => (at.clone(), any::<prop::sample::Index>(), edit)
            .prop_map(|(at, draft, edit)| Step::Save { at, draft, edit }),
        1 => at.clone().prop_map(|at| Step::Reopen { at }),
        6 => (at.clone(), at).prop_map(|(from, into)| Step::Merge { from, into }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// A write as it was meant.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) dot: Dot,
    /// The writes that the writer had seen.
    pub(crate) seen: BTreeSet<usize>,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

#[derive(Clone, Debug, Default)]
struct Copy {
    document: Option<Document>,
    writes: BTreeSet<usize>,
}

pub(crate) struct Replicas<H> {
    handler: H,
    copies: Vec<Copy>,
    drafts: Vec<Copy>,
    incarnations: Vec<u64>,
    /// How far each clock is ahead.
    clocks: [u64; REPLICAS],
    time: u64,
    pub(crate) writes: Vec<Written>,
    /// The largest annotations of any version or view.
    pub(crate) annotation_bytes_max: usize,
}

/// A clock that is further ahead than this moves no other.
const AHEAD_MAX: u64 = 10_000;

impl<H: ConflictHandler> Replicas<H> {
    pub(crate) fn new(handler: H, clocks: [u64; REPLICAS]) -> Self {
        Self {
            handler,
            copies: vec![Copy::default(); REPLICAS],
            drafts: Vec::new(),
            incarnations: (1..=REPLICAS as u64).collect(),
            clocks,
            time: 0,
            writes: Vec::new(),
            annotation_bytes_max: 0,
        }
    }

    pub(crate) fn play<E>(&mut self, steps: &[Step<E>], edit: impl Fn(&E, Option<Value>) -> Option<Value>) {
        for step in steps {
            match step {
                Step::Write { at, edit: how } => {
                    let seen = self.copies[*at].clone();
                    self.write(*at, &seen, |before| edit(how, before));
                }
                Step::Read { at } => self.drafts.push(self.copies[*at].clone()),
                Step::Save { at, draft, edit: how } if !self.drafts.is_empty() => {
                    let seen = draft.get(&self.drafts).clone();
                    self.write(*at, &seen, |before| edit(how, before));
                }
                Step::Save { .. } => {}
                Step::Reopen { at } => {
                    self.incarnations[*at] = self.incarnations.iter().max().expect("three") + 1;
                }
                Step::Merge { from, into } => self.merge(*from, *into),
            }
        }
    }

    fn write(&mut self, at: usize, seen: &Copy, edit: impl FnOnce(Option<Value>) -> Option<Value>) {
        self.time += 1;
        let state = seen.document.as_ref().map(|document| self.view(document));
        let before = state.as_ref().and_then(value);
        let after = edit(before.clone());
        let context = seen.document.as_ref().map(|document| document.context().clone()).unwrap_or_default();
        let local = self.copies[at].document.as_ref();
        let stamps = local.map(Document::context).into_iter().chain([&context]).flat_map(|c| c.iter());
        let now = self.time + self.clocks[at];
        let moving = stamps.map(|entry| entry.1.number()).filter(|stamp| *stamp <= now + AHEAD_MAX).max();
        let stamp = Stamp::new(now.max(moving.unwrap_or_default() + 1)).expect("small");
        let mut dot = Dot { incarnation: Incarnation::new(self.incarnations[at]), stamp };
        if dot.is_in(&context) || local.is_some_and(|local| dot.is_in(local.context())) {
            // Taken by a clock that was ahead: write as somebody else, as a replica does.
            self.incarnations[at] = self.incarnations.iter().max().expect("three") + 1;
            dot.incarnation = Incarnation::new(self.incarnations[at]);
        }
        let body = after.as_ref().map(|after| json::to_canonical(after).expect("shallow"));
        let mut next =
            State { deleted: after.is_none(), body: body.unwrap_or_default(), annotations: Bytes::new() };
        next.annotations = self.handler.annotate(state.as_ref(), &next, dot);
        self.annotation_bytes_max = self.annotation_bytes_max.max(next.annotations.len());
        self.copies[at].document = Some(Document::write(local, dot, next, &context));
        self.copies[at].writes.extend(seen.writes.iter().copied());
        self.copies[at].writes.insert(self.writes.len());
        self.writes.push(Written { dot, seen: seen.writes.clone(), before, after });
    }

    fn merge(&mut self, from: usize, into: usize) {
        let remote = self.copies[from].clone();
        let Some(document) = remote.document else { return };
        let merged = match &self.copies[into].document {
            None => document,
            Some(local) => match local.merge(&document) {
                Merged::Unchanged => local.clone(),
                Merged::Changed(merged) => merged,
            },
        };
        self.copies[into].document = Some(merged);
        self.copies[into].writes.extend(remote.writes);
    }

    fn view(&self, document: &Document) -> State {
        match document.heads() {
            [head] => head.state.clone(),
            heads => self.handler.resolve(heads),
        }
    }

    /// Merges everything into everyone and returns the view, which is the same everywhere.
    pub(crate) fn settled(&mut self) -> Option<State> {
        for from in 0..REPLICAS {
            self.merge(from, 0);
        }
        for into in 1..REPLICAS {
            self.merge(0, into);
        }
        let views: Vec<_> = self
            .copies
            .iter()
            .map(|copy| copy.document.as_ref().map(|document| self.view(document)))
            .collect();
        assert!(views.iter().all(|view| *view == views[0]), "replicas agree");
        let bytes = views[0].as_ref().map_or(0, |view| view.annotations.len());
        self.annotation_bytes_max = self.annotation_bytes_max.max(bytes);
        views.into_iter().next().flatten()
    }

    /// Every version that any replica holds.
    pub(crate) fn heads(&self) -> Vec<Head> {
        let heads = self.copies.iter().filter_map(|copy| copy.document.as_ref()).flat_map(Document::heads);
        let by_dot: HashMap<Dot, Head> = heads.map(|head| (head.dot, head.clone())).collect();
        let mut heads: Vec<Head> = by_dot.into_values().collect();
        heads.sort_unstable_by_key(|head| head.dot.canonical());
        heads
    }
}

/// What an application sees.
pub(crate) fn value(state: &State) -> Option<Value> {
    (!state.deleted).then(|| json::parse(&state.body).expect("views are JSON"))
}

/// One write, for tests of a few.
pub(crate) fn write(
    handler: &impl ConflictHandler,
    number: u64,
    seen: Option<&State>,
    value: impl Into<Option<Value>>,
) -> Head {
    let dot = Dot { incarnation: Incarnation::new(number), stamp: Stamp::new(number).expect("small") };
    let value = value.into();
    let body = value.as_ref().map(|value| json::to_canonical(value).expect("shallow")).unwrap_or_default();
    let mut state = State { deleted: value.is_none(), body, annotations: Bytes::new() };
    state.annotations = handler.annotate(seen, &state, dot);
    Head { dot, state }
}
