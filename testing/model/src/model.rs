//! The model: which steps a room may take, within the bounds of a scope.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use bytes::Bytes;
use peerloom_core::*;
use stateright::{Model, Property};

use crate::oracles;
use crate::room::{Budget, Node, Room, Terms};
use crate::shared::Shared;
use crate::step::{NOW, Step, replica};
use crate::store::Store;
use crate::users::Users;
use crate::writes::Chronicle;

/// The bounds of an exploration: how large the room is, and what may happen in it how often.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// How many replicas there are.
    pub replicas: usize,
    /// Who is connected with whom.
    pub edges: &'static [(usize, usize)],
    /// How it begins.
    pub start: Start,
    /// How many documents there are.
    pub documents: usize,
    /// The replicas that write.
    pub writers: &'static [usize],
    /// The replicas that crash and are restored.
    pub unstable: &'static [usize],
    /// What may happen how often.
    pub budget: Budget,
    /// What may wait while other things happen.
    pub waits: Waits,
    /// Whether the way to rest is tried from some of the states, which finds rooms that never come to rest.
    pub settles: bool,
    /// What must be seen to happen, or the scope proves little.
    pub reaches: &'static [Landmark],
}

/// How a scope begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// Without a connection.
    Apart,
    /// With all connections just made.
    Connected,
    /// With all connections made, and everything said that there was to say: every pull is held open.
    Quiet,
    /// Like that, but for one connection that is yet to be made.
    QuietBut(usize),
}

/// What may wait while other things happen. What may not is done within the step that leads to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Waits {
    /// Effects, before they are performed.
    pub effects: bool,
    /// Answers to effects, before the session gets them.
    pub answers: bool,
    /// The news of a commit, before the sessions of the replica get it.
    pub news: bool,
}

/// Something interesting that a scope must reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Landmark {
    /// Versions stand beside each other.
    Conflict,
    /// Documents are held back, and announced.
    HeldBack,
    /// They are asked for.
    Graft,
    /// A peer is told to hold back.
    Prune,
    /// A page waits to be committed at a replica that may crash now.
    PageAtRisk,
    /// A checkpoint is kept that does not fit any more.
    Misfit,
    /// A write is forgotten by a restore, and by everybody.
    Forgotten,
}

/// What a writer had seen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Seeing {
    /// What is there.
    Current,
    /// What was read some time ago, here or elsewhere.
    Reading,
    /// Nothing.
    Nothing,
}

/// One step.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Action {
    Write { replica: usize, document: usize, seeing: Seeing },
    Read { replica: usize, document: usize },
    Deliver { end: usize },
    Perform { end: usize },
    Answer { end: usize },
    Tell { end: usize },
    Tick { end: usize },
    Connect { connection: usize, terms: Terms },
    Disconnect { connection: usize },
    Crash { replica: usize },
    Backup { replica: usize },
    Restore { replica: usize },
}

/// All rooms that a scope allows.
#[derive(Clone, Debug)]
pub(crate) struct RoomModel {
    pub(crate) scope: Scope,
    pub(crate) users: Users,
    /// Both sessions of each connection after the handshake, with nothing shared yet.
    greeted: Vec<[Session; 2]>,
    /// Where each replica's readers keep their checkpoints.
    checkpoint_keys: Vec<Bytes>,
    /// When the search ends, wherever it is.
    until: Option<Instant>,
}

impl RoomModel {
    /// The rooms of a scope, those that are reached until then.
    pub(crate) fn new(scope: Scope, users: Users, until: Option<Instant>) -> Self {
        let greeted = scope.edges.iter().map(|&(left, right)| greet([left, right])).collect();
        let key = |replica| checkpoint_key(&identity(replica).replica_id(), None);
        let checkpoint_keys = (0..scope.replicas).map(key).collect();
        Self { scope, users, greeted, checkpoint_keys, until }
    }

    pub(crate) fn greeted(&self, connection: usize) -> &[Session; 2] {
        &self.greeted[connection]
    }

    /// Where the readers of a replica keep the checkpoint in its unfiltered feed.
    pub(crate) fn checkpoint_key(&self, replica: usize) -> &Bytes {
        &self.checkpoint_keys[replica]
    }

    pub(crate) fn replica_at(&self, end: usize) -> usize {
        let (left, right) = self.scope.edges[end / 2];
        if end.is_multiple_of(2) { left } else { right }
    }

    pub(crate) fn ends_of(&self, replica: usize) -> Vec<usize> {
        (0..2 * self.scope.edges.len()).filter(|end| self.replica_at(*end) == replica).collect()
    }

    pub(crate) fn connections_of(&self, replica: usize) -> Vec<usize> {
        self.ends_of(replica).into_iter().map(|end| end / 2).collect()
    }

    /// The steps of the replicas themselves, in an order in which they could be done one after the other.
    fn own_steps<'r>(&self, room: &'r Room) -> impl Iterator<Item = Action> + 'r {
        room.live().flat_map(|(end, of)| {
            let is_due = of.session.deadline().is_some_and(|at| at <= NOW.monotonic);
            let steps = [
                (!of.inbox.is_empty()).then_some(Action::Deliver { end }),
                (!of.work.is_empty()).then_some(Action::Perform { end }),
                (!of.answers.is_empty()).then_some(Action::Answer { end }),
                of.untold.then_some(Action::Tell { end }),
                is_due.then_some(Action::Tick { end }),
            ];
            steps.into_iter().flatten()
        })
    }

    /// The first of them.
    fn own_step(&self, room: &Room) -> Option<Action> {
        self.own_steps(room).next()
    }

    fn users_steps(&self, room: &Room, actions: &mut Vec<Action>) {
        let scope = &self.scope;
        // Documents are alike until they are used, unless a filter tells them apart.
        let used = if scope.budget.filtered > 0 { scope.documents } else { room.documents().len() + 1 };
        let documents = 0..scope.documents.min(used);
        for &replica in scope.writers {
            for document in documents.clone() {
                let read = room.reading.as_ref().is_some_and(|reading| reading.document == document);
                let seeing = [
                    Some(Seeing::Current),
                    (scope.budget.readings > 0).then_some(Seeing::Nothing),
                    read.then_some(Seeing::Reading),
                ];
                let write = |seeing| Action::Write { replica, document, seeing };
                if room.budget.writes > 0 {
                    actions.extend(seeing.into_iter().flatten().map(write));
                }
                if room.budget.readings > 0 && !room.included(replica, document).is_empty() {
                    actions.push(Action::Read { replica, document });
                }
            }
        }
    }

    fn accidents(&self, room: &Room, actions: &mut Vec<Action>) {
        for connection in 0..self.scope.edges.len() {
            match &room.ends[2 * connection] {
                None => {
                    actions.push(Action::Connect { connection, terms: Terms::Full });
                    if room.budget.filtered > 0 {
                        actions.push(Action::Connect { connection, terms: Terms::Filtered });
                    }
                }
                Some(_) if room.budget.disconnects > 0 => actions.push(Action::Disconnect { connection }),
                Some(_) => {}
            }
        }
        for &replica in self.scope.unstable {
            if room.budget.crashes > 0 {
                actions.push(Action::Crash { replica });
            }
            if room.budget.backups > 0 && room.nodes[replica].store.end() > Sequence::ZERO {
                actions.push(Action::Backup { replica });
            }
            if room.budget.restores > 0 && room.nodes[replica].store.end() > room.nodes[replica].backup.end()
            {
                actions.push(Action::Restore { replica });
            }
        }
    }

    /// What a step leads to. An assertion that fails in it is a finding and no end of the search.
    pub(crate) fn after(&self, room: &Room, action: Action) -> Room {
        let stepped = quietly(|| {
            let mut step = Step { model: self, room: room.clone() };
            step.act(action);
            step.room
        });
        stepped.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Room { failure: Some(text.unwrap_or_default()), ..room.clone() }
        })
    }

    /// The next step on the way to a quiet room, if it is not quiet: every connection that is down or filtered is made
    /// anew, and then whatever is under way is done.
    pub(crate) fn step_to_quiet(&self, room: &Room) -> Option<Action> {
        if let Some((end, _)) = room.live().find(|(_, end)| end.terms == Terms::Filtered) {
            return Some(Action::Disconnect { connection: end / 2 });
        }
        if let Some(end) = room.ends.iter().position(Option::is_none) {
            return Some(Action::Connect { connection: end / 2, terms: Terms::Full });
        }
        self.own_step(room)
    }
}

impl Model for RoomModel {
    type State = Room;
    type Action = Action;

    fn init_states(&self) -> Vec<Room> {
        let node = |number: usize| {
            let store = Store::default();
            Shared::new(Node {
                replica: replica(number, 1, &store),
                store,
                openings: 1,
                writes: 0,
                direct: Default::default(),
                backup: Default::default(),
            })
        };
        let room = Room {
            nodes: (0..self.scope.replicas).map(node).collect(),
            ends: vec![None; 2 * self.scope.edges.len()],
            chronicle: Shared::new(Chronicle::default()),
            reading: None,
            budget: self.scope.budget,
            failure: None,
        };
        let connected = |but: Option<usize>| {
            let connections = (0..self.scope.edges.len()).filter(|connection| Some(*connection) != but);
            let connect = |connection| Action::Connect { connection, terms: Terms::Full };
            connections.map(connect).fold(room.clone(), |room, action| self.after(&room, action))
        };
        let settled = |mut room: Room| {
            while let Some(action) = self.own_step(&room) {
                room = self.after(&room, action);
            }
            room
        };
        vec![match self.scope.start {
            Start::Apart => room.clone(),
            Start::Connected => connected(None),
            Start::Quiet => settled(connected(None)),
            Start::QuietBut(connection) => settled(connected(Some(connection))),
        }]
    }

    fn actions(&self, room: &Room, actions: &mut Vec<Action>) {
        if room.failure.is_none() {
            actions.extend(self.own_steps(room));
            self.users_steps(room, actions);
            self.accidents(room, actions);
        }
    }

    fn next_state(&self, room: &Room, action: Action) -> Option<Room> {
        Some(self.after(room, action))
    }

    /// The checker's own limit on time is looked at by idle threads only.
    fn within_boundary(&self, _: &Room) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        oracles::properties(self)
    }
}

/// Does something that may panic, without a word on the terminal: the story will tell.
fn quietly<T>(act: impl FnOnce() -> T) -> std::thread::Result<T> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let done = catch_unwind(AssertUnwindSafe(act));
    QUIET.set(false);
    done
}

fn identity(replica: usize) -> Identity {
    Identity::from_secret(&[replica as u8 + 1; 32])
}

/// The handshake, once for all: nothing in it depends on what the replicas hold.
fn greet(replicas: [usize; 2]) -> [Session; 2] {
    let session = |replica: usize, nonce: u8| {
        let config = SessionConfig {
            identity: identity(replica),
            opening: Opening::new(replica as u64),
            nonce: [nonce; 32],
            topic_key: TopicKey::new([7; 32]),
            claim: bytes::Bytes::new(),
            admission: Admission::Everybody,
            capabilities: Capabilities::NONE,
            channel_binding: None,
            frame_bytes_max: 1 << 20,
            limits: limits(),
        };
        Session::new(config, NOW)
    };
    let mut sessions = [session(replicas[0], 0), session(replicas[1], 1)];
    for _ in 0..2 {
        let [left, right] = &mut sessions;
        let frames = [left.transmit(NOW), right.transmit(NOW)].map(|frame| frame.expect("Hello, then Proof"));
        let [from_left, from_right] = frames;
        left.handle(NOW, Input::Received(from_right), &mut Vec::new());
        right.handle(NOW, Input::Received(from_left), &mut Vec::new());
    }
    assert!(sessions.iter().all(|session| session.peer().is_some()), "the handshake is done");
    sessions
}

/// Pages of one document, and no delay.
fn limits() -> SessionLimits {
    let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    let mut limits = SessionLimits {
        handshake_timeout: century,
        keep_alive_interval: century,
        silence_max: 2 * century,
        update_delay: Duration::ZERO,
        announce_delay: Duration::ZERO,
        graft_delay: Duration::ZERO,
        tidy_delay: Duration::ZERO,
        checkpoint_delay: Duration::ZERO,
        ..SessionLimits::default()
    };
    limits.page.documents_max = 1.try_into().expect("above zero");
    limits
}
