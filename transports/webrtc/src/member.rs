//! The task of a member of a room: moves events between the signaling, the mesh and the calls, and does what the mesh says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use peerloom_core::{Connection, Membership, PeerAddress, TransportError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::call::{Beginning, Call, CallEvent, CallInput, INPUTS_WAITING_MAX, Opened};
use crate::interfaces::Watch;
use crate::line::IsOpen;
use crate::mesh::{CallId, Effect, Mesh};
use crate::options::IceServer;
use crate::random::Random;
use crate::signaling::{SignalingEvent, SignalingSession};
use crate::spawn::Spawner;
use crate::stack::Stack;

/// The most events of all calls that wait for the member. Calls wait while there are more.
const EVENTS_WAITING_MAX: usize = 64;

/// The most redials that wait for the member. Whoever asks for more asks again after his connection has failed again.
const REDIALS_WAITING_MAX: usize = 4096;

/// A membership: what its user holds.
pub(crate) struct Member {
    offers: Arc<Offers>,
    redials: mpsc::Sender<PeerAddress>,
    _leave: DropGuard,
}

/// Connections that were made and not yet accepted.
#[derive(Default)]
struct Offers {
    state: Mutex<OffersState>,
    changed: Notify,
}

#[derive(Default)]
struct OffersState {
    /// At most one for each address: a newer one replaces it.
    connections: VecDeque<Connection>,
    /// Why there will be no more.
    ended: Option<TransportError>,
}

impl Member {
    pub(crate) fn new(
        stack: Arc<Stack>,
        session: Box<dyn SignalingSession>,
        random: Random,
        spawner: &Spawner,
    ) -> Self {
        let leave = CancellationToken::new();
        let offers = Arc::new(Offers::default());
        let (redials, redialed) = mpsc::channel(REDIALS_WAITING_MAX);
        let (told, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let task = Task {
            mesh: Mesh::new(&stack.options, random),
            network: Watch::new(stack.options.network_check),
            stack,
            session,
            started: Instant::now(),
            ice_servers: watch::Sender::new([].into()),
            calls: BTreeMap::new(),
            lines: BTreeMap::new(),
            told,
            events,
            redialed,
            offers: offers.clone(),
            spawner: spawner.clone(),
        };
        spawner.spawn(task.run(leave.clone()));
        Self { offers, redials, _leave: leave.drop_guard() }
    }
}

#[async_trait]
impl Membership for Member {
    async fn accept(&mut self) -> Result<Connection, TransportError> {
        loop {
            {
                let mut offers = self.offers.lock();
                if let Some(connection) = offers.connections.pop_front() {
                    return Ok(connection);
                }
                if let Some(ended) = &offers.ended {
                    return Err(ended.clone());
                }
            }
            self.offers.changed.notified().await;
        }
    }

    fn redial(&mut self, peer: &PeerAddress) {
        if self.redials.try_send(peer.clone()).is_err() {
            tracing::debug!(%peer, "a redial finds no room, or the membership has ended");
        }
    }
}

impl Offers {
    fn lock(&self) -> MutexGuard<'_, OffersState> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, connection: Connection) {
        let replaced = {
            let mut offers = self.lock();
            let older = offers.connections.iter().position(|older| older.peer == connection.peer);
            let replaced = older.and_then(|older| offers.connections.remove(older));
            offers.connections.push_back(connection);
            replaced
        };
        self.changed.notify_one();
        drop(replaced);
    }

    fn end(&self, error: TransportError) {
        self.lock().ended = Some(error);
        self.changed.notify_one();
    }
}

struct Task {
    stack: Arc<Stack>,
    session: Box<dyn SignalingSession>,
    mesh: Mesh,
    network: Watch,
    started: Instant,
    /// Handed out by the signaling. Calls outlive this, and keep the last.
    ice_servers: watch::Sender<Arc<[IceServer]>>,
    calls: BTreeMap<CallId, mpsc::Sender<CallInput>>,
    /// Those that are open, or were a moment ago.
    lines: BTreeMap<CallId, IsOpen>,
    told: mpsc::Sender<(CallId, CallEvent)>,
    events: mpsc::Receiver<(CallId, CallEvent)>,
    redialed: mpsc::Receiver<PeerAddress>,
    offers: Arc<Offers>,
    spawner: Spawner,
}

impl Task {
    /// Runs until the member leaves. Attempts end then, because nobody tells them anything any more; open connections go on.
    async fn run(mut self, leave: CancellationToken) {
        let ended = loop {
            let started = self.started;
            let due = self.mesh.deadline();
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(started + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = leave.cancelled() => break None,
                Some((call, event)) = self.events.recv() => self.told(call, event),
                Some(peer) = self.redialed.recv() => self.redial(&peer),
                event = self.session.event() => match event {
                    Ok(event) => self.signaled(event),
                    Err(error) => break Some(error),
                },
                () = self.network.changed() => {
                    tracing::info!("the addresses of this machine have changed");
                    let now = self.now();
                    self.mesh.network_changed(now);
                }
                () = due => {}
            }
            let now = self.now();
            self.mesh.tick(now);
            for effect in self.mesh.effects() {
                self.perform(effect);
            }
        };
        if let Some(error) = ended {
            self.offers.end(error);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn signaled(&mut self, event: SignalingEvent) {
        let now = self.now();
        match event {
            SignalingEvent::Joined { own, peers } => self.mesh.joined(own, &peers, now),
            SignalingEvent::PeerJoined(peer) => self.mesh.peer_joined(&peer, now),
            SignalingEvent::PeerLeft(peer) => self.mesh.peer_left(&peer, now),
            SignalingEvent::Signal { from, connection, signal } => {
                self.mesh.signal(&from, connection.as_ref(), signal, now);
            }
            SignalingEvent::IceServers(servers) => drop(self.ice_servers.send_replace(servers.into())),
            SignalingEvent::Lost => self.mesh.lost(now),
        }
    }

    fn told(&mut self, id: CallId, event: CallEvent) {
        let now = self.now();
        match event {
            CallEvent::Signal(signal) => self.mesh.outgoing(id, signal),
            CallEvent::Open(opened) => self.open(id, opened),
            CallEvent::Steady => self.mesh.steady(id),
            CallEvent::Disturbed => self.mesh.disturbed(id, now),
            CallEvent::Closed => {
                self.lines.remove(&id);
                self.mesh.ended(id, now);
            }
            CallEvent::Ended => {
                self.calls.remove(&id);
                self.lines.remove(&id);
                self.mesh.ended(id, now);
            }
        }
    }

    fn redial(&mut self, peer: &PeerAddress) {
        let now = self.now();
        // Who redials has seen the end, which the call may not have told yet.
        if let Some(line) = self.mesh.line(peer)
            && self.lines.get(&line).is_some_and(|is_open| !*is_open.borrow())
        {
            self.mesh.ended(line, now);
        }
        self.mesh.redial(peer, now);
    }

    fn open(&mut self, id: CallId, opened: Opened) {
        let now = self.now();
        // Otherwise it came too late, and dropping its ends closes it.
        if let Some(peer) = self.mesh.opened(id, now) {
            self.lines.insert(id, opened.is_open);
            self.offers.put(Connection {
                peer,
                message_bytes_max: opened.message_bytes_max,
                channel_binding: Some(opened.channel_binding),
                sender: Box::new(opened.sender),
                receiver: Box::new(opened.receiver),
            });
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Dial(call) => self.begin(call, Beginning::Offer),
            Effect::Answer { call, sdp, dialect } => self.begin(call, Beginning::Answer { sdp, dialect }),
            Effect::Deliver(call, signal) => self.tell(call, CallInput::Signal(signal)),
            Effect::Restart(call) => self.tell(call, CallInput::Restart),
            Effect::Close(call) => self.tell(call, CallInput::Close),
            Effect::Send { to, connection, signal } => self.session.send(&to, connection.as_ref(), &signal),
        }
    }

    fn begin(&mut self, id: CallId, beginning: Beginning) {
        let (input, inputs) = mpsc::channel(INPUTS_WAITING_MAX);
        self.calls.insert(id, input);
        let (stack, ice_servers) = (self.stack.clone(), self.ice_servers.subscribe());
        let call = Call { id, stack, ice_servers, inputs, events: self.told.clone() };
        self.spawner.spawn(call.run(beginning));
    }

    fn tell(&mut self, call: CallId, input: CallInput) {
        let Some(inputs) = self.calls.get(&call) else { return };
        // A peer that floods a call with signals loses some of them; what closes it must not get lost.
        match inputs.try_send(input) {
            Err(mpsc::error::TrySendError::Full(CallInput::Close)) => drop(self.calls.remove(&call)),
            Err(error) => tracing::debug!(%error, "a call is not told something"),
            Ok(()) => {}
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Also should it have panicked.
        let mut offers = self.offers.lock();
        offers.ended.get_or_insert(TransportError::Closed);
        // What nobody can accept any more is closed, once the lock is released.
        let unaccepted = std::mem::take(&mut offers.connections);
        drop(offers);
        self.offers.changed.notify_one();
        drop(unaccepted);
    }
}
