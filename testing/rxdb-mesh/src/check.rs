//! Whether a conflict handler is safe in meshes of RxDB peers.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::explore::{Explorer, Limits, Write};
use crate::handler::{RxdbConflictHandler, deep_equal};
use crate::mesh::{Mesh, peer_name};
use crate::outcome::{Finding, Outcome, Sought};
use crate::peer::{PeerError, Settings};
use crate::roles::tokens_for;

/// Which peers are connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Topology {
    /// A with B.
    Pair,
    /// A with B, B with C.
    Line,
    /// All three with each other.
    Triangle,
}

impl Topology {
    /// All of them, the smallest first.
    pub const ALL: [Topology; 3] = [Topology::Pair, Topology::Line, Topology::Triangle];

    /// How many peers there are.
    pub fn peers(self) -> usize {
        match self {
            Topology::Pair => 2,
            Topology::Line | Topology::Triangle => 3,
        }
    }

    /// The connected pairs.
    pub fn links(self) -> &'static [(usize, usize)] {
        match self {
            Topology::Pair => &[(0, 1)],
            Topology::Line => &[(0, 1), (1, 2)],
            Topology::Triangle => &[(0, 1), (1, 2), (2, 0)],
        }
    }

    /// Every way to give one side of each link the master's role: the master first. The first of a triangle's is a ring.
    pub fn roles(self) -> impl Iterator<Item = Vec<(usize, usize)>> {
        let links = self.links();
        (0u32..1 << links.len()).map(move |choice| {
            let role = |(bit, &(a, b))| if choice >> bit & 1 == 0 { (a, b) } else { (b, a) };
            links.iter().enumerate().map(role).collect()
        })
    }
}

/// A mesh of peers that are connected and have the same documents, with the given masters and forks.
///
/// The documents are written at the first peer before any link is up, and have reached all others, unless the handler prevents
/// even that: then the mesh is returned as it is before the first delivery.
///
/// # Panics
///
/// If the pairs contradict each other.
pub fn mesh_with_roles(
    masters: &[(usize, usize)],
    documents: &[Value],
    settings: &Settings,
    handler: &Arc<dyn RxdbConflictHandler>,
) -> Result<Mesh, PeerError> {
    /// Enough for any mesh that settles at all: a few deliveries per document and link would do.
    const DELIVERIES_MAX: usize = 10_000;
    let peers = masters.iter().map(|&(master, fork)| master.max(fork) + 1).max().unwrap_or(0);
    let tokens = tokens_for(peers, masters).expect("no pair contradicts another");
    let mut mesh = Mesh::new(&tokens, settings, handler);
    for document in documents {
        mesh.write(0, document.clone())?;
    }
    for &(master, fork) in masters {
        mesh.link(master, fork);
    }
    let mut settled = mesh.clone();
    Ok(if settled.settle(DELIVERIES_MAX)?.is_ok() { settled } else { mesh })
}

/// How to check a handler.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// The settings of all peers.
    pub settings: Settings,
    /// How far to look, for each topology and choice of roles.
    pub limits: Limits,
    /// What to look for.
    pub sought: Sought,
}

/// Two states that a handler resolves differently when master and fork change places.
#[derive(Clone, Debug, PartialEq)]
pub struct Asymmetry {
    /// The one state.
    pub one: Value,
    /// The other.
    pub other: Value,
    /// What is made of them if the master has the one.
    pub master_has_one: Value,
    /// What is made of them if the master has the other.
    pub master_has_other: Value,
}

/// What was explored for one choice of roles.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Who was connected.
    pub topology: Topology,
    /// The master and the fork of each link.
    pub masters: Vec<(usize, usize)>,
    /// What came out.
    pub outcome: Outcome,
}

/// Whether a handler is safe.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The first pair of documents that is resolved depending on the roles, if any.
    pub asymmetry: Option<Asymmetry>,
    /// All explorations, in order.
    pub explored: Vec<Explored>,
}

impl Verdict {
    /// Whether nothing is wrong. That holds for these documents and writes, as far as it was explored.
    pub fn is_safe(&self) -> bool {
        self.asymmetry.is_none() && self.shortest().is_none()
    }

    /// Whether every order of all that could happen was tried.
    pub fn is_exhaustive(&self) -> bool {
        self.explored.iter().all(|explored| matches!(explored.outcome, Outcome::Exhausted { .. }))
    }

    /// The finding with the shortest trace.
    pub fn shortest(&self) -> Option<&Finding> {
        let findings = self.explored.iter().filter_map(|explored| explored.outcome.finding());
        findings.min_by_key(|finding| finding.actions.len())
    }
}

/// Checks a handler for its use in meshes of RxDB peers.
///
/// First on its own: any two of the documents with the same key, given to `resolve` in both orders, must come out the same. Then by the
/// protocol: in each topology and with every choice of roles, starting from the first document at all peers, all orders in which the
/// writes and the deliveries can happen are tried. Writes at a third peer are left out of pairs.
///
/// Fails where the handler or a write makes something that is no document, or another one.
pub fn check(
    handler: &Arc<dyn RxdbConflictHandler>,
    documents: &[Value],
    topologies: &[Topology],
    writes: &[Write],
    options: &CheckOptions,
) -> Result<Verdict, PeerError> {
    let asymmetry = asymmetry(&**handler, documents, &options.settings.primary_key);
    let start = documents.get(..1).unwrap_or_default();
    let mut explored = Vec::new();
    for &topology in topologies {
        let writes: Vec<_> = writes.iter().filter(|write| write.peer < topology.peers()).cloned().collect();
        for masters in topology.roles() {
            let mesh = mesh_with_roles(&masters, start, &options.settings, handler)?;
            let explorer = Explorer::new(mesh, writes.clone()).limits(options.limits);
            let outcome = explorer.sought(options.sought).explore()?;
            explored.push(Explored { topology, masters, outcome });
        }
    }
    Ok(Verdict { asymmetry, explored })
}

fn asymmetry(handler: &dyn RxdbConflictHandler, documents: &[Value], primary_key: &str) -> Option<Asymmetry> {
    let pairs = documents
        .iter()
        .enumerate()
        .flat_map(|(index, one)| documents[index + 1..].iter().map(move |other| (one, other)));
    let same_key = pairs.filter(|(one, other)| one.get(primary_key) == other.get(primary_key));
    let assumptions = [None, documents.first()];
    same_key.flat_map(|pair| assumptions.map(|assumed| (pair, assumed))).find_map(
        |((one, other), assumed)| {
            let master_has_one = handler.resolve(one, other, assumed);
            let master_has_other = handler.resolve(other, one, assumed);
            let same = deep_equal(&master_has_one, &master_has_other);
            let (one, other) = (one.clone(), other.clone());
            (!same).then_some(Asymmetry { one, other, master_has_one, master_has_other })
        },
    )
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", if self.is_safe() { "safe" } else { "not safe" })?;
        if let Some(Asymmetry { one, other, master_has_one, master_has_other }) = &self.asymmetry {
            writeln!(formatter, "  the result depends on who is the master of:\n    {one}\n    {other}")?;
            writeln!(formatter, "  it is {master_has_one}\n  or    {master_has_other}")?;
        }
        for Explored { topology, masters, outcome } in &self.explored {
            let masters =
                masters.iter().map(|&(master, fork)| format!("{}>{}", peer_name(master), peer_name(fork)));
            let masters = masters.collect::<Vec<_>>().join(" ");
            writeln!(formatter, "  {:<8} {masters:<12} {outcome}", format!("{topology:?}").to_lowercase())?;
        }
        match self.shortest() {
            Some(finding) => write!(formatter, "\n{}", finding.trace),
            None => Ok(()),
        }
    }
}
