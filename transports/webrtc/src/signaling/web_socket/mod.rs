//! Signaling through a server, over a WebSocket: Peerloom's or RxDB's.

mod room;
mod session;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use peerloom_core::{Topic, TransportError};
use peerloom_signaling::RoomName;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri};

use super::{Signaling, SignalingSession};
use crate::random::Random;
use crate::spawn::Spawner;
use session::Session;

/// A server that peers of a room meet at, as a client sees it.
///
/// Keeps trying: a server that cannot be reached, or goes away, is connected to again after waits that double. Meanwhile
/// connections to peers live on. What a server refuses for good ends the membership with [`TransportError::Refused`], and so does a
/// certificate that is not accepted, unless the membership has been in the room before.
///
/// Each membership has a WebSocket of its own. Topics that are not names of rooms, because these have 6 to 99 characters,
/// become the room `topic-` with the first half of the topic's SHA-256 in hexadecimal.
pub struct WebSocketSignaling<C = Tcp> {
    server: Server,
    token: Option<Token>,
    reconnect: Reconnect,
    roots: RootCertStore,
    network_check: Duration,
    connect: Arc<C>,
    random: Random,
    spawner: Spawner,
}

/// When to connect to the server again, and when it counts as gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reconnect {
    /// The wait after the first failure. 500 ms by default.
    pub initial: Duration,
    /// The longest wait. 30 seconds by default. Each failure doubles it up to here, and chance takes off up to half, so that
    /// not all clients of a server that comes back ask it at once.
    pub max: Duration,
    /// How long connecting may take. 10 seconds by default.
    pub timeout: Duration,
    /// How often a server that says nothing is asked whether it is there. After two of them without an answer it is gone. 20
    /// seconds by default.
    pub keep_alive: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(20),
        }
    }
}

/// How streams to the server are made. [`Tcp`], unless a simulator has its own.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// A stream of bytes, before TLS.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects to a port of a host, which is a name or an address.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Self::Stream>;
}

/// TCP, by tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

#[async_trait]
impl Connect for Tcp {
    type Stream = TcpStream;

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((host, port)).await?;
        // What is sent is small, and waited for.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Why something cannot be the server of a client.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum InvalidServer {
    /// The URL is none.
    #[error("{url} is not a URL of the form wss://host:port/path")]
    Url {
        /// What it is.
        url: String,
    },
    /// The certificate is none.
    #[error("the certificate is not X.509 in DER, or there is none in the PEM")]
    Certificate,
}

#[derive(Clone, Debug)]
struct Server {
    uri: Uri,
    host: String,
    port: u16,
}

#[derive(Clone)]
enum Token {
    Fixed(Arc<str>),
    Renewed(Arc<dyn Fn() -> String + Send + Sync>),
}

impl Token {
    fn now(&self) -> String {
        match self {
            Self::Fixed(token) => token.to_string(),
            Self::Renewed(token) => token(),
        }
    }
}

impl WebSocketSignaling {
    /// A client of the server at this URL, which begins with `wss://`, or `ws://` for a server without TLS.
    ///
    /// The server's certificate must go back to one of Mozilla's roots, or one of [`Self::root_certificate`] or [`Self::root_certificates_pem`].
    pub fn new(url: &str) -> Result<Self, InvalidServer> {
        Self::over(Tcp, url)
    }
}

impl<C: Connect> WebSocketSignaling<C> {
    /// As [`WebSocketSignaling::new`], over other streams than TCP.
    pub fn over(connect: C, url: &str) -> Result<Self, InvalidServer> {
        Ok(Self {
            server: url.parse()?,
            token: None,
            reconnect: Reconnect::default(),
            roots: RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            network_check: Duration::from_secs(3),
            connect: Arc::new(connect),
            random: Random::system(),
            spawner: Spawner::Tokio,
        })
    }

    /// Shows this token to the server, in the `Authorization` header. If the server refuses it, the membership ends.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        Self { token: Some(Token::Fixed(token.into())), ..self }
    }

    /// Asks for the token each time it connects, so that one that has expired is followed by another.
    #[must_use]
    pub fn token_from(self, token: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { token: Some(Token::Renewed(Arc::new(token))), ..self }
    }

    /// When to connect again.
    #[must_use]
    pub fn reconnect(self, reconnect: Reconnect) -> Self {
        Self { reconnect, ..self }
    }

    /// Trusts servers with a certificate that goes back to this one, in DER, besides those it trusts anyway.
    pub fn root_certificate(mut self, der: &[u8]) -> Result<Self, InvalidServer> {
        let certificate = CertificateDer::from(der.to_vec());
        self.roots.add(certificate).map_err(|_| InvalidServer::Certificate)?;
        Ok(self)
    }

    /// Trusts servers with a certificate that goes back to one of these, in PEM, besides those it trusts anyway.
    pub fn root_certificates_pem(self, pem: &[u8]) -> Result<Self, InvalidServer> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => {
                certificates.iter().try_fold(self, |signaling, der| signaling.root_certificate(der))
            }
            _ => Err(InvalidServer::Certificate),
        }
    }

    /// How often the addresses of this machine are looked at. When they change, the server is asked whether it is still
    /// there. 3 seconds by default; zero is never.
    #[must_use]
    pub fn network_check(self, network_check: Duration) -> Self {
        Self { network_check, ..self }
    }

    /// Takes the randomness of waits from `fill`, as a simulator wants it. That of TLS and of the WebSocket stays the system's.
    #[must_use]
    pub fn random(self, fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self { random: Random::new(fill), ..self }
    }

    /// Runs all tasks by `spawn` in place of tokio, as a simulator wants it: dropping the tasks that it was given ends memberships as the
    /// end of a process does.
    #[must_use]
    pub fn spawn_by(
        self,
        spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> Self {
        Self { spawner: Spawner::simulator(spawn), ..self }
    }

    fn tls(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for both versions")
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth()
    }
}

impl<C> fmt::Debug for WebSocketSignaling<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebSocketSignaling")
            .field("host", &self.server.host)
            .field("port", &self.server.port)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<C: Connect> Signaling for WebSocketSignaling<C> {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn SignalingSession>, TransportError> {
        if let Some(token) = &self.token {
            session::authorization(&token.now())?;
        }
        Ok(Box::new(Session::begin(session::Config {
            server: self.server.clone(),
            room: room_name(topic),
            token: self.token.clone(),
            reconnect: self.reconnect,
            tls: Arc::new(self.tls()),
            network_check: self.network_check,
            connect: self.connect.clone(),
            random: self.random.clone(),
            spawner: self.spawner.clone(),
        })))
    }
}

impl FromStr for Server {
    type Err = InvalidServer;

    fn from_str(url: &str) -> Result<Self, InvalidServer> {
        let invalid = || InvalidServer::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let port = match uri.scheme_str() {
            Some("ws") => 80,
            Some("wss") => 443,
            _ => return Err(invalid()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        // Brackets are how URLs write addresses with colons.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { port: uri.port_u16().unwrap_or(port), host, uri })
    }
}

fn room_name(topic: &Topic) -> RoomName {
    topic.as_str().parse().unwrap_or_else(|_| {
        let hash = Sha256::digest(topic.as_str());
        let half = hash.iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        format!("topic-{half}").parse().expect("38 characters are a name")
    })
}

/// The form in which a token is shown.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_are_names_of_rooms_are_left_alone() {
        let room = |topic: &str| room_name(&Topic::new(topic).unwrap()).as_str().to_owned();
        assert_eq!(room("our-notes"), "our-notes");
        assert_eq!(room("notes"), "topic-ab5aa97074c454a0632057e704220d9a");
        assert_eq!(room(&"n".repeat(100)).len(), 38);
        assert_ne!(room(&"n".repeat(100)), room(&"n".repeat(101)));
    }

    #[test]
    fn a_server_has_a_host_and_a_port() {
        for (url, host, port) in [
            ("ws://localhost", "localhost", 80),
            ("wss://example.org/path?query", "example.org", 443),
            ("ws://[::1]:8080/", "::1", 8080),
        ] {
            let server: Server = url.parse().unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{url}");
        }
        for url in ["", "example.org", "https://example.org", "ws://"] {
            assert!(url.parse::<Server>().is_err(), "{url}");
        }
    }
}
