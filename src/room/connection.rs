//! The driver of one session: moves frames between the connection and the session, and does what the session says.
//!
//! Decides nothing about replication. One task per connection; storage operations run beside the receiving and the
//! sending, so that neither a slow disk nor a slow peer holds up the other.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::stream::SelectAll;
use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use peerloom_core::{
    APPLIES_MAX, Admission, Applied, CloseReason, CollectionIndex, Connection, Effect, Event, Input,
    Newcomer, Page, PageLimits, Refusal, ReplicaId, Sequence, Session, SessionConfig, Share,
    checkpoint_from_value,
};
use tokio::sync::{mpsc, watch};

use super::event::RoomEvent;
use super::outgoing::{Gone, Outgoing};
use super::peers::{Joining, PeerState, Stop};
use super::validator::{Applicant, Verdict};
use super::{RoomCore, SharedCollection};
use crate::collection::{Mark, Progress, SessionNumber};

/// How long the farewell may take before the connection is dropped.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// How a session ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) reason: CloseReason,
    /// The peer, if it ever joined.
    pub(super) peer: Option<ReplicaId>,
    /// The peer, if it ever proved who it is.
    pub(super) proven: Option<ReplicaId>,
    /// For how long the peer was joined, if it ever was.
    pub(super) joined_for: Option<Duration>,
    /// Whether the end was told where it belongs, so that the room says no more.
    pub(super) is_told: bool,
}

/// Answers to effects. Those that must come in order come from one stream.
type OperationStream = Pin<Box<dyn Stream<Item = Input> + Send>>;
type ProgressStream = Pin<Box<dyn Stream<Item = (CollectionIndex, Progress)> + Send>>;

pub(super) struct Driver {
    room: Arc<RoomCore>,
    number: SessionNumber,
    /// Who this side is in this session.
    replica: ReplicaId,
    session: Session,
    connection: Connection,
    collections: Vec<SharedCollection>,
    operations: SelectAll<OperationStream>,
    /// Where pages go, by their collection, once there were any.
    pages: BTreeMap<usize, mpsc::Sender<Page>>,
    progress: SelectAll<ProgressStream>,
    effects: Vec<Effect>,
    peer: Option<ReplicaId>,
    proven: Option<ReplicaId>,
    joined_at: Option<Duration>,
    closed: Option<CloseReason>,
    /// The end of each collection's changefeed, in the era in which the session began to share it.
    marks: Vec<Mark>,
}

impl Driver {
    pub(super) fn new(room: Arc<RoomCore>, number: SessionNumber, connection: Connection) -> Self {
        let node = &room.node;
        let mut nonce = [0; 32];
        node.environment().fill_random(&mut nonce);
        let identity = node.identity();
        let replica = identity.replica_id();
        let config = SessionConfig {
            identity,
            opening: node.opening,
            nonce,
            topic_key: room.topic_key.clone(),
            claim: room.claim.clone(),
            admission: match room.validator {
                Some(_) => Admission::Asked,
                None => Admission::Everybody,
            },
            capabilities: room.capabilities(),
            channel_binding: connection.channel_binding.clone(),
            frame_bytes_max: connection.message_bytes_max,
            limits: room.limits.clone(),
        };
        let session = Session::new(config, node.environment().now());
        Self {
            number,
            replica,
            session,
            connection,
            collections: Vec::new(),
            operations: SelectAll::new(),
            pages: BTreeMap::new(),
            progress: SelectAll::new(),
            effects: Vec::new(),
            peer: None,
            proven: None,
            joined_at: None,
            closed: None,
            marks: Vec::new(),
            room,
        }
    }

    /// Runs the session to its end.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<Option<Stop>>) -> Ended {
        let environment = self.room.node.environment_handle();
        let mut shares = self.room.shares.subscribe();
        self.share(&shares.borrow_and_update().clone());
        let (sender, mut receiver) = (self.connection.sender, self.connection.receiver);
        self.connection.sender = Box::new(Gone);
        self.connection.receiver = Box::new(Gone);
        let mut outgoing = Outgoing::new(sender);
        #[cfg(feature = "rxdb")]
        let mut is_first = self.room.rxdb.is_some();
        while self.closed.is_none() {
            if outgoing.is_idle() && self.session.wants_to_send() {
                outgoing.send(self.frame());
            }
            let deadline = self.session.deadline();
            let tick = match deadline {
                Some(deadline) => Either::Left(environment.sleep_until(deadline)),
                None => Either::Right(future::pending()),
            };
            // Biased, so that what happens follows from the inputs alone: first what ends the session, then what frees memory.
            let input = tokio::select! {
                biased;
                Ok(()) = stop.changed() => match stop.borrow_and_update().clone() {
                    Some(Stop::Refuse(refusal)) => Input::Refuse(refusal),
                    Some(Stop::Leave) | None => Input::Leave,
                },
                Some(input) = self.operations.next(), if !self.operations.is_empty() => input,
                () = outgoing.sent(), if outgoing.is_sending() => {
                    if self.session.wants_to_send() {
                        continue;
                    }
                    Input::Tick
                },
                Some((collection, progress)) = self.progress.next(), if !self.progress.is_empty() => {
                    if progress.era != self.marks[collection.0].era {
                        self.handle(Input::Rechecking);
                        continue;
                    }
                    self.marks[collection.0].end = progress.snapshot.end;
                    Input::Committed { collection, snapshot: progress.snapshot, direct: progress.direct }
                },
                Ok(()) = shares.changed() => {
                    let shared = shares.borrow_and_update().clone();
                    self.share(&shared);
                    continue;
                },
                frame = receiver.receive() => match frame {
                    Some(frame) => Input::Received(frame),
                    None => Input::ConnectionLost,
                },
                () = tick => Input::Tick,
            };
            #[cfg(feature = "rxdb")]
            if let Input::Received(frame) = &input
                && std::mem::take(&mut is_first)
                && peerloom_rxdb::speaks_rxdb(frame)
            {
                let first = frame.clone();
                return self.hand_over(outgoing, receiver, first, stop).await;
            }
            self.handle(input);
        }
        self.farewell(outgoing).await;
        self.ended()
    }

    fn ended(self) -> Ended {
        for collection in &self.collections {
            collection.core.shared.hear(self.number, None);
        }
        let now = self.room.node.environment().now().monotonic;
        Ended {
            reason: self.closed.expect("the session is over"),
            peer: self.peer,
            proven: self.proven,
            joined_for: self.joined_at.map(|at| now.saturating_sub(at)),
            is_told: false,
        }
    }

    /// The peer speaks another dialect: the connection goes on without the session, which nobody has answered.
    #[cfg(feature = "rxdb")]
    async fn hand_over(
        self,
        outgoing: Outgoing,
        receiver: Box<dyn peerloom_core::MessageReceiver>,
        first: Bytes,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Ended {
        let line = super::rxdb::Line {
            sender: outgoing.into_sender().await,
            receiver,
            message_bytes_max: self.connection.message_bytes_max,
            address: self.connection.peer,
            first,
        };
        super::rxdb::run(self.room, self.number, line, stop).await
    }

    fn frame(&mut self) -> Bytes {
        let now = self.room.node.environment().now();
        self.session.transmit(now).expect("the session wants to send")
    }

    fn handle(&mut self, input: Input) {
        let now = self.room.node.environment().now();
        self.session.handle(now, input, &mut self.effects);
        for effect in std::mem::take(&mut self.effects) {
            self.perform(effect);
        }
        let (state, counters) = (self.state(), self.session.counters());
        let marks = self.marks.clone();
        self.room.peers.update(self.number, |status| {
            status.peer.state = state;
            status.peer.counters = counters;
            status.marks = marks;
        });
    }

    fn state(&self) -> PeerState {
        match self.peer {
            None => PeerState::Connecting,
            Some(_) if self.session.is_caught_up() => PeerState::CaughtUp,
            Some(_) => PeerState::CatchingUp,
        }
    }

    /// Shares the collections that were not yet.
    fn share(&mut self, shares: &[SharedCollection]) {
        for shared in &shares[self.collections.len()..] {
            let collection = CollectionIndex(self.collections.len());
            let core = &shared.core;
            let mut progress = core.shared.progress();
            let Progress { snapshot, direct, era } = progress.borrow_and_update().clone();
            self.marks.push(Mark { era, end: snapshot.end });
            self.collections.push(shared.clone());
            self.progress.push(Box::pin(stream::unfold(progress, move |mut progress| async move {
                progress.changed().await.ok()?;
                let now = progress.borrow_and_update().clone();
                Some(((collection, now), progress))
            })));
            // What has failed would fail every session at its first page, and the other collections with it. To offer it neither way says so.
            let works = !core.shared.is_failed();
            self.handle(Input::Share(Share {
                name: core.shared.name().clone(),
                schema_version: core.schema_version,
                handler: core.shared.handler().id().to_owned(),
                serves: works && shared.sharing.serves(),
                pulls: works && shared.sharing.pulls(),
                filter: shared.sharing.filter_name(),
                snapshot,
                direct,
            }));
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Admit(newcomer) => self.admit(newcomer),
            Effect::LoadCheckpoint { collection, key } => {
                let store = self.collections[collection.0].core.store.clone();
                self.operate(async move {
                    let found = store.metadata(&key, None, NonZeroU32::MIN).await?;
                    let exact = found.into_iter().find(|(found, _)| *found == key);
                    let checkpoint = exact.and_then(|(_, value)| checkpoint_from_value(&value));
                    Ok::<_, crate::Error>(Input::CheckpointLoaded { collection, checkpoint })
                });
            }
            Effect::Scan { collection, after, limits } => self.scan(collection, after, limits),
            Effect::Apply { collection, page } => self.apply(collection, page),
            Effect::Direct { collection, origin } => {
                self.collections[collection.0].core.shared.hear(self.number, Some(origin));
            }
            Effect::Report(event) => self.report(event),
            Effect::Close(reason) => self.closed = Some(reason),
        }
    }

    /// Asks the application, unless it has said already.
    fn admit(&mut self, newcomer: Newcomer) {
        let Newcomer { public_key, claim } = newcomer;
        let replica = ReplicaId::of_public_key(&public_key);
        self.proven = Some(replica);
        if let Some(refusal) = self.room.revocation(replica) {
            return self.operate(async { Ok(Input::Refuse(refusal)) });
        }
        let validator = self.room.validator.clone().expect("who has none does not ask");
        let address = self.connection.peer.clone();
        self.operate(async move {
            let applicant = Applicant { replica, public_key, address, claim };
            let verdict = AssertUnwindSafe(validator.validate(&applicant)).catch_unwind().await;
            Ok(match verdict {
                Ok(Verdict::Admit) => Input::Admitted,
                Ok(Verdict::Refuse { reason }) => Input::Refuse(Refusal::Denied(reason)),
                Err(_) => {
                    tracing::error!("the validator of peers panicked");
                    Input::Refuse(Refusal::Denied("the decision failed".to_owned()))
                }
            })
        });
    }

    fn scan(&mut self, collection: CollectionIndex, after: Sequence, limits: PageLimits) {
        let SharedCollection { core, sharing } = self.collections[collection.0].clone();
        self.operate(async move {
            let still = match planted!(FeedNotHeldStill) {
                true => None,
                false => Some(core.shared.still_feed().await),
            };
            if core.shared.is_failed() {
                // The feed may hold a commit that no snapshot knows of.
                return Err(crate::Error::MustReopen);
            }
            let snapshot = core.snapshot();
            let records = core.store.changes(after, limits).await?;
            drop(still);
            let records = records.into_iter().map(|record| sharing.scanned(record)).collect();
            Ok::<_, crate::Error>(Input::Scanned { collection, snapshot, records })
        });
    }

    fn apply(&mut self, collection: CollectionIndex, page: Page) {
        let (operations, core) = (&mut self.operations, &self.collections[collection.0].core);
        let peer = self.peer.expect("pages come from a peer that has joined");
        let era = self.marks[collection.0].era;
        let pages = self.pages.entry(collection.0).or_insert_with(|| {
            let (sender, pages) = mpsc::channel(APPLIES_MAX);
            let answers = core.clone().apply(peer, era, pages);
            operations.push(Box::pin(answers.map(move |applied| match applied {
                Ok(Some(applied)) => Input::Applied { collection, applied },
                Ok(None) => Input::Rechecking,
                Err(_) if planted!(FailedPageSkipped) => {
                    Input::Applied { collection, applied: Applied::default() }
                }
                Err(error) => storage_failed(&error),
            })));
            sender
        });
        pages.try_send(page).expect("the session has no more under way than there is room for");
    }

    fn operate(&mut self, operation: impl Future<Output = Result<Input, crate::Error>> + Send + 'static) {
        let answer = async { operation.await.unwrap_or_else(|error| storage_failed(&error)) };
        self.operations.push(Box::pin(stream::once(answer)));
    }

    fn report(&mut self, event: Event) {
        let name = |index: CollectionIndex| self.collections[index.0].core.shared.name().clone();
        let told = match (event, self.peer) {
            (Event::Established { peer, opening, capabilities }, _) => {
                self.proven = Some(peer);
                let (peers, peers_max) = (&self.room.peers, self.room.peers_max);
                let joined = || {
                    self.room.tell(RoomEvent::PeerJoined { peer, address: self.connection.peer.clone() });
                };
                let now = self.room.node.environment().now().monotonic;
                let tag = self.session.tag().to_vec();
                let newcomer = Joining { replica: peer, opening, capabilities, tag, at: now };
                let admitted =
                    self.room.unless_revoked(peer, || peers.admit(self.number, newcomer, peers_max, joined));
                match admitted {
                    Ok(()) => {
                        self.peer = Some(peer);
                        self.joined_at = Some(now);
                    }
                    Err(refusal) => self.handle(Input::Refuse(refusal)),
                }
                return;
            }
            (Event::SameIdentity { yields }, _) => {
                if yields && !planted!(CloneKeepsIdentity) {
                    self.room.change_identity(self.replica);
                }
                return;
            }
            (Event::Shared { collection }, Some(peer)) => {
                RoomEvent::Shared { peer, collection: name(collection) }
            }
            (Event::NotShared { collection }, Some(peer)) => {
                RoomEvent::NotShared { peer, collection: name(collection) }
            }
            (Event::PeerStorageFailed { collection }, Some(peer)) => {
                RoomEvent::PeerStorageFailed { peer, collection: name(collection) }
            }
            (Event::SchemaMismatch { collection, ours, theirs }, Some(peer)) => {
                RoomEvent::SchemaMismatch { peer, collection: name(collection), ours, theirs }
            }
            (Event::HandlerMismatch { collection, theirs }, Some(peer)) => {
                RoomEvent::HandlerMismatch { peer, collection: name(collection), theirs }
            }
            (Event::RolledBack { collection, .. }, Some(peer)) => {
                RoomEvent::RolledBack { peer, collection: name(collection) }
            }
            (Event::CaughtUp, Some(peer)) => RoomEvent::CaughtUp { peer },
            (Event::DocumentTooLarge { collection, id, bytes }, Some(peer)) => {
                RoomEvent::DocumentTooLarge { peer, collection: name(collection), id, bytes }
            }
            (_, _) => return,
        };
        self.room.tell(told);
    }

    /// Sends what is left to say, then closes, as far as the peer lets it within the time-out.
    async fn farewell(&mut self, mut outgoing: Outgoing) {
        let environment = self.room.node.environment_handle();
        let deadline = environment.now().monotonic + FAREWELL_TIMEOUT;
        let saying = async {
            outgoing.sent().await;
            while outgoing.is_idle()
                && let Some(frame) = self.session.transmit(environment.now())
            {
                outgoing.send(frame);
                outgoing.sent().await;
            }
            outgoing.close().await;
        };
        tokio::select! {
            biased;
            () = saying => {}
            () = environment.sleep_until(deadline) => {}
        }
    }
}

fn storage_failed(error: &crate::Error) -> Input {
    Input::StorageFailed { detail: error.to_string() }
}
