//! Finds the shortest way into a circle of states that goes on for ever, among the states seen so far.
//!
//! A circle counts only if it is fair: a message that could always be delivered is delivered some time. Otherwise a mesh would be
//! blamed for what only happens while a link stands still. Strongly connected components after Tarjan (1972), without recursion.

use std::collections::{HashMap, VecDeque};

/// A delivery that leads from one state to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) to: u32,
    /// The direction whose message is delivered, by its number.
    pub(crate) direction: u8,
    /// How many documents are written.
    pub(crate) changes: u16,
}

/// The states and deliveries seen so far.
pub(crate) struct Graph {
    edges: Vec<Vec<Edge>>,
    /// For each state, the directions without a message, as bits.
    empty: Vec<u32>,
    /// All directions.
    all: u32,
}

/// A way into a circle, and once around it.
#[derive(Clone, Debug)]
pub(crate) struct Lasso {
    /// Where the circle is entered.
    pub(crate) entry: u32,
    pub(crate) edges: Vec<Edge>,
    /// Steps in and around.
    pub(crate) length: u32,
}

impl Graph {
    pub(crate) fn new(directions: usize) -> Self {
        assert!(directions <= 32, "directions are bits");
        let all = u32::try_from((1u64 << directions) - 1).expect("at most 32 bits");
        Graph { edges: Vec::new(), empty: Vec::new(), all }
    }

    pub(crate) fn add(&mut self, empty: u32) {
        self.edges.push(Vec::new());
        self.empty.push(empty);
    }

    pub(crate) fn connect(&mut self, from: u32, edge: Edge) {
        self.edges[from as usize].push(edge);
    }

    /// Whether going through all states and deliveries of a component would be fair.
    fn can_be_fair(&self, component: &[u32], of: &[u32]) -> bool {
        let within = |node: u32| {
            let same = move |edge: &&Edge| of[edge.to as usize] == of[node as usize];
            self.edges[node as usize].iter().filter(same).fold(0, |mask, edge| mask | 1 << edge.direction)
        };
        let served = component.iter().fold(0, |mask, &node| mask | self.empty[node as usize] | within(node));
        served == self.all
    }

    /// The shortest fair circle through a state, of fewer than `below` steps, within its component.
    fn circle(&self, entry: u32, of: &[u32], below: u32) -> Option<Vec<Edge>> {
        type Place = (u32, u32);
        let first: Place = (entry, self.empty[entry as usize]);
        let mut reached: HashMap<Place, Option<(Place, Edge)>> = HashMap::from([(first, None)]);
        let mut queue = VecDeque::from([(first, 0)]);
        while let Some((place, steps)) = queue.pop_front() {
            if steps + 1 >= below {
                return None;
            }
            for &edge in &self.edges[place.0 as usize] {
                if of[edge.to as usize] != of[entry as usize] {
                    continue;
                }
                let served = place.1 | 1 << edge.direction | self.empty[edge.to as usize];
                if edge.to == entry && served == self.all {
                    let mut around = vec![edge];
                    let mut place = place;
                    while let Some((before, edge)) = reached[&place] {
                        around.push(edge);
                        place = before;
                    }
                    around.reverse();
                    return Some(around);
                }
                let next = (edge.to, served);
                if let std::collections::hash_map::Entry::Vacant(vacant) = reached.entry(next) {
                    vacant.insert(Some((place, edge)));
                    queue.push_back((next, steps + 1));
                }
            }
        }
        None
    }

    /// The number of each state's component, and the states of those with more than one.
    fn components(&self) -> (Vec<u32>, Vec<Vec<u32>>) {
        const NONE: u32 = u32::MAX;
        let count = self.edges.len();
        let (mut index, mut low) = (vec![NONE; count], vec![0; count]);
        let (mut of, mut circular) = (vec![NONE; count], Vec::new());
        let (mut next_index, mut next_component) = (0, 0);
        let (mut open, mut calls) = (Vec::new(), Vec::new());
        for root in 0..u32::try_from(count).expect("states are bounded") {
            if index[root as usize] == NONE {
                calls.push((root, 0));
            }
            while let Some((node, position)) = calls.pop() {
                let at = node as usize;
                if position == 0 {
                    (index[at], low[at]) = (next_index, next_index);
                    next_index += 1;
                    open.push(node);
                } else {
                    let child = self.edges[at][position - 1].to as usize;
                    low[at] = low[at].min(low[child]);
                }
                let mut position = position;
                let unseen = loop {
                    let Some(edge) = self.edges[at].get(position) else { break None };
                    position += 1;
                    match index[edge.to as usize] {
                        NONE => break Some(edge.to),
                        seen if of[edge.to as usize] == NONE => low[at] = low[at].min(seen),
                        _ => {}
                    }
                };
                if let Some(child) = unseen {
                    calls.extend([(node, position), (child, 0)]);
                } else if low[at] == index[at] {
                    let start = open.iter().rposition(|&other| other == node).expect("it is open");
                    let component = open.split_off(start);
                    component.iter().for_each(|&member| of[member as usize] = next_component);
                    next_component += 1;
                    if component.len() > 1 {
                        circular.push(component);
                    }
                }
            }
        }
        (of, circular)
    }
}

/// The shortest fair lasso with fewer than `below` steps, if there is one.
pub(crate) fn shortest_loop(graph: &Graph, depths: &[u32], mut below: u32) -> Option<Lasso> {
    let (of, components) = graph.components();
    let fair = components.into_iter().filter(|component| graph.can_be_fair(component, &of));
    let mut entries: Vec<u32> = fair.flatten().collect();
    entries.sort_by_key(|&entry| (depths[entry as usize], entry));
    let mut best = None;
    for entry in entries {
        let depth = depths[entry as usize];
        if depth >= below {
            break;
        }
        if let Some(edges) = graph.circle(entry, &of, below - depth) {
            below = depth + u32::try_from(edges.len()).expect("a circle is no longer than the states");
            best = Some(Lasso { entry, edges, length: below });
        }
    }
    best
}
