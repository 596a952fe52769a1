//! One call to one peer: from the offer to the end of the connection that comes of it.
//!
//! Decides nothing about whom to call and when; that is the mesh's. What it has to say to the other side goes through the
//! member, for as long as there is one: an open connection outlives it.

use std::sync::Arc;

use bytes::Bytes;
use rtc::peer_connection::configuration::RTCOfferOptions;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::error::Error;
use webrtc::peer_connection::{
    PeerConnection, RTCIceCandidateInit, RTCPeerConnectionState, RTCSessionDescription,
};

use crate::binding::channel_binding;
use crate::line::{Dialect, IsOpen, Line, Receiver, Sender, closed, line};
use crate::mesh::CallId;
use crate::options::IceServer;
use crate::signal::{Candidate, Claim, Signal};
use crate::stack::{Peer, PeerEvent, Stack};

/// The most signals that wait for a call. More than the candidates of a machine with many addresses.
pub(crate) const INPUTS_WAITING_MAX: usize = 256;

/// The most candidates that are kept until the description that they belong to has come.
const EARLY_CANDIDATES_MAX: usize = 128;

/// How a call begins.
pub(crate) enum Beginning {
    /// This side makes an offer.
    Offer,
    /// The other side made this one.
    Answer { sdp: String, dialect: Dialect },
}

/// What a call is told. An attempt ends when nobody is left to tell it anything; a connection goes on.
#[derive(Debug)]
pub(crate) enum CallInput {
    /// From the other side.
    Signal(Signal),
    /// Look for another way to the other side. Only for the side that made the offer.
    Restart,
    /// End, whether open or not.
    Close,
}

/// What a call tells.
pub(crate) enum CallEvent {
    /// For the other side. Who this side is, is filled in by who sends it.
    Signal(Signal),
    /// The connection is open.
    Open(Opened),
    /// It hears the other side, or hears it again.
    Steady,
    /// It has not heard the other side for a while.
    Disturbed,
    /// The connection is closed. What was sent before may still be under way.
    Closed,
    /// It is over.
    Ended,
}

/// What a connection is made of.
pub(crate) struct Opened {
    pub(crate) message_bytes_max: usize,
    pub(crate) channel_binding: Bytes,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) is_open: IsOpen,
}

pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) stack: Arc<Stack>,
    /// Handed out by the signaling, beside those of the options. Others follow.
    pub(crate) ice_servers: watch::Receiver<Arc<[IceServer]>>,
    pub(crate) inputs: mpsc::Receiver<CallInput>,
    pub(crate) events: mpsc::Sender<(CallId, CallEvent)>,
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Stack(#[from] Error),
    #[error("the attempt was given up")]
    GivenUp,
    #[error("no way to the other side was found")]
    NoWay,
    #[error("a session description has no fingerprint")]
    NoFingerprint,
}

impl Call {
    pub(crate) async fn run(mut self, beginning: Beginning) {
        let ice_servers = self.ice_servers.borrow().clone();
        match self.stack.connect(&ice_servers).await {
            Ok(Peer { connection, events, state, sockets }) => {
                let mut talk = Talk {
                    call: &mut self,
                    connection: connection.clone(),
                    events,
                    state,
                    early: Some(Vec::new()),
                    dialect: Dialect::Other,
                };
                let opened = talk.open(beginning).await;
                sockets.set_connecting(false);
                match opened {
                    Ok((opened, line)) => talk.live(opened, line).await,
                    Err(failure) => tracing::info!(%failure, "an attempt to connect to a peer failed"),
                }
                if let Err(error) = connection.close().await {
                    tracing::debug!(%error, "a connection did not close cleanly");
                }
            }
            Err(error) => tracing::warn!(%error, "no connection can be made"),
        }
        self.tell(CallEvent::Ended).await;
    }

    /// Fails silently once the member has left.
    async fn tell(&self, event: CallEvent) {
        let _ = self.events.send((self.id, event)).await;
    }
}

/// A call with its peer connection.
struct Talk<'a> {
    call: &'a mut Call,
    connection: Arc<dyn PeerConnection>,
    events: mpsc::Receiver<PeerEvent>,
    state: watch::Receiver<RTCPeerConnectionState>,
    /// Candidates that came before the description. `None` once that has come.
    early: Option<Vec<Candidate>>,
    dialect: Dialect,
}

impl Talk<'_> {
    /// Returns once the data channel is open.
    async fn open(&mut self, beginning: Beginning) -> Result<(Opened, Line), Failure> {
        let mut channel = None;
        match beginning {
            Beginning::Offer => {
                // The name means nothing. It is opened in-band, which is what simple-peer expects.
                let ordered = RTCDataChannelInit { ordered: true, ..RTCDataChannelInit::default() };
                channel = Some(self.connection.create_data_channel("peerloom", Some(ordered)).await?);
                self.offer(None).await?;
            }
            Beginning::Answer { sdp, dialect } => {
                self.dialect = dialect;
                self.answer(sdp).await?;
            }
        }
        let channel = loop {
            tokio::select! {
                biased;
                input = self.call.inputs.recv() => match input {
                    Some(CallInput::Signal(signal)) => self.handle(signal).await?,
                    Some(CallInput::Restart) => {}
                    Some(CallInput::Close) | None => return Err(Failure::GivenUp),
                },
                Some(event) = self.events.recv() => match event {
                    // The one that opens first is the only one that is used.
                    PeerEvent::Channel(opened) => break opened,
                    event => self.relay(event).await,
                },
                opened = is_open(channel.as_ref()) => match opened {
                    true => break channel.take().expect("only a channel opens"),
                    false => return Err(Failure::NoWay),
                },
                () = failed(&mut self.state) => return Err(Failure::NoWay),
            }
        };
        self.opened(channel).await
    }

    async fn opened(&mut self, channel: Arc<dyn DataChannel>) -> Result<(Opened, Line), Failure> {
        let negotiated = match self.connection.sctp().await {
            Some(sctp) => sctp.max_message_size().await? as usize,
            None => return Err(Failure::NoWay),
        };
        let message_bytes_max = self.call.stack.options.message_bytes_max.min(negotiated);
        let local = self.connection.current_local_description().await.ok_or(Failure::NoFingerprint)?;
        let remote = self.connection.current_remote_description().await.ok_or(Failure::NoFingerprint)?;
        let channel_binding = channel_binding(&local.sdp, &remote.sdp).ok_or(Failure::NoFingerprint)?;
        let (sender, receiver, line) = line(channel, message_bytes_max, self.dialect);
        let is_open = line.is_open();
        Ok((Opened { message_bytes_max, channel_binding, sender, receiver, is_open }, line))
    }

    /// Returns once the connection has ended.
    async fn live(mut self, opened: Opened, line: Line) {
        self.call.tell(CallEvent::Open(opened)).await;
        let options = &self.call.stack.options;
        let patience = options.dead_after - options.disturbed_after();
        let mut changes = self.state.clone();
        let (mut is_open, mut told_closed) = (line.is_open(), false);
        let line = line.run(self.state.clone());
        tokio::pin!(line);
        let (mut member_left, mut dead_at) = (false, None);
        loop {
            let dead = async move {
                match dead_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut line => return,
                input = self.call.inputs.recv(), if !member_left => {
                    let handled = match input {
                        Some(CallInput::Signal(signal)) => self.handle(signal).await,
                        Some(CallInput::Restart) => self.restart().await,
                        Some(CallInput::Close) => return,
                        None => {
                            member_left = true;
                            Ok(())
                        }
                    };
                    if let Err(failure) = handled {
                        // The way that there is may still hold, or the next one be found. If not, the silence ends it.
                        tracing::debug!(%failure, "a connection found no other way");
                    }
                }
                () = closed(&mut is_open), if !told_closed => {
                    told_closed = true;
                    self.call.tell(CallEvent::Closed).await;
                }
                Some(event) = self.events.recv() => self.relay(event).await,
                Ok(()) = changes.changed() => {
                    let state = *changes.borrow_and_update();
                    match state {
                        RTCPeerConnectionState::Connected => {
                            dead_at = None;
                            self.call.tell(CallEvent::Steady).await;
                        }
                        RTCPeerConnectionState::Disconnected => {
                            dead_at.get_or_insert(Instant::now() + patience);
                            self.call.tell(CallEvent::Disturbed).await;
                        }
                        _ => {}
                    }
                }
                () = dead => return tracing::debug!("a peer is given up, because it is silent"),
            }
        }
    }

    async fn restart(&mut self) -> Result<(), Failure> {
        self.renew().await?;
        self.offer(Some(RTCOfferOptions { ice_restart: true })).await
    }

    /// Has the stack look for another way with what the signaling has handed out since. Passwords of TURN servers expire. Those with which
    /// the way of now was made stay valid for it: a TURN server expects the same user for as long as it relays.
    async fn renew(&mut self) -> Result<(), Failure> {
        let handed_out = self.call.ice_servers.borrow().clone();
        let configuration = self.call.stack.configuration(&handed_out);
        Ok(self.connection.set_configuration(configuration).await?)
    }

    async fn offer(&mut self, options: Option<RTCOfferOptions>) -> Result<(), Failure> {
        let offer = self.connection.create_offer(options).await?;
        let sdp = offer.sdp.clone();
        self.early = Some(Vec::new());
        self.connection.set_local_description(offer).await?;
        self.call.tell(CallEvent::Signal(Signal::Offer { sdp, peerloom: None })).await;
        Ok(())
    }

    async fn answer(&mut self, sdp: String) -> Result<(), Failure> {
        self.connection.set_remote_description(RTCSessionDescription::offer(sdp)?).await?;
        let answer = self.connection.create_answer(None).await?;
        let sdp = answer.sdp.clone();
        self.connection.set_local_description(answer).await?;
        self.call.tell(CallEvent::Signal(Signal::Answer { sdp, peerloom: None })).await;
        self.add_early().await;
        Ok(())
    }

    async fn handle(&mut self, signal: Signal) -> Result<(), Failure> {
        match signal {
            Signal::Offer { sdp, .. } => {
                self.renew().await?;
                self.answer(sdp).await
            }
            Signal::Answer { sdp, peerloom } => {
                self.dialect = dialect(peerloom.as_ref());
                self.connection.set_remote_description(RTCSessionDescription::answer(sdp)?).await?;
                self.add_early().await;
                Ok(())
            }
            Signal::Candidate { candidate } => {
                match &mut self.early {
                    Some(early) if early.len() < EARLY_CANDIDATES_MAX => early.push(candidate),
                    Some(_) => {}
                    None => self.add(candidate).await,
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn add_early(&mut self) {
        for candidate in self.early.take().unwrap_or_default() {
            self.add(candidate).await;
        }
    }

    /// A candidate that is not understood, or names a host that cannot be found, is one way less.
    async fn add(&mut self, candidate: Candidate) {
        let Candidate { candidate, sdp_mid, sdp_m_line_index } = candidate;
        if candidate.is_empty() {
            return;
        }
        let candidate = RTCIceCandidateInit {
            candidate,
            sdp_mid,
            sdp_mline_index: sdp_m_line_index,
            ..Default::default()
        };
        if let Err(error) = self.connection.add_ice_candidate(candidate).await {
            tracing::debug!(%error, "a candidate is skipped");
        }
    }

    async fn relay(&mut self, event: PeerEvent) {
        let signal = match event {
            PeerEvent::Candidate(candidate) => Signal::Candidate { candidate },
            PeerEvent::CandidatesComplete => Signal::CandidatesComplete,
            PeerEvent::Channel(_) => return tracing::debug!("a second data channel is ignored"),
        };
        self.call.tell(CallEvent::Signal(signal)).await;
    }
}

pub(crate) fn dialect(claim: Option<&Claim>) -> Dialect {
    if claim.is_some() { Dialect::Peerloom } else { Dialect::Other }
}

/// Waits until the channel opens, for ever if there is none. False if it ends instead. Cancel-safe.
async fn is_open(channel: Option<&Arc<dyn DataChannel>>) -> bool {
    let Some(channel) = channel else { return std::future::pending().await };
    loop {
        match channel.poll().await {
            Some(DataChannelEvent::OnOpen) => return true,
            Some(DataChannelEvent::OnClose) | None => return false,
            Some(_) => {}
        }
    }
}

async fn failed(state: &mut watch::Receiver<RTCPeerConnectionState>) {
    let is_over = |state: &RTCPeerConnectionState| {
        matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed)
    };
    let _ = state.wait_for(is_over).await;
}
