//! Which version of a document each peer had, when, and under which letter and colour it is shown.
//!
//! Reads commits, and from the plan what a trace cannot say: that a device was wiped, restored or copied.

use std::collections::BTreeMap;

use crate::plan::{Fault, FaultKind, PeerNumber};
use crate::trace::{Committed, Event, What};

/// How many colours there are. They are told apart by the usual kinds of colour blindness.
pub(super) const PALETTE: [Colour; 7] = [
    Colour { fill: "#0072b2", ink: "#ffffff" },
    Colour { fill: "#e69f00", ink: "#1a1a1a" },
    Colour { fill: "#56b4e9", ink: "#1a1a1a" },
    Colour { fill: "#d55e00", ink: "#1a1a1a" },
    Colour { fill: "#009e73", ink: "#1a1a1a" },
    Colour { fill: "#cc79a7", ink: "#1a1a1a" },
    Colour { fill: "#f0e442", ink: "#1a1a1a" },
];

/// A colour of the palette of Okabe and Ito (2008), and what can be read on it.
#[derive(Clone, Copy)]
pub(super) struct Colour {
    pub(super) fill: &'static str,
    pub(super) ink: &'static str,
}

/// A version of a document: what all commits with the same [`Committed::version`] left.
pub(super) struct Version<'a> {
    /// `A` for the first that appeared, then on as the columns of a spreadsheet.
    pub(super) letter: String,
    /// Its place in [`PALETTE`].
    pub(super) colour: usize,
    /// A commit that made it.
    pub(super) committed: &'a Committed,
}

/// From an event on, a peer has a version, or nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Holding {
    /// The index of the event.
    pub(super) since: usize,
    /// Its place in [`History::versions`].
    pub(super) version: Option<usize>,
}

/// The versions of one document, and who had which.
pub(super) struct History<'a> {
    pub(super) document: &'a str,
    pub(super) versions: Vec<Version<'a>>,
    /// Per lane, in the order of events. Empty where it never was.
    pub(super) lanes: Vec<Vec<Holding>>,
    numbers: BTreeMap<u64, usize>,
    /// Per lane, what its last backup holds.
    backups: Vec<Option<usize>>,
    /// Per colour, the event at which it was last seen.
    last_used: [usize; PALETTE.len()],
}

impl<'a> History<'a> {
    fn of(document: &'a str, lanes: usize) -> Self {
        Self {
            document,
            versions: Vec::new(),
            lanes: vec![Vec::new(); lanes],
            numbers: BTreeMap::new(),
            backups: vec![None; lanes],
            last_used: [0; PALETTE.len()],
        }
    }

    /// What a lane has after the event.
    pub(super) fn at(&self, lane: usize, event: usize) -> Option<&Version<'a>> {
        let holdings = &self.lanes[lane];
        let later = holdings.partition_point(|holding| holding.since <= event);
        let version = holdings.get(later.checked_sub(1)?)?.version?;
        Some(&self.versions[version])
    }

    /// The place of a version among [`History::versions`].
    pub(super) fn place(&self, committed: &Committed) -> Option<usize> {
        self.numbers.get(&committed.version).copied()
    }

    fn now(&self, lane: usize) -> Option<usize> {
        self.lanes[lane].last().and_then(|holding| holding.version)
    }

    fn hold(&mut self, lane: usize, since: usize, version: Option<usize>) {
        if let Some(left) = self.now(lane) {
            self.last_used[self.versions[left].colour] = since;
        }
        self.lanes[lane].push(Holding { since, version });
    }

    fn commit(&mut self, lane: usize, since: usize, committed: &'a Committed) {
        let version = match self.place(committed) {
            Some(version) => version,
            None => {
                let (place, colour) = (self.versions.len(), self.free_colour(lane));
                self.versions.push(Version { letter: letter(place), colour, committed });
                self.numbers.insert(committed.version, place);
                place
            }
        };
        self.hold(lane, since, Some(version));
    }

    /// The colour that has been away the longest. One that another lane shows is taken only when all are shown, so that at any
    /// moment equal colours are equal versions.
    fn free_colour(&self, changing: usize) -> usize {
        let shown = |colour: usize| {
            let others = (0..self.lanes.len()).filter(|lane| *lane != changing);
            let mut versions = others.filter_map(|lane| self.now(lane));
            versions.any(|version| self.versions[version].colour == colour)
        };
        let given = self.versions.len();
        let is_new = |colour: usize| colour >= given;
        let colours = 0..PALETTE.len();
        colours
            .min_by_key(|colour| (shown(*colour), !is_new(*colour), self.last_used[*colour], *colour))
            .expect("the palette has colours")
    }
}

/// The histories of `documents`, in the same order.
pub(super) fn histories<'a>(
    events: &'a [Event],
    faults: &BTreeMap<u32, &Fault>,
    documents: &[&'a str],
    lanes: usize,
) -> Vec<History<'a>> {
    let mut histories: Vec<History<'a>> =
        documents.iter().map(|document| History::of(document, lanes)).collect();
    let places: BTreeMap<&str, usize> =
        documents.iter().enumerate().map(|(place, document)| (*document, place)).collect();
    for (index, event) in events.iter().enumerate() {
        match &event.what {
            What::Committed { documents } => {
                let Some(peer) = event.peer else { continue };
                for committed in documents {
                    if let Some(place) = places.get(committed.document.as_str()) {
                        histories[*place].commit(peer.index(), index, committed);
                    }
                }
            }
            What::FaultBegan { fault, .. } => {
                let Some(fault) = faults.get(fault) else { continue };
                for history in &mut histories {
                    befall(history, index, &fault.kind, lanes);
                }
            }
            _ => {}
        }
    }
    histories
}

/// What a fault does to a device, and so to what is on it.
fn befall(history: &mut History<'_>, index: usize, kind: &FaultKind, lanes: usize) {
    let is_there = |peer: &PeerNumber| peer.index() < lanes;
    match kind {
        FaultKind::Backup { peer } if is_there(peer) => {
            history.backups[peer.index()] = history.now(peer.index());
        }
        FaultKind::Restore { peer } if is_there(peer) => {
            history.hold(peer.index(), index, history.backups[peer.index()]);
        }
        FaultKind::Wipe { peer } if is_there(peer) => history.hold(peer.index(), index, None),
        FaultKind::Clone { peer, into } if is_there(peer) && is_there(into) => {
            history.hold(into.index(), index, history.now(peer.index()));
        }
        _ => {}
    }
}

/// `A` to `Z`, then `AA` and on.
fn letter(mut place: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'A' + u8::try_from(place % 26).expect("a remainder of 26 fits a byte")));
        match (place / 26).checked_sub(1) {
            Some(more) => place = more,
            None => return letters.iter().rev().collect(),
        }
    }
}
