//! What happened in a mesh, to be read: a line for each step, and a column for each peer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::explore::{Action, Explorer};
use crate::handler::deep_equal;
use crate::mesh::{Mesh, peer_name};
use crate::message::{Answer, Change, Message, Request};
use crate::outcome::Violation;
use crate::peer::PeerError;
use crate::roles::Role;

/// The states of the documents at one peer, by id.
type States = BTreeMap<String, Value>;

/// One step of a trace.
#[derive(Clone, Debug)]
struct Line {
    what: String,
    /// The states of all peers after it.
    peers: Vec<States>,
    /// The peer at which documents were written.
    written: Option<usize>,
}

/// A sequence of steps. Displayed as numbered lines; of each document, only the fields that differ anywhere in the trace.
#[derive(Clone, Debug)]
pub struct Trace {
    title: String,
    first: Vec<States>,
    lines: Vec<Line>,
    /// The number of steps before those that go on for ever.
    repeats_from: Option<usize>,
    ending: Option<String>,
}

impl Trace {
    /// Follows the actions from the explorer's first state.
    pub(crate) fn of(
        explorer: &Explorer,
        actions: &[Action],
        violation: &Violation,
    ) -> Result<Self, PeerError> {
        let mut room = explorer.first();
        let mut trace = Trace::begin(&room.mesh);
        for &action in actions {
            let (next, step) = explorer.after(&room, action)?;
            let peer = match action {
                Action::Write(write) => explorer.writer(write),
                Action::Deliver(direction) => direction.to,
            };
            trace.push(&next.mesh, action, peer, step.message.as_ref(), !step.changes.is_empty());
            room = next;
        }
        match violation {
            Violation::Loop { from, .. } => trace.repeats_from = Some(*from),
            other => trace.ending = Some(other.to_string()),
        }
        Ok(trace)
    }

    /// A trace that begins with this mesh.
    pub(crate) fn begin(mesh: &Mesh) -> Self {
        let title = links(mesh);
        Trace { title, first: states(mesh), lines: Vec::new(), repeats_from: None, ending: None }
    }

    pub(crate) fn push(
        &mut self,
        mesh: &Mesh,
        action: Action,
        peer: usize,
        message: Option<&Message>,
        wrote: bool,
    ) {
        let what = match (action, message) {
            (Action::Deliver(direction), Some(message)) => {
                format!("{} → {}  {}", peer_name(direction.from), peer_name(direction.to), name(message))
            }
            _ => format!("{} writes", peer_name(peer)),
        };
        let written = wrote.then_some(peer);
        self.lines.push(Line { what, peers: states(mesh), written });
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The fields of each document that are not the same in all its states.
    fn differing(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut differing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut samples: BTreeMap<&str, &Value> = BTreeMap::new();
        for (id, state) in self.lines.iter().flat_map(|line| &line.peers).chain(&self.first).flatten() {
            let sample = *samples.entry(id).or_insert(state);
            let keys =
                [sample, state].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys());
            let differs = |key: &&String| match (sample.get(key.as_str()), state.get(key.as_str())) {
                (Some(a), Some(b)) => !deep_equal(a, b),
                _ => true,
            };
            differing.entry(id).or_default().extend(keys.filter(differs).map(String::as_str));
        }
        differing
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differing = self.differing();
        let cells = |peers: &[States], written: Option<usize>| -> Vec<String> {
            let mark = |peer| if written == Some(peer) { "*" } else { " " };
            let cell = |(peer, states)| format!("{}{}", mark(peer), cell(states, &differing));
            peers.iter().enumerate().map(cell).collect()
        };
        let mut rows = vec![("at first".to_owned(), cells(&self.first, None))];
        rows.extend(self.lines.iter().map(|line| (line.what.clone(), cells(&line.peers, line.written))));
        let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let what = width(&mut rows.iter().map(|(what, _)| what.chars().count()));
        let peers = self.first.len();
        let column = |peer: usize| width(&mut rows.iter().map(|(_, cells)| cells[peer].chars().count()));
        let columns: Vec<_> = (0..peers).map(column).collect();

        writeln!(formatter, "{}", self.title)?;
        write!(formatter, "{:>4}  {:what$}", "", "")?;
        for (peer, column) in columns.iter().enumerate() {
            write!(formatter, "  {:column$}", format!(" {}", peer_name(peer)))?;
        }
        writeln!(formatter)?;
        for (number, (text, cells)) in rows.iter().enumerate() {
            if self.repeats_from.is_some_and(|from| number == from + 1) {
                writeln!(formatter, "      --- from here on, for ever:")?;
            }
            let number = if number == 0 { String::new() } else { format!("{number}.") };
            write!(formatter, "{number:>4}  {text:what$}")?;
            for (cell, column) in cells.iter().zip(&columns) {
                write!(formatter, "  {cell:column$}")?;
            }
            writeln!(formatter)?;
        }
        match (self.repeats_from, &self.ending) {
            (Some(from), _) => writeln!(formatter, "      --- everything is as after step {from} again"),
            (None, Some(ending)) => writeln!(formatter, "      --- {ending}"),
            (None, None) => Ok(()),
        }
    }
}

/// What differs of the documents at one peer.
fn cell(states: &States, differing: &BTreeMap<&str, BTreeSet<&str>>) -> String {
    if states.is_empty() {
        return "-".into();
    }
    let document = |(id, state): (&String, &Value)| {
        let fields = differing.get(id.as_str()).into_iter().flatten();
        let field = |key: &&str| match (*key, state.get(*key)) {
            ("_deleted", Some(Value::Bool(deleted))) => deleted.then(|| "deleted".to_owned()),
            (_, None) => None,
            (key, Some(value)) => Some(format!("{key}={value}")),
        };
        let fields: Vec<_> = fields.filter_map(field).collect();
        let fields = if fields.is_empty() { "there".to_owned() } else { fields.join(" ") };
        if differing.len() > 1 { format!("{id}: {fields}") } else { fields }
    };
    states.iter().map(document).collect::<Vec<_>>().join("; ")
}

/// A message in a word or two, as RxDB calls it.
fn name(message: &Message) -> &'static str {
    match message {
        Message::Request { request: Request::Token, .. } => "token?",
        Message::Request { request: Request::ChangesSince { .. }, .. } => "changes since?",
        Message::Request { request: Request::Write { .. }, .. } => "push",
        Message::Answer { answer: Answer::Token(_), .. } => "token",
        Message::Answer { answer: Answer::Changes(_), .. } => "changes",
        Message::Answer { answer: Answer::Refused(states), .. } if states.is_empty() => "accepted",
        Message::Answer { answer: Answer::Refused(_), .. } => "refused",
        Message::Change(Change::Resync) => "RESYNC",
        Message::Change(Change::Documents(_)) => "change",
    }
}

fn states(mesh: &Mesh) -> Vec<States> {
    let of = |peer: usize| mesh.peer(peer).documents().map(|(id, state)| (id.to_owned(), state.clone()));
    (0..mesh.len()).map(|peer| of(peer).collect()).collect()
}

/// Who is master of whom.
fn links(mesh: &Mesh) -> String {
    let mut roles = Vec::new();
    for direction in mesh.queues.keys().filter(|direction| direction.from < direction.to) {
        let (a, b) = (direction.from, direction.to);
        let role = crate::roles::role(mesh.peer(a).token(), mesh.peer(b).token());
        let (master, fork) = if role == Role::Master { (a, b) } else { (b, a) };
        roles.push(format!("{} is master of {}", peer_name(master), peer_name(fork)));
    }
    roles.join(", ")
}
