//! From an accepted stream to a peer: TLS, one HTTP request, and what speaks against it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::debug;

use super::Shared;
use super::addresses::Slot;
use super::conversation::Conversation;
use crate::authentication::Denied;
use crate::message::TOKEN_QUERY_PARAMETER;
use crate::permit::Permit;

/// Bytes of a request's head. A token takes most of it.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Bytes that are read at once. A signal seldom has more, and every connection keeps as much.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Somebody who is let in.
struct Admitted {
    permit: Permit,
    address: IpAddr,
    upgrade: OnUpgrade,
    slot: Slot,
}

/// Where a request leaves who it let in.
struct Door {
    remote: IpAddr,
    slot: Option<Slot>,
    admitted: Option<Admitted>,
}

impl Shared {
    pub(super) fn take_slot(&self, address: IpAddr) -> Option<Slot> {
        let slot = self.addresses.take(address, self.options.connections_per_address_max.get());
        if slot.is_none() {
            self.refuse("too many connections");
            debug!(%address, "refused: too many connections");
        }
        slot
    }

    /// Sees a connection through, from its first byte to its last.
    pub(super) async fn attend<S>(
        self: Arc<Self>,
        stream: S,
        remote: IpAddr,
        slot: Option<Slot>,
        handshake: OwnedSemaphorePermit,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let deadline = Instant::now() + self.options.handshake_timeout;
        let door = Door { remote, slot, admitted: None };
        match &self.options.tls {
            None => Arc::clone(&self).serve_http(stream, door, deadline, handshake).await,
            Some(tls) => match timeout_at(deadline, tls.acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Arc::clone(&self).serve_http(stream, door, deadline, handshake).await,
                Ok(Err(error)) => {
                    self.refuse("no TLS");
                    debug!(%remote, %error, "refused: no TLS");
                }
                Err(_) => self.refuse("handshake timeout"),
            },
        }
    }

    async fn serve_http<S>(
        self: Arc<Self>,
        stream: S,
        door: Door,
        deadline: Instant,
        handshake: OwnedSemaphorePermit,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let remote = door.remote;
        // On the heap, because a connection lives on in this task long after its request.
        let upgraded = Box::pin(self.upgrade::<S>(stream, door));
        let upgraded = match timeout_at(deadline, upgraded).await {
            Ok(upgraded) => upgraded,
            Err(_) => {
                self.refuse("handshake timeout");
                debug!(%remote, "refused: handshake timeout");
                return;
            }
        };
        drop(handshake);
        let Some((socket, permit, address, slot)) = upgraded else { return };
        Conversation::new(&self, socket, permit, address).run().await;
        drop(slot);
    }

    /// Answers requests until one of them is let in.
    async fn upgrade<S>(
        self: &Arc<Self>,
        stream: S,
        door: Door,
    ) -> Option<(WebSocketStream<S>, Permit, IpAddr, Slot)>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let remote = door.remote;
        let door = Arc::new(Mutex::new(door));
        let (shared, entrance) = (Arc::clone(self), Arc::clone(&door));
        let service = service_fn(move |request| {
            let mut door = entrance.lock().expect("nobody panics at the door");
            let response = shared.answer(request, &mut door);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let http = http1::Builder::new()
            .max_buf_size(REQUEST_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = http.await {
            debug!(%remote, %error, "no request");
        }
        let admitted = door.lock().expect("nobody panics at the door").admitted.take()?;
        let parts = admitted.upgrade.await.ok()?.downcast::<TokioIo<S>>().ok()?;
        let limits = &self.options.rooms.limits;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(limits.message_bytes_max.get()))
            .max_frame_size(Some(limits.message_bytes_max.get()));
        let stream = parts.io.into_inner();
        let socket =
            WebSocketStream::from_partially_read(stream, parts.read_buf.into(), Role::Server, Some(config))
                .await;
        Some((socket, admitted.permit, admitted.address, admitted.slot))
    }

    fn answer(&self, request: Request<Incoming>, door: &mut Door) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") if self.is_stopping() => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
            }
            (&Method::GET, "/healthz") => plain(StatusCode::OK, "ok\n"),
            (&Method::GET, "/metrics") => self.metrics(),
            _ if !request.headers().contains_key(header::UPGRADE) => {
                let mut response = plain(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket server\n");
                response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                response
            }
            _ => self.let_in(request, door).unwrap_or_else(|refusal| {
                self.refuse(refusal.reason);
                debug!(remote = %door.remote, reason = refusal.reason, "refused");
                refusal.response()
            }),
        }
    }

    fn let_in(
        &self,
        mut request: Request<Incoming>,
        door: &mut Door,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let response = create_response_with_body(&request, Full::default)
            .map_err(|_| Refusal { status: StatusCode::BAD_REQUEST, reason: "not a WebSocket request" })?;
        let address = self.client_address(&request, door.remote)?;
        let slot = match door.slot.take() {
            Some(slot) => slot,
            None => self
                .addresses
                .take(address, self.options.connections_per_address_max.get())
                .ok_or(Refusal { status: StatusCode::TOO_MANY_REQUESTS, reason: "too many connections" })?,
        };
        let unix: Duration = self.environment.now().unix;
        let permit = match token_of(&request) {
            Some(token) => self.options.authentication.admit(Some(&token), unix),
            None => self.options.authentication.admit(None, unix),
        }
        .map_err(Refusal::from)?;
        if !self.state().rooms.admits() {
            return Err(Refusal { status: StatusCode::SERVICE_UNAVAILABLE, reason: "server full" });
        }
        let upgrade = hyper::upgrade::on(&mut request);
        door.admitted = Some(Admitted { permit, address, upgrade, slot });
        Ok(response)
    }

    fn client_address(&self, request: &Request<Incoming>, remote: IpAddr) -> Result<IpAddr, Refusal> {
        let Some(name) = &self.options.client_address.header else { return Ok(remote) };
        // The last one is the proxy's own; those before it are what the client claims.
        let last = request.headers().get_all(name).iter().next_back();
        let address = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        address.ok_or(Refusal { status: StatusCode::BAD_REQUEST, reason: "no client address" })
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let text = {
            let state = self.state();
            super::metrics::render(&state.rooms.statistics(), &state.refusals)
        };
        let mut response = plain(StatusCode::OK, text);
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    fn is_stopping(&self) -> bool {
        self.state().rooms.is_stopping()
    }
}

/// Why a request is not let in.
struct Refusal {
    status: StatusCode,
    reason: &'static str,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let reason = match denied {
            Denied::Missing => "token missing",
            Denied::Invalid => "token invalid",
            Denied::Expired => "token expired",
        };
        Self { status: StatusCode::UNAUTHORIZED, reason }
    }
}

impl Refusal {
    fn response(&self) -> Response<Full<Bytes>> {
        let mut response = plain(self.status, format!("{}\n", self.reason));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The token of a request, which no log line may contain: neither does any contain a URL.
fn token_of(request: &Request<Incoming>) -> Option<String> {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    bearer.or_else(|| {
        let query = request.uri().query()?.as_bytes();
        let mut pairs = form_urlencoded::parse(query);
        pairs.find(|(name, _)| name == TOKEN_QUERY_PARAMETER).map(|(_, token)| token.into_owned())
    })
}

/// A response that ends the connection.
fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
