//! The transport contract, on a network within the process, with its defaults and with every limit at its
//! least.

use std::num::NonZeroU32;
use std::time::Duration;

use peerloom_conformance::TransportFixture;
use peerloom_core::MESSAGE_BYTES_MIN;
use peerloom_in_process::{InProcess, Network, Options};

mod with_defaults {
    use super::*;

    struct Defaults(Network);

    impl TransportFixture for Defaults {
        type Adapter = InProcess;

        async fn fresh() -> Self {
            Self(Network::new())
        }

        fn transport(&self) -> InProcess {
            InProcess::new(&self.0)
        }
    }

    peerloom_conformance::transport_tests!(Defaults);
}

mod slow_and_narrow {
    use super::*;

    struct Narrow(Network);

    impl TransportFixture for Narrow {
        type Adapter = InProcess;

        async fn fresh() -> Self {
            Self(Network::with_options(Options {
                delay: Duration::from_millis(1),
                message_bytes_max: MESSAGE_BYTES_MIN,
                queue_messages_max: NonZeroU32::MIN,
            }))
        }

        fn transport(&self) -> InProcess {
            InProcess::new(&self.0)
        }
    }

    peerloom_conformance::transport_tests!(Narrow);
}
