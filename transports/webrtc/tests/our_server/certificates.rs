//! Servers with certificates of an authority of one's own.

use std::time::Duration;

use peerloom_core::{Membership, Topic, Transport, TransportError};
use peerloom_signaling::server::{ServerOptions, Tls};
use peerloom_webrtc::{
    Interfaces, InvalidServer, Options, Reconnect, Signaling, SignalingEvent, WebRtc, WebSocketSignaling,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::{Running, TIME_MAX, carries, meet};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> &[u8] {
        self.0.as_ref().der()
    }

    fn root_pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// For a server on this machine.
    fn options(&self) -> ServerOptions {
        let (key, parameters) =
            (KeyPair::generate().unwrap(), CertificateParams::new(["localhost".to_owned()]).unwrap());
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        let tls = Tls::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        ServerOptions { tls: Some(tls), ..ServerOptions::default() }
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn signaling(url: &str) -> WebSocketSignaling {
    let initial = Duration::from_millis(20);
    let reconnect = Reconnect { initial, max: Duration::from_millis(200), ..Reconnect::default() };
    WebSocketSignaling::new(url).unwrap().reconnect(reconnect)
}

fn trusting(authority: &Authority, url: &str) -> WebSocketSignaling {
    signaling(url).root_certificate(authority.root()).unwrap()
}

fn topic() -> Topic {
    Topic::new("our-notes").unwrap()
}

async fn join(signaling: WebSocketSignaling) -> Box<dyn Membership> {
    let options = Options { interfaces: Interfaces::loopback(), ..Options::default() };
    WebRtc::with_options(signaling, options).join(&topic()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_meet_at_a_server_whose_root_they_were_given() {
    let (authority, (listener, port)) = (Authority::new(), listener().await);
    let _server = Running::start(authority.options(), listener);
    let url = format!("wss://localhost:{port}");
    let mut left = join(trusting(&authority, &url)).await;
    let roots = format!("{}{}", Authority::new().root_pem(), authority.root_pem());
    let mut right = join(signaling(&url).root_certificates_pem(roots.as_bytes()).unwrap()).await;
    let (mut to_right, mut to_left) = meet(&mut left, &mut right).await;
    carries(&mut to_right, &mut to_left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_accepted_ends_the_membership_and_says_what_to_do() {
    let (authority, (listener, port)) = (Authority::new(), listener().await);
    let _server = Running::start(authority.options(), listener);
    let (by_name, by_address) = (format!("wss://localhost:{port}"), format!("wss://127.0.0.1:{port}"));
    for (signaling, advice) in [
        (signaling(&by_name), "root_certificate"),
        // It has the same name.
        (trusting(&Authority::new(), &by_name), "root_certificate"),
        (trusting(&authority, &by_address), "not valid for name"),
    ] {
        let mut member = join(signaling).await;
        let refused = timeout(TIME_MAX, member.accept()).await.expect("it is refused");
        assert!(
            matches!(&refused, Err(TransportError::Refused { detail }) if detail.contains(advice)),
            "{advice}: {refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_accepted_for_a_while_is_waited_out() {
    let (authority, (listener, port)) = (Authority::new(), listener().await);
    let server = Running::start(authority.options(), listener);
    let mut session = trusting(&authority, &format!("wss://localhost:{port}")).join(&topic()).await.unwrap();
    assert!(matches!(session.event().await, Ok(SignalingEvent::Joined { .. })));

    server.stop().await;
    let mut impostor = Running::start(Authority::new().options(), again(port).await);
    assert_eq!(session.event().await.unwrap(), SignalingEvent::Lost);
    // That it comes a second time shows that the first was not the last.
    impostor.accepted.recv().await.unwrap();
    impostor.accepted.recv().await.unwrap();
    impostor.stop().await;

    let _server = Running::start(authority.options(), again(port).await);
    assert!(matches!(session.event().await, Ok(SignalingEvent::Joined { .. })));
}

/// A listener where there was one a moment ago.
async fn again(port: u16) -> TcpListener {
    loop {
        match TcpListener::bind(("localhost", port)).await {
            Ok(listener) => return listener,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[test]
fn what_is_no_certificate_is_no_root() {
    let signaling = || signaling("wss://localhost");
    assert!(matches!(signaling().root_certificate(b"root"), Err(InvalidServer::Certificate)));
    let cut_short = &Authority::new().root_pem()[..200];
    for pem in ["", "root", cut_short] {
        let refused = signaling().root_certificates_pem(pem.as_bytes());
        assert!(matches!(refused, Err(InvalidServer::Certificate)), "{pem}");
    }
}
