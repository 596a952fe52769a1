//! Which hazards a plan has and how often they occur: a swarm, where every seed has its own.
//!
//! After "Swarm Testing" (Groce, Zhang, Eide, Chen, Regehr 2012): a run with everything at once hides what needs one thing left out.

use std::collections::BTreeMap;

use super::compose::Room;
use super::hazard::{Moment, Occurrence};
use super::{Draw, Fault, FaultKind, Hazard, PeerNumber};

/// Which hazards plans have.
///
/// ```
/// use peerloom_sim::plan::{Faults, Hazard};
///
/// // Every seed its own selection, but no clock is ever wrong.
/// let faults = Faults::swarm().without([Hazard::ClockSkew, Hazard::ClockJump, Hazard::ClockFreeze]);
/// // Power cuts in every seed, five a minute, and in some seeds partitions too.
/// let faults = Faults::only([Hazard::PowerCut]).rate(Hazard::PowerCut, 5.0).with([Hazard::Partition]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    hazards: BTreeMap<Hazard, Setting>,
    per_round_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Setting {
    presence: Presence,
    per_minute: Option<f64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presence {
    SomeSeeds,
    EverySeed,
}

impl Default for Faults {
    fn default() -> Self {
        Self::swarm()
    }
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self { hazards: BTreeMap::new(), per_round_max: 16 }
    }

    /// Every seed has its own selection of all hazards, each with a rate of its own.
    pub fn swarm() -> Self {
        Self::none().with(Hazard::ALL)
    }

    /// Every seed has these hazards and no others.
    pub fn only(hazards: impl IntoIterator<Item = Hazard>) -> Self {
        Self::none().always(hazards)
    }

    /// Some seeds have these hazards too.
    #[must_use]
    pub fn with(self, hazards: impl IntoIterator<Item = Hazard>) -> Self {
        self.present(hazards, Presence::SomeSeeds)
    }

    /// Every seed has these hazards.
    #[must_use]
    pub fn always(self, hazards: impl IntoIterator<Item = Hazard>) -> Self {
        self.present(hazards, Presence::EverySeed)
    }

    /// No seed has these hazards.
    #[must_use]
    pub fn without(mut self, hazards: impl IntoIterator<Item = Hazard>) -> Self {
        for hazard in hazards {
            self.hazards.remove(&hazard);
        }
        self
    }

    /// How often a hazard occurs in a minute of simulated time, in seeds that have it; otherwise each seed draws that. Means
    /// nothing for what is decided once for a room: jitter, late joiners, clones, skewed clocks and panics of the handler.
    ///
    /// # Panics
    ///
    /// If the rate is negative or not finite, or if no seed has the hazard.
    #[must_use]
    pub fn rate(mut self, hazard: Hazard, per_minute: f64) -> Self {
        assert!(per_minute.is_finite() && per_minute >= 0.0, "a rate is at least 0, not {per_minute}");
        let setting = self.hazards.get_mut(&hazard);
        let setting = setting.unwrap_or_else(|| panic!("{hazard:?} has a rate only where it is allowed"));
        setting.per_minute = Some(per_minute);
        self
    }

    /// How many times something goes wrong in a round, at most. 16 unless told. What is decided once for a room does not count.
    #[must_use]
    pub fn per_round_max(self, occurrences: usize) -> Self {
        Self { per_round_max: occurrences, ..self }
    }

    fn present(mut self, hazards: impl IntoIterator<Item = Hazard>, presence: Presence) -> Self {
        for hazard in hazards {
            let per_minute = self.hazards.get(&hazard).and_then(|setting| setting.per_minute);
            self.hazards.insert(hazard, Setting { presence, per_minute });
        }
        self
    }

    /// Whether a seed has a hazard.
    pub(super) fn has(&self, seed: u64, hazard: Hazard) -> bool {
        // Some seeds have nearly nothing, and some nearly all.
        let share = *Draw::new(seed, "share of hazards").one_of(&[0.1, 0.25, 0.5, 0.75]);
        match self.hazards.get(&hazard).map(|setting| setting.presence) {
            None => false,
            Some(Presence::SomeSeeds) => Draw::new(seed, ("hazard", hazard.name())).chance(share),
            Some(Presence::EverySeed) => true,
        }
    }

    /// The faults of a room, by round, in the order of time and numbered so.
    pub(super) fn faults(&self, room: &Room) -> Vec<Vec<Fault>> {
        let mut occurrences = room.clones.clone();
        for round in 0..room.rounds_ms.len() {
            occurrences.extend(self.occurrences(room, round));
        }
        occurrences.sort_by_key(|occurrence| (occurrence.round, occurrence.at_ms));
        let survivable: Vec<_> = occurrences
            .iter()
            .filter(|one| !is_loss_without_anchor(one, &occurrences, room))
            .cloned()
            .collect();
        let mut rounds = vec![Vec::new(); room.rounds_ms.len()];
        for (number, Occurrence { round, at_ms, for_ms, kind }) in (0..).zip(survivable) {
            rounds[round].push(Fault { number, at_ms, for_ms, kind });
        }
        rounds
    }

    /// What goes wrong in a round.
    fn occurrences(&self, room: &Room, round: usize) -> Vec<Occurrence> {
        let mut moments = Vec::new();
        for (hazard, setting) in &self.hazards {
            if hazard.is_of_the_room() || !self.has(room.seed, *hazard) {
                continue;
            }
            let rates = [0.5, 1.0, 2.0, 4.0, 8.0];
            let drawn = *Draw::new(room.seed, ("rate", hazard.name())).one_of(&rates);
            let expected = setting.per_minute.unwrap_or(drawn) * room.rounds_ms[round] as f64 / 60_000.0;
            let more =
                Draw::new(room.seed, ("rest of the rate", hazard.name(), round)).chance(expected.fract());
            for time in 0..expected as usize + usize::from(more) {
                let key = ("occurrence", hazard.name(), round, time);
                moments.push((Draw::new(room.seed, key), *hazard));
            }
        }
        // Those that go over the limit are any, not the last of the list.
        moments.sort_by_cached_key(|(draw, _)| draw.clone().number());
        moments.truncate(self.per_round_max);
        let occur = |(mut draw, hazard): (Draw, Hazard)| {
            let at_ms = draw.below(room.rounds_ms[round].max(1));
            hazard.occur(&mut draw, &Moment::new(room, round, at_ms))
        };
        moments.into_iter().flat_map(occur).collect()
    }
}

/// Whether a device is lost while the peer that keeps what the round began with is away.
fn is_loss_without_anchor(occurrence: &Occurrence, all: &[Occurrence], room: &Room) -> bool {
    if !matches!(occurrence.kind, FaultKind::Wipe { .. } | FaultKind::Restore { .. }) {
        return false;
    }
    let anchor = room.anchor(occurrence.round);
    let ends_ms = |occurrence: &Occurrence| occurrence.at_ms + occurrence.for_ms;
    all.iter().any(|other| {
        is_away(&other.kind, anchor)
            && other.round == occurrence.round
            && other.at_ms <= ends_ms(occurrence)
            && occurrence.at_ms <= ends_ms(other)
    })
}

fn is_away(kind: &FaultKind, anchor: PeerNumber) -> bool {
    match kind {
        FaultKind::Leave { peer } | FaultKind::Crash { peer, .. } | FaultKind::Pause { peer } => {
            *peer == anchor
        }
        _ => false,
    }
}
