//! One room: who is in it, who may know of whom, and who has yet to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::StockPeers;
use crate::message::{Capability, Member, PeerId, ServerMessage};

#[derive(Debug, Default)]
pub(super) struct Room {
    members: BTreeMap<PeerId, Membership>,
    stale: Stale,
    /// When the stock members were last sent lists.
    pub(super) listed_at: Option<Duration>,
}

/// How a peer is in a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    /// `None` is a stock RxDB peer.
    pub(super) capability: Option<Capability>,
    /// Whether stock peers may know of it if it is one itself.
    pub(super) stock_peers: StockPeers,
}

/// Which stock members have not been told the latest.
#[derive(Debug, Default, Eq, PartialEq)]
enum Stale {
    #[default]
    None,
    Only(BTreeSet<PeerId>),
    All,
}

impl Membership {
    /// Whether two members may know of each other. Symmetrical.
    fn sees(&self, other: &Self) -> bool {
        let stock_pair = self.capability.is_none() && other.capability.is_none();
        let introduced =
            self.stock_peers == StockPeers::Introduced && other.stock_peers == StockPeers::Introduced;
        !stock_pair || introduced
    }

    /// Whether no stock member ever hears of it.
    fn is_unseen_by_stock(&self) -> bool {
        self.capability.is_none() && self.stock_peers == StockPeers::KeptApart
    }
}

impl Room {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether both are members and may know of each other.
    pub(super) fn connects(&self, left: PeerId, right: PeerId) -> bool {
        let (Some(a), Some(b)) = (self.members.get(&left), self.members.get(&right)) else { return false };
        left != right && a.sees(b)
    }

    pub(super) fn insert(&mut self, peer: PeerId, membership: Membership) {
        self.members.insert(peer, membership);
        if membership.is_unseen_by_stock() {
            self.mark(peer);
        } else {
            self.stale = Stale::All;
        }
    }

    pub(super) fn remove(&mut self, peer: PeerId) -> Option<Membership> {
        let membership = self.members.remove(&peer)?;
        if membership.is_unseen_by_stock() {
            if let Stale::Only(stale) = &mut self.stale {
                stale.remove(&peer);
            }
        } else {
            self.stale = Stale::All;
        }
        Some(membership)
    }

    fn mark(&mut self, peer: PeerId) {
        match &mut self.stale {
            Stale::None => self.stale = Stale::Only(BTreeSet::from([peer])),
            Stale::Only(stale) => {
                stale.insert(peer);
            }
            Stale::All => {}
        }
    }

    /// The members that get single events, except `peer`.
    pub(super) fn capable_except(&self, peer: PeerId) -> impl Iterator<Item = PeerId> {
        self.members
            .iter()
            .filter(move |&(&id, membership)| id != peer && membership.capability.is_some())
            .map(|(&id, _)| id)
    }

    /// Everyone but `peer`, as a capable member sees them.
    pub(super) fn members_except(&self, peer: PeerId) -> Vec<Member> {
        let others = self.members.iter().filter(|&(&id, _)| id != peer);
        others.map(|(&peer_id, membership)| Member { peer_id, peerloom: membership.capability }).collect()
    }

    /// Whether a stock member waits for a list.
    pub(super) fn owes_lists(&self) -> bool {
        match &self.stale {
            Stale::None => false,
            Stale::Only(stale) => !stale.is_empty(),
            Stale::All => self.members.values().any(|membership| membership.capability.is_none()),
        }
    }

    /// The lists that stock members wait for: each list, and who gets it. They count as sent.
    pub(super) fn take_lists(&mut self, now: Duration) -> Vec<(ServerMessage, Vec<PeerId>)> {
        self.listed_at = Some(now);
        let stale = std::mem::take(&mut self.stale);
        let waits = |&(&id, membership): &(&PeerId, &Membership)| {
            membership.capability.is_none()
                && match &stale {
                    Stale::None => false,
                    Stale::Only(stale) => stale.contains(&id),
                    Stale::All => true,
                }
        };
        let (introduced, apart): (Vec<_>, Vec<_>) = (self.members.iter().filter(waits))
            .partition(|(_, membership)| membership.stock_peers == StockPeers::Introduced);

        let mut lists = Vec::new();
        // Those that are introduced all see the same.
        if let Some(&(_, first)) = introduced.first() {
            let readers = introduced.iter().map(|&(&id, _)| id).collect();
            lists.push((self.list(|_, other| first.sees(other)), readers));
        }
        for (&reader, membership) in apart {
            let list = self.list(|id, other| id == reader || membership.sees(other));
            lists.push((list, vec![reader]));
        }
        lists
    }

    fn list(&self, seen: impl Fn(PeerId, &Membership) -> bool) -> ServerMessage {
        let seen = self.members.iter().filter(|&(&id, membership)| seen(id, membership));
        ServerMessage::Joined { other_peer_ids: seen.map(|(&id, _)| id).collect() }
    }
}
