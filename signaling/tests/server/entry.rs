//! Who is let in: tokens, TLS, proxies.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use peerloom_signaling::CloseReason;
use peerloom_signaling::authentication::{Authentication, SharedToken, SignedTokens};
use peerloom_signaling::server::{ClientAddress, ServerOptions, Tls};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;

use crate::network::{Client, EPOCH, Network, request};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn with_header(name: &'static str, value: &str) -> Request<()> {
    let mut request = request("/");
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn signed(claims: &Value) -> String {
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

#[tokio::test(start_paused = true)]
async fn a_shared_token_is_taken_from_the_header_or_the_query() {
    let authentication = Authentication::Token(SharedToken::new("open sesame"));
    let network = Network::start(ServerOptions { authentication, ..ServerOptions::default() });
    let requests = [
        (request("/"), Err(401)),
        (request("/?token=open"), Err(401)),
        (with_header("authorization", "Basic open sesame"), Err(401)),
        (with_header("authorization", "Bearer open sesam"), Err(401)),
        (request("/?other=1&token=open%20sesame"), Ok(())),
        (with_header("authorization", "Bearer open sesame"), Ok(())),
    ];
    for (request, expected) in requests {
        let uri = request.uri().clone();
        let header = request.headers().get(AUTHORIZATION).cloned();
        assert_eq!(network.connect_with(request).await.map(|_| ()), expected, "{uri} {header:?}");
    }
    let metrics = network.get("/metrics").await;
    assert!(metrics.contains("refused_total{reason=\"token invalid\"} 2"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_signed_token_opens_its_room_until_it_expires() {
    let authentication = Authentication::Signed(SignedTokens::new(SECRET).unwrap());
    let network = Network::start(ServerOptions { authentication, ..ServerOptions::default() });
    let now = EPOCH.as_secs();
    let path = |claims: &Value| format!("/?token={}", signed(claims));

    let expired = network.connect_with(request(&path(&json!({"room": "our-room", "exp": now})))).await;
    assert_eq!(expired.err(), Some(401));

    let token = path(&json!({"room": "our-room", "exp": now + 60}));
    let mut outside = network.connect_with(request(&token)).await.unwrap();
    outside.join("his-room").await;
    assert_eq!(outside.closed().await, Some(CloseReason::RoomForbidden));

    let mut inside = network.connect_with(request(&token)).await.unwrap();
    inside.join("our-room").await;
    inside.hear_type("members").await;
    assert_eq!(inside.closed().await, Some(CloseReason::TokenExpired));
}

#[tokio::test(start_paused = true)]
async fn a_server_with_tls_speaks_it_and_nothing_else() {
    let issued = rcgen::generate_simple_self_signed(["here".to_owned()]).unwrap();
    let key = issued.signing_key.serialize_pem();
    let tls = Tls::from_pem(issued.cert.pem().as_bytes(), key.as_bytes()).unwrap();
    let network = Network::start(ServerOptions { tls: Some(tls), ..ServerOptions::default() });

    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect("here".try_into().unwrap(), network.dial()).await.unwrap();
    let mut client = Client::over(stream, request("/")).await.unwrap();
    client.join_as_stock("our-room").await;
    client.hear_type("joined").await;
    client.say(&json!({"type": "shout"})).await;
    assert_eq!(client.closed().await, Some(CloseReason::MalformedMessage));

    assert!(!network.get("/healthz").await.contains("HTTP/1.1"), "no plain text");
    let mut silent = network.dial();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0, "hung up on after the handshake time-out");
}

#[test]
fn tls_with_the_wrong_files_is_a_typed_error() {
    let issued = rcgen::generate_simple_self_signed(["here".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["here".to_owned()]).unwrap();
    let (certificate, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    for (certificate, key) in [
        ("", key.as_str()),
        (certificate.as_str(), ""),
        (key.as_str(), key.as_str()),
        (certificate.as_str(), other.signing_key.serialize_pem().as_str()),
    ] {
        assert!(Tls::from_pem(certificate.as_bytes(), key.as_bytes()).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_proxy_clients_are_told_apart_by_its_header() {
    let network = Network::start(ServerOptions {
        client_address: ClientAddress::header("x-forwarded-for").unwrap(),
        connections_per_address_max: 1.try_into().unwrap(),
        ..ServerOptions::default()
    });
    let via = |value: &str| with_header("x-forwarded-for", value);
    let _first = network.connect_with(via("192.0.2.7")).await.unwrap();
    // What the client itself claims comes before what the proxy adds.
    assert_eq!(network.connect_with(via("198.51.100.1, 192.0.2.7")).await.err(), Some(429));
    let _second = network.connect_with(via("192.0.2.7, 192.0.2.8")).await.unwrap();
    assert_eq!(network.connect_with(request("/")).await.err(), Some(400));
    assert_eq!(network.connect_with(via("somebody")).await.err(), Some(400));
}
