//! The WebRTC stack, set up as it is wanted here: everything that touches the `webrtc` crate's settings.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use tokio::sync::{mpsc, watch};
use webrtc::data_channel::DataChannel;
use webrtc::error::Error;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfiguration,
    RTCConfigurationBuilder, RTCIceCandidateInit, RTCIceGatheringState, RTCIceServer,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState, SettingEngine, SettingEngineBuilder,
};

use crate::interfaces::bind_addresses;
use crate::options::{IceServer, Mdns, Options};
use crate::signal::Candidate;
use crate::udp::Sockets;

/// The most events of one connection that wait to be handled: candidates, and a data channel.
const EVENTS_WAITING_MAX: usize = 256;

/// Makes peer connections.
pub(crate) struct Stack {
    pub(crate) options: Options,
    sockets: Sockets,
    window_bytes: u32,
}

/// A peer connection, and what happens to it. Must be closed: it lives on when it is dropped.
pub(crate) struct Peer {
    pub(crate) connection: Arc<dyn PeerConnection>,
    pub(crate) events: mpsc::Receiver<PeerEvent>,
    pub(crate) state: watch::Receiver<RTCPeerConnectionState>,
    pub(crate) sockets: Arc<Sockets>,
}

pub(crate) enum PeerEvent {
    /// A way to reach this side.
    Candidate(Candidate),
    /// All ways are known.
    CandidatesComplete,
    /// The other side opened a data channel.
    Channel(Arc<dyn DataChannel>),
}

impl Stack {
    pub(crate) fn new(options: Options, sockets: Sockets) -> Self {
        let window_bytes = sockets.window_bytes();
        Self { options, sockets, window_bytes }
    }

    pub(crate) async fn connect(&self, handed_out: &[IceServer]) -> Result<Peer, Error> {
        let resolved = self.build(handed_out, self.options.mdns).await;
        match (resolved, self.options.mdns) {
            (Err(error), Mdns::Resolve) => {
                tracing::debug!(%error, "once more without mDNS, whose port may be taken");
                self.build(handed_out, Mdns::Ignore).await
            }
            (built, _) => built,
        }
    }

    async fn build(&self, handed_out: &[IceServer], mdns: Mdns) -> Result<Peer, Error> {
        let (happened, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let (changed, state) = watch::channel(RTCPeerConnectionState::New);
        let sockets = Arc::new(self.sockets.another());
        let connection = PeerConnectionBuilder::new()
            .with_configuration(self.configuration(handed_out))
            .with_setting_engine(self.settings(mdns))
            .with_runtime(sockets.clone())
            .with_handler(Arc::new(Handler { happened, changed, sockets: sockets.clone() }))
            .with_udp_addrs(bind_addresses(&self.options.interfaces))
            .with_data_channel_send_buffer_limit(self.options.buffered_bytes_max)
            .build()
            .await?;
        Ok(Peer { connection: Arc::new(connection), events, state, sockets })
    }

    /// What a connection uses from the next time on that it gathers ways to reach this side.
    pub(crate) fn configuration(&self, handed_out: &[IceServer]) -> RTCConfiguration {
        let servers = self.options.ice_servers.iter().chain(handed_out);
        RTCConfigurationBuilder::new().with_ice_servers(servers.map(ice_server).collect()).build()
    }

    fn settings(&self, mdns: Mdns) -> SettingEngine {
        let options = &self.options;
        // The stack gives up an attempt after as long a silence as a connection. That is for the call to tell apart, so this is
        // the longer of the two.
        let given_up_after = options.attempt_timeout.max(options.dead_after);
        // As long as an attempt lasts, because what is tried before the other side knows of it is tried in vain.
        let tries = options.attempt_timeout.as_millis() / options.check_interval.as_millis().max(1);
        SettingEngineBuilder::new()
            .with_ice_timeouts(
                Some(options.disturbed_after()),
                Some(given_up_after),
                Some(options.keep_alive),
            )
            .with_ice_connection_attempts(
                Some(options.check_interval),
                Some(u16::try_from(tries).unwrap_or(u16::MAX)),
            )
            // The best way is taken after these, if it is of that kind. An address behind which the other side hides is as
            // good as one that it told. What goes through a server waits for what does not.
            .with_host_acceptance_min_wait(Some(Duration::ZERO))
            .with_prflx_acceptance_min_wait(Some(Duration::ZERO))
            .with_srflx_acceptance_min_wait(Some(Duration::from_millis(200)))
            .with_relay_acceptance_min_wait(Some(Duration::from_secs(1)))
            .with_include_loopback_candidate(true)
            // Addresses that are gone are the reason for looking for another way.
            .with_discard_local_candidates_during_ice_restart(true)
            .with_multicast_dns_mode(match mdns {
                Mdns::Ignore => MulticastDnsMode::Disabled,
                Mdns::Resolve => MulticastDnsMode::QueryOnly,
            })
            .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(Options::MESSAGE_BYTES_MAX as u32))
            .with_sctp_max_receive_buffer_size(self.window_bytes)
            .build()
    }
}

/// Without what the stack does not understand: it would refuse the connection, which may need no server.
fn ice_server(server: &IceServer) -> RTCIceServer {
    let IceServer { urls, username, credential } = server;
    let of = |urls| RTCIceServer { urls, username: username.clone(), credential: credential.clone() };
    let is_understood = |url: &String| {
        let parsed = of(vec![url.clone()]).urls();
        if let Err(error) = &parsed {
            tracing::warn!(%url, %error, "a STUN or TURN server is left out");
        }
        parsed.is_ok()
    };
    of(urls.iter().filter(|url| is_understood(url)).cloned().collect())
}

struct Handler {
    happened: mpsc::Sender<PeerEvent>,
    changed: watch::Sender<RTCPeerConnectionState>,
    sockets: Arc<Sockets>,
}

impl Handler {
    /// The stack waits for its handlers, so they must not wait for anybody.
    fn tell(&self, event: PeerEvent) {
        if self.happened.try_send(event).is_err() {
            tracing::debug!("an event of a connection finds no room, or nobody");
        }
    }
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        match event.candidate.to_json() {
            Ok(candidate) if candidate.candidate.is_empty() => self.tell(PeerEvent::CandidatesComplete),
            Ok(RTCIceCandidateInit { candidate, sdp_mid, sdp_mline_index, .. }) => {
                let candidate = Candidate { candidate, sdp_mid, sdp_m_line_index: sdp_mline_index };
                self.tell(PeerEvent::Candidate(candidate));
            }
            Err(error) => tracing::debug!(%error, "a candidate cannot be told"),
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.tell(PeerEvent::CandidatesComplete);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connecting {
            self.sockets.set_connecting(true);
        }
        self.changed.send_replace(state);
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.tell(PeerEvent::Channel(channel));
    }
}
