//! Peers that find each other through the real signaling server and talk by the real WebRTC stack: the server is a host, clients
//! reach it by TCP, and what they send each other are datagrams.
//!
//! The plan does its worst below the stack: to datagrams, and to the streams to the server. Certificates and keys are random all the
//! same, and differ from run to run; nothing that is recorded depends on them.

mod introductions;
mod server;
mod udp;

use std::sync::Arc;
use std::time::Duration;

use peerloom::{Environment, Transport};
use peerloom_webrtc::{Interfaces, Options, WebRtc, WebSocketSignaling};
use turmoil::Sim;

use super::SignalingFloor;
use super::turmoil::Wiring;
use crate::environment::{Elapsed, SimEnvironment};
use crate::network::{Level, Ways};
use crate::plan::{PeerNumber, Plan, Topology};
use introductions::{Introductions, Streams};
use server::SignalingHost;
use udp::{Ports, Udp};

/// What WebRTC is made of in one room.
#[derive(Clone)]
pub(super) struct WebRtcWiring {
    topology: Topology,
    peers: usize,
    ways: Ways,
    ports: Ports,
    signaling: Arc<SignalingHost>,
}

impl Wiring for WebRtcWiring {
    const LEVEL: Level = Level::Datagrams;

    fn new(plan: &Plan, ways: &Ways, elapsed: &Elapsed) -> Self {
        Self {
            topology: plan.topology,
            peers: plan.peers.len(),
            ways: ways.clone(),
            ports: Ports::default(),
            signaling: Arc::new(SignalingHost::new(plan, elapsed.clone())),
        }
    }

    fn add_hosts(&self, sim: &mut Sim<'_>) {
        self.signaling.add_to(sim);
    }

    fn transport(&self, peer: PeerNumber, environment: &SimEnvironment) -> Arc<dyn Transport> {
        let (spawner, randomness) = (environment.clone(), environment.clone());
        let client = WebSocketSignaling::over(Streams::new(peer, self.ways.clone()), server::URL)
            .expect("the URL is one")
            // The addresses of the real machine are not those of this one.
            .network_check(Duration::ZERO)
            .random(move |buffer| randomness.fill_random(buffer))
            .spawn_by(move |task| spawner.spawn(task));
        let signaling = Introductions::new(client, peer, self.topology, self.peers, self.ways.clone());
        let options = Options {
            interfaces: Interfaces::loopback(),
            network_check: Duration::ZERO,
            ..Options::default()
        };
        let (spawner, randomness) = (environment.clone(), environment.clone());
        let udp = Udp::new(peer, self.ways.clone(), self.ports.clone(), environment.clone());
        let transport = WebRtc::with_options(signaling, options)
            .random(move |buffer| randomness.fill_random(buffer))
            .spawn_by(move |task| spawner.spawn(task))
            .udp(udp);
        Arc::new(transport)
    }

    fn signaling(&self) -> Option<&dyn SignalingFloor> {
        Some(&*self.signaling)
    }
}
