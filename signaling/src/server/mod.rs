//! The server around the rooms: connections, HTTP, TLS, time.
//!
//! Decides nothing about rooms. It is generic over where connections come from ([`Listener`]) and takes its clock and
//! randomness from an [`Environment`], so that a simulator can run the very same server.
//!
//! Each connection is one task, which writes one message at a time: what waits for a peer waits in the rooms, where
//! it is counted. So there is no queue here that a slow reader could make grow.

mod addresses;
mod conversation;
mod handshake;
mod listener;
mod metrics;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use addresses::Addresses;
pub use listener::Listener;
use metrics::Refusals;
pub use tls::{InvalidTls, Tls};

use crate::authentication::Authentication;
use crate::environment::Environment;
use crate::message::PeerId;
use crate::permit::Permit;
use crate::rooms::{Input, Outgoing, Rooms, RoomsOptions};

/// How a server behaves.
#[derive(Debug)]
pub struct ServerOptions {
    /// How its rooms do.
    pub rooms: RoomsOptions,
    /// Whom it lets in.
    pub authentication: Authentication,
    /// With TLS, or `None` behind a proxy and in tests.
    pub tls: Option<Tls>,
    /// Where the address of a client is found.
    pub client_address: ClientAddress,
    /// Connections from one address. Many peers can share one: an office, a mobile network.
    pub connections_per_address_max: NonZeroUsize,
    /// Connections that are not yet WebSockets. More are dropped at once.
    pub handshakes_max: NonZeroUsize,
    /// How long a connection may take to become a WebSocket, TLS included.
    pub handshake_timeout: Duration,
    /// How long a peer that is closed has to take note of it.
    pub close_timeout: Duration,
    /// How long all peers have to take what waits for them when the server stops.
    pub drain_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            rooms: RoomsOptions::default(),
            authentication: Authentication::None,
            tls: None,
            client_address: ClientAddress::socket(),
            connections_per_address_max: const { NonZeroUsize::new(256).unwrap() },
            handshakes_max: const { NonZeroUsize::new(1_024).unwrap() },
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(3),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Where the address of a client is found.
#[derive(Clone, Debug)]
pub struct ClientAddress {
    /// `None` is the socket itself.
    header: Option<hyper::header::HeaderName>,
}

/// A text that is no name of an HTTP header.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not the name of an HTTP header")]
pub struct InvalidHeaderName;

impl ClientAddress {
    /// The client is who connects.
    pub fn socket() -> Self {
        Self { header: None }
    }

    /// A proxy connects, and puts the client's address last into this header, such as `x-forwarded-for` or `x-real-ip`. Only for a server
    /// that nobody but the proxy can reach: anyone else could write any address.
    ///
    /// # Errors
    ///
    /// If it is no name of a header.
    pub fn header(name: &str) -> Result<Self, InvalidHeaderName> {
        Ok(Self { header: Some(name.parse().map_err(|_| InvalidHeaderName)?) })
    }
}

/// A signaling server.
///
/// ```
/// use std::sync::Arc;
/// use peerloom_signaling::environment::SystemEnvironment;
/// use peerloom_signaling::server::{Server, ServerOptions};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let server = Server::new(ServerOptions::default(), Arc::new(SystemEnvironment::new()));
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let serving = tokio::spawn(server.serve(listener, async { drop(stopped.await) }));
///
/// // Peers meet there until it is stopped. A program may stop it by `tokio::signal::ctrl_c` instead.
/// drop(stop);
/// serving.await?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    shared: Arc<Shared>,
}

/// What the tasks of a server have in common.
struct Shared {
    options: ServerOptions,
    environment: Arc<dyn Environment>,
    state: Mutex<State>,
    /// Tells the timekeeper that something is due earlier than it sleeps.
    due_earlier: Notify,
    addresses: Addresses,
    handshakes: Arc<Semaphore>,
}

struct State {
    rooms: Rooms,
    /// The conversations, to be told that there is something to take.
    conversations: BTreeMap<PeerId, Arc<Notify>>,
    /// Until when the timekeeper sleeps.
    asleep_until: Option<Duration>,
    refusals: Refusals,
}

/// How long to wait after a connection could not be accepted: mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Server {
    /// A server that has not begun to serve.
    pub fn new(options: ServerOptions, environment: Arc<dyn Environment>) -> Self {
        let state = State {
            rooms: Rooms::new(options.rooms.clone()),
            conversations: BTreeMap::new(),
            asleep_until: None,
            refusals: Refusals::default(),
        };
        let handshakes = options.handshakes_max.get().min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            options,
            environment,
            state: Mutex::new(state),
            due_earlier: Notify::new(),
            addresses: Addresses::default(),
            handshakes: Arc::new(Semaphore::new(handshakes)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Serves until `stop` is ready. Then accepts nothing more, sends what waits, closes all connections, and returns.
    ///
    /// Dropping the future ends all connections at once.
    pub async fn serve<L: Listener>(self, mut listener: L, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut connections = JoinSet::new();
        let mut timekeeper = JoinSet::new();
        timekeeper.spawn(Arc::clone(&self.shared).keep_time());
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = connections.join_next() => report(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => self.welcome(stream, address, &mut connections),
                    Err(error) => {
                        warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        self.drain(connections).await;
    }

    fn welcome<S>(&self, stream: S, address: SocketAddr, connections: &mut JoinSet<()>)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let Ok(handshake) = Arc::clone(&self.shared.handshakes).try_acquire_owned() else {
            self.shared.refuse("too many handshakes");
            return;
        };
        let slot = match self.shared.options.client_address.header {
            Some(_) => None,
            None => match self.shared.take_slot(address.ip()) {
                Some(slot) => Some(slot),
                None => return,
            },
        };
        connections.spawn(Arc::clone(&self.shared).attend(stream, address.ip(), slot, handshake));
    }

    async fn drain(&self, mut connections: JoinSet<()>) {
        info!(connections = connections.len(), "stopping");
        self.shared.handle(Input::Stop);
        let all_ended = async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        };
        if timeout(self.shared.options.drain_timeout, all_ended).await.is_err() {
            warn!(connections = connections.len(), "not all took note in time");
            connections.shutdown().await;
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(failure) = ended
        && failure.is_panic()
    {
        error!(%failure, "a connection's task panicked");
    }
}

impl Shared {
    /// Ticks the rooms when they ask for it.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let deadline = {
                let mut state = self.state();
                state.asleep_until = state.rooms.deadline();
                state.asleep_until
            };
            let now = self.environment.now().monotonic;
            let due = async {
                match deadline {
                    Some(deadline) => sleep(deadline.saturating_sub(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.due_earlier.notified() => {}
                () = due => self.handle(Input::Tick),
            }
        }
    }

    fn handle(&self, input: Input<'_>) {
        self.handle_in(&mut self.state(), input);
    }

    fn handle_in(&self, state: &mut State, input: Input<'_>) {
        let mut woken = Vec::new();
        state.rooms.handle(self.environment.now(), input, &mut woken);
        for peer in woken {
            if let Some(conversation) = state.conversations.get(&peer) {
                conversation.notify_one();
            }
        }
        if let Some(due) = state.rooms.deadline()
            && state.asleep_until.is_none_or(|until| due < until)
        {
            self.due_earlier.notify_one();
        }
    }

    fn take(&self, peer: PeerId) -> Option<Outgoing> {
        self.state().rooms.take(self.environment.now(), peer)
    }

    fn is_cut(&self, peer: PeerId) -> bool {
        self.state().rooms.is_cut(peer)
    }

    /// Makes a new peer of a permit.
    fn enter(&self, permit: Permit) -> (PeerId, Arc<Notify>) {
        let mut state = self.state();
        let peer = loop {
            let peer = PeerId::from_number(self.environment.random_u64());
            if !state.rooms.contains(peer) {
                break peer;
            }
        };
        let wake = Arc::new(Notify::new());
        state.conversations.insert(peer, Arc::clone(&wake));
        self.handle_in(&mut state, Input::Connected { peer, permit });
        (peer, wake)
    }

    fn leave(&self, peer: PeerId) {
        let mut state = self.state();
        state.conversations.remove(&peer);
        self.handle_in(&mut state, Input::Disconnected { peer });
    }

    fn refuse(&self, reason: &'static str) {
        *self.state().refusals.0.entry(reason).or_default() += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic while the rooms were changed leaves nothing to go on with")
    }
}
