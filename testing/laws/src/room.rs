//! Three replicas that play a history with the real rules of the core.
//!
//! Writes are placed and copies merged by [`Document`], stamped by [`Clock`], and annotated and resolved by the handler, as in
//! production. There is no session in here: in which order copies arrive is the history's.

use peerloom_core::{
    Clock, Context, Document, Dot, Head, Incarnation, Merged, ReplicaLimits, Stamp, State, json,
};

use crate::edit::{Draft, Edit};
use crate::history::{History, Origin, Reading, Step, Who};
use crate::subject::{Panicked, Subject, live_content};

/// When documents are made, in Unix milliseconds. Clocks of histories count from here.
const FIRST_MS: u64 = 1_700_000_000_000;

/// Who wrote the first content.
const AUTHOR: Incarnation = Incarnation::new(0xf);

/// The incarnations of A, B and C.
pub(crate) const NAMES: [u64; 3] = [0xa, 0xb, 0xc];

/// One write, as it was made.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) by: Who,
    pub(crate) head: Head,
    /// What its writer had read.
    pub(crate) seen: Option<State>,
    pub(crate) seen_context: Context,
}

#[derive(Clone, Debug, Default)]
struct Site {
    clock: Clock,
    document: Option<Document>,
    /// What was there before it last took something over.
    before: Option<(Context, Option<State>)>,
}

/// Three replicas of one document.
#[derive(Clone)]
pub(crate) struct Room<'s> {
    subject: &'s Subject,
    names: [u64; 3],
    history: &'s History,
    sites: [Site; 3],
    /// The first content as it was written.
    pub(crate) first: Option<Head>,
    /// All writes after that.
    pub(crate) writes: Vec<Written>,
    /// Every conflict that a replica had on the way, and the last one that all have.
    pub(crate) conflicts: Vec<Document>,
}

impl<'s> Room<'s> {
    /// A room before anything has happened.
    pub(crate) fn new(subject: &'s Subject, history: &'s History, names: [u64; 3]) -> Result<Self, Panicked> {
        let mut sites: [Site; 3] = Default::default();
        let mut first = None;
        if history.origin == Origin::There {
            let body = json::to_canonical(&history.first).unwrap_or_default();
            let dot = Dot { incarnation: AUTHOR, stamp: Stamp::at_unix_ms(FIRST_MS) };
            let mut state = State { deleted: false, body, ..State::default() };
            state.annotations = subject.annotate(None, &state, dot)?;
            let head = Head { dot, state };
            for site in &mut sites {
                site.document = Some(head.clone().into());
            }
            first = Some(head);
        }
        Ok(Self { subject, names, history, sites, first, writes: Vec::new(), conflicts: Vec::new() })
    }

    /// A room in which a whole history has happened.
    pub(crate) fn after(subject: &'s Subject, history: &'s History) -> Result<Self, Panicked> {
        Self::after_named(subject, history, NAMES)
    }

    /// Like that, with other incarnations.
    pub(crate) fn after_named(
        subject: &'s Subject,
        history: &'s History,
        names: [u64; 3],
    ) -> Result<Self, Panicked> {
        let mut room = Self::new(subject, history, names)?;
        for step in &history.steps {
            room.step(step)?;
        }
        if let Some(whole) = room.whole() {
            room.note(&whole);
        }
        Ok(room)
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<(), Panicked> {
        match step {
            Step::Write { by, clock_ms, reading, edits } => self.write(*by, *clock_ms, *reading, edits),
            Step::Take { by, from } => {
                let before = (self.context(*by), self.view(*by)?);
                let taken = self.sites[from.index()].document.clone();
                let site = &mut self.sites[by.index()];
                site.before = Some(before);
                site.document = joined(site.document.as_ref(), taken.as_ref());
                if let Some(document) = self.document(*by).cloned() {
                    self.note(&document);
                }
                Ok(())
            }
        }
    }

    pub(crate) fn write(
        &mut self,
        by: Who,
        clock_ms: i64,
        reading: Reading,
        edits: &[Edit],
    ) -> Result<(), Panicked> {
        let before = self.sites[by.index()].before.clone();
        let (seen_context, seen) = match (reading, before) {
            (Reading::Before, Some(before)) => before,
            _ => (self.context(by), self.view(by)?),
        };
        let mut draft = Draft { deleted: seen.as_ref().is_none_or(|seen| seen.deleted), content: None };
        // As in production, where a tombstone is written without content.
        draft.content = seen.as_ref().and_then(live_content);
        // Whoever makes a document writes something.
        let makes = seen.is_none().then_some(&Edit::Revive);
        for edit in makes.into_iter().chain(edits) {
            edit.apply(&mut draft, &self.history.first);
        }
        let body = match draft.content {
            Some(content) => json::to_canonical(&content).unwrap_or_default(),
            None => Default::default(),
        };
        let next = State { deleted: draft.deleted, body, ..State::default() };
        self.place(by, clock_ms, (seen_context, seen), next)
    }

    /// Writes a state on top of what was read.
    fn place(
        &mut self,
        by: Who,
        clock_ms: i64,
        (seen_context, seen): (Context, Option<State>),
        mut state: State,
    ) -> Result<(), Panicked> {
        let unix_ms = FIRST_MS.saturating_add_signed(clock_ms);
        let ahead_max = Stamp::at_unix_ms(unix_ms + ReplicaLimits::default().clock_ahead_ms_max);
        let known = self.context(by).newest().max(seen_context.newest());
        let stamp = self.sites[by.index()].clock.tick(unix_ms, known, ahead_max);
        let stamp = stamp.expect("histories end before the stamps do");
        let dot = Dot { incarnation: Incarnation::new(self.names[by.index()]), stamp };
        state.annotations = self.subject.annotate(seen.as_ref(), &state, dot)?;
        let site = &mut self.sites[by.index()];
        site.document = Some(Document::write(site.document.as_ref(), dot, state.clone(), &seen_context));
        self.writes.push(Written { by, head: Head { dot, state }, seen, seen_context });
        if let Some(document) = self.document(by).cloned() {
            self.note(&document);
        }
        Ok(())
    }

    /// Everybody takes over everything.
    pub(crate) fn meet(&mut self) {
        let whole = self.whole();
        for site in &mut self.sites {
            site.document.clone_from(&whole);
        }
    }

    /// Two replicas take over what the other has.
    pub(crate) fn meet_two(&mut self, left: Who, right: Who) {
        let both = joined(self.document(left), self.document(right));
        self.sites[left.index()].document.clone_from(&both);
        self.sites[right.index()].document = both;
    }

    /// The document as a replica has it.
    pub(crate) fn document(&self, who: Who) -> Option<&Document> {
        self.sites[who.index()].document.as_ref()
    }

    /// What a replica shows.
    pub(crate) fn view(&self, who: Who) -> Result<Option<State>, Panicked> {
        self.document(who).map(|document| self.subject.view(document)).transpose()
    }

    /// The document as everybody has it in the end.
    pub(crate) fn whole(&self) -> Option<Document> {
        self.sites.iter().fold(None, |whole, site| joined(whole.as_ref(), site.document.as_ref()))
    }

    /// The last conflict that all have, if there is one.
    pub(crate) fn last_conflict(&self) -> Option<Document> {
        self.whole().filter(Document::in_conflict)
    }

    /// The write that made this head.
    pub(crate) fn written(&self, head: &Head) -> Option<&Written> {
        self.writes.iter().find(|written| written.head.dot == head.dot)
    }

    /// Who wrote this head, or `None` for the first content.
    pub(crate) fn writer(&self, head: &Head) -> Option<Who> {
        self.written(head).map(|written| written.by)
    }

    fn context(&self, who: Who) -> Context {
        self.document(who).map(|document| document.context().clone()).unwrap_or_default()
    }

    fn note(&mut self, document: &Document) {
        if document.in_conflict() && !self.conflicts.iter().any(|known| known.heads() == document.heads()) {
            self.conflicts.push(document.clone());
        }
    }
}

fn joined(left: Option<&Document>, right: Option<&Document>) -> Option<Document> {
    match (left, right) {
        (Some(left), Some(right)) => Some(match left.merge(right) {
            Merged::Unchanged => left.clone(),
            Merged::Changed(merged) => merged,
        }),
        (left, right) => left.or(right).cloned(),
    }
}
