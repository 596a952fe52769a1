//! The promises of the transport contract, over real data channels on this machine's loopback.

use peerloom_conformance::TransportFixture;
use peerloom_webrtc::{InProcessSignaling, Interfaces, Options, WebRtc};

struct Loopback(InProcessSignaling);

impl TransportFixture for Loopback {
    type Adapter = WebRtc;

    async fn fresh() -> Self {
        Self(InProcessSignaling::new())
    }

    fn transport(&self) -> WebRtc {
        let options = Options { interfaces: Interfaces::loopback(), ..Options::default() };
        WebRtc::with_options(self.0.clone(), options)
    }
}

peerloom_conformance::transport_tests!(Loopback);
