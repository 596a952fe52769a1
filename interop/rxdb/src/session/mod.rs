//! The conversation with one RxDB peer, as a state machine.
//!
//! Both sides ask for each other's token; the tokens decide who is the master of the pair. [`serve`] is what a master does, [`follow`]
//! what a fork does. Requests are answered whatever the role is. One storage operation is under way at a time; nothing queues
//! without a bound, because the driver stops receiving while [`Session::wants_to_receive`] says no.

mod follow;
mod serve;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::{DocumentId, Now, Sequence, Snapshot};
use serde_json::Value;

use crate::chunk::{Assembler, split};
use crate::exchange::LinkState;
use crate::interface::{CloseReason, Counters, Effect, Event, Input};
use crate::message::{self, Message};
use crate::settings::{Config, Settings};
use crate::token::{Role, Token};
use follow::{Follow, PushRow};
use serve::{Building, Serve};

/// How many messages wait to be attended to before the driver stops receiving.
const INBOX_MESSAGES_MAX: usize = 64;

/// How many may wait until the peer has said who it is, which must not be held up.
const INBOX_MESSAGES_MAX_UNKNOWN: usize = 4096;

/// How many bytes of memory the messages that wait may take, the last one aside.
const INBOX_BYTES_MAX: usize = 16 << 20;

/// How many bytes wait to be sent before nothing more is served and received.
const OUTBOX_BYTES_MAX: usize = 4 << 20;

/// What the storage operation under way is for.
#[derive(Debug)]
enum Busy {
    Loading,
    /// Reading for a page that is asked for, or for the change stream.
    Serving(Building),
    /// Deciding on rows that a fork wants to be written.
    Writing {
        request: String,
        ids: Vec<DocumentId>,
    },
    /// Deciding on what the master told.
    Following,
    /// Reading what to push.
    Pushing,
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Awaited {
    id: String,
    kind: Asked,
    deadline: Duration,
}

#[derive(Debug)]
enum Asked {
    Token,
    /// What has become of the master since the last time.
    Oldest,
    Pull,
    Push(Vec<PushRow>),
}

impl Asked {
    fn method(&self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Oldest | Self::Pull => "masterChangesSince",
            Self::Push(_) => "masterWrite",
        }
    }
}

/// A request of the peer's.
#[derive(Debug)]
struct Request {
    id: String,
    method: String,
    params: Vec<Value>,
}

/// What a fork attends to, in the order in which it came.
#[derive(Debug)]
enum Told {
    Resync,
    Oldest(Value),
    Changes(Value),
    Pulled(Value),
    Pushed(Vec<PushRow>, Value),
}

/// What waits to be attended to, and how much memory it takes.
#[derive(Debug)]
struct Waiting<T> {
    what: T,
    bytes: usize,
}

/// The conversation with one RxDB peer.
#[derive(Debug)]
pub struct Session {
    config: Config,
    snapshot: Snapshot,
    peer: Option<(Token, Role)>,
    link: LinkState,
    loaded: bool,
    assembler: Assembler,
    requests: VecDeque<Waiting<Request>>,
    told: VecDeque<Waiting<Told>>,
    /// Of `requests` and `told`.
    inbox_bytes: usize,
    outbox: VecDeque<Bytes>,
    outbox_bytes: usize,
    awaited: Vec<Awaited>,
    busy: Option<Busy>,
    serve: Serve,
    follow: Follow,
    named: u64,
    /// Nothing is asked of the peer before.
    retry_at: Option<Duration>,
    was_caught_up: bool,
    closed: bool,
    counters: Counters,
}

impl Session {
    /// A session that has just been connected. `snapshot` is the replica as it is now.
    pub fn new(config: Config, snapshot: Snapshot, now: Now) -> Self {
        let assembler = Assembler::new(config.settings.message_bytes_max);
        let mut session = Self {
            config,
            snapshot,
            peer: None,
            link: LinkState::default(),
            loaded: false,
            assembler,
            requests: VecDeque::new(),
            told: VecDeque::new(),
            inbox_bytes: 0,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            awaited: Vec::new(),
            busy: None,
            serve: Serve::default(),
            follow: Follow::default(),
            named: 0,
            retry_at: None,
            was_caught_up: false,
            closed: false,
            counters: Counters::default(),
        };
        session.ask(now, Asked::Token, "[]");
        session
    }

    /// Takes an input and says what to do.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        if self.closed {
            return;
        }
        match input {
            Input::Received(frame) => {
                self.counters.bytes_received += frame.len() as u64;
                match self.assembler.take(&frame) {
                    Ok(Some(text)) => self.received(&text, effects),
                    Ok(None) => {}
                    Err(error) => self.close(error.into(), effects),
                }
            }
            Input::Committed(snapshot) => self.snapshot = snapshot,
            Input::Loaded(link) => {
                self.busy = None;
                self.loaded = true;
                self.link = link;
                self.begin();
            }
            Input::Scanned { snapshot, records } => {
                self.snapshot = snapshot;
                match self.busy.take() {
                    Some(Busy::Serving(building)) => self.read_to_serve(building, records, effects),
                    Some(Busy::Pushing) => self.read_to_push(now, records, effects),
                    other => self.busy = other,
                }
            }
            Input::Exchanged(replies) => match self.busy.take() {
                Some(Busy::Writing { request, ids }) => self.written(&request, &ids, replies, effects),
                Some(Busy::Following) => self.followed(replies, effects),
                other => self.busy = other,
            },
            Input::StorageFailed { detail } => self.close(CloseReason::Storage { detail }, effects),
            Input::Tick => {}
        }
        self.time_out(now, effects);
        self.advance(now, effects);
    }

    /// When to be given [`Input::Tick`] at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        self.awaited.iter().map(|awaited| awaited.deadline).chain(self.retry_at).min()
    }

    /// The next frame to send, if there is one. Give it [`Input::Tick`] once something was sent.
    pub fn transmit(&mut self) -> Option<Bytes> {
        let frame = self.outbox.pop_front()?;
        self.outbox_bytes -= frame.len();
        self.counters.bytes_sent += frame.len() as u64;
        Some(frame)
    }

    /// Whether there is something to send.
    pub fn wants_to_send(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether a frame may be received now.
    pub fn wants_to_receive(&self) -> bool {
        let max = if self.peer.is_some() { INBOX_MESSAGES_MAX } else { INBOX_MESSAGES_MAX_UNKNOWN };
        self.inbox_has_room(max) && self.outbox_bytes < OUTBOX_BYTES_MAX
    }

    /// The peer and our role towards it, once it has said who it is.
    pub fn peer(&self) -> Option<(&Token, Role)> {
        self.peer.as_ref().map(|(token, role)| (token, *role))
    }

    /// How much it has moved.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether both sides have all that the other has, as far as this one knows.
    pub fn is_caught_up(&self) -> bool {
        let idle = self.busy.is_none() && self.requests.is_empty() && self.told.is_empty();
        let served = match self.peer {
            Some((_, Role::Master)) => !self.serves() || self.serve.streamed >= self.snapshot.end,
            Some((_, Role::Fork)) => self.is_followed(),
            None => false,
        };
        self.loaded && idle && self.outbox.is_empty() && self.awaited.is_empty() && served
    }

    fn settings(&self) -> &Settings {
        &self.config.settings
    }

    fn token(&self) -> Token {
        self.peer.as_ref().expect("the peer has said who it is").0.clone()
    }

    fn close(&mut self, reason: CloseReason, effects: &mut Vec<Effect>) {
        self.closed = true;
        effects.push(Effect::Close(reason));
    }

    fn inbox_has_room(&self, messages_max: usize) -> bool {
        self.requests.len() + self.told.len() < messages_max && self.inbox_bytes < INBOX_BYTES_MAX
    }

    fn received(&mut self, text: &str, effects: &mut Vec<Effect>) {
        let (bytes, bytes_max) = (message::parsed_bytes(text), self.settings().parsed_bytes_max);
        if bytes > bytes_max {
            return self.close(CloseReason::Message { bytes, bytes_max }, effects);
        }
        self.understand(text, bytes, effects);
        // It would wait for ever for what nobody can receive any more.
        if !self.closed && self.peer.is_none() && !self.inbox_has_room(INBOX_MESSAGES_MAX_UNKNOWN) {
            self.close(CloseReason::Unnamed, effects);
        }
    }

    fn understand(&mut self, text: &str, bytes: usize, effects: &mut Vec<Effect>) {
        match Message::parse(text) {
            Some(Message::Request { id, method, .. }) if method == "token" => {
                let own = message::quoted(self.config.token.as_str());
                self.send(message::response(&id, &own));
            }
            Some(Message::Request { id, method, params }) => {
                if matches!(method.as_str(), "masterChangesSince" | "masterWrite") {
                    self.requests.push_back(Waiting { what: Request { id, method, params }, bytes });
                    self.inbox_bytes += bytes;
                }
            }
            Some(Message::Response { id, result, .. }) if id == message::CHANGE_STREAM => {
                let told = match result {
                    Value::String(text) if text == message::RESYNC => Told::Resync,
                    changes => Told::Changes(changes),
                };
                self.tell(told, bytes);
            }
            Some(Message::Response { id, result, error }) => {
                let Some(index) = self.awaited.iter().position(|awaited| awaited.id == id) else { return };
                let kind = self.awaited.remove(index).kind;
                match (kind, error) {
                    (kind, Some(error)) => self.failed(kind, error.to_string(), true, effects),
                    (Asked::Token, None) => self.met(&result, effects),
                    (Asked::Oldest, None) => self.tell(Told::Oldest(result), bytes),
                    (Asked::Pull, None) => self.tell(Told::Pulled(result), bytes),
                    (Asked::Push(rows), None) => self.tell(Told::Pushed(rows, result), bytes),
                }
            }
            None => {}
        }
    }

    fn tell(&mut self, what: Told, bytes: usize) {
        self.told.push_back(Waiting { what, bytes });
        self.inbox_bytes += bytes;
    }

    fn met(&mut self, token: &Value, effects: &mut Vec<Effect>) {
        let Some(token) = token.as_str().and_then(Token::new) else {
            return self.close(CloseReason::Token, effects);
        };
        let role = self.config.token.role_towards(&token);
        self.peer = Some((token.clone(), role));
        self.busy = Some(Busy::Loading);
        effects.push(Effect::Load { token, role });
    }

    /// Who the peer is and how far things are is known.
    fn begin(&mut self) {
        match self.peer() {
            Some((_, Role::Master)) => self.begin_to_serve(),
            _ => self.begin_to_follow(),
        }
    }

    /// A request was not answered, or `answered` with an error.
    fn failed(&mut self, kind: Asked, detail: String, answered: bool, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(Event::RequestFailed { method: kind.method(), detail: detail.clone() }));
        match kind {
            Asked::Token => self.follow.asks_for_token = true,
            Asked::Oldest => self.follow.look_failed(),
            Asked::Pull => self.follow.pull_failed(),
            Asked::Push(rows) if answered => {
                if self.push_refused(rows, detail, effects) {
                    return;
                }
            }
            Asked::Push(rows) => self.follow.push_failed(rows),
        }
        self.follow.waits = true;
    }

    fn time_out(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let is_late = |awaited: &mut Awaited| awaited.deadline <= now.monotonic;
        let late: Vec<Awaited> = self.awaited.extract_if(.., is_late).collect();
        for awaited in late {
            self.failed(awaited.kind, "no answer within the time-out".to_owned(), false, effects);
        }
        if std::mem::take(&mut self.follow.waits) {
            self.retry_at = Some(now.monotonic + self.config.settings.retry_after);
        }
        if self.retry_at.is_some_and(|at| at <= now.monotonic) {
            self.retry_at = None;
        }
    }

    /// Goes on until something has to be waited for.
    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.retry_at.is_none() && std::mem::take(&mut self.follow.asks_for_token) {
            self.ask(now, Asked::Token, "[]");
        }
        while self.loaded && !self.closed && self.busy.is_none() {
            if let Some(Waiting { what, bytes }) = self.told.pop_front() {
                self.inbox_bytes -= bytes;
                self.attend(now, what, effects);
            } else if self.outbox_bytes >= OUTBOX_BYTES_MAX {
                break;
            } else if let Some(Waiting { what, bytes }) = self.requests.pop_front() {
                self.inbox_bytes -= bytes;
                self.answer(what, effects);
            } else if !self.go_on(now, effects) {
                break;
            }
        }
        let caught_up = self.is_caught_up();
        if caught_up && !std::mem::replace(&mut self.was_caught_up, caught_up) {
            effects.push(Effect::Report(Event::CaughtUp));
        }
        self.was_caught_up = caught_up;
    }

    /// What there is to do without being asked. Returns whether there was something.
    fn go_on(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        match self.peer() {
            Some((_, Role::Master)) => self.stream(effects),
            Some((_, Role::Fork)) => self.follow(now, effects),
            None => false,
        }
    }

    fn ask(&mut self, now: Now, kind: Asked, params: &str) {
        let id = format!("{}|{:016x}|{}", self.config.token.as_str(), self.config.session, self.named);
        self.named += 1;
        self.send(message::request(&id, kind.method(), params));
        let deadline = now.monotonic + self.config.settings.request_timeout;
        self.awaited.push(Awaited { id, kind, deadline });
    }

    fn send(&mut self, text: String) {
        let mut number = self.config.session.wrapping_add(self.named);
        self.named += 1;
        let mut id = String::with_capacity(10);
        for _ in 0..10 {
            id.push(char::from(b'a' + (number % 26) as u8));
            number /= 26;
        }
        for frame in split(text, &id, self.config.frame_bytes_max) {
            self.outbox_bytes += frame.len();
            self.outbox.push_back(frame.into());
        }
    }

    fn left_out(
        &mut self,
        id: Option<peerloom_core::DocumentId>,
        why: crate::Unfit,
        effects: &mut Vec<Effect>,
    ) {
        self.counters.documents_left_out += 1;
        effects.push(Effect::Report(Event::LeftOut { id, why }));
    }

    fn position(&self, checkpoint: Option<peerloom_core::Checkpoint>) -> Sequence {
        self.snapshot.position(checkpoint)
    }
}
