//! Peers that hide their addresses behind mDNS names, as browsers do.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use peerloom_core::{Connection, Membership, Topic, Transport, TransportError};
use peerloom_webrtc::{
    Candidate, ConnectionId, InProcessSignaling, Interfaces, Mdns, Options, PeerId, Signal, Signaling,
    SignalingEvent, SignalingSession, WebRtc,
};
use rtc::mdns::{MDNS_DEST_ADDR, Mdns as MdnsHost, MdnsConfig, MulticastSocket};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const TIME_MAX: Duration = Duration::from_secs(60);

/// A name that nobody on this network has, as a browser makes one up for each page.
const UNKNOWN: &str = "5b6e1e1a-3f0c-4f0e-9a39-c1d8b1c1a1f7.local";

/// A name that a test gives this machine.
const KNOWN: &str = "c0ffee00-3f0c-4f0e-9a39-c1d8b1c1a1f7.local";

/// What a peer tells of its addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tells {
    /// Where it is.
    Addresses,
    /// This name for each of them.
    Name(&'static str),
    /// Both, the name first.
    NameAndAddresses(&'static str),
}

/// Signaling that puts names in place of addresses, and counts offers.
#[derive(Clone)]
struct Hiding<S> {
    signaling: S,
    tells: Tells,
    offers: Arc<AtomicUsize>,
}

#[async_trait]
impl Signaling for Hiding<InProcessSignaling> {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn SignalingSession>, TransportError> {
        let signaling = self.signaling.join(topic).await?;
        Ok(Box::new(Hiding { signaling, tells: self.tells, offers: self.offers.clone() }))
    }
}

#[async_trait]
impl SignalingSession for Hiding<Box<dyn SignalingSession>> {
    async fn event(&mut self) -> Result<SignalingEvent, TransportError> {
        self.signaling.event().await
    }

    fn send(&mut self, to: &PeerId, connection: Option<&ConnectionId>, signal: &Signal) {
        match signal {
            Signal::Offer { sdp, .. } | Signal::Answer { sdp, .. } => {
                assert!(!sdp.contains("a=candidate"), "candidates come one by one");
                let is_offer = matches!(signal, Signal::Offer { .. });
                self.offers.fetch_add(usize::from(is_offer), Ordering::Relaxed);
            }
            Signal::Candidate { candidate } => {
                if let Tells::Name(name) | Tells::NameAndAddresses(name) = self.tells {
                    let named = Signal::Candidate { candidate: named(candidate, name) };
                    self.signaling.send(to, connection, &named);
                }
                if let Tells::Name(_) = self.tells {
                    return;
                }
            }
            _ => {}
        }
        self.signaling.send(to, connection, signal);
    }
}

/// The same with a name: the fifth word is the address (RFC 8839, section 5.1).
fn named(candidate: &Candidate, name: &str) -> Candidate {
    let mut words: Vec<&str> = candidate.candidate.split(' ').collect();
    if let Some(address) = words.get_mut(4) {
        *address = name;
    }
    Candidate { candidate: words.join(" "), ..candidate.clone() }
}

struct Peer {
    membership: Box<dyn Membership>,
}

impl Peer {
    async fn join(signaling: &Hiding<InProcessSignaling>, tells: Tells, mdns: Mdns) -> Self {
        let options = Options { interfaces: Interfaces::loopback(), mdns, ..Options::default() };
        let transport = WebRtc::with_options(Hiding { tells, ..signaling.clone() }, options);
        Self { membership: transport.join(&Topic::new("our-notes").unwrap()).await.unwrap() }
    }

    async fn accept(&mut self) -> Connection {
        timeout(TIME_MAX, self.membership.accept()).await.expect("a connection comes").unwrap()
    }
}

/// Connects at the first attempt, whoever of the two calls.
async fn connects(left: (Tells, Mdns), right: (Tells, Mdns)) {
    let signaling =
        Hiding { signaling: InProcessSignaling::new(), tells: Tells::Addresses, offers: Arc::default() };
    let mut left_peer = Peer::join(&signaling, left.0, left.1).await;
    let mut right_peer = Peer::join(&signaling, right.0, right.1).await;
    let (mut to_right, mut to_left) = tokio::join!(left_peer.accept(), right_peer.accept());
    to_right.sender.send("good morning".into()).await.unwrap();
    assert_eq!(to_left.receiver.receive().await.as_deref(), Some(&b"good morning"[..]));
    let offers = signaling.offers.load(Ordering::Relaxed);
    assert_eq!(offers, 1, "{left:?} and {right:?} connect without trying twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_nobody_knows_are_in_nobodys_way() {
    for mdns in [Mdns::Ignore, Mdns::Resolve] {
        for hidden in [Tells::Name(UNKNOWN), Tells::NameAndAddresses(UNKNOWN)] {
            connects((hidden, mdns), (Tells::Addresses, mdns)).await;
            connects((Tells::Addresses, mdns), (hidden, mdns)).await;
        }
        let both = Tells::NameAndAddresses(UNKNOWN);
        connects((both, mdns), (both, mdns)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_tell_nothing_but_names_find_each_other_by_them() {
    if let Err(reason) = multicast_works().await {
        return eprintln!("skipped: there is no multicast on this machine: {reason}");
    }
    let _host = tokio::spawn(async { answer_for(KNOWN).await.unwrap() });
    connects((Tells::Name(KNOWN), Mdns::Resolve), (Tells::Name(KNOWN), Mdns::Resolve)).await;
}

async fn multicast_works() -> io::Result<()> {
    let socket = UdpSocket::from_std(MulticastSocket::new().into_std()?)?;
    socket.send_to(b"is anybody there", MDNS_DEST_ADDR).await?;
    let heard = timeout(Duration::from_secs(5), socket.recv_from(&mut [0; 16])).await;
    heard.map_err(|_| io::ErrorKind::TimedOut)?.map(drop)
}

/// Answers whoever asks by multicast where the host of this name is.
async fn answer_for(name: &str) -> io::Result<()> {
    let socket = UdpSocket::from_std(MulticastSocket::new().into_std()?)?;
    let local_addr = socket.local_addr()?;
    let config = MdnsConfig::new()
        .with_local_names(vec![name.to_owned()])
        .with_local_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut host = MdnsHost::new(Instant::now(), config);
    let mut buffer = [0; 2048];
    loop {
        let (bytes, peer_addr) = socket.recv_from(&mut buffer).await?;
        let transport =
            TransportContext { local_addr, peer_addr, transport_protocol: TransportProtocol::UDP, ecn: None };
        let heard = TaggedBytesMut { now: Instant::now(), transport, message: buffer[..bytes].into() };
        host.handle_read(heard).map_err(io::Error::other)?;
        while let Some(answer) = host.poll_write() {
            socket.send_to(&answer.message, answer.transport.peer_addr).await?;
        }
    }
}
