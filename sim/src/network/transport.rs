//! A transport whose connections go through the [`Ways`] of the simulation, over any other transport.

use std::sync::Arc;

use async_trait::async_trait;
use peerloom::core::{Connection, Membership, Topic};
use peerloom::{PeerAddress, Transport, TransportError};

use super::Ways;
use super::connection::{HEADER_BYTES, Receiver, Sender, Wire};
use crate::plan::{Direction, PeerNumber};
use crate::trace::What;

/// The transport of one peer. The addresses of the transport below must be the names of the peers, or be
/// [enrolled](Ways::enroll).
#[derive(Clone)]
pub(crate) struct SimTransport {
    pub(crate) inner: Arc<dyn Transport>,
    pub(crate) ways: Ways,
    pub(crate) peer: PeerNumber,
}

#[async_trait]
impl Transport for SimTransport {
    async fn join(&self, topic: &Topic) -> Result<Box<dyn Membership>, TransportError> {
        let inner = self.inner.join(topic).await?;
        Ok(Box::new(Member { inner, ways: self.ways.clone(), peer: self.peer }))
    }
}

struct Member {
    inner: Box<dyn Membership>,
    ways: Ways,
    peer: PeerNumber,
}

#[async_trait]
impl Membership for Member {
    async fn accept(&mut self) -> Result<Connection, TransportError> {
        let Connection { peer, message_bytes_max, channel_binding, sender, receiver } =
            self.inner.accept().await?;
        let other = self.ways.peer_of(peer.as_str()).expect("the members of a simulated room are its peers");
        let wire = Wire::new(self.ways.clone(), Direction { from: self.peer, to: other });
        self.ways.world().record(Some(self.peer), What::Connected { to: other });
        Ok(Connection {
            peer,
            message_bytes_max: message_bytes_max - HEADER_BYTES,
            channel_binding,
            sender: Box::new(Sender::new(sender, wire.clone())),
            receiver: Box::new(Receiver::new(receiver, wire)),
        })
    }

    fn redial(&mut self, peer: &PeerAddress) {
        self.inner.redial(peer);
    }
}
