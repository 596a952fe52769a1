//! Signaling by people: one copies a text from here to there, the other one back.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use peerloom_core::{Topic, TransportError};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, mpsc};

use super::{Signaling, SignalingEvent, SignalingSession};
use crate::signal::{ConnectionId, PeerId, Signal};

/// The id of the side that begins. It is the smaller one, so this side calls.
const INVITING: &str = "inviting";
const INVITED: &str = "joining";

/// The most bytes of a blob that are looked at.
const BLOB_BYTES_MAX: usize = 256 << 10;

/// The most events that wait for the membership.
const EVENTS_WAITING_MAX: usize = 4096;

/// The most blobs that wait to be shown. Older ones are of use to nobody.
const BLOBS_WAITING_MAX: usize = 4;

/// A room of two, whose members exchange one text each way, by whatever means they have.
///
/// The side that invites shows a text, the other one takes it and shows one in return. People take their time, so give them
/// some: [`Options::attempt_timeout`](crate::Options::attempt_timeout). When the connection has been lost and is to be made
/// again, both show texts again.
///
/// ```
/// use std::time::Duration;
///
/// use peerloom_core::{Topic, Transport};
/// use peerloom_webrtc::{Interfaces, ManualSignaling, Options, WebRtc};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = Options {
///     interfaces: Interfaces::loopback(),
///     attempt_timeout: Duration::from_secs(600),
///     ..Options::default()
/// };
/// let topic = Topic::new("greetings")?;
/// let (inviting, mut exchange) = ManualSignaling::inviting();
/// let mut here = WebRtc::with_options(inviting, options.clone()).join(&topic).await?;
/// let (invited, mut exchange_there) = ManualSignaling::invited();
/// let mut there = WebRtc::with_options(invited, options).join(&topic).await?;
///
/// exchange_there.take(&exchange.show().await.ok_or("the membership has ended")?)?;
/// exchange.take(&exchange_there.show().await.ok_or("the membership has ended")?)?;
/// let (here, there) = tokio::join!(here.accept(), there.accept());
/// here?.sender.send("good morning".into()).await?;
/// # drop(there);
/// # Ok(())
/// # }
/// ```
pub struct ManualSignaling {
    own: PeerId,
    other: PeerId,
    shared: Arc<Shared>,
    joined: AtomicBool,
}

/// Where the texts come out and go in.
#[derive(Debug)]
pub struct Exchange {
    shared: Arc<Shared>,
    other: PeerId,
    shown: mpsc::Receiver<String>,
}

/// Why a text is not taken.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum InvalidBlob {
    /// It is not what the other side showed, or not the whole of it.
    #[error("this is not a text of the other side, or only a part of one")]
    Malformed,
    /// It is for another room.
    #[error("this is for the room {room}")]
    OtherRoom {
        /// Which.
        room: String,
    },
    /// It is what this very side showed.
    #[error("this is the text of this side")]
    OwnBlob,
    /// The room has not been joined yet.
    #[error("the room is not joined yet")]
    NotJoined,
}

#[derive(Debug, Deserialize, Serialize)]
struct Blob {
    room: String,
    from: PeerId,
    connection: Option<ConnectionId>,
    signals: Vec<Signal>,
}

struct Shared {
    events: Mutex<VecDeque<SignalingEvent>>,
    arrived: Notify,
    room: Mutex<Option<Topic>>,
    show: Mutex<Option<mpsc::Sender<String>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl ManualSignaling {
    /// The side that shows its text first.
    pub fn inviting() -> (Self, Exchange) {
        Self::between(INVITING, INVITED)
    }

    /// The side that takes a text first.
    pub fn invited() -> (Self, Exchange) {
        Self::between(INVITED, INVITING)
    }

    fn between(own: &str, other: &str) -> (Self, Exchange) {
        let (show, shown) = mpsc::channel(BLOBS_WAITING_MAX);
        let shared = Arc::new(Shared {
            events: Mutex::default(),
            arrived: Notify::new(),
            room: Mutex::default(),
            show: Mutex::new(Some(show)),
        });
        let (own, other) = (PeerId::new(own), PeerId::new(other));
        let exchange = Exchange { shared: shared.clone(), other: other.clone(), shown };
        (Self { own, other, shared, joined: AtomicBool::new(false) }, exchange)
    }
}

impl fmt::Debug for ManualSignaling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ManualSignaling").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Exchange {
    /// The next text for the other side: a line of JSON. `None` once the membership has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no text.
    pub async fn show(&mut self) -> Option<String> {
        self.shown.recv().await
    }

    /// Takes a text of the other side.
    pub fn take(&self, text: &str) -> Result<(), InvalidBlob> {
        let text = text.trim();
        if text.len() > BLOB_BYTES_MAX {
            return Err(InvalidBlob::Malformed);
        }
        let blob: Blob = serde_json::from_str(text).map_err(|_| InvalidBlob::Malformed)?;
        let room = lock(&self.shared.room).clone().ok_or(InvalidBlob::NotJoined)?;
        if blob.room != room.as_str() {
            return Err(InvalidBlob::OtherRoom { room: blob.room });
        }
        if blob.from != self.other {
            return Err(InvalidBlob::OwnBlob);
        }
        let Blob { connection, signals, .. } = blob;
        let mut events = lock(&self.shared.events);
        for signal in signals {
            if events.len() < EVENTS_WAITING_MAX {
                let (from, connection) = (self.other.clone(), connection.clone());
                events.push_back(SignalingEvent::Signal { from, connection, signal });
            }
        }
        self.shared.arrived.notify_one();
        Ok(())
    }
}

#[async_trait]
impl Signaling for ManualSignaling {
    /// Only once for each pair of exchanges.
    async fn join(&self, topic: &Topic) -> Result<Box<dyn SignalingSession>, TransportError> {
        if self.joined.swap(true, Ordering::AcqRel) {
            return Err(TransportError::Failed { detail: "an exchange is for one room".into() });
        }
        *lock(&self.shared.room) = Some(topic.clone());
        let joined = SignalingEvent::Joined { own: self.own.clone(), peers: vec![self.other.clone()] };
        lock(&self.shared.events).push_back(joined);
        Ok(Box::new(Session {
            room: topic.clone(),
            own: self.own.clone(),
            shared: self.shared.clone(),
            pending: None,
        }))
    }
}

struct Session {
    room: Topic,
    own: PeerId,
    shared: Arc<Shared>,
    /// A description, and the candidates so far.
    pending: Option<Blob>,
}

#[async_trait]
impl SignalingSession for Session {
    async fn event(&mut self) -> Result<SignalingEvent, TransportError> {
        loop {
            if let Some(event) = lock(&self.shared.events).pop_front() {
                return Ok(event);
            }
            self.shared.arrived.notified().await;
        }
    }

    fn send(&mut self, _to: &PeerId, connection: Option<&ConnectionId>, signal: &Signal) {
        match signal {
            Signal::Offer { .. } | Signal::Answer { .. } => {
                let (room, from) = (self.room.as_str().to_owned(), self.own.clone());
                let (connection, signals) = (connection.cloned(), vec![signal.clone()]);
                self.pending = Some(Blob { room, from, connection, signals });
            }
            Signal::Candidate { .. } => {
                if let Some(pending) = &mut self.pending {
                    pending.signals.push(signal.clone());
                }
            }
            Signal::CandidatesComplete => {
                if let Some(blob) = self.pending.take() {
                    let text = serde_json::to_string(&blob).expect("a blob is plain data");
                    if let Some(Err(_)) = lock(&self.shared.show).as_ref().map(|show| show.try_send(text)) {
                        tracing::debug!("nobody looks at what this side shows");
                    }
                }
            }
            // Nobody could copy them in time.
            _ => {}
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        *lock(&self.shared.show) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
