//! What a peer hears of the others through the signaling server: only those to whom the room's topology links it.
//!
//! The server gives every connection an id of its own. Whose an id is, is read off the stream when the server says it, before anybody
//! else can hear of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use peerloom::TransportError;
use peerloom::core::Topic;
use peerloom_webrtc::{
    Connect, ConnectionId, PeerId, Signal, Signaling, SignalingEvent, SignalingSession, WebSocketSignaling,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

use crate::marks;
use crate::network::Ways;
use crate::plan::{PeerNumber, Topology};
use crate::trace::What;

/// What the id of a peer stands behind in the server's first message.
const ID_FOLLOWS: &[u8] = b"\"yourPeerId\":\"";

/// The signaling of one peer.
pub(super) struct Introductions {
    client: WebSocketSignaling<Streams>,
    peer: PeerNumber,
    topology: Topology,
    peers: usize,
    ways: Ways,
}

impl Introductions {
    pub(super) fn new(
        client: WebSocketSignaling<Streams>,
        peer: PeerNumber,
        topology: Topology,
        peers: usize,
        ways: Ways,
    ) -> Self {
        Self { client, peer, topology, peers, ways }
    }
}

#[async_trait]
impl Signaling for Introductions {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn SignalingSession>, TransportError> {
        let inner = self.client.join(topic).await?;
        let Self { peer, topology, peers, ref ways, .. } = *self;
        Ok(Box::new(Session { inner, peer, topology, peers, ways: ways.clone() }))
    }
}

struct Session {
    inner: Box<dyn SignalingSession>,
    peer: PeerNumber,
    topology: Topology,
    peers: usize,
    ways: Ways,
}

impl Session {
    fn is_linked(&self, id: &PeerId) -> bool {
        let other = self.ways.peer_of(id.as_str()).expect("the server tells of its clients");
        if !self.ways.is_current(id.as_str(), other) {
            marks::reach("a stale list of the signaling server");
        }
        // Itself under an id that the server still lists is somebody else to it.
        other == self.peer || self.topology.links(self.peer, other, self.peers)
    }

    fn tell(&self, says: String) {
        self.ways.tell(self.peer, What::Told { says });
    }
}

#[async_trait]
impl SignalingSession for Session {
    async fn event(&mut self) -> Result<SignalingEvent, TransportError> {
        loop {
            match self.inner.event().await? {
                SignalingEvent::Joined { own, mut peers } => {
                    peers.retain(|id| self.is_linked(id));
                    self.tell(format!("the signaling server knows it as {own}, beside {}", peers.len()));
                    return Ok(SignalingEvent::Joined { own, peers });
                }
                SignalingEvent::PeerJoined(id) if !self.is_linked(&id) => {}
                SignalingEvent::Lost => {
                    self.tell("the signaling server is gone".to_owned());
                    return Ok(SignalingEvent::Lost);
                }
                event => return Ok(event),
            }
        }
    }

    fn send(&mut self, to: &PeerId, connection: Option<&ConnectionId>, signal: &Signal) {
        self.inner.send(to, connection, signal);
    }
}

/// Makes a peer's streams to the server.
pub(super) struct Streams {
    peer: PeerNumber,
    ways: Ways,
}

impl Streams {
    pub(super) fn new(peer: PeerNumber, ways: Ways) -> Self {
        Self { peer, ways }
    }
}

#[async_trait]
impl Connect for Streams {
    type Stream = Tapped;

    async fn connect(&self, host: &str, port: u16) -> io::Result<Tapped> {
        let stream = TcpStream::connect((host, port)).await?;
        Ok(Tapped { stream, read: Some(Vec::new()), peer: self.peer, ways: self.ways.clone() })
    }
}

/// A stream that is read along until it has said the peer's id.
pub(super) struct Tapped {
    stream: TcpStream,
    read: Option<Vec<u8>>,
    peer: PeerNumber,
    ways: Ways,
}

impl Tapped {
    fn read_along(&mut self, bytes: &[u8]) {
        let Some(read) = &mut self.read else { return };
        read.extend_from_slice(bytes);
        if let Some(id) = id_in(read) {
            self.ways.enroll(id, self.peer);
            self.read = None;
        }
    }
}

/// The id in what the server has said, once it is there in full.
fn id_in(read: &[u8]) -> Option<&str> {
    let begins = read.windows(ID_FOLLOWS.len()).position(|window| window == ID_FOLLOWS)? + ID_FOLLOWS.len();
    let length = read[begins..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&read[begins..begins + length]).ok()
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.read_along(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::id_in;

    #[test]
    fn an_id_is_read_once_it_is_there_in_full() {
        let said = b"HTTP/1.1 101\r\n\r\n\x81\x20{\"type\":\"init\",\"yourPeerId\":\"abcdef\"}";
        for (length, _) in said.iter().enumerate() {
            let id = id_in(&said[..length]);
            assert_eq!(id, (length > said.len() - 2).then_some("abcdef"), "{length}");
        }
    }
}
