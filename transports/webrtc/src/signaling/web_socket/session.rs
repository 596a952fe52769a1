//! The task behind a session: connects, joins, passes messages on, and connects again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use peerloom_core::TransportError;
use peerloom_signaling::close::{CloseReason, Retry};
use peerloom_signaling::message::{ClientMessage, ServerCapability, ServerMessage};
use peerloom_signaling::{PeerId as ServerPeerId, RoomName};
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::room::{Outgoing, Room, ice_servers};
use super::{Connect, Reconnect, Server, Token, bearer};
use crate::backoff;
use crate::interfaces::Watch;
use crate::random::Random;
use crate::signal::{ConnectionId, PeerId, Signal};
use crate::signaling::{SignalingEvent, SignalingSession};
use crate::spawn::Spawner;

/// The most events that wait for the member. Then the server waits.
const EVENTS_WAITING_MAX: usize = 1024;

/// The most signals that wait for the server. Further ones are lost.
const SIGNALS_WAITING_MAX: usize = 4096;

/// The largest message that a server may send: the list of a room with tens of thousands of members.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// How often RxDB's server wants to hear something.
const PING_EVERY: Duration = Duration::from_secs(60);

/// How long a server has to show that it is there after this machine's addresses have changed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long saying farewell may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Config<C> {
    pub(super) server: Server,
    pub(super) room: RoomName,
    pub(super) token: Option<Token>,
    pub(super) reconnect: Reconnect,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) network_check: Duration,
    pub(super) connect: Arc<C>,
    pub(super) random: Random,
    pub(super) spawner: Spawner,
}

/// What the member holds.
pub(super) struct Session {
    events: mpsc::Receiver<Result<SignalingEvent, TransportError>>,
    outgoing: mpsc::Sender<Outgoing>,
    _leave: DropGuard,
}

impl Session {
    pub(super) fn begin<C: Connect>(config: Config<C>) -> Self {
        let leave = CancellationToken::new();
        let (told, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let (outgoing, signals) = mpsc::channel(SIGNALS_WAITING_MAX);
        let spawner = config.spawner.clone();
        let network = Watch::new(config.network_check);
        let client = Client { network, config, told, signals, failures: 0, was_inside: false };
        spawner.spawn(client.run(leave.clone()));
        Self { events, outgoing, _leave: leave.drop_guard() }
    }
}

#[async_trait]
impl SignalingSession for Session {
    async fn event(&mut self) -> Result<SignalingEvent, TransportError> {
        self.events.recv().await.unwrap_or(Err(TransportError::Closed))
    }

    fn send(&mut self, to: &PeerId, connection: Option<&ConnectionId>, signal: &Signal) {
        // Each candidate is delivered at once, and RxDB's peers do not know this one.
        if *signal == Signal::CandidatesComplete {
            return;
        }
        let outgoing = Outgoing { to: to.clone(), connection: connection.cloned(), signal: signal.clone() };
        if self.outgoing.try_send(outgoing).is_err() {
            tracing::debug!(%to, "a signal is lost, because too many wait for the server");
        }
    }
}

/// The value of the header that shows a token.
pub(super) fn authorization(token: &str) -> Result<HeaderValue, TransportError> {
    let invalid =
        || TransportError::Failed { detail: "the token has characters that a header cannot have".into() };
    bearer(token).ok_or_else(invalid)
}

struct Client<C> {
    config: Config<C>,
    network: Watch,
    told: mpsc::Sender<Result<SignalingEvent, TransportError>>,
    signals: mpsc::Receiver<Outgoing>,
    /// In a row.
    failures: u32,
    /// The server let this side into the room before.
    was_inside: bool,
}

/// Why a connection to the server has ended.
struct Ended {
    retry: Retry,
    detail: String,
}

impl Ended {
    fn for_now(detail: impl Into<String>) -> Self {
        Self { retry: Retry::Backoff, detail: detail.into() }
    }

    /// A setting that is wrong from the first moment on is for the user to set right. Later the same may pass by itself: a network that
    /// asks for a login first answers in place of every server.
    fn over_certificate(host: &str, error: &CertificateError, was_inside: bool) -> Self {
        let advice = match error {
            // The signature is wrong if an authority has the name of one that is trusted, and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "it goes back to none of the roots that are trusted, to which \
                 WebSocketSignaling::root_certificates_pem adds"
                    .to_owned()
            }
            error => error.to_string(),
        };
        let retry = if was_inside { Retry::Backoff } else { Retry::Never };
        Self { retry, detail: format!("the certificate of {host} is not accepted: {advice}") }
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match &error {
            Error::Http(response)
                if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
            {
                let detail = format!("the signaling server asks for another token: {}", response.status());
                Self { retry: Retry::WithAnotherToken, detail }
            }
            _ => Self::for_now(error.to_string()),
        }
    }
}

/// What is wrong with the server's certificate, if it is that.
fn certificate_error(error: &Error) -> Option<&CertificateError> {
    let Error::Io(error) = error else { return None };
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(error) => Some(error),
        _ => None,
    }
}

type Socket<S> = WebSocketStream<MaybeTlsStream<S>>;

impl<C: Connect> Client<C> {
    async fn run(mut self, leave: CancellationToken) {
        loop {
            let served = tokio::select! {
                biased;
                () = leave.cancelled() => return,
                served = self.connect() => served,
            };
            let ended = match served {
                Ok(mut socket) => {
                    let since = Instant::now();
                    let ended = tokio::select! {
                        biased;
                        () = leave.cancelled() => return farewell(socket).await,
                        ended = self.serve(&mut socket) => ended,
                    };
                    if since.elapsed() >= self.config.reconnect.max {
                        self.failures = 0;
                    }
                    ended
                }
                Err(ended) => ended,
            };
            match self.failures {
                0 => tracing::warn!(
                    detail = ended.detail,
                    "no connection to the signaling server; trying again"
                ),
                _ => tracing::debug!(detail = ended.detail, "no connection to the signaling server"),
            }
            if self.is_final(ended.retry) {
                let _ = self.told.send(Err(TransportError::Refused { detail: ended.detail })).await;
                return;
            }
            self.failures = self.failures.saturating_add(1);
            let [jitter] = self.config.random.bytes();
            let Reconnect { initial, max, .. } = self.config.reconnect;
            let wait = backoff::wait(initial, max, self.failures, jitter);
            tokio::select! {
                biased;
                () = leave.cancelled() => return,
                () = self.network.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn is_final(&self, retry: Retry) -> bool {
        match retry {
            Retry::Backoff => false,
            Retry::WithAnotherToken => !matches!(self.config.token, Some(Token::Renewed(_))),
            Retry::Never => true,
        }
    }

    async fn connect(&self) -> Result<Socket<C::Stream>, Ended> {
        let Config { server, token, tls, connect, .. } = &self.config;
        let connecting = async {
            let mut request = server.uri.clone().into_client_request()?;
            if let Some(token) = token {
                let value = authorization(&token.now()).map_err(|error| Ended::for_now(error.to_string()))?;
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            let stream = connect
                .connect(&server.host, server.port)
                .await
                .map_err(|error| Ended::for_now(error.to_string()))?;
            let settings = WebSocketConfig::default()
                .max_message_size(Some(MESSAGE_BYTES_MAX))
                .max_frame_size(Some(MESSAGE_BYTES_MAX));
            let connector = match server.uri.scheme_str() {
                Some("wss") => Connector::Rustls(tls.clone()),
                _ => Connector::Plain,
            };
            match client_async_tls_with_config(request, stream, Some(settings), Some(connector)).await {
                Ok((socket, _)) => Ok(socket),
                Err(error) => Err(match certificate_error(&error) {
                    Some(cause) => Ended::over_certificate(&server.host, cause, self.was_inside),
                    None => error.into(),
                }),
            }
        };
        match timeout(self.config.reconnect.timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(Ended::for_now("connecting took too long")),
        }
    }

    /// Runs until the connection ends.
    async fn serve(&mut self, socket: &mut Socket<C::Stream>) -> Ended {
        let mut told_joined = false;
        let ended = match self.talk(socket, &mut told_joined).await {
            Ok(()) => Ended::for_now("the server ended the connection"),
            Err(ended) => ended,
        };
        if told_joined {
            self.was_inside = true;
            let _ = self.told.send(Ok(SignalingEvent::Lost)).await;
        }
        ended
    }

    async fn talk(&mut self, socket: &mut Socket<C::Stream>, told_joined: &mut bool) -> Result<(), Ended> {
        let (own, capability) = self.enter(socket).await?;
        // What was to be sent under an earlier id was about attempts that have been given up since.
        while self.signals.try_recv().is_ok() {}
        let idle_timeout =
            capability.as_ref().map(|capability| Duration::from_millis(capability.idle_timeout_ms));
        let mut room = Room::new(own, self.config.room.clone());
        if let Some(turn) = capability.and_then(|capability| capability.turn) {
            self.tell(ice_servers(turn)).await;
        }

        let keep_alive = self.config.reconnect.keep_alive;
        let ping_every = idle_timeout.map_or(PING_EVERY, |timeout| PING_EVERY.min(timeout / 2));
        let mut ping = tokio::time::interval_at(Instant::now() + ping_every, ping_every);
        let mut probe = tokio::time::interval_at(Instant::now() + keep_alive, keep_alive);
        let mut gone_at = Instant::now() + 2 * keep_alive;
        loop {
            tokio::select! {
                biased;
                received = socket.next() => {
                    let Some(received) = received else { return Ok(()) };
                    gone_at = Instant::now() + 2 * keep_alive;
                    match received? {
                        Message::Text(text) => {
                            for event in room.heard(&text) {
                                *told_joined = true;
                                self.tell(event).await;
                            }
                        }
                        Message::Close(frame) => return Err(closed(frame.map(|frame| (frame.code.into(), frame.reason.to_string())))),
                        _ => {}
                    }
                }
                Some(outgoing) = self.signals.recv() => {
                    if let Some(text) = room.said(outgoing) {
                        socket.send(Message::text(text)).await?;
                    }
                }
                _ = ping.tick() => socket.send(text(&ClientMessage::Ping)).await?,
                _ = probe.tick() => socket.send(Message::Ping(Vec::new().into())).await?,
                () = self.network.changed() => {
                    gone_at = gone_at.min(Instant::now() + PROBE_TIMEOUT);
                    socket.send(Message::Ping(Vec::new().into())).await?;
                }
                () = tokio::time::sleep_until(gone_at) => return Err(Ended::for_now("the server is silent")),
            }
        }
    }

    /// Learns this side's id and joins the room.
    async fn enter(
        &self,
        socket: &mut Socket<C::Stream>,
    ) -> Result<(ServerPeerId, Option<ServerCapability>), Ended> {
        let greeting = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return match serde_json::from_str(&text) {
                            Ok(ServerMessage::Init { your_peer_id, peerloom }) => {
                                Ok((your_peer_id, peerloom))
                            }
                            _ => Err(Ended::for_now("the server did not begin with init")),
                        };
                    }
                    Some(Ok(Message::Close(frame))) => {
                        return Err(closed(frame.map(|frame| (frame.code.into(), frame.reason.to_string()))));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(Ended::for_now("the server ended the connection")),
                }
            }
        };
        let greeted = match timeout(self.config.reconnect.timeout, greeting).await {
            Ok(greeted) => greeted?,
            Err(_) => return Err(Ended::for_now("the server did not say init")),
        };
        socket.send(text(&ClientMessage::join(self.config.room.clone()))).await?;
        Ok(greeted)
    }

    async fn tell(&self, event: SignalingEvent) {
        // Fails when the member has left, which ends this task.
        let _ = self.told.send(Ok(event)).await;
    }
}

async fn farewell(mut socket: Socket<impl AsyncRead + AsyncWrite + Unpin>) {
    // The server notices without it as well.
    let _ = timeout(FAREWELL_TIMEOUT, socket.close(None)).await;
}

fn closed(frame: Option<(u16, String)>) -> Ended {
    let Some((code, reason)) = frame else { return Ended::for_now("the server closed the connection") };
    let retry = CloseReason::from_code(code).map_or(Retry::Backoff, CloseReason::retry);
    Ended { retry, detail: format!("{reason} ({code})") }
}

fn text(message: &ClientMessage) -> Message {
    Message::text(serde_json::to_string(message).expect("messages are plain data"))
}
