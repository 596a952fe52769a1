//! How faults begin and end.

use std::time::Duration;

use super::{Device, Director, Item};
use crate::marks;
use crate::network::Level;
use crate::plan::{Crash, Direction, Fault, FaultKind, Outage, PeerNumber};
use crate::trace::What;

impl Director<'_> {
    pub(super) fn begin(&mut self, fault: Fault) {
        let peers = touches(&fault.kind);
        if let Some(stranger) = peers.iter().find(|peer| !self.stage.exists(**peer)) {
            return self.skip(&fault, &format!("there is no {stranger}"));
        }
        if let Some(reason) = self.makes_no_sense(&fault.kind) {
            return self.skip(&fault, &reason);
        }
        let says = words(&fault.kind);
        self.stage.world.record(None, What::FaultBegan { fault: fault.number, says, peers });
        self.act(&fault);
        let ends = self.stage.now() + Duration::from_millis(fault.for_ms);
        let number = fault.number;
        self.active.insert(number, fault);
        self.put(ends, Item::End(number));
    }

    fn skip(&self, fault: &Fault, reason: &str) {
        let says = format!("fault {}, {}: {reason}", fault.number, words(&fault.kind));
        self.stage.world.record(None, What::Skipped { says });
    }

    fn makes_no_sense(&self, kind: &FaultKind) -> Option<String> {
        let down = |peer: &PeerNumber| {
            let closing =
                self.agenda.values().any(|item| matches!(item, Item::Closed(found, _) if found == peer));
            (!self.stage.runs(*peer) || closing).then(|| format!("{peer} does not run"))
        };
        match kind {
            FaultKind::Leave { peer }
            | FaultKind::Crash { peer, .. }
            | FaultKind::Pause { peer }
            | FaultKind::Backup { peer }
            | FaultKind::Wipe { peer } => down(peer),
            FaultKind::Restore { peer } => {
                let none = || format!("{peer} has no backup");
                down(peer).or_else(|| (!self.stage.has_backup(*peer)).then(none))
            }
            FaultKind::Clone { peer, into } => {
                let joined = || format!("{into} has joined");
                down(peer).or_else(|| self.stage.was_started(*into).then(joined))
            }
            FaultKind::Loss { .. } if self.stage.ways.level() == Level::Messages => {
                Some("messages are not lost one by one here".to_owned())
            }
            FaultKind::SignalingDown { .. } | FaultKind::SignalingSilence { .. }
                if self.floor.signaling().is_none() =>
            {
                Some("there is no signaling server here".to_owned())
            }
            _ => None,
        }
    }

    fn act(&mut self, fault: &Fault) {
        let (stage, ways) = (self.stage, &self.stage.ways);
        match &fault.kind {
            FaultKind::Delay { directions, by_ms } => {
                directions.iter().for_each(|way| ways.delay(*way, *by_ms));
            }
            FaultKind::Slow { directions, bytes_per_second } => {
                directions.iter().for_each(|way| ways.slow(*way, *bytes_per_second));
            }
            FaultKind::Hold { directions } => directions.iter().for_each(|way| ways.hold(*way)),
            FaultKind::Silence { directions } => directions.iter().for_each(|way| ways.silence(*way)),
            FaultKind::Cut { pairs } => pairs.iter().for_each(|(left, right)| self.floor.cut(*left, *right)),
            FaultKind::Reset { left, right } => self.floor.reset(*left, *right),
            FaultKind::HalfOpen { direction } => ways.deafen(*direction),
            FaultKind::Mangle { direction, how } => ways.mangle_next(*direction, *how),
            FaultKind::Loss { directions, percent } => {
                directions.iter().for_each(|way| ways.lose(*way, *percent));
            }
            FaultKind::SignalingDown { outage } => {
                self.floor.signaling().into_iter().for_each(|server| server.stop(*outage));
            }
            FaultKind::SignalingSilence { peer } => {
                self.floor.signaling().into_iter().for_each(|server| server.part(*peer));
            }
            FaultKind::Leave { peer } => self.close(*peer, Device::Stays, true),
            FaultKind::Crash { peer, manner } => self.crash(*peer, *manner),
            FaultKind::Pause { peer } => stage.pause(*peer),
            FaultKind::Backup { peer } if stage.is_copied_live(*peer) => stage.back_up(*peer),
            FaultKind::Backup { peer } => self.close(*peer, Device::BackedUp, false),
            FaultKind::Restore { peer } => {
                marks::reach("a restored backup");
                self.close(*peer, Device::Restored, true);
            }
            FaultKind::Wipe { peer } => {
                marks::reach("a wiped device");
                self.close(*peer, Device::Wiped, true);
            }
            FaultKind::Clone { peer, into } => {
                marks::reach("a cloned device");
                self.close(*peer, Device::ClonedInto(*into), false);
            }
            FaultKind::ClockJump { peer, by_ms } => stage.wall(*peer).jump(*by_ms),
            FaultKind::ClockFreeze { peer } => stage.wall(*peer).freeze(stage.now()),
            FaultKind::FailCommit { peer, after, fate } => stage.faults(*peer).fail_commit(*after, *fate),
            FaultKind::FailRead { peer, after } => stage.faults(*peer).fail_read(*after),
            FaultKind::Full { peer } => stage.faults(*peer).fill(true),
            FaultKind::SlowStorage { peer, by_ms } => {
                let by_ms = self.slowed_by_ms(*peer).max(*by_ms);
                stage.faults(*peer).slow(Duration::from_millis(by_ms.into()));
            }
        }
    }

    /// Whether a fault under way does something.
    fn is_still(&self, does: impl Fn(&FaultKind) -> bool) -> bool {
        self.active.values().any(|fault| does(&fault.kind))
    }

    /// By how much the faults under way slow the storage of a peer.
    fn slowed_by_ms(&self, slow: PeerNumber) -> u32 {
        let slowed = self.active.values().map(|fault| match &fault.kind {
            FaultKind::SlowStorage { peer, by_ms } if *peer == slow => *by_ms,
            _ => 0,
        });
        slowed.max().unwrap_or(0)
    }

    pub(super) fn end(&mut self, number: u32) {
        let Some(fault) = self.active.remove(&number) else { return };
        let (stage, ways) = (self.stage, &self.stage.ways);
        stage.world.record(None, What::FaultEnded { fault: number });
        match &fault.kind {
            FaultKind::Delay { directions, by_ms } => {
                directions.iter().for_each(|way| ways.undelay(*way, *by_ms));
            }
            FaultKind::Slow { directions, bytes_per_second } => {
                directions.iter().for_each(|way| ways.unslow(*way, *bytes_per_second));
            }
            FaultKind::Hold { directions } => directions.iter().for_each(|way| ways.release(*way)),
            FaultKind::Silence { directions } => directions.iter().for_each(|way| ways.unsilence(*way)),
            FaultKind::Cut { pairs } => self.join(&fault, pairs),
            FaultKind::Crash { peer, manner } => {
                // One that was to die within a commit and made none lives on.
                let dies = FaultKind::Crash { peer: *peer, manner: Crash::WithinCommit };
                if !self.is_still(|kind| *kind == dies) {
                    stage.faults(*peer).live_on();
                }
                if *manner == Crash::PowerCut {
                    stage.ways_of(*peer).into_iter().for_each(|way| ways.unsilence(way));
                    self.floor.signaling().into_iter().for_each(|server| server.rejoin(*peer));
                }
                self.come_back(*peer);
            }
            FaultKind::Leave { peer } | FaultKind::Restore { peer } | FaultKind::Wipe { peer } => {
                self.come_back(*peer);
            }
            FaultKind::Loss { directions, percent } => {
                directions.iter().for_each(|way| ways.unlose(*way, *percent));
            }
            FaultKind::SignalingDown { outage } => {
                self.floor.signaling().into_iter().for_each(|server| server.start(*outage));
            }
            FaultKind::SignalingSilence { peer } => {
                self.floor.signaling().into_iter().for_each(|server| server.rejoin(*peer));
            }
            // Where another of these is under way, it goes on.
            kind @ (FaultKind::Pause { .. } | FaultKind::ClockFreeze { .. } | FaultKind::Full { .. })
                if self.is_still(|other| other == kind) => {}
            FaultKind::Pause { peer } => stage.resume(*peer),
            FaultKind::ClockFreeze { peer } => stage.wall(*peer).thaw(),
            FaultKind::Full { peer } => stage.faults(*peer).fill(false),
            FaultKind::SlowStorage { peer, .. } => {
                let by_ms = self.slowed_by_ms(*peer);
                stage.faults(*peer).slow(Duration::from_millis(by_ms.into()));
            }
            // These take no time.
            FaultKind::Reset { .. }
            | FaultKind::HalfOpen { .. }
            | FaultKind::Mangle { .. }
            | FaultKind::Backup { .. }
            | FaultKind::Clone { .. }
            | FaultKind::ClockJump { .. }
            | FaultKind::FailCommit { .. }
            | FaultKind::FailRead { .. } => {}
        }
    }

    /// Undoes a cut where no other one is under way.
    fn join(&self, ended: &Fault, pairs: &[(PeerNumber, PeerNumber)]) {
        let same = |one: &(PeerNumber, PeerNumber), other: &(PeerNumber, PeerNumber)| {
            one == other || (one.0, one.1) == (other.1, other.0)
        };
        let cuts = self.active.values().filter(|fault| fault.number != ended.number);
        let still: Vec<_> = cuts
            .filter_map(|fault| match &fault.kind {
                FaultKind::Cut { pairs } => Some(pairs),
                _ => None,
            })
            .flatten()
            .collect();
        for pair in pairs.iter().filter(|pair| !still.iter().any(|other| same(pair, other))) {
            self.floor.join(pair.0, pair.1);
        }
    }

    fn crash(&mut self, peer: PeerNumber, manner: Crash) {
        *self.away.entry(peer).or_default() += 1;
        match manner {
            Crash::Kill => self.stage.kill(peer, manner, self.floor),
            Crash::PowerCut => {
                // Nobody is told, so the ways fall silent first; they come back with the peer.
                self.stage.ways_of(peer).into_iter().for_each(|way| self.stage.ways.silence(way));
                self.floor.signaling().into_iter().for_each(|server| server.part(peer));
                self.stage.kill(peer, manner, self.floor);
            }
            Crash::WithinCommit => self.stage.faults(peer).die_in_commit(),
        }
    }

    /// Closes a peer in order. It comes back when the fault is over, or at once.
    fn close(&mut self, peer: PeerNumber, device: Device, stays_away: bool) {
        if stays_away {
            *self.away.entry(peer).or_default() += 1;
        }
        self.stage.resume(peer);
        self.stage.ask_to_stop(peer);
        self.put(self.stage.now(), Item::Closed(peer, device));
    }

    fn come_back(&mut self, peer: PeerNumber) {
        if let Some(faults) = self.away.get_mut(&peer) {
            *faults -= 1;
            if *faults == 0 {
                self.away.remove(&peer);
            }
        }
        let closing =
            self.agenda.values().any(|item| matches!(item, Item::Closed(found, _) if *found == peer));
        if !closing {
            self.start(peer);
        }
    }
}

/// Whom a fault touches.
fn touches(kind: &FaultKind) -> Vec<PeerNumber> {
    let ends = |directions: &[Direction]| directions.iter().flat_map(|way| [way.from, way.to]).collect();
    let mut peers: Vec<PeerNumber> = match kind {
        FaultKind::Delay { directions, .. }
        | FaultKind::Slow { directions, .. }
        | FaultKind::Hold { directions }
        | FaultKind::Loss { directions, .. }
        | FaultKind::Silence { directions } => ends(directions),
        FaultKind::Cut { pairs } => pairs.iter().flat_map(|(left, right)| [*left, *right]).collect(),
        FaultKind::Reset { left, right } => vec![*left, *right],
        FaultKind::HalfOpen { direction } | FaultKind::Mangle { direction, .. } => ends(&[*direction]),
        FaultKind::Clone { peer, into } => vec![*peer, *into],
        FaultKind::SignalingDown { .. } => Vec::new(),
        FaultKind::Leave { peer }
        | FaultKind::SignalingSilence { peer }
        | FaultKind::Crash { peer, .. }
        | FaultKind::Pause { peer }
        | FaultKind::Backup { peer }
        | FaultKind::Restore { peer }
        | FaultKind::Wipe { peer }
        | FaultKind::ClockJump { peer, .. }
        | FaultKind::ClockFreeze { peer }
        | FaultKind::FailCommit { peer, .. }
        | FaultKind::FailRead { peer, .. }
        | FaultKind::Full { peer }
        | FaultKind::SlowStorage { peer, .. } => vec![*peer],
    };
    peers.sort_unstable();
    peers.dedup();
    peers
}

/// A fault, for people.
fn words(kind: &FaultKind) -> String {
    let ways = |directions: &[Direction]| {
        let ways = directions.iter().map(|way| format!("{}→{}", way.from.0, way.to.0));
        ways.collect::<Vec<_>>().join(" ")
    };
    match kind {
        FaultKind::Delay { directions, by_ms } => format!("delay of {by_ms} ms on {}", ways(directions)),
        FaultKind::Slow { directions, bytes_per_second } => {
            format!("{bytes_per_second} bytes/s on {}", ways(directions))
        }
        FaultKind::Hold { directions } => format!("hold on {}", ways(directions)),
        FaultKind::Silence { directions } => format!("silence on {}", ways(directions)),
        FaultKind::Cut { pairs } => {
            let pairs = pairs.iter().map(|(left, right)| format!("{}–{}", left.0, right.0));
            format!("cut {}", pairs.collect::<Vec<_>>().join(" "))
        }
        FaultKind::Reset { left, right } => format!("connection reset {}–{}", left.0, right.0),
        FaultKind::HalfOpen { direction } => format!("half-open connection {}", ways(&[*direction])),
        FaultKind::Mangle { direction, how } => format!("mangled message ({how:?}) {}", ways(&[*direction])),
        FaultKind::Loss { directions, percent } => format!("loss of {percent} % on {}", ways(directions)),
        FaultKind::SignalingDown { outage } => {
            let goes = match outage {
                Outage::Stop => "stops",
                Outage::Kill => "is killed",
                Outage::PowerCut => "loses power",
            };
            format!("the signaling server {goes}")
        }
        FaultKind::SignalingSilence { peer } => {
            format!("{peer} and the signaling server do not reach each other")
        }
        FaultKind::Leave { peer } => format!("{peer} leaves"),
        FaultKind::Crash { peer, manner: Crash::Kill } => format!("{peer} is killed"),
        FaultKind::Crash { peer, manner: Crash::PowerCut } => format!("{peer} loses power"),
        FaultKind::Crash { peer, manner: Crash::WithinCommit } => format!("{peer} crashes within a commit"),
        FaultKind::Pause { peer } => format!("{peer} pauses"),
        FaultKind::Backup { peer } => format!("{peer} is backed up"),
        FaultKind::Restore { peer } => format!("{peer} is restored from its backup"),
        FaultKind::Wipe { peer } => format!("{peer} is wiped"),
        FaultKind::Clone { peer, into } => format!("{peer} is cloned into {into}"),
        FaultKind::ClockJump { peer, by_ms } => format!("the clock of {peer} jumps by {by_ms} ms"),
        FaultKind::ClockFreeze { peer } => format!("the clock of {peer} stands still"),
        FaultKind::FailCommit { peer, after, fate } => {
            format!("a commit of {peer} fails after {after} ({fate:?})")
        }
        FaultKind::FailRead { peer, after } => format!("a read of {peer} fails after {after}"),
        FaultKind::Full { peer } => format!("the storage of {peer} is full"),
        FaultKind::SlowStorage { peer, by_ms } => format!("the storage of {peer} takes {by_ms} ms longer"),
    }
}
