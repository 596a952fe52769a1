//! Signaling within one process: for tests, and for programs that hold several nodes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use peerloom_core::{Topic, TransportError};
use tokio::sync::Notify;

use super::{Signaling, SignalingEvent, SignalingSession};
use crate::signal::{ConnectionId, PeerId, Signal};

/// The most events that wait for a member. Beyond, signals to it are lost; who joins and leaves it is told all the same.
const SIGNALS_WAITING_MAX: usize = 4096;

/// A server of rooms within this process. Clones are handles to the same one.
///
/// ```
/// use peerloom_core::{Topic, Transport};
/// use peerloom_webrtc::{InProcessSignaling, Interfaces, Options, WebRtc};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let signaling = InProcessSignaling::new();
/// let options = Options { interfaces: Interfaces::loopback(), ..Options::default() };
/// let topic = Topic::new("greetings")?;
/// let mut left = WebRtc::with_options(signaling.clone(), options.clone()).join(&topic).await?;
/// let mut right = WebRtc::with_options(signaling, options).join(&topic).await?;
///
/// let (to_right, to_left) = tokio::join!(left.accept(), right.accept());
/// let (mut to_right, mut to_left) = (to_right?, to_left?);
/// to_right.sender.send("good morning".into()).await?;
/// assert_eq!(to_left.receiver.receive().await.as_deref(), Some(&b"good morning"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct InProcessSignaling {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    ids_made: u64,
    rooms: BTreeMap<Topic, BTreeMap<PeerId, Arc<Inbox>>>,
    /// Who was there when the server stopped, or came since.
    outside: Vec<(Topic, Arc<Inbox>)>,
}

/// What a member has yet to hear, and who it is at present.
#[derive(Default)]
struct Inbox {
    id: Mutex<Option<PeerId>>,
    events: Mutex<VecDeque<SignalingEvent>>,
    arrived: Notify,
}

impl InProcessSignaling {
    /// A server without rooms.
    pub fn new() -> Self {
        Self::default()
    }

    /// The server goes away, as for everybody who is there. Does nothing if it is gone already.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        for (topic, members) in std::mem::take(&mut state.rooms) {
            for inbox in members.into_values() {
                *lock(&inbox.id) = None;
                inbox.put(SignalingEvent::Lost);
                state.outside.push((topic.clone(), inbox));
            }
        }
    }

    /// The server comes back, and everybody who was there joins again, under another id.
    pub fn start(&self) {
        let mut state = lock(&self.state);
        state.stopped = false;
        for (topic, inbox) in std::mem::take(&mut state.outside) {
            state.enter(&topic, inbox);
        }
    }
}

impl fmt::Debug for InProcessSignaling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("InProcessSignaling").finish_non_exhaustive()
    }
}

#[async_trait]
impl Signaling for InProcessSignaling {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn SignalingSession>, TransportError> {
        let inbox = Arc::new(Inbox::default());
        lock(&self.state).enter(topic, Arc::clone(&inbox));
        Ok(Box::new(Seat { state: Arc::clone(&self.state), topic: topic.clone(), inbox }))
    }
}

impl State {
    fn enter(&mut self, topic: &Topic, inbox: Arc<Inbox>) {
        if self.stopped {
            return self.outside.push((topic.clone(), inbox));
        }
        self.ids_made += 1;
        // Spread by a multiplication that no two numbers share, so that who came first is not always who calls.
        let id = PeerId::new(&format!("{:016x}", self.ids_made.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let members = self.rooms.entry(topic.clone()).or_default();
        for other in members.values() {
            other.put(SignalingEvent::PeerJoined(id.clone()));
        }
        *lock(&inbox.id) = Some(id.clone());
        inbox.put(SignalingEvent::Joined { own: id.clone(), peers: members.keys().cloned().collect() });
        members.insert(id, inbox);
    }
}

impl Inbox {
    fn put(&self, event: SignalingEvent) {
        let mut events = lock(&self.events);
        if events.len() < SIGNALS_WAITING_MAX || !matches!(event, SignalingEvent::Signal { .. }) {
            events.push_back(event);
            self.arrived.notify_one();
        }
    }
}

struct Seat {
    state: Arc<Mutex<State>>,
    topic: Topic,
    inbox: Arc<Inbox>,
}

#[async_trait]
impl SignalingSession for Seat {
    async fn event(&mut self) -> Result<SignalingEvent, TransportError> {
        loop {
            if let Some(event) = lock(&self.inbox.events).pop_front() {
                return Ok(event);
            }
            self.inbox.arrived.notified().await;
        }
    }

    fn send(&mut self, to: &PeerId, connection: Option<&ConnectionId>, signal: &Signal) {
        let state = lock(&self.state);
        let from = lock(&self.inbox.id).clone();
        let receiver = state.rooms.get(&self.topic).and_then(|members| members.get(to));
        if let (Some(from), Some(receiver)) = (from, receiver)
            && *signal != Signal::CandidatesComplete
        {
            receiver.put(SignalingEvent::Signal {
                from,
                connection: connection.cloned(),
                signal: signal.clone(),
            });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.outside.retain(|(_, inbox)| !Arc::ptr_eq(inbox, &self.inbox));
        let id = lock(&self.inbox.id).take();
        if let (Some(id), Some(members)) = (id, state.rooms.get_mut(&self.topic)) {
            members.remove(&id);
            for other in members.values() {
                other.put(SignalingEvent::PeerLeft(id.clone()));
            }
            if members.is_empty() {
                state.rooms.remove(&self.topic);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
