//! Tries all orders in which messages can be delivered and writes can be made, the shortest first.
//!
//! A breadth-first search over the states of a mesh, told apart by their [fingerprints](crate::Fingerprint). It ends with the shortest
//! trace to something that should not be, or says honestly how far it looked.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::fingerprint::Fingerprint;
use crate::handler::deep_equal;
use crate::lasso::{Edge, Graph, Lasso, shortest_loop};
use crate::mesh::{Direction, Mesh, Step};
use crate::outcome::{Escape, Finding, Outcome, Sought, Violation};
use crate::peer::PeerError;
use crate::trace::Trace;

/// Something that can happen in a mesh.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// The write with this number is made.
    Write(usize),
    /// The next message of a direction is delivered.
    Deliver(Direction),
}

/// A write by an application at a peer, at any moment.
#[derive(Clone)]
pub struct Write {
    /// The peer.
    pub peer: usize,
    /// The document of which the peer must not have seen any other write.
    unseen: Option<String>,
    edit: Arc<dyn Fn(&Mesh) -> Value + Send + Sync>,
}

impl Write {
    /// Writes this state, whatever is there.
    ///
    /// If the state carries a clock and another peer's later state is there already, that clock runs backwards. A
    /// handler that goes by it is then rightly found to discard a write; the other two kinds avoid it.
    pub fn set(peer: usize, state: Value) -> Self {
        Write { peer, unseen: None, edit: Arc::new(move |_| state.clone()) }
    }

    /// Writes this state to the document with this id, unless the peer has seen another write to it before.
    pub fn concurrent(peer: usize, id: impl Into<String>, state: Value) -> Self {
        Write { unseen: Some(id.into()), ..Write::set(peer, state) }
    }

    /// Writes what the closure makes of the document with this id that is there.
    pub fn edit(
        peer: usize,
        id: impl Into<String>,
        edit: impl Fn(Option<&Value>) -> Value + Send + Sync + 'static,
    ) -> Self {
        let id = id.into();
        Write { peer, unseen: None, edit: Arc::new(move |mesh| edit(mesh.peer(peer).state(&id))) }
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Write").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// How far to look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Steps of the longest trace. Default 200.
    pub depth_max: usize,
    /// Different states; a state of three peers with one document takes some kilobytes while it is at the rim of the search. Default 200,000.
    pub states_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth_max: 200, states_max: 200_000 }
    }
}

/// Looks for what can go wrong from a mesh on, with some writes.
#[derive(Clone, Debug)]
pub struct Explorer {
    start: Mesh,
    writes: Vec<Write>,
    limits: Limits,
    sought: Sought,
}

impl Explorer {
    /// Explores from `start`. Writes at one peer happen in the given order, and otherwise at any moment.
    ///
    /// # Panics
    ///
    /// If a write is at a peer that there is not, or the mesh has more than 16 links.
    pub fn new(start: Mesh, writes: Vec<Write>) -> Self {
        assert!(writes.iter().all(|write| write.peer < start.len()), "writes are made at peers of the mesh");
        assert!(start.queues.len() <= 32, "a mesh that is explored has at most 16 links");
        Explorer { start, writes, limits: Limits::default(), sought: Sought::default() }
    }

    /// Sets how far to look.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what to look for.
    pub fn sought(mut self, sought: Sought) -> Self {
        self.sought = sought;
        self
    }

    /// Searches. Fails only where a peer does, which is for the handler or the writes to mend.
    pub fn explore(&self) -> Result<Outcome, PeerError> {
        Search::new(self).run()
    }

    /// What becomes of the mesh when this happens.
    ///
    /// # Panics
    ///
    /// If something of it cannot happen then.
    pub(crate) fn after(&self, room: &Room, action: Action) -> Result<(Room, Step), PeerError> {
        let mut next = room.clone();
        let step = match action {
            Action::Deliver(direction) => next.mesh.deliver(direction)?,
            Action::Write(index) => {
                let write = &self.writes[index];
                let step = next.mesh.write(write.peer, (write.edit)(&room.mesh))?;
                let (id, state) = step.changes[0].clone();
                let replaced = room.origin(&self.start, write.peer, &id);
                next.made.insert(index, Made { id, state, replaced });
                step
            }
        };
        Ok((next, step))
    }

    pub(crate) fn first(&self) -> Room {
        Room { mesh: self.start.clone(), made: BTreeMap::new() }
    }

    /// The peer at which a write is made.
    pub(crate) fn writer(&self, write: usize) -> usize {
        self.writes[write].peer
    }

    fn possible(&self, room: &Room) -> Vec<Action> {
        let next_at = |index: &usize| {
            let Write { peer, unseen, .. } = &self.writes[*index];
            let made = |index: &usize| room.made.contains_key(index);
            let in_turn = (0..*index).all(|other| self.writes[other].peer != *peer || made(&other));
            let first = |id: &String| room.origin(&self.start, *peer, id) == Some(Origin::Start);
            in_turn && !made(index) && unseen.as_ref().is_none_or(first)
        };
        let writes = (0..self.writes.len()).filter(next_at).map(Action::Write);
        writes.chain(room.mesh.deliverable().into_iter().map(Action::Deliver)).collect()
    }

    /// What is wrong with a mesh at rest.
    fn wrong_at_rest(&self, room: &Room) -> Option<Violation> {
        if !room.mesh.quiet() {
            return None;
        }
        if !room.mesh.converged() {
            return self.sought.includes(Sought::Divergence).then_some(Violation::Diverged);
        }
        if !self.sought.includes(Sought::Discard) {
            return None;
        }
        room.mesh.peers.first()?.documents().find_map(|(id, kept)| {
            let from = room.origin(&self.start, 0, id)?;
            let discarded = room.made.values().find(|made| made.id == id && room.replaces(made, from))?;
            let discarded = discarded.state.clone();
            Some(Violation::Discarded { id: id.to_owned(), kept: kept.clone(), discarded })
        })
    }
}

/// A mesh, and which writes were made so far.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) mesh: Mesh,
    made: BTreeMap<usize, Made>,
}

/// A write as it was made.
#[derive(Clone, Hash)]
struct Made {
    id: String,
    state: Value,
    /// Where the state came from that it replaced. None if that is no one's, but what a handler made.
    replaced: Option<Origin>,
}

/// Where a state comes from.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Origin {
    /// It was there from the start, or nothing was.
    Start,
    /// It was written.
    Write(usize),
}

impl Room {
    fn fingerprint(&self) -> Fingerprint {
        self.mesh.fingerprint_with(&self.made)
    }

    /// Where the state of a document at a peer comes from. Of equal writes the last one, which accuses nobody wrongly.
    fn origin(&self, start: &Mesh, peer: usize, id: &str) -> Option<Origin> {
        let Some(state) = self.mesh.peer(peer).state(id) else { return Some(Origin::Start) };
        let equal = |made: &Made| made.id == id && deep_equal(&made.state, state);
        let write =
            self.made.iter().rev().find(|(_, made)| equal(made)).map(|(&index, _)| Origin::Write(index));
        let first =
            || start.peer(peer).state(id).filter(|first| deep_equal(first, state)).map(|_| Origin::Start);
        write.or_else(first)
    }

    /// Whether a write was made by somebody who had seen a state from there, or one that replaced it.
    fn replaces(&self, made: &Made, from: Origin) -> bool {
        let mut replaced = made.replaced;
        // Each write replaces what was there before it, so this ends; unless equal states confuse who was first.
        for _ in 0..=self.made.len() {
            match replaced {
                Some(origin) if origin == from => return true,
                Some(Origin::Write(index)) => replaced = self.made[&index].replaced,
                Some(Origin::Start) | None => return false,
            }
        }
        false
    }
}

struct Search<'a> {
    explorer: &'a Explorer,
    directions: Vec<Direction>,
    seen: HashMap<Fingerprint, u32>,
    graph: Graph,
    /// Which state each was first reached from, and how.
    parents: Vec<Option<(u32, Action)>>,
    depths: Vec<u32>,
}

impl<'a> Search<'a> {
    fn new(explorer: &'a Explorer) -> Self {
        let directions: Vec<_> = explorer.start.queues.keys().copied().collect();
        let graph = Graph::new(directions.len());
        Search { explorer, directions, seen: HashMap::new(), graph, parents: Vec::new(), depths: Vec::new() }
    }

    fn run(mut self) -> Result<Outcome, PeerError> {
        let Limits { depth_max, states_max } = self.explorer.limits;
        let first = self.explorer.first();
        self.add(&first, first.fingerprint(), None);
        let mut rim = vec![(0, first)];
        let mut lasso: Option<Lasso> = None;
        for depth in 0..depth_max {
            let mut next_rim = Vec::new();
            let mut closes = false;
            for (node, room) in rim {
                if let Some(violation) = self.explorer.wrong_at_rest(&room) {
                    return self.found(violation, self.path(node));
                }
                for action in self.explorer.possible(&room) {
                    let (next, step) = self.explorer.after(&room, action)?;
                    let fingerprint = next.fingerprint();
                    let to = match self.seen.get(&fingerprint) {
                        Some(&to) => {
                            closes |= self.depths[to as usize] <= self.depths[node as usize];
                            to
                        }
                        None => {
                            let to = self.add(&next, fingerprint, Some((node, action)));
                            next_rim.push((to, next));
                            to
                        }
                    };
                    self.connect(node, to, action, &step);
                }
                if self.parents.len() > states_max {
                    return self.beyond(lasso, depth);
                }
            }
            if closes && self.explorer.sought.includes(Sought::Loop) {
                let shorter = lasso.as_ref().map_or(u32::MAX, |lasso| lasso.length);
                lasso = shortest_loop(&self.graph, &self.depths, shorter).or(lasso);
            }
            // Whatever is shorter lies within what was seen.
            if let Some(lasso) = lasso.take_if(|lasso| lasso.length as usize <= depth + 1) {
                return self.found_loop(&lasso);
            }
            if next_rim.is_empty() {
                return match lasso {
                    Some(lasso) => self.found_loop(&lasso),
                    None => Ok(Outcome::Exhausted { states: self.parents.len(), depth }),
                };
            }
            rim = next_rim;
        }
        self.beyond(lasso, depth_max)
    }

    fn add(&mut self, room: &Room, fingerprint: Fingerprint, parent: Option<(u32, Action)>) -> u32 {
        let node = u32::try_from(self.parents.len()).expect("states are bounded");
        self.seen.insert(fingerprint, node);
        self.depths.push(parent.map_or(0, |(parent, _)| self.depths[parent as usize] + 1));
        self.parents.push(parent);
        let empty = self.directions.iter().map(|direction| room.mesh.queues[direction].is_empty());
        self.graph.add(empty.enumerate().fold(0, |mask, (bit, empty)| mask | u32::from(empty) << bit));
        node
    }

    /// Only deliveries go round in circles: a write is made once.
    fn connect(&mut self, from: u32, to: u32, action: Action, step: &Step) {
        if let Action::Deliver(direction) = action {
            let direction = self.directions.binary_search(&direction).expect("a link of the mesh");
            let direction = u8::try_from(direction).expect("at most 32 directions");
            let changes = u16::try_from(step.changes.len()).unwrap_or(u16::MAX);
            self.graph.connect(from, Edge { to, direction, changes });
        }
    }

    fn path(&self, mut node: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((parent, action)) = self.parents[node as usize] {
            actions.push(action);
            node = parent;
        }
        actions.reverse();
        actions
    }

    /// The bounds are reached. A loop that was found is one, though a shorter one may exist.
    fn beyond(&self, lasso: Option<Lasso>, depth: usize) -> Result<Outcome, PeerError> {
        match lasso {
            Some(lasso) => self.found_loop(&lasso),
            None => Ok(Outcome::BoundReached { states: self.parents.len(), depth }),
        }
    }

    fn found_loop(&self, lasso: &Lasso) -> Result<Outcome, PeerError> {
        let mut actions = self.path(lasso.entry);
        let from = actions.len();
        let changes = lasso.edges.iter().map(|edge| usize::from(edge.changes)).sum();
        let around = lasso.edges.iter().map(|edge| self.directions[usize::from(edge.direction)]);
        actions.extend(around.map(Action::Deliver));
        let escape = self.escape(&actions[..from])?;
        self.found(Violation::Loop { from, changes, escape }, actions)
    }

    /// Whether the mesh can come to rest after these actions without another write.
    fn escape(&self, actions: &[Action]) -> Result<Escape, PeerError> {
        let mut room = self.explorer.first();
        for &action in actions {
            room = self.explorer.after(&room, action)?.0;
        }
        let mut seen = HashSet::from([room.mesh.fingerprint()]);
        let mut rim = VecDeque::from([room.mesh]);
        while let Some(mesh) = rim.pop_front() {
            if mesh.quiet() {
                return Ok(Escape::Possible);
            }
            if seen.len() > self.explorer.limits.states_max {
                return Ok(Escape::Unknown);
            }
            for direction in mesh.deliverable() {
                let mut next = mesh.clone();
                next.deliver(direction)?;
                if seen.insert(next.fingerprint()) {
                    rim.push_back(next);
                }
            }
        }
        Ok(Escape::Impossible)
    }

    fn found(&self, violation: Violation, actions: Vec<Action>) -> Result<Outcome, PeerError> {
        let trace = Trace::of(self.explorer, &actions, &violation)?;
        Ok(Outcome::Found(Box::new(Finding { violation, actions, trace })))
    }
}
