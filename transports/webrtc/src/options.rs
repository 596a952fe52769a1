//! What a user may choose about connections.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// How connections are made and kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// STUN and TURN servers. None by default: then peers find each other in one network, or where one of them has a
    /// public address. TURN servers that the signaling hands out are used as well.
    pub ice_servers: Vec<IceServer>,
    /// Where connections may come from and go to. [`Interfaces::All`] by default.
    pub interfaces: Interfaces,
    /// What becomes of host candidates that are hidden behind mDNS names, as browsers do it. [`Mdns::Ignore`] by default.
    pub mdns: Mdns,
    /// The size of the sockets' receive and send buffers that the system is asked for, in bytes. 4 MiB by default. With
    /// the 208 KiB that are common, bursts overflow them, and each loss at the end of one costs a second. The system may
    /// grant less (`net.core.rmem_max`); the window of each connection is chosen to fit what it grants.
    pub socket_buffer_bytes: usize,
    /// The most bytes of one message sent. 32 KiB by default, from [`peerloom_core::MESSAGE_BYTES_MIN`] to
    /// [`Options::MESSAGE_BYTES_MAX`]; less if the other end asks for less. Up to 512 of them may be held for a peer's
    /// application that does not read, which bounds what a slow one costs.
    pub message_bytes_max: usize,
    /// How many bytes may be sent and not yet acknowledged by the other end before sending waits. 1 MiB by default.
    /// Bounds what a connection holds for a peer that does not keep up.
    pub buffered_bytes_max: usize,
    /// How often the other end is asked whether it is alive while it is silent. 2 seconds by default.
    pub keep_alive: Duration,
    /// After how long a silence the other end counts as dead. 30 seconds by default, at least two `keep_alive`s. After a
    /// sixth of it, but not before one `keep_alive`, other ways to reach it are tried.
    pub dead_after: Duration,
    /// How long an attempt to connect may take. 15 seconds by default, as in RxDB.
    pub attempt_timeout: Duration,
    /// How long to wait after an attempt that failed. Doubles up to [`Options::backoff_max`]. 500 ms by default, as in
    /// RxDB.
    pub backoff_initial: Duration,
    /// The longest wait between attempts. 15 seconds by default, as in RxDB.
    pub backoff_max: Duration,
    /// How many attempts that this side began may go on at a time. 32 by default. The others wait, so that a large room
    /// is not joined in one burst of handshakes.
    pub attempts_max: NonZeroU32,
    /// How many other members a room may have. Further ones are ignored. 1,024 by default.
    pub peers_max: NonZeroU32,
    /// How often the addresses of this machine are looked at. When they change, connections look for a new way. 3 seconds
    /// by default; zero is never.
    pub network_check: Duration,
    /// How often a way to the other end is tried while connecting. 20 ms by default. Each try is some 100 bytes for each
    /// pair of addresses.
    pub check_interval: Duration,
}

impl Options {
    /// The largest [`Options::message_bytes_max`], and the most bytes of one message received.
    pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

    /// After how long a silence other ways are tried.
    pub(crate) fn disturbed_after(&self) -> Duration {
        (self.dead_after / 6).max(self.keep_alive.min(self.dead_after / 2))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ice_servers: Vec::new(),
            interfaces: Interfaces::All,
            mdns: Mdns::Ignore,
            socket_buffer_bytes: 4 << 20,
            message_bytes_max: 32 << 10,
            buffered_bytes_max: 1 << 20,
            keep_alive: Duration::from_secs(2),
            dead_after: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(15),
            backoff_initial: Duration::from_millis(500),
            backoff_max: Duration::from_secs(15),
            attempts_max: NonZeroU32::new(32).expect("32 is not zero"),
            peers_max: NonZeroU32::new(1024).expect("1,024 is not zero"),
            network_check: Duration::from_secs(3),
            check_interval: Duration::from_millis(20),
        }
    }
}

/// A STUN or TURN server.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct IceServer {
    /// Such as `stun:stun.example.org:3478` or `turn:turn.example.org:3478?transport=udp`. Over UDP: what begins with `turns:`, or
    /// asks for `transport=tcp`, is not used, nor is what is no such URL.
    pub urls: Vec<String>,
    /// For TURN.
    pub username: String,
    /// For TURN.
    pub credential: String,
}

/// Leaves the password out: options get logged.
impl std::fmt::Debug for IceServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Which addresses of this machine are used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Interfaces {
    /// All that others could reach, looked up again when the network changes; that of this machine alone (127.0.0.1) if
    /// there is no other.
    All,
    /// These. Port 0 is any that is free. A fixed port serves one connection at a time.
    Addresses(Vec<SocketAddr>),
}

impl Interfaces {
    /// Connections within this machine.
    pub fn loopback() -> Self {
        Self::Addresses(vec![SocketAddr::from(([127, 0, 0, 1], 0))])
    }
}

/// What becomes of candidates with a name that ends in `.local`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mdns {
    /// They are skipped. Nothing is lost as long as one side has an address that the other can reach, because the side that
    /// hides its own is recognized when it calls.
    Ignore,
    /// They are looked up by multicast, on UDP port 5353. Where that cannot be used they are skipped.
    Resolve,
}
