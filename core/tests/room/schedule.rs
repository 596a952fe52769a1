//! What happens next, and what comes of it: the driver of every session, and the network between them.
//!
//! Everything that may happen is a [`Happening`]. The room's own random numbers pick one, so that effects complete in any
//! order the contracts allow, and the same seed gives the same run.

use std::time::Duration;

use bytes::Bytes;
use peerloom_core::*;

use super::{Append, Calls, End, Room};

/// What the driver has to do for a session.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Load { collection: CollectionIndex, key: Bytes },
    Scan { collection: CollectionIndex, after: Sequence, limits: PageLimits },
    Apply { collection: CollectionIndex, page: Page },
    Answer(Input),
}

impl Work {
    /// Whether that must wait for this: pages are committed in their order, and the session is told in that order.
    fn precedes(&self, later: &Self) -> bool {
        let of = |work: &Self| match work {
            Self::Apply { collection, .. } => Some((false, *collection)),
            Self::Answer(Input::Applied { collection, .. }) => Some((true, *collection)),
            _ => None,
        };
        of(self).is_some() && of(self) == of(later)
    }
}

impl End {
    /// The page of a collection that waits to be applied.
    fn take_page(&mut self, of: CollectionIndex) -> Option<Page> {
        let waits = |work: &Work| matches!(work, Work::Apply { collection, .. } if *collection == of);
        match self.work.remove(self.work.iter().position(waits)?) {
            Work::Apply { page, .. } => Some(page),
            _ => unreachable!("it was looked for"),
        }
    }
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Deliver(usize),
    Work(usize, usize),
    Tell(usize),
    Tick(usize),
    Lose(usize),
    Announce(usize, usize),
}

impl Room {
    /// Runs for a span of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Long enough for every delay of the protocol to pass.
    pub fn settle(&mut self) {
        self.run_for(Duration::from_secs(30));
    }

    /// Lets one thing happen, chosen at random. When nothing can, time goes on, to `until` at the latest.
    pub fn step(&mut self, until: Duration) -> bool {
        let happenings = self.happenings();
        if happenings.is_empty() {
            let Some(at) = self.next_at().filter(|at| *at <= until) else { return false };
            assert!(at > self.now, "time goes on when nothing can happen");
            self.now = at;
            return true;
        }
        let happening = *self.random.pick(&happenings);
        self.happen(happening);
        true
    }

    fn next_at(&self) -> Option<Duration> {
        let arrivals = self.live().filter_map(|end| self.ends[end].inbox.front().map(|frame| frame.0));
        let deadlines = self.live().filter_map(|end| self.ends[end].session.deadline());
        arrivals.chain(deadlines).min()
    }

    fn happenings(&self) -> Vec<Happening> {
        let mut happenings = Vec::new();
        for (node, of) in self.nodes.iter().enumerate() {
            for (shelf, of) in of.shelves.iter().enumerate() {
                if of.in_flight.is_some() {
                    happenings.push(Happening::Announce(node, shelf));
                }
            }
        }
        for end in self.live() {
            let of = &self.ends[end];
            if of.inbox.front().is_some_and(|frame| frame.0 <= self.now) {
                happenings.push(Happening::Deliver(end));
            }
            for (place, work) in of.work.iter().enumerate() {
                let waits = match work {
                    Work::Apply { collection, .. } | Work::Scan { collection, .. } => {
                        self.nodes[of.node].shelves[of.shared[collection.0].0].in_flight.is_some()
                    }
                    _ => false,
                } || of.work[..place].iter().any(|earlier| earlier.precedes(work));
                if !waits {
                    happenings.push(Happening::Work(end, place));
                }
            }
            if !of.untold.is_empty() {
                happenings.push(Happening::Tell(end));
            }
            if of.session.deadline().is_some_and(|at| at <= self.now) {
                happenings.push(Happening::Tick(end));
            }
            if self.ends[end ^ 1].dead && of.inbox.is_empty() {
                happenings.push(Happening::Lose(end));
            }
        }
        happenings
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(end) => {
                let (_, frame) = self.ends[end].inbox.pop_front().expect("a frame is there");
                self.handle(end, Input::Received(frame));
                self.pump(end ^ 1);
            }
            Happening::Work(end, place) => {
                let work = self.ends[end].work.remove(place);
                self.work(end, work);
            }
            Happening::Tell(end) => {
                let node = self.ends[end].node;
                for shelf in std::mem::take(&mut self.ends[end].untold) {
                    let Some(place) = self.ends[end].shared.iter().position(|shared| shared.0 == shelf)
                    else {
                        continue;
                    };
                    let of = &self.nodes[node].shelves[shelf];
                    let (snapshot, direct) = (of.replica.snapshot().clone(), of.direct());
                    self.ends[end].told[place].0 = snapshot.end;
                    let collection = CollectionIndex(place);
                    self.handle(end, Input::Committed { collection, snapshot, direct });
                }
            }
            Happening::Tick(end) => {
                let (work, frames) = (self.ends[end].work.len(), self.ends[end].bytes_sent);
                self.handle(end, Input::Tick);
                let of = &self.ends[end];
                let acted = of.dead || of.work.len() > work || of.bytes_sent > frames;
                let waits = of.session.deadline().is_none_or(|at| at > self.now);
                assert!(acted || waits, "a deadline that passed without effect is no deadline");
            }
            Happening::Lose(end) => {
                self.handle(end, Input::ConnectionLost);
                if !self.ends[end].dead {
                    self.bury(end);
                }
            }
            Happening::Announce(node, shelf) => self.announce(node, shelf),
        }
    }

    fn work(&mut self, end: usize, work: Work) {
        let node = self.ends[end].node;
        let shelf = |collection: CollectionIndex| self.ends[end].shared[collection.0].0;
        match work {
            Work::Load { collection, key } => {
                let value = self.nodes[node].shelves[shelf(collection)].disk.entry(&key);
                let checkpoint = value.and_then(|value| checkpoint_from_value(&value));
                let answer = Input::CheckpointLoaded { collection, checkpoint };
                self.ends[end].work.push(Work::Answer(answer));
            }
            Work::Scan { collection, after, limits } => {
                let (shelf, terms) = self.ends[end].shared[collection.0];
                let of = &self.nodes[node].shelves[shelf];
                let snapshot = of.replica.snapshot().clone();
                let records = of.disk.changes(after, limits);
                let served = |record: &Record| {
                    terms.filter.is_none_or(|filter| record.id.as_str().starts_with(filter))
                };
                let records =
                    records.into_iter().map(|record| Scanned { served: served(&record), record }).collect();
                self.ends[end].work.push(Work::Answer(Input::Scanned { collection, snapshot, records }));
            }
            Work::Apply { collection, page } => {
                let shelf = shelf(collection);
                let mut pages = vec![page];
                // What waits may go into the same commit.
                while self.random.chance(50) {
                    let Some(page) = self.ends[end].take_page(collection) else { break };
                    pages.push(page);
                }
                let (now, fresh) = (self.now_at(node), Incarnation::new(self.random.next()));
                let of = &mut self.nodes[node].shelves[shelf];
                let ids = pages.iter().flat_map(|page| page.documents.iter().map(|document| &document.0));
                let documents = ids.map(|id| (id.clone(), of.disk.read(id)));
                let documents: Vec<_> = documents.collect();
                let mut transaction = of.replica.begin(now, fresh, documents);
                pages.into_iter().for_each(|page| transaction.apply(page));
                let (batch, committable, mut outcome) = transaction.finish(&mut Calls(&Append));
                self.notices.append(&mut outcome.notices);
                self.commit(node, shelf, &batch, committable);
                let answers = outcome.pages.into_iter();
                let answers = answers.map(|applied| Work::Answer(Input::Applied { collection, applied }));
                self.ends[end].work.extend(answers);
            }
            Work::Answer(input) => self.handle(end, input),
        }
    }

    pub(super) fn commit(&mut self, node: usize, shelf: usize, batch: &Batch, committable: Committable) {
        let of = &mut self.nodes[node].shelves[shelf];
        assert!(of.in_flight.is_none(), "a replica serializes read, decide and commit");
        of.disk.commit(batch);
        of.in_flight = Some(committable);
        // A peer that lies about what it knows is believed; that costs soundness until a recheck.
        if !self.hostile {
            self.assert_sound(node, shelf);
        }
    }

    /// The replica learns that its commit is durable, and so will its sessions.
    pub(super) fn announce(&mut self, node: usize, shelf: usize) {
        let of = &mut self.nodes[node].shelves[shelf];
        if let Some(committable) = of.in_flight.take() {
            of.replica.committed(committable);
            self.spread(node, shelf);
        }
    }

    pub(super) fn spread(&mut self, node: usize, shelf: usize) {
        for end in self.ends.iter_mut().filter(|end| end.node == node && !end.dead) {
            end.untold.insert(shelf);
        }
    }

    /// Hands an input to a session and takes down what it wants done.
    pub fn handle(&mut self, end: usize, input: Input) {
        let (node, now) = (self.ends[end].node, self.now_at(self.ends[end].node));
        let mut effects = Vec::new();
        self.ends[end].session.handle(now, input, &mut effects);
        for effect in effects {
            let of = &mut self.ends[end];
            match effect {
                Effect::Admit(newcomer) => of.asked.push(newcomer),
                Effect::LoadCheckpoint { collection, key } => of.work.push(Work::Load { collection, key }),
                Effect::Scan { collection, after, limits } => {
                    of.work.push(Work::Scan { collection, after, limits });
                }
                Effect::Apply { collection, page } => of.work.push(Work::Apply { collection, page }),
                Effect::Direct { collection, origin } => {
                    let shelf = of.shared[collection.0].0;
                    self.nodes[node].shelves[shelf].direct.insert(end, origin);
                    self.spread(node, shelf);
                }
                Effect::Report(event) => of.events.push(event),
                Effect::Close(reason) => {
                    let broken = matches!(
                        reason,
                        CloseReason::Violation(_)
                            | CloseReason::ViolationReported(_)
                            | CloseReason::PeerFailed(_)
                    );
                    assert!(self.hostile || !broken, "honest peers break no rule: {reason}");
                    of.closed = Some(reason);
                    self.flush(end);
                    self.bury(end);
                }
            }
        }
        self.pump(end);
        if !self.ends[end].dead && !self.hostile {
            self.assert_caught_up_is_true(end);
        }
    }

    /// Puts frames on their way, as many as the connection takes.
    pub(super) fn pump(&mut self, end: usize) {
        while self.ends.len() > (end ^ 1)
            && !self.ends[end].dead
            && self.ends[end ^ 1].inbox.len() < self.inbox_frames_max
            && self.transmit(end)
        {}
    }

    fn flush(&mut self, end: usize) {
        while self.transmit(end) {}
    }

    fn transmit(&mut self, end: usize) -> bool {
        let now = self.now_at(self.ends[end].node);
        let Some(frame) = self.ends[end].session.transmit(now) else { return false };
        assert!(frame.len() <= self.frame_bytes_max, "a frame fits the connection");
        let of = &mut self.ends[end];
        of.bytes_sent += frame.len() as u64;
        of.frames_sent += u64::from(!is_sign_of_life(&frame));
        if self.hostile {
            self.tap.push((end ^ 1, frame.clone()));
        }
        if !self.ends[end ^ 1].dead {
            self.ends[end ^ 1].inbox.push_back((self.now + self.latency, frame));
        }
        true
    }
}

/// Whether a frame is a Ping or a Pong: a whole message that is an array of its kind alone.
fn is_sign_of_life(frame: &[u8]) -> bool {
    matches!(frame, [1, 0x81, 10 | 11])
}
