//! A network in which peers reach nothing but one server, as behind many firewalls.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use peerloom_webrtc::{UdpNetwork, UdpSocket};
use tokio::io::ReadBuf;

/// Clones are the same network.
#[derive(Clone)]
pub(crate) struct Firewall {
    server: SocketAddr,
    /// Sockets of another time carry nothing.
    time: Arc<AtomicU64>,
}

impl Firewall {
    pub(crate) fn around(server: SocketAddr) -> Self {
        Self { server, time: Arc::default() }
    }

    /// All sockets that there are go dumb, as when the machine moves to another network. Those made from now on work.
    pub(crate) fn moves(&self) {
        self.time.fetch_add(1, Ordering::Relaxed);
    }
}

impl UdpNetwork for Firewall {
    fn socket(&self, _local: SocketAddr) -> io::Result<Arc<dyn UdpSocket>> {
        let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
        socket.set_nonblocking(true)?;
        let (socket, network) = (tokio::net::UdpSocket::from_std(socket)?, self.clone());
        Ok(Arc::new(Guarded { socket, made_at: self.time.load(Ordering::Relaxed), network }))
    }
}

struct Guarded {
    socket: tokio::net::UdpSocket,
    made_at: u64,
    network: Firewall,
}

impl Guarded {
    fn lets_through(&self, other: SocketAddr) -> bool {
        other == self.network.server && self.made_at == self.network.time.load(Ordering::Relaxed)
    }
}

impl UdpSocket for Guarded {
    fn poll_send(
        &self,
        context: &mut Context<'_>,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.lets_through(to) {
            true => self.socket.poll_send_to(context, datagram, to),
            false => Poll::Ready(Ok(datagram.len())),
        }
    }

    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        loop {
            let mut read = ReadBuf::new(buffer);
            let from = ready!(self.socket.poll_recv_from(context, &mut read))?;
            if self.lets_through(from) {
                return Poll::Ready(Ok((read.filled().len(), from)));
            }
        }
    }
}
