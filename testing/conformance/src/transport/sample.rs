//! What the stories are made of: members, pairs of them, and numbered messages.

use std::ops::{Deref, DerefMut, Range};
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::{
    Connection, Membership, MessageReceiver, MessageSender, Topic, Transport, TransportError,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::TransportFixture;

/// How long nothing has to happen before it counts as not happening.
pub(super) const QUIET: Duration = Duration::from_millis(200);

/// How many bytes a connection may hold that nobody receives. Far beyond the buffers that systems have by
/// default.
pub(super) const HELD_BYTES_MAX: usize = 32 << 20;

/// The largest message that is tried on a connection without a smaller limit.
pub(super) const TRIED_BYTES_MAX: usize = 16 << 20;

pub(super) fn topic() -> Topic {
    Topic::new("topic").expect("valid")
}

/// A membership, and the transport that it came by.
pub(super) struct Joined<T> {
    membership: Box<dyn Membership>,
    _transport: T,
}

impl<T> Deref for Joined<T> {
    type Target = Box<dyn Membership>;

    fn deref(&self) -> &Box<dyn Membership> {
        &self.membership
    }
}

impl<T> DerefMut for Joined<T> {
    fn deref_mut(&mut self) -> &mut Box<dyn Membership> {
        &mut self.membership
    }
}

/// Joins the topic of most stories.
pub(super) async fn join<F: TransportFixture>(fixture: &F) -> Joined<F::Adapter> {
    let transport = fixture.transport();
    Joined { membership: transport.join(&topic()).await.expect("the topic is joined"), _transport: transport }
}

pub(super) async fn accept(member: &mut Box<dyn Membership>) -> Connection {
    member.accept().await.expect("the membership goes on")
}

/// Accepts on both at once: one may need the other to.
pub(super) async fn accept_both(
    left: &mut Box<dyn Membership>,
    right: &mut Box<dyn Membership>,
) -> (Connection, Connection) {
    tokio::join!(accept(left), accept(right))
}

pub(super) async fn assert_nobody_comes(members: &mut [&mut Box<dyn Membership>]) {
    for member in members {
        if let Ok(accepted) = timeout(QUIET, member.accept()).await {
            panic!("a connection that should not be: {accepted:?}");
        }
    }
}

/// Both ends of a connection, and the members that they belong to.
pub(super) struct Pair<F: TransportFixture> {
    pub(super) left: Connection,
    pub(super) right: Connection,
    pub(super) members: Members<F>,
}

/// Two members, and the network on which they are.
pub(super) struct Members<F: TransportFixture> {
    pub(super) left: Joined<F::Adapter>,
    pub(super) right: Joined<F::Adapter>,
    pub(super) fixture: F,
}

impl<F: TransportFixture> Pair<F> {
    pub(super) async fn connected() -> Self {
        let fixture = F::fresh().await;
        let (left, right) = (join(&fixture).await, join(&fixture).await);
        let mut members = Members { left, right, fixture };
        let (left, right) = accept_both(&mut members.left, &mut members.right).await;
        Self { left, right, members }
    }
}

/// A number in four bytes.
pub(super) fn message(number: u32) -> Bytes {
    message_of(number, 4)
}

/// A number in four bytes, followed by bytes that follow from it.
pub(super) fn message_of(number: u32, bytes: usize) -> Bytes {
    let pattern = (0..bytes).map(|index| (index as u32).wrapping_mul(31).wrapping_add(number) as u8);
    let mut message: Vec<u8> = pattern.collect();
    message[..4].copy_from_slice(&number.to_be_bytes());
    message.into()
}

pub(super) fn number(message: &Bytes) -> u32 {
    u32::from_be_bytes(*message.first_chunk().expect("a numbered message"))
}

pub(super) async fn send_all(sender: &mut Box<dyn MessageSender>, numbers: Range<u32>) {
    for number in numbers {
        sender.send(message(number)).await.expect("the connection is open");
    }
}

pub(super) async fn receive_all(receiver: &mut Box<dyn MessageReceiver>, numbers: Range<u32>) {
    for expected in numbers {
        let received = receiver.receive().await.expect("the connection is open");
        assert_eq!(received, message(expected), "message {expected}");
    }
}

/// Messages pass in both directions.
pub(super) async fn assert_carries(left: &mut Connection, right: &mut Connection) {
    tokio::join!(
        send_all(&mut left.sender, 0..3),
        receive_all(&mut right.receiver, 0..3),
        send_all(&mut right.sender, 3..6),
        receive_all(&mut left.receiver, 3..6),
    );
}

/// Nothing more is received, which is told for good, and nothing is sent any more.
pub(super) async fn assert_ends(end: &mut Connection) {
    assert_receiver_ends(&mut end.receiver).await;
    assert_refuses(&mut end.sender).await;
}

pub(super) async fn assert_receiver_ends(receiver: &mut Box<dyn MessageReceiver>) {
    assert_eq!(receiver.receive().await, None, "the connection is closed");
    assert_eq!(receiver.receive().await, None, "an end is told for good");
}

pub(super) async fn assert_refuses(sender: &mut Box<dyn MessageSender>) {
    let refused = sender.send(message(0)).await;
    assert!(matches!(refused, Err(TransportError::Closed)), "{refused:?}");
}

/// A task that sends as long as the connection takes messages.
pub(super) struct Flood {
    taken: watch::Receiver<u32>,
    task: JoinHandle<TransportError>,
}

impl Flood {
    pub(super) fn on(mut sender: Box<dyn MessageSender>, message_bytes: usize) -> Self {
        let (count, taken) = watch::channel(0);
        let task = tokio::spawn(async move {
            for number in 0.. {
                if let Err(error) = sender.send(message_of(number, message_bytes)).await {
                    return error;
                }
                count.send_replace(number + 1);
                if number as usize * message_bytes > HELD_BYTES_MAX {
                    // A transport without bound is another story's matter; this one goes on as if it had one.
                    sleep(2 * QUIET).await;
                }
            }
            unreachable!("the connection ends before the numbers do")
        });
        Self { taken, task }
    }

    /// Returns how many messages were taken when no more are.
    pub(super) async fn until_it_waits(&mut self) -> u32 {
        while timeout(QUIET, self.taken.changed()).await.is_ok() {}
        *self.taken.borrow()
    }

    /// Why the connection took no more.
    pub(super) async fn ended(self) -> TransportError {
        self.task.await.expect("sending does not panic")
    }
}

/// A size of which the limits of queues, by number or by bytes, are soon reached.
pub(super) fn large(connection: &Connection) -> usize {
    connection.message_bytes_max.min(64 << 10)
}
