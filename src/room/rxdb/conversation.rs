//! The conversation with one RxDB peer: moves frames, and does what the dialect's session says.
//!
//! Decides nothing about replication. One storage operation is under way at a time.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::Either;
use peerloom_core::{
    DocumentId, MessageSender, PageLimits, PastViews, Resolver, Sequence, SessionCounters, Transaction,
    TransportError, past_views_key,
};
use peerloom_rxdb::{
    CloseReason, Config, Effect, Event, Exchanged, Input, LinkState, Scanned, Session, Token, exchanged_key,
    exchanged_prefix, link_key,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::driver::Line;
use super::{Bridge, Election};
use crate::collection::{Core, Mark, Progress, SessionNumber, read_metadata};
use crate::environment::{BoxFuture, random_u64};
use crate::error::Error;
use crate::room::event::RoomEvent;
use crate::room::peers::{PeerState, Stop};
use crate::room::{RoomCore, Sharing};

/// Why a conversation ended.
pub(super) enum End {
    /// This side leaves the room.
    Stopped,
    /// The peer has another connection.
    Replaced,
    /// The connection was lost.
    Lost,
    /// Another replica speaks with RxDB peers from now on.
    SteppedDown,
    Failed(String),
    StorageFailed(String),
}

type Sending = BoxFuture<(Box<dyn MessageSender>, Result<(), TransportError>)>;

pub(super) struct Conversation {
    room: Arc<RoomCore>,
    number: SessionNumber,
    line: Line,
    kept: VecDeque<Bytes>,
    session: Session,
    core: Arc<Core>,
    sharing: Sharing,
    progress: watch::Receiver<Progress>,
    end: Sequence,
    operation: Option<BoxFuture<Input>>,
    token: Option<Token>,
    replaced: CancellationToken,
    ended: Option<End>,
}

impl Conversation {
    pub(super) fn new(room: Arc<RoomCore>, number: SessionNumber, line: Line, kept: VecDeque<Bytes>) -> Self {
        let options = &room.rxdb.as_ref().expect("a room without a bridge has no conversation").options;
        let (core, sharing) = (options.core.clone(), options.sharing.clone());
        let environment = room.node.environment();
        let replica = room.node.identity().replica_id();
        let settings = options.settings.clone();
        let config = Config::new(&replica, random_u64(environment), line.message_bytes_max, settings);
        let mut progress = core.shared.progress();
        let snapshot = progress.borrow_and_update().snapshot.clone();
        let end = snapshot.end;
        let session = Session::new(config, snapshot, environment.now());
        Self {
            room,
            number,
            line,
            kept,
            session,
            core,
            sharing,
            progress,
            end,
            operation: None,
            token: None,
            replaced: CancellationToken::new(),
            ended: None,
        }
    }

    /// Has the conversation to its end, and gives the connection back to be closed.
    pub(super) async fn run(
        mut self,
        stop: &mut watch::Receiver<Option<Stop>>,
        election: &mut Election,
    ) -> (Line, End) {
        let environment = self.room.node.environment_handle();
        while self.ended.is_none() {
            if let Some(message) = self.kept.pop_front() {
                self.handle(Input::Received(message));
                continue;
            }
            let frame = self.session.transmit();
            let waits_to_send = frame.is_some();
            let mut sending = frame.map(|frame| send(&mut self.line, frame));
            let end = self.converse(&environment, stop, election, &mut sending, waits_to_send).await;
            if let Some(end) = end {
                self.ended = Some(end);
            }
        }
        if let Some(token) = &self.token {
            self.bridge().leave(token, self.number);
            let (address, token) = (self.line.address.clone(), token.as_str().to_owned());
            self.room.tell(RoomEvent::RxdbLeft { address, token });
        }
        // What was begun is waited for, so that nothing is committed for a conversation that is over.
        if let Some(operation) = self.operation.take() {
            operation.await;
        }
        (self.line, self.ended.expect("the loop runs until then"))
    }

    /// Goes on until the frame is sent, or until the session may have another. Returns why the conversation ends, if it does.
    async fn converse(
        &mut self,
        environment: &Arc<dyn crate::Environment>,
        stop: &mut watch::Receiver<Option<Stop>>,
        election: &mut Election,
        sending: &mut Option<Sending>,
        waits_to_send: bool,
    ) -> Option<End> {
        loop {
            if self.ended.is_some() {
                return None;
            }
            let tick = match self.session.deadline() {
                Some(deadline) => Either::Left(environment.sleep_until(deadline)),
                None => Either::Right(pending()),
            };
            let replaced = self.replaced.clone();
            let input = tokio::select! {
                biased;
                Ok(()) = stop.changed() => return Some(End::Stopped),
                () = replaced.cancelled() => return Some(End::Replaced),
                () = election.changed() => {
                    if election.is_won() {
                        continue;
                    }
                    return Some(End::SteppedDown);
                }
                input = async { self.operation.as_mut().expect("guarded").await }, if self.operation.is_some() => {
                    self.operation = None;
                    input
                }
                (sender, sent) = async { sending.as_mut().expect("guarded").await }, if sending.is_some() => {
                    *sending = None;
                    self.line.sender = sender;
                    if sent.is_err() {
                        return Some(End::Lost);
                    }
                    Input::Tick
                }
                Ok(()) = self.progress.changed() => {
                    let snapshot = self.progress.borrow_and_update().snapshot.clone();
                    self.end = snapshot.end;
                    Input::Committed(snapshot)
                }
                message = self.line.receiver.receive(), if self.session.wants_to_receive() => match message {
                    Some(message) => Input::Received(message),
                    None => return Some(End::Lost),
                },
                () = tick => Input::Tick,
            };
            self.handle(input);
            let is_sent = waits_to_send && sending.is_none();
            if is_sent || (sending.is_none() && self.session.wants_to_send()) {
                return None;
            }
        }
    }

    fn bridge(&self) -> &Bridge {
        self.room.rxdb.as_ref().expect("a room without a bridge has no conversation")
    }

    fn handle(&mut self, input: Input) {
        let now = self.room.node.environment().now();
        let mut effects = Vec::new();
        self.session.handle(now, input, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
        let state = if self.session.is_caught_up() { PeerState::CaughtUp } else { PeerState::CatchingUp };
        let counters = self.session.counters();
        let shared = self.room.shares.borrow().clone();
        let mark_of = |core: &Arc<Core>| match Arc::ptr_eq(core, &self.core) {
            true => Mark { end: self.end, ..self.core.shared.mark() },
            false => Mark::BEYOND,
        };
        let marks = shared.iter().map(|share| mark_of(&share.core)).collect();
        let token = self.token.as_ref().map(|token| token.as_str().to_owned());
        self.room.peers.update(self.number, |status| {
            status.peer.state = state;
            status.peer.rxdb_token = token;
            status.peer.counters = SessionCounters {
                bytes_sent: counters.bytes_sent,
                bytes_received: counters.bytes_received,
                documents_sent: counters.documents_sent,
                documents_received: counters.documents_received,
                ..SessionCounters::default()
            };
            status.peer.documents_left_out = counters.documents_left_out;
            status.marks = marks;
        });
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Load { token, .. } => {
                self.replaced = self.bridge().enter(&token, self.number);
                self.token = Some(token.clone());
                let (address, name) = (self.line.address.clone(), token.as_str().to_owned());
                self.room.tell(RoomEvent::RxdbJoined { address, token: name });
                let core = self.core.clone();
                self.operate(async move {
                    let found = read_metadata(&*core.store, &[link_key(&token)]).await?.pop().flatten();
                    let link = found.and_then(|value| LinkState::decode(&value)).unwrap_or_default();
                    Ok(Input::Loaded(link))
                });
            }
            Effect::Scan { token, after, limits } => {
                let (core, sharing) = (self.core.clone(), self.sharing.clone());
                self.operate(async move { scan(&core, &sharing, &token, after, limits).await });
            }
            Effect::Exchange(exchange) => {
                let core = self.core.clone();
                self.operate(async move {
                    let (ids, keys) = (exchange.ids(), exchange.keys());
                    let decide = move |transaction: &mut Transaction<'_>,
                                       metadata,
                                       fresh,
                                       resolver: &mut dyn Resolver| {
                        exchange.decide(transaction, metadata, fresh, resolver)
                    };
                    core.decide(ids, keys, decide).await.map(Input::Exchanged)
                });
            }
            Effect::Report(event) => self.report(event),
            Effect::Close(reason) => {
                self.ended = Some(match reason {
                    CloseReason::Storage { detail } => End::StorageFailed(detail),
                    reason => End::Failed(reason.to_string()),
                });
            }
        }
    }

    fn operate(&mut self, operation: impl Future<Output = Result<Input, Error>> + Send + 'static) {
        assert!(self.operation.is_none(), "one operation at a time is under way");
        self.operation = Some(Box::pin(async {
            operation.await.unwrap_or_else(|error| Input::StorageFailed { detail: error.to_string() })
        }));
    }

    fn report(&self, event: Event) {
        let collection = self.core.shared.name().clone();
        let address = self.line.address.clone();
        match event {
            Event::CaughtUp => self.room.tell(RoomEvent::RxdbCaughtUp { address }),
            Event::LeftOut { id, why } => {
                let reason = why.to_string();
                self.room.tell(RoomEvent::RxdbLeftOut { address, collection, id, reason });
            }
            Event::RequestFailed { method, detail } => {
                tracing::warn!(%address, method, detail, "a request to an RxDB peer failed");
            }
            _ => {}
        }
    }
}

fn send(line: &mut Line, frame: Bytes) -> Sending {
    let mut sender = std::mem::replace(&mut line.sender, Box::new(crate::room::outgoing::Gone));
    Box::pin(async move {
        let sent = sender.send(frame).await;
        (sender, sent)
    })
}

/// Reads the changefeed, and what the peer has of it.
async fn scan(
    core: &Core,
    sharing: &Sharing,
    token: &Token,
    after: Sequence,
    limits: PageLimits,
) -> Result<Input, Error> {
    let still = core.shared.still_feed().await;
    if core.shared.is_failed() {
        return Err(Error::MustReopen);
    }
    let snapshot = core.snapshot();
    let records = core.store.changes(after, limits).await?;
    let prefix = exchanged_prefix(token);
    let knows_none = core.store.metadata(&prefix, None, NonZeroU32::MIN).await?.is_empty();
    let keys: Vec<Bytes> = match knows_none {
        true => Vec::new(),
        false => records.iter().map(|record| exchanged_key(token, &record.id)).collect(),
    };
    let mut exchanged = read_metadata(&*core.store, &keys).await?;
    exchanged.resize(records.len(), None);
    let is_bare = |id: &&DocumentId, bare: bool| bare.then(|| past_views_key(id));
    let past_keys: Vec<Bytes> = records
        .iter()
        .filter_map(|record| is_bare(&&record.id, record.view().deleted && record.view().body.is_empty()))
        .collect();
    let mut past = read_metadata(&*core.store, &past_keys).await?.into_iter();
    drop(still);
    let scanned = records.into_iter().zip(exchanged).map(|(record, exchanged)| {
        let bare = record.view().deleted && record.view().body.is_empty();
        let views = if bare { past.next().flatten() } else { None };
        let views = views.and_then(|value| PastViews::from_value(&value).ok());
        let last_body = views.map(|views| views.last_body).unwrap_or_default();
        let peerloom_core::Scanned { record, served } = sharing.scanned(record);
        let exchanged = exchanged.and_then(|value| Exchanged::decode(&value));
        Scanned { record, served, exchanged, last_body }
    });
    Ok(Input::Scanned { snapshot, records: scanned.collect() })
}
