//! The UDP sockets of WebRTC, on `turmoil`'s.
//!
//! The stack sees addresses of this machine's loopback, each of which a real socket keeps from being given twice. Their ports say whose
//! they are. A datagram travels with the instant of its arrival before it, and waits for that at the receiver.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BufMut};
use futures_util::FutureExt;
use peerloom::Environment;
use peerloom_webrtc::{UdpNetwork, UdpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::environment::SimEnvironment;
use crate::network::{Carried, Ways};
use crate::plan::{Direction, PeerNumber};

/// How many datagrams wait on a socket. Further ones are lost.
const DATAGRAMS_WAITING_MAX: usize = 4096;

/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// The instant of the arrival, and who sent it.
const HEADER_BYTES: usize = 10;

/// Whose the ports of a room are.
#[derive(Clone, Default)]
pub(super) struct Ports {
    peers: Arc<Mutex<BTreeMap<u16, PeerNumber>>>,
}

impl Ports {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, PeerNumber>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The UDP of one lifetime of a peer.
pub(super) struct Udp {
    peer: PeerNumber,
    ways: Ways,
    ports: Ports,
    environment: SimEnvironment,
}

impl Udp {
    pub(super) fn new(peer: PeerNumber, ways: Ways, ports: Ports, environment: SimEnvironment) -> Self {
        Self { peer, ways, ports, environment }
    }
}

impl UdpNetwork for Udp {
    fn socket(&self, local: SocketAddr) -> io::Result<Arc<dyn UdpSocket>> {
        let port = local.port();
        let binding = turmoil::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
        let bound = Arc::new(binding.now_or_never().expect("binding waits for nothing")?);
        self.ports.lock().insert(port, self.peer);
        let (arrived, closed) = (Arc::<Mutex<Arrived>>::default(), CancellationToken::new());
        let receiving = Receiving {
            peer: self.peer,
            ways: self.ways.clone(),
            bound: bound.clone(),
            on_their_way: BTreeMap::new(),
            received: 0,
            arrived: arrived.clone(),
        };
        let until = closed.clone();
        self.environment.spawn(Box::pin(async move {
            tokio::select! {
                biased;
                () = until.cancelled() => {}
                () = receiving.run() => {}
            }
        }));
        Ok(Arc::new(Socket {
            peer: self.peer,
            number: self.ways.next_socket(),
            port,
            ways: self.ways.clone(),
            ports: self.ports.clone(),
            bound,
            arrived,
            _closed: closed.drop_guard(),
        }))
    }
}

struct Socket {
    peer: PeerNumber,
    number: u64,
    port: u16,
    ways: Ways,
    ports: Ports,
    bound: Arc<turmoil::net::UdpSocket>,
    arrived: Arc<Mutex<Arrived>>,
    _closed: DropGuard,
}

/// What the stack has not yet taken, and who waits for more.
#[derive(Default)]
struct Arrived {
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    waits: Option<Waker>,
}

impl UdpSocket for Socket {
    fn poll_send(
        &self,
        _context: &mut Context<'_>,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Poll<io::Result<usize>> {
        // To a port that is nobody's, it is lost.
        let other = self.ports.lock().get(&to.port()).copied();
        if let Some(other) = other {
            let direction = Direction { from: self.peer, to: other };
            for Carried { at, datagram } in self.ways.carry(direction, self.number, datagram) {
                let mut framed = Vec::with_capacity(HEADER_BYTES + datagram.len());
                framed.put_u64(at.as_micros() as u64);
                framed.put_u16(self.peer.0);
                framed.put_slice(&datagram);
                self.bound.try_send_to(&framed, (other.name(), to.port()))?;
            }
        }
        Poll::Ready(Ok(datagram.len()))
    }

    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((from, datagram)) = arrived.datagrams.pop_front() else {
            arrived.waits = Some(context.waker().clone());
            return Poll::Pending;
        };
        let bytes = datagram.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&datagram[..bytes]);
        Poll::Ready(Ok((bytes, from)))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.ports.lock().remove(&self.port);
    }
}

/// The task of a socket: lets datagrams in when they are due.
struct Receiving {
    peer: PeerNumber,
    ways: Ways,
    bound: Arc<turmoil::net::UdpSocket>,
    /// By the instant at which they are due, in microseconds, and in the order in which they came.
    on_their_way: BTreeMap<(u64, u64), OnItsWay>,
    received: u64,
    arrived: Arc<Mutex<Arrived>>,
}

struct OnItsWay {
    from: PeerNumber,
    address: SocketAddr,
    datagram: Vec<u8>,
}

impl Receiving {
    async fn run(mut self) {
        let mut buffer = vec![0; HEADER_BYTES + DATAGRAM_BYTES_MAX];
        loop {
            let now_us = self.let_in();
            let later = self.on_their_way.keys().map(|(due_us, _)| *due_us).find(|due_us| *due_us > now_us);
            let wait = Duration::from_micros(later.unwrap_or(now_us) - now_us);
            tokio::select! {
                biased;
                received = self.bound.recv_from(&mut buffer) => {
                    let Ok((bytes, address)) = received else { return };
                    self.take(&buffer[..bytes], address);
                }
                () = self.ways.changed() => {}
                () = tokio::time::sleep(wait), if later.is_some() => {}
            }
        }
    }

    fn take(&mut self, mut framed: &[u8], address: SocketAddr) {
        if self.on_their_way.len() >= DATAGRAMS_WAITING_MAX {
            return;
        }
        let (due_us, from) = (framed.get_u64(), PeerNumber(framed.get_u16()));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
        self.received += 1;
        let on_its_way = OnItsWay { from, address, datagram: framed.to_vec() };
        self.on_their_way.insert((due_us, self.received), on_its_way);
    }

    /// Lets in what is due and not held.
    fn let_in(&mut self) -> u64 {
        let now_us = self.ways.now_us();
        let due: Vec<_> = self
            .on_their_way
            .iter()
            .take_while(|((due_us, _), _)| *due_us <= now_us)
            .filter(|(_, one)| !self.ways.is_held(Direction { from: one.from, to: self.peer }))
            .map(|(key, _)| *key)
            .collect();
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        for key in due {
            let OnItsWay { address, datagram, .. } = self.on_their_way.remove(&key).expect("just seen");
            if arrived.datagrams.len() < DATAGRAMS_WAITING_MAX {
                arrived.datagrams.push_back((address, datagram));
            }
        }
        let waits = if arrived.datagrams.is_empty() { None } else { arrived.waits.take() };
        drop(arrived);
        waits.into_iter().for_each(Waker::wake);
        now_us
    }
}
