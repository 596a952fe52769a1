//! One collection in one session: its source half, its sink half, and what the peer was told about us.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::limits::SessionLimits;
use super::reason::Violation;
use super::sink::{self, Sink};
use super::source::{self, Source};
use super::{CollectionIndex, Effect, Event, Share};
use crate::feed::Checkpoint;
use crate::id::{CollectionName, Incarnation, ReplicaId};
use crate::replica::{Applied, Page, Snapshot, checkpoint_key};
use crate::version_vector::{Context, Knowledge};
use crate::wire::{Changes, Message, Offer, OfferIndex, Pull, Update};

/// What a link does next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Send(Message),
    Do(Effect),
}

/// The peer's side of a link.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Remote {
    incarnation: Incarnation,
    /// Where the checkpoint in its feed is kept.
    checkpoint_key: bytes::Bytes,
    /// Whether it serves us without a filter: then we hear from it directly whatever it writes.
    direct: bool,
    /// Whether it serves us at all, and so has a use for knowing what we know.
    serves: bool,
    /// Different schema versions: nothing replicates.
    mismatched: bool,
    /// One side neither serves nor pulls, because its store has failed.
    failed: bool,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Link {
    collection: CollectionIndex,
    share: Share,
    remote: Option<Remote>,
    pub(super) source: Source,
    sink: Sink,
    /// What the peer knows that we know.
    told: Knowledge,
    told_direct: BTreeSet<Incarnation>,
    told_incarnation: Incarnation,
    update_at: Option<Duration>,
}

impl Link {
    pub(super) fn new(collection: CollectionIndex, share: Share) -> Self {
        Self {
            collection,
            remote: None,
            source: Source::new(share.filter.is_some()),
            sink: Sink::default(),
            told: Knowledge::default(),
            told_direct: BTreeSet::new(),
            told_incarnation: share.snapshot.incarnation,
            update_at: None,
            share,
        }
    }

    pub(super) fn collection(&self) -> CollectionIndex {
        self.collection
    }

    pub(super) fn name(&self) -> &CollectionName {
        &self.share.name
    }

    pub(super) fn end(&self) -> crate::Sequence {
        self.share.snapshot.end
    }

    pub(super) fn is_offered(&self) -> bool {
        self.remote.is_some()
    }

    pub(super) fn is_matched(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| !remote.mismatched)
    }

    pub(super) fn is_caught_up(&self) -> bool {
        if self.remote.as_ref().is_some_and(|remote| remote.failed) {
            return false;
        }
        let pulled = !self.sink.expected || (self.sink.complete && self.sink.is_idle());
        pulled && (!self.source.is_pulled() || self.source.is_done(self.share.snapshot.end))
    }

    /// Our offer as it is now; what it says counts as told.
    pub(super) fn offer(&mut self) -> Offer {
        let snapshot = &self.share.snapshot;
        self.told = Knowledge::clone(&snapshot.knowledge);
        self.told_incarnation = snapshot.incarnation;
        Offer {
            collection: self.index(),
            name: self.share.name.clone(),
            schema_version: self.share.schema_version,
            handler: self.share.handler.clone(),
            incarnation: snapshot.incarnation,
            serves: self.share.serves,
            pulls: self.share.pulls,
            filter: self.share.filter.clone(),
            knowledge: self.told.clone(),
        }
    }

    /// The peer shares the collection too.
    pub(super) fn matched(&mut self, peer: &ReplicaId, offer: Offer) -> Vec<Effect> {
        let (collection, mut effects) = (self.collection, Vec::new());
        let mismatched = offer.schema_version != self.share.schema_version;
        let pulls = self.share.pulls && offer.serves && !mismatched;
        let peer_failed = !offer.serves && !offer.pulls;
        let failed = peer_failed || !self.share.serves && !self.share.pulls;
        let remote = Remote {
            incarnation: offer.incarnation,
            checkpoint_key: checkpoint_key(peer, offer.filter.as_deref()),
            direct: pulls && offer.filter.is_none(),
            serves: pulls,
            mismatched,
            failed,
        };
        if mismatched {
            let (ours, theirs) = (self.share.schema_version, offer.schema_version);
            effects.push(Effect::Report(Event::SchemaMismatch { collection, ours, theirs }));
        } else if peer_failed {
            effects.push(Effect::Report(Event::PeerStorageFailed { collection }));
        } else if !failed {
            effects.push(Effect::Report(Event::Shared { collection }));
        }
        if offer.handler != self.share.handler {
            effects.push(Effect::Report(Event::HandlerMismatch { collection, theirs: offer.handler }));
        }
        let snapshot = &self.share.snapshot;
        for (incarnation, _) in snapshot.knowledge.lacks(&offer.knowledge) {
            if snapshot.history.contains(incarnation) {
                effects.push(Effect::Report(Event::RolledBack { collection, incarnation }));
            }
        }
        self.source.expect(offer.pulls && self.share.serves && !mismatched, offer.knowledge);
        self.sink.expected = pulls;
        if pulls {
            effects.push(Effect::LoadCheckpoint { collection, key: remote.checkpoint_key.clone() });
        }
        if remote.direct {
            effects.push(Effect::Direct { collection, origin: remote.incarnation });
        }
        self.remote = Some(remote);
        // What was committed since our offer.
        self.update_at = self.has_update().then_some(Duration::ZERO);
        effects
    }

    pub(super) fn begin_pull(&mut self, after: Option<Checkpoint>, limits: &SessionLimits) -> Message {
        self.sink.pulling = true;
        Message::Pull(Pull {
            collection: self.index(),
            after,
            pages: sink::PAGES,
            documents_max: limits.page.documents_max.get(),
            bytes_max: limits.page.bytes_max.get(),
        })
    }

    pub(super) fn pulled(
        &mut self,
        pull: &Pull,
        limits: &SessionLimits,
        message_bytes_max: u32,
    ) -> Result<(), Violation> {
        self.source.pulled(pull, &self.share.snapshot, limits, message_bytes_max)
    }

    pub(super) fn committed(
        &mut self,
        now: Duration,
        snapshot: Snapshot,
        direct: Arc<BTreeSet<Incarnation>>,
        update_delay: Duration,
    ) {
        // Whom we hear from decides what peers leave to others, and changes seldom. Until they know, all of them send
        // the same documents.
        let told_at_once =
            self.share.snapshot.incarnation != snapshot.incarnation || self.share.direct != direct;
        self.share.snapshot = snapshot;
        self.share.direct = direct;
        if (told_at_once || self.update_at.is_none()) && self.has_update() {
            self.update_at = Some(if told_at_once { now } else { now + update_delay });
        }
    }

    pub(super) fn received(&mut self, changes: Changes, limits: &SessionLimits) -> Result<(), Violation> {
        // The peer knows what it vouches for.
        self.source.peer_knows(&changes.knowledge);
        self.sink.receive(changes, limits)
    }

    pub(super) fn applied(&mut self, now: Duration, applied: Applied) -> Vec<Message> {
        let remote = self.remote.as_ref().expect("pages come from a matched peer");
        let durable = self.sink.applied(now, &applied, remote.incarnation, &self.share.direct);
        self.source.received(applied.as_sent);
        self.told.join(&durable.knowledge);
        let mut messages = alloc::vec![Message::More { collection: self.index() }];
        if !durable.prune.is_empty() && remote.direct {
            messages.push(Message::Prune { collection: self.index(), origins: durable.prune });
        }
        messages
    }

    /// The peer tells news of itself. Returns its new incarnation, if we hear from it directly.
    pub(super) fn updated(&mut self, update: &Update, limits: &SessionLimits) -> Option<Incarnation> {
        self.source.updated(&update.knowledge, &update.connected, &update.disconnected, limits);
        let remote = self.remote.as_mut().expect("updates come from a matched peer");
        remote.incarnation = update.incarnation?;
        remote.direct.then_some(remote.incarnation)
    }

    pub(super) fn announced(&mut self, origins: &Context, now: Duration, graft_delay: Duration) {
        let snapshot = &self.share.snapshot;
        self.sink.announced(origins, &snapshot.knowledge, snapshot.end, now, graft_delay);
    }

    /// The entries of the longest version vector that grows with what the peer says.
    pub(super) fn entries(&self) -> usize {
        self.source.entries().max(self.sink.entries())
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let deadlines = [self.update_at, self.source.deadline(), self.sink.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// What to do now, if anything. To be asked again after each step.
    pub(super) fn step(&mut self, now: Duration, limits: &SessionLimits) -> Option<Step> {
        self.remote.as_ref().filter(|remote| !remote.mismatched)?;
        if self.update_at.is_some_and(|at| at <= now) {
            self.update_at = None;
            if self.has_update() {
                return Some(Step::Send(self.update()));
            }
        }
        let snapshot = &self.share.snapshot;
        if let Some(origins) = self.sink.graft(&snapshot.knowledge, snapshot.end, now, limits.graft_delay) {
            return Some(Step::Send(Message::Graft { collection: self.index(), origins }));
        }
        if !self.source.is_scanning()
            && let Some(changes) = self.sink.next()
        {
            let key = self.remote.as_ref().expect("checked above").checkpoint_key.clone();
            let checkpoint = changes.checkpoint.map(|checkpoint| (key, checkpoint));
            let mut page = Page { documents: changes.documents, checkpoint, knowledge: changes.knowledge };
            if planted!(PeersKnowledgeJoined) {
                page.knowledge.join(&self.source.peer);
            }
            return Some(Step::Do(Effect::Apply { collection: self.collection, page }));
        }
        let collection = self.index();
        Some(match self.source.step(now, snapshot, self.sink.is_idle(), limits)? {
            source::Step::Scan { after, limits } => {
                Step::Do(Effect::Scan { collection: self.collection, after, limits })
            }
            source::Step::Announce(origins) => Step::Send(Message::Announce { collection, origins }),
            source::Step::Send(source::Served { documents, checkpoint, complete, knowledge }) => {
                // Vouching for a write tells that we know it.
                self.told.join(&knowledge);
                Step::Send(Message::Changes(Changes {
                    collection,
                    documents,
                    checkpoint,
                    complete,
                    knowledge,
                }))
            }
        })
    }

    fn index(&self) -> OfferIndex {
        OfferIndex(self.collection.0 as u32)
    }

    fn has_update(&self) -> bool {
        let snapshot = &self.share.snapshot;
        self.remote.as_ref().is_some_and(|remote| remote.serves)
            && (!self.told.covers(&snapshot.knowledge)
                || self.told_incarnation != snapshot.incarnation
                || self.others() != self.told_direct)
    }

    /// Whom we hear from directly, besides the peer.
    fn others(&self) -> BTreeSet<Incarnation> {
        let peer = self.remote.as_ref().map(|remote| remote.incarnation);
        self.share.direct.iter().copied().filter(|origin| Some(*origin) != peer).collect()
    }

    fn update(&mut self) -> Message {
        let snapshot = &self.share.snapshot;
        let knowledge: Knowledge = self.told.lacks(&snapshot.knowledge).collect();
        self.told.join(&knowledge);
        let incarnation = (self.told_incarnation != snapshot.incarnation).then_some(snapshot.incarnation);
        self.told_incarnation = snapshot.incarnation;
        let others = self.others();
        let connected = others.difference(&self.told_direct).copied().collect();
        let disconnected = self.told_direct.difference(&others).copied().collect();
        self.told_direct = others;
        Message::Update(Update { collection: self.index(), incarnation, knowledge, connected, disconnected })
    }
}
