//! The real signaling server, on a host of its own. It goes when the plan says so, and knows nobody when it comes back.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peerloom_signaling::environment::Environment;
use peerloom_signaling::rooms::Now;
use peerloom_signaling::server::{Listener, Server, ServerOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use super::super::SignalingFloor;
use super::super::desk::Desk;
use crate::environment::{Drawn, Elapsed, UNIX_MS};
use crate::marks;
use crate::plan::{Draw, Outage, PeerNumber, Plan};

/// Its host.
const NAME: &str = "signaling";

const PORT: u16 = 80;

/// Where clients find it.
pub(super) const URL: &str = "ws://signaling";

enum Order {
    Start,
    /// Stops in order.
    Stop,
    /// Is no more.
    Drop,
}

/// The director's hand on the server.
pub(super) struct SignalingHost {
    seed: u64,
    peers: Vec<PeerNumber>,
    /// How long it takes to reach it.
    takes: Duration,
    elapsed: Elapsed,
    desk: Desk<Order>,
    troubles: Mutex<Troubles>,
}

/// What is on at present. Faults overlap, so they are counted.
#[derive(Default)]
struct Troubles {
    outages: u32,
    parted: BTreeMap<PeerNumber, u32>,
}

impl SignalingHost {
    pub(super) fn new(plan: &Plan, elapsed: Elapsed) -> Self {
        Self {
            seed: plan.seed,
            peers: (0..plan.peers.len()).map(|index| PeerNumber(index as u16)).collect(),
            takes: Duration::from_millis(plan.latency.base_ms.into()),
            elapsed,
            desk: Desk::default(),
            troubles: Mutex::default(),
        }
    }

    /// Adds its host to those of the peers, and starts it.
    pub(super) fn add_to(&self, sim: &mut Sim<'_>) {
        let (seed, elapsed, desk) = (self.seed, self.elapsed.clone(), self.desk.clone());
        sim.host(NAME, move || {
            let environment = ServerEnvironment { seed, elapsed: elapsed.clone(), drawn: Drawn::default() };
            serve(desk.clone(), Arc::new(environment))
        });
        for peer in &self.peers {
            sim.set_link_latency(peer.name(), NAME, self.takes);
        }
        self.desk.give(Order::Start);
    }

    fn troubles(&self) -> std::sync::MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignalingFloor for SignalingHost {
    fn stop(&self, outage: Outage) {
        self.troubles().outages += 1;
        match outage {
            Outage::Stop => self.desk.give(Order::Stop),
            Outage::Kill => self.desk.give(Order::Drop),
            Outage::PowerCut => {
                // Nobody is told, so it falls silent first.
                self.peers.iter().for_each(|peer| self.part(*peer));
                self.desk.give(Order::Drop);
            }
        }
    }

    fn start(&self, outage: Outage) {
        if outage == Outage::PowerCut {
            self.peers.iter().for_each(|peer| self.rejoin(*peer));
        }
        let mut troubles = self.troubles();
        troubles.outages -= 1;
        if troubles.outages == 0 {
            marks::reach("a signaling server that comes back");
            self.desk.give(Order::Start);
        }
    }

    fn part(&self, peer: PeerNumber) {
        let mut troubles = self.troubles();
        let parted = troubles.parted.entry(peer).or_default();
        *parted += 1;
        if *parted == 1 {
            turmoil::partition(peer.name(), NAME);
        }
    }

    fn rejoin(&self, peer: PeerNumber) {
        let mut troubles = self.troubles();
        let parted = troubles.parted.entry(peer).or_default();
        *parted -= 1;
        if *parted == 0 {
            turmoil::repair(peer.name(), NAME);
        }
    }
}

/// The host: starts and ends the server as it is told.
async fn serve(desk: Desk<Order>, environment: Arc<ServerEnvironment>) -> turmoil::Result {
    let mut running: Option<Running> = None;
    loop {
        match desk.next().await {
            Order::Start => {
                if let Some(running) = running.take() {
                    running.drop().await;
                }
                running = Some(Running::start(environment.clone()).await?);
            }
            Order::Stop => {
                if let Some(running) = &mut running {
                    running.stop.take().map(|stop| stop.send(()));
                }
            }
            Order::Drop => {
                if let Some(running) = running.take() {
                    running.drop().await;
                }
            }
        }
    }
}

/// One lifetime of the server.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(environment: Arc<ServerEnvironment>) -> io::Result<Self> {
        let listener = Simulated(TcpListener::bind(("0.0.0.0", PORT)).await?);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::new(ServerOptions::default(), environment);
        let task = tokio::spawn(server.serve(listener, async move {
            if stopped.await.is_err() {
                // Nobody can ask it any more.
                std::future::pending::<()>().await;
            }
        }));
        Ok(Self { stop: Some(stop), task })
    }

    async fn drop(self) {
        self.task.abort();
        // Until its sockets are closed, its successor cannot have them.
        let _ = self.task.await;
    }
}

struct Simulated(TcpListener);

impl Listener for Simulated {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}

/// The clock and the randomness of the server.
struct ServerEnvironment {
    seed: u64,
    elapsed: Elapsed,
    drawn: Drawn,
}

impl Environment for ServerEnvironment {
    fn now(&self) -> Now {
        let monotonic = (self.elapsed)();
        Now { monotonic, unix: Duration::from_millis(UNIX_MS) + monotonic }
    }

    fn random_u64(&self) -> u64 {
        let now_us = (self.elapsed)().as_micros() as u64;
        Draw::new(self.seed, ("signaling server", now_us, self.drawn.count_at(now_us))).number()
    }
}
