//! Faults of joining, accepting, redialing and leaving.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{Connection, Membership, PeerAddress, Topic, Transport, TransportError};
use peerloom_in_process::InProcess;
use tokio::task::yield_now;

use super::{Fault, Member};

/// Two members in place of one.
struct Twins([Box<dyn Membership>; 2]);

#[async_trait]
impl Membership for Twins {
    async fn accept(&mut self) -> Result<Connection, TransportError> {
        loop {
            let [one, two] = &mut self.0;
            let accepted = tokio::select! {
                biased;
                accepted = one.accept() => accepted?,
                accepted = two.accept() => accepted?,
            };
            // What the twins have to say to each other is nobody's business.
            if !["twin", "0"].contains(&accepted.peer.as_str()) {
                return Ok(accepted);
            }
        }
    }

    fn redial(&mut self, peer: &PeerAddress) {
        self.0[0].redial(peer);
    }
}

#[derive(Default)]
pub(crate) struct ConnectsTwice {
    first: AtomicBool,
}

#[async_trait]
impl Fault for ConnectsTwice {
    async fn join(
        &self,
        transport: &InProcess,
        topic: &Topic,
    ) -> Result<Box<dyn Membership>, TransportError> {
        let one = transport.join(topic).await?;
        if self.first.swap(true, Ordering::AcqRel) {
            return Ok(one);
        }
        let two = transport.clone().named("twin").join(topic).await?;
        Ok(Box::new(Twins([one, two])))
    }
}

#[derive(Default)]
pub(crate) struct ConnectsThreeAtMost;

#[async_trait]
impl Fault for ConnectsThreeAtMost {
    async fn accept(&self, member: &mut Member) -> Result<Connection, TransportError> {
        let peers: BTreeSet<_> = member.accepted.iter().collect();
        match peers.len() {
            3.. => std::future::pending().await,
            _ => member.inner.accept().await,
        }
    }
}

#[derive(Default)]
pub(crate) struct WakesNobody;

#[async_trait]
impl Fault for WakesNobody {
    async fn accept(&self, member: &mut Member) -> Result<Connection, TransportError> {
        tokio::select! {
            biased;
            accepted = member.inner.accept() => accepted,
            () = std::future::ready(()) => std::future::pending().await,
        }
    }
}

#[derive(Default)]
pub(crate) struct IgnoresCaseInTopics;

#[async_trait]
impl Fault for IgnoresCaseInTopics {
    async fn join(
        &self,
        transport: &InProcess,
        topic: &Topic,
    ) -> Result<Box<dyn Membership>, TransportError> {
        transport.join(&Topic::new(&topic.as_str()[..5].to_lowercase()).expect("valid")).await
    }
}

#[derive(Default)]
pub(crate) struct GivesAllOneAddress;

impl Fault for GivesAllOneAddress {
    fn connected(&self, connection: &mut Connection) {
        connection.peer = PeerAddress::new("peer");
    }
}

#[derive(Default)]
pub(crate) struct LeavesWithItsTransport {
    gone: Mutex<BTreeSet<PeerAddress>>,
}

#[async_trait]
impl Fault for LeavesWithItsTransport {
    fn dropped(&self, own: &PeerAddress) {
        self.gone.lock().expect("no panic").insert(own.clone());
    }

    async fn accept(&self, member: &mut Member) -> Result<Connection, TransportError> {
        match self.gone.lock().expect("no panic").contains(&member.own) {
            true => Err(TransportError::Closed),
            false => Ok(()),
        }?;
        member.inner.accept().await
    }
}

#[derive(Default)]
pub(crate) struct ClosesOnLeaving;

impl Fault for ClosesOnLeaving {
    fn left(&self, member: &mut Member) {
        for peer in &member.accepted {
            member.network.disconnect(&member.own, peer);
        }
    }
}

struct Absent;

#[async_trait]
impl Membership for Absent {
    async fn accept(&mut self) -> Result<Connection, TransportError> {
        Err(TransportError::Closed)
    }

    fn redial(&mut self, _peer: &PeerAddress) {}
}

#[derive(Default)]
pub(crate) struct NeverLeaves {
    held: Mutex<Vec<Box<dyn Membership>>>,
}

impl Fault for NeverLeaves {
    fn left(&self, member: &mut Member) {
        let inner = std::mem::replace(&mut member.inner, Box::new(Absent));
        self.held.lock().expect("no panic").push(inner);
    }
}

/// Whoever joins after somebody left is not announced.
#[derive(Default)]
pub(crate) struct AnnouncesNobodyAfterALeave {
    left: AtomicBool,
}

#[async_trait]
impl Fault for AnnouncesNobodyAfterALeave {
    fn left(&self, _member: &mut Member) {
        self.left.store(true, Ordering::Release);
    }

    async fn join(
        &self,
        transport: &InProcess,
        topic: &Topic,
    ) -> Result<Box<dyn Membership>, TransportError> {
        match self.left.load(Ordering::Acquire) {
            true => transport.join(&Topic::new("nowhere").expect("valid")).await,
            false => transport.join(topic).await,
        }
    }
}

#[derive(Default)]
pub(crate) struct NeverRedials;

impl Fault for NeverRedials {
    fn redial(&self, _member: &mut Member, _peer: &PeerAddress) {}
}

#[derive(Default)]
pub(crate) struct ReplacesAnOpenConnection;

impl Fault for ReplacesAnOpenConnection {
    fn redial(&self, member: &mut Member, peer: &PeerAddress) {
        member.network.disconnect(&member.own, peer);
        member.inner.redial(peer);
    }
}

#[derive(Default)]
pub(crate) struct FailsOnRedialingAStranger {
    failed: AtomicBool,
}

#[async_trait]
impl Fault for FailsOnRedialingAStranger {
    fn redial(&self, member: &mut Member, peer: &PeerAddress) {
        if !member.accepted.contains(peer) {
            self.failed.store(true, Ordering::Release);
        }
        member.inner.redial(peer);
    }

    async fn accept(&self, member: &mut Member) -> Result<Connection, TransportError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(TransportError::Failed { detail: "a stranger does not answer".into() });
        }
        member.inner.accept().await
    }
}

#[derive(Default)]
pub(crate) struct LosesTheConnectionOfADroppedAccept;

#[async_trait]
impl Fault for LosesTheConnectionOfADroppedAccept {
    async fn accept(&self, member: &mut Member) -> Result<Connection, TransportError> {
        let connection = member.inner.accept().await;
        yield_now().await;
        connection
    }
}

#[derive(Default)]
pub(crate) struct BindsAllAlike;

impl Fault for BindsAllAlike {
    fn connected(&self, connection: &mut Connection) {
        connection.channel_binding = Some(Bytes::from_static(b"the same"));
    }
}
