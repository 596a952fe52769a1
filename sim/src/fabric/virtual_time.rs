//! One runtime with a paused clock: all peers on one thread, and time jumps to whatever happens next.

use std::sync::Arc;

use peerloom::{InProcess, Network, PeerAddress};
use tokio::runtime::{Builder, RngSeed};
use tokio::time::Instant;

use super::{Floor, SignalingFloor};
use crate::director::Director;
use crate::network::{Level, Ways, peer_of};
use crate::plan::{PeerNumber, Plan};
use crate::scenario::Casting;
use crate::stage::Stage;
use crate::tasks::Tasks;
use crate::world::World;

/// Runs a plan to its end.
pub(super) fn run(plan: &Plan, casting: Casting) -> World {
    let mut runtime = Builder::new_current_thread();
    // Tokio wakes those who wait for one thing in random order, and selects at random where it is not told otherwise.
    runtime.enable_time().start_paused(true).rng_seed(RngSeed::from_bytes(&plan.seed.to_be_bytes()));
    let runtime = runtime.build().expect("a runtime without drivers can be built");
    runtime.block_on(async {
        let began = Instant::now();
        let elapsed = Arc::new(move || began.elapsed());
        let world = World::new(plan.peers.len(), casting.recording, casting.checks, elapsed.clone());
        let ways = Ways::new(plan.seed, plan.latency, Level::Messages, world.clone());
        let stage = Stage::new(plan, casting.subject, world.clone(), ways, elapsed);
        let (topology, peers, network) = (plan.topology, plan.peers.len(), Network::new());
        network.allow(move |left, right| match (peer_of(left.as_str()), peer_of(right.as_str())) {
            (Some(left), Some(right)) => topology.links(left, right, peers),
            _ => false,
        });
        let floor = VirtualFloor { network, stage: stage.clone() };
        Director::new(plan, casting.settles_within, &stage, &floor).direct().await;
        stage.clear_all(&floor);
        world
    })
}

struct VirtualFloor {
    network: Network,
    stage: Stage,
}

fn address(peer: PeerNumber) -> PeerAddress {
    PeerAddress::new(&peer.name())
}

impl Floor for VirtualFloor {
    fn start(&self, peer: PeerNumber) {
        let transport = InProcess::new(&self.network).named(&peer.name());
        tokio::spawn(self.stage.lifetime(peer, |_| Arc::new(transport)));
    }

    fn clear(&self, _peer: PeerNumber, tasks: Tasks) {
        tasks.kill();
    }

    fn cut(&self, left: PeerNumber, right: PeerNumber) {
        self.network.cut(&address(left), &address(right));
    }

    fn join(&self, left: PeerNumber, right: PeerNumber) {
        self.network.heal(&address(left), &address(right));
    }

    fn reset(&self, left: PeerNumber, right: PeerNumber) {
        self.network.disconnect(&address(left), &address(right));
    }

    fn signaling(&self) -> Option<&dyn SignalingFloor> {
        None
    }
}
