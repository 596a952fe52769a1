//! The sockets under the connections: with large buffers, and replaceable by a simulator's.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

use crate::spawn::Spawner;

/// Makes the UDP sockets of connections. [`WebRtc`](crate::WebRtc) has one of its own; this is for simulators.
pub trait UdpNetwork: Send + Sync + 'static {
    /// The socket that stands for `local`, an address of this machine that no other socket has as long as this one lives.
    ///
    /// Called within the tokio runtime on which the connection lives.
    fn socket(&self, local: SocketAddr) -> io::Result<Arc<dyn UdpSocket>>;
}

/// A UDP socket of a [`UdpNetwork`]. Dropped when its connection is over.
pub trait UdpSocket: Send + Sync + 'static {
    /// Sends a datagram, or wakes the task of `context` once it may be tried again.
    fn poll_send(
        &self,
        context: &mut Context<'_>,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Poll<io::Result<usize>>;

    /// Receives a datagram into `buffer`: its size and where it came from. Wakes the task of `context` once there is one.
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;
}

/// As far as the system lets it.
fn enlarge(socket: &std::net::UdpSocket, bytes: usize) {
    let socket = SockRef::from(socket);
    for outcome in [socket.set_recv_buffer_size(bytes), socket.set_send_buffer_size(bytes)] {
        if let Err(error) = outcome {
            tracing::debug!(%error, "the socket keeps its buffer");
        }
    }
}

/// How long the stack sleeps at most while it connects.
///
/// It forgets to send what its own events bring about, such as the first packet of SCTP once DTLS is done, and notices when it
/// wakes for another reason, which is the next tick of ICE: after 200 ms, twice per connection.
const SLEEP_WHILE_CONNECTING_MAX: Duration = Duration::from_millis(2);

/// Tokio, with sockets as they are wanted here, and with tokio's clock, which a test may have paused. One for each connection.
pub(crate) struct Sockets {
    buffer_bytes: usize,
    network: Option<Arc<dyn UdpNetwork>>,
    spawner: Spawner,
    is_connecting: AtomicBool,
}

impl Sockets {
    pub(crate) fn new(buffer_bytes: usize, network: Option<Arc<dyn UdpNetwork>>, spawner: Spawner) -> Self {
        Self { buffer_bytes, network, spawner, is_connecting: AtomicBool::new(false) }
    }

    /// The same for another connection.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.buffer_bytes, self.network.clone(), self.spawner.clone())
    }

    /// Whether sleep is to be short.
    pub(crate) fn set_connecting(&self, is_connecting: bool) {
        self.is_connecting.store(is_connecting, Ordering::Relaxed);
    }

    /// How much may be under way to one of these sockets.
    ///
    /// Linux counts the memory that a datagram occupies, which is more than twice its size, so a window of a quarter of the
    /// buffer does not overflow it. Measured on loopback: with 208 KiB, a window of 64 KiB loses nothing and carries 157
    /// MB/s, one of 128 KiB carries 4 MB/s of messages of 16 KiB.
    pub(crate) fn window_bytes(&self) -> u32 {
        const WINDOW_BYTES_MIN: usize = 64 << 10;
        const WINDOW_BYTES_MAX: usize = 1 << 20;
        if self.network.is_some() {
            return WINDOW_BYTES_MAX as u32;
        }
        let granted = std::net::UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| {
            enlarge(&socket, self.buffer_bytes);
            SockRef::from(&socket).recv_buffer_size()
        });
        let window = granted.unwrap_or(0) / 4;
        window.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX) as u32
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sockets").field("buffer_bytes", &self.buffer_bytes).finish_non_exhaustive()
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Runtime for Sockets {
    fn spawn(&self, future: BoxFuture<'static, ()>) -> Box<dyn JoinHandle> {
        self.spawner.spawn_for_stack(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if let Some(network) = &self.network {
            let local = socket.local_addr()?;
            return Ok(Arc::new(Simulated { local, socket: network.socket(local)?, _reserved: socket }));
        }
        enlarge(&socket, self.buffer_bytes);
        let socket = TokioRuntime.wrap_udp_socket(socket)?;
        Ok(Arc::new(Real { socket, receives: AtomicU32::new(0) }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp(&self, remote: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(remote)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let is_connecting = self.is_connecting.load(Ordering::Relaxed);
        TokioRuntime.sleep(if is_connecting { duration.min(SLEEP_WHILE_CONNECTING_MAX) } else { duration })
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> BoxFuture<'static, ()> {
        TokioRuntime.yield_now()
    }
}

/// How often a socket is read before what has come is acknowledged and handed over.
///
/// The stack reads until nothing is left, up to 64 times, and each time the system may hand it many datagrams at once. So it took in a
/// whole window before it acknowledged any of it, and the two ends worked in turns. Measured on loopback with messages of 32 KiB:
/// 8 carry half as much again; with 2, what each pass costs comes so often that replicas gain nothing.
const RECEIVES_IN_A_ROW_MAX: u32 = 8;

/// A real socket on which a datagram that cannot be sent is lost, as it might be on its way. The stack above would give up
/// the connection, and that because of a network that is gone for a moment.
#[derive(Debug)]
struct Real {
    socket: Arc<dyn AsyncUdpSocket>,
    /// Since the stack was last told that nothing is left.
    receives: AtomicU32,
}

impl AsyncUdpSocket for Real {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn poll_send(&self, context: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.socket.poll_send(context, transmit).map(|sent| Ok(lost_if_failed(sent, transmit)))
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.receives.fetch_add(1, Ordering::Relaxed) == RECEIVES_IN_A_ROW_MAX {
            self.receives.store(0, Ordering::Relaxed);
            // For who would wait, and not only looks whether there is more.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = self.socket.poll_recv(context, buffers, received);
        if polled.is_pending() {
            self.receives.store(0, Ordering::Relaxed);
        }
        polled
    }

    fn max_gso_segments(&self) -> usize {
        self.socket.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.socket.max_gro_segments()
    }
}

struct Simulated {
    /// What the stack bound: it knows the socket by this address.
    local: SocketAddr,
    socket: Arc<dyn UdpSocket>,
    /// Keeps the address from being given to another.
    _reserved: std::net::UdpSocket,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Simulated").field("local", &self.local).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Simulated {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn poll_send(&self, context: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = self.socket.poll_send(context, transmit.destination, transmit.contents);
        sent.map(|sent| Ok(lost_if_failed(sent, transmit)))
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(received)) = (buffers.first_mut(), received.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        self.socket.poll_receive(context, buffer).map_ok(|(bytes, from)| {
            *received = RecvMeta::default();
            received.len = bytes;
            // Never zero: the stack divides by it.
            received.stride = bytes.max(1);
            received.addr = from;
            1
        })
    }
}

fn lost_if_failed(sent: io::Result<usize>, transmit: &Transmit<'_>) -> usize {
    sent.unwrap_or_else(|error| {
        tracing::trace!(%error, to = %transmit.destination, "a datagram is lost");
        transmit.contents.len()
    })
}
