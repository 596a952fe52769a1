//! Every peer a host of `turmoil`, over its TCP or, with the real WebRTC stack, its UDP.
//!
//! The director is a client of the simulation. Each host takes its orders through a [`Desk`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use peerloom::Transport;
use turmoil::{Builder, Sim};

use super::desk::Desk;
use super::{Floor, SignalingFloor};
use crate::director::Director;
use crate::environment::{Elapsed, SimEnvironment};
use crate::network::{Level, Ways};
use crate::plan::{PeerNumber, Plan};
use crate::scenario::Casting;
use crate::stage::Stage;
use crate::tasks::Tasks;
use crate::world::World;

/// Longer than any plan and its healing.
const SIMULATED_MAX: Duration = Duration::from_secs(24 * 3600);

/// How many segments may wait on a stream, and datagrams on a socket. The default of 64 is little for a page in fragments.
const CAPACITY: usize = 4096;

/// How the hosts of a room are connected.
pub(super) trait Wiring: Clone + Send + Sync + 'static {
    /// What the plan does its worst to.
    const LEVEL: Level;

    /// The wiring of a room.
    fn new(plan: &Plan, ways: &Ways, elapsed: &Elapsed) -> Self;

    /// Adds the hosts that are there beside the peers, which have been added.
    fn add_hosts(&self, sim: &mut Sim<'_>);

    /// The transport of one lifetime of a peer. Called on its host.
    fn transport(&self, peer: PeerNumber, environment: &SimEnvironment) -> Arc<dyn Transport>;

    /// The signaling server, if peers find each other through one.
    fn signaling(&self) -> Option<&dyn SignalingFloor>;
}

/// Runs a plan to its end.
pub(super) fn run<W: Wiring>(plan: &Plan, casting: Casting) -> World {
    // The network of the scenario adds the latency of the plan; what is below takes the least there is.
    let mut sim = Builder::new()
        .rng_seed(plan.seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(SIMULATED_MAX)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::from_millis(1))
        .tcp_capacity(CAPACITY)
        .udp_capacity(CAPACITY)
        .build();
    let elapsed: Elapsed = Arc::new(|| turmoil::sim_elapsed().unwrap_or_default());
    let world = World::new(plan.peers.len(), casting.recording, casting.checks, elapsed.clone());
    let ways = Ways::new(plan.seed, plan.latency, W::LEVEL, world.clone());
    let wiring = W::new(plan, &ways, &elapsed);
    let stage = Stage::new(plan, casting.subject, world.clone(), ways.clone(), elapsed);
    let desks: Arc<Vec<Desk<Order>>> = Arc::new(stage.peers().map(|_| Desk::default()).collect());
    for peer in stage.peers() {
        let (stage, desk, wiring) = (stage.clone(), desks[peer.index()].clone(), wiring.clone());
        sim.host(peer.name(), move || serve(peer, stage.clone(), desk.clone(), wiring.clone()));
    }
    wiring.add_hosts(&mut sim);
    let (floor, plan) = (TurmoilFloor { desks, ways, wiring }, plan.clone());
    sim.client("director", async move {
        Director::new(&plan, casting.settles_within, &stage, &floor).direct().await;
        Ok(())
    });
    if let Err(error) = sim.run() {
        world.violate(crate::Violation::of("nothing panics", error.to_string()));
    }
    world
}

/// A host: starts and drops the software of its peer as it is told.
async fn serve<W: Wiring>(peer: PeerNumber, stage: Stage, desk: Desk<Order>, wiring: W) -> turmoil::Result {
    loop {
        match desk.next().await {
            // Told twice before it got to it the first time.
            Order::Start if stage.runs(peer) => {}
            Order::Start => {
                let life = stage.lifetime(peer, |environment| wiring.transport(peer, environment));
                tokio::spawn(life);
            }
            Order::Drop(tasks) => tasks.kill(),
        }
    }
}

/// What a host is told to do.
enum Order {
    Start,
    Drop(Tasks),
}

struct TurmoilFloor<W> {
    desks: Arc<Vec<Desk<Order>>>,
    ways: Ways,
    wiring: W,
}

impl<W: Wiring> Floor for TurmoilFloor<W> {
    fn start(&self, peer: PeerNumber) {
        self.desks[peer.index()].give(Order::Start);
    }

    fn clear(&self, peer: PeerNumber, tasks: Tasks) {
        // Until its host gets to it.
        tasks.pause();
        self.desks[peer.index()].give(Order::Drop(tasks));
    }

    fn cut(&self, left: PeerNumber, right: PeerNumber) {
        self.ways.sever(left, right);
        turmoil::partition(left.name(), right.name());
    }

    fn join(&self, left: PeerNumber, right: PeerNumber) {
        turmoil::repair(left.name(), right.name());
    }

    fn reset(&self, left: PeerNumber, right: PeerNumber) {
        self.ways.sever(left, right);
    }

    fn signaling(&self) -> Option<&dyn SignalingFloor> {
        self.wiring.signaling()
    }
}
