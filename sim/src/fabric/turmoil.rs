//! Every peer a host of `turmoil`, over its TCP.
//!
//! The director is a client of the simulation. What belongs to a host is made and dropped on that host, because `turmoil` ties
//! streams to the host that runs when they are used; so each host takes its orders through a [`Desk`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::Floor;
use super::tcp::Tcp;
use crate::director::Director;
use crate::network::Ways;
use crate::plan::{PeerNumber, Plan};
use crate::scenario::Casting;
use crate::stage::Stage;
use crate::tasks::Tasks;
use crate::world::World;

/// Longer than any plan and its healing.
const SIMULATED_MAX: Duration = Duration::from_secs(24 * 3600);

/// How many segments may wait on a stream. The default of 64 is little for a page in fragments.
const TCP_CAPACITY: usize = 4096;

/// Runs a plan to its end.
pub(crate) fn run(plan: &Plan, casting: Casting) -> World {
    // The network of the scenario adds the latency of the plan; what is below takes the least there is.
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(SIMULATED_MAX)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::from_millis(1))
        .tcp_capacity(TCP_CAPACITY)
        .build();
    let elapsed = Arc::new(|| turmoil::sim_elapsed().unwrap_or_default());
    let world = World::new(plan.peers.len(), casting.recording, casting.checks, elapsed.clone());
    let ways = Ways::new(plan.seed, plan.latency, world.clone());
    let stage = Stage::new(plan, casting.subject, world.clone(), ways.clone(), elapsed);
    let desks: Arc<Vec<Desk>> = Arc::new(stage.peers().map(|_| Desk::default()).collect());
    for peer in stage.peers() {
        let (stage, desk, plan) = (stage.clone(), desks[peer.index()].clone(), plan.clone());
        sim.host(peer.name(), move || serve(peer, stage.clone(), desk.clone(), plan.clone()));
    }
    let (floor, plan) = (TurmoilFloor { desks, ways }, plan.clone());
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
async fn serve(peer: PeerNumber, stage: Stage, desk: Desk, plan: Plan) -> turmoil::Result {
    loop {
        match desk.next().await {
            // Told twice before it got to it the first time.
            Order::Start if stage.runs(peer) => {}
            Order::Start => {
                let life = stage.lifetime(peer, |environment| {
                    Arc::new(Tcp::new(peer, plan.topology, plan.peers.len(), environment.clone()))
                });
                tokio::spawn(life);
            }
            Order::Drop(tasks) => tasks.kill(),
        }
    }
}

enum Order {
    Start,
    Drop(Tasks),
}

/// What a host is told to do.
#[derive(Clone, Default)]
struct Desk {
    orders: Arc<Mutex<VecDeque<Order>>>,
    given: Arc<Notify>,
}

impl Desk {
    fn give(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
        self.given.notify_one();
    }

    async fn next(&self) -> Order {
        loop {
            let order = self.orders.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match order {
                Some(order) => return order,
                None => self.given.notified().await,
            }
        }
    }
}

struct TurmoilFloor {
    desks: Arc<Vec<Desk>>,
    ways: Ways,
}

impl Floor for TurmoilFloor {
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
}
