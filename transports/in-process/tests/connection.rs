//! What one connection promises: order, limits, backpressure, delay, and how it ends.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::{Connection, MESSAGE_BYTES_MIN, PeerAddress, Topic, Transport, TransportError};
use peerloom_in_process::{InProcess, Network, Options};
use tokio::time::{Instant, timeout};

/// Longer than anything takes that ever happens.
const FOR_EVER: Duration = Duration::from_secs(3600);
const DELAY: Duration = Duration::from_millis(40);
const QUEUE: u32 = 4;

/// Both ends of a connection, and the network to break it.
struct Pair {
    network: Network,
    left: Connection,
    right: Connection,
}

impl Pair {
    async fn with_delay(delay: Duration) -> Self {
        let queue_messages_max = NonZeroU32::new(QUEUE).expect("not zero");
        let options = Options { delay, message_bytes_max: MESSAGE_BYTES_MIN, queue_messages_max };
        let network = Network::with_options(options);
        let topic = Topic::new("topic").expect("valid");
        let join = async |name| InProcess::new(&network).named(name).join(&topic).await.expect("free");
        let (mut left, mut right) = (join("left").await, join("right").await);
        let (left, right) = (left.accept().await.expect("member"), right.accept().await.expect("member"));
        Self { network, left, right }
    }

    fn disconnect(&self) {
        self.network.disconnect(&PeerAddress::new("right"), &PeerAddress::new("left"));
    }
}

fn message(number: u32) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

async fn send_all(from: &mut Connection, numbers: std::ops::Range<u32>) {
    for number in numbers {
        from.sender.send(message(number)).await.expect("open");
    }
}

async fn assert_receives(to: &mut Connection, numbers: std::ops::Range<u32>) {
    for number in numbers {
        assert_eq!(to.receiver.receive().await, Some(message(number)));
    }
}

async fn assert_ended(end: &mut Connection) {
    assert_eq!(end.receiver.receive().await, None);
    assert_eq!(end.receiver.receive().await, None, "an end stays");
    assert!(matches!(end.sender.send(message(0)).await, Err(TransportError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_order_and_each_once_in_both_directions() {
    for delay in [Duration::ZERO, DELAY] {
        let Pair { mut left, mut right, .. } = Pair::with_delay(delay).await;
        let there = async {
            send_all(&mut left, 0..1000).await;
            assert_receives(&mut left, 5000..6000).await;
        };
        let back = async {
            assert_receives(&mut right, 0..1000).await;
            send_all(&mut right, 5000..6000).await;
        };
        tokio::join!(there, back);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_beyond_the_limits_is_refused_and_harms_nothing() {
    let Pair { mut left, mut right, .. } = Pair::with_delay(Duration::ZERO).await;
    assert_eq!(left.message_bytes_max, MESSAGE_BYTES_MIN);
    assert!(matches!(left.sender.send(Bytes::new()).await, Err(TransportError::Empty)));
    let size = MESSAGE_BYTES_MIN + 1;
    let refused = left.sender.send(vec![0; size].into()).await;
    assert!(matches!(
        refused,
        Err(TransportError::TooLarge { bytes, bytes_max: MESSAGE_BYTES_MIN }) if bytes == size
    ));
    for size in [1, MESSAGE_BYTES_MIN] {
        left.sender.send(vec![7; size].into()).await.expect("within the limits");
        assert_eq!(right.receiver.receive().await, Some(vec![7; size].into()));
    }
}

#[test]
#[should_panic(expected = "less than a transport carries")]
fn a_network_that_carries_too_little_is_refused() {
    Network::with_options(Options { message_bytes_max: MESSAGE_BYTES_MIN - 1, ..Options::default() });
}

#[tokio::test(start_paused = true)]
async fn sending_waits_while_the_other_end_does_not_keep_up() {
    let Pair { mut left, mut right, .. } = Pair::with_delay(Duration::ZERO).await;
    send_all(&mut left, 0..QUEUE).await;
    assert!(timeout(FOR_EVER, left.sender.send(message(99))).await.is_err());
    assert_receives(&mut right, 0..1).await;
    send_all(&mut left, QUEUE..QUEUE + 1).await;
    assert_receives(&mut right, 1..QUEUE + 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_arrives_one_delay_after_it_was_sent_and_no_message_waits_for_another() {
    let Pair { mut left, mut right, .. } = Pair::with_delay(DELAY).await;
    let start = Instant::now();
    send_all(&mut left, 0..QUEUE).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_receives(&mut right, 0..QUEUE).await;
    assert_eq!(start.elapsed(), DELAY);
}

#[tokio::test(start_paused = true)]
async fn messages_sent_apart_arrive_apart() {
    let Pair { mut left, mut right, .. } = Pair::with_delay(DELAY).await;
    let start = Instant::now();
    send_all(&mut left, 0..1).await;
    tokio::time::advance(DELAY / 4).await;
    send_all(&mut left, 1..2).await;
    assert_receives(&mut right, 0..1).await;
    assert_eq!(start.elapsed(), DELAY);
    assert_receives(&mut right, 1..2).await;
    assert_eq!(start.elapsed(), DELAY + DELAY / 4);
}

#[tokio::test(start_paused = true)]
async fn at_least_a_queue_of_messages_is_delivered_per_delay() {
    const DELAYS: u32 = 10;
    let Pair { mut left, mut right, .. } = Pair::with_delay(DELAY).await;
    let start = Instant::now();
    let messages = 0..DELAYS * QUEUE;
    tokio::join!(send_all(&mut left, messages.clone()), assert_receives(&mut right, messages));
    assert!(start.elapsed() <= DELAYS * DELAY, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn dropping_a_receive_loses_no_message() {
    for delay in [Duration::ZERO, DELAY] {
        let Pair { mut left, mut right, .. } = Pair::with_delay(delay).await;
        assert!(timeout(DELAY, right.receiver.receive()).await.is_err());
        let start = Instant::now();
        send_all(&mut left, 0..2).await;
        for _ in 0..3 {
            if !delay.is_zero() {
                assert!(timeout(delay / 4, right.receiver.receive()).await.is_err());
            }
        }
        assert_receives(&mut right, 0..2).await;
        assert_eq!(start.elapsed(), delay);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_send_that_waits_sends_nothing_and_harms_nothing() {
    let Pair { mut left, mut right, .. } = Pair::with_delay(Duration::ZERO).await;
    send_all(&mut left, 0..QUEUE).await;
    for _ in 0..3 {
        assert!(timeout(DELAY, left.sender.send(message(99))).await.is_err());
    }
    assert_receives(&mut right, 0..QUEUE).await;
    send_all(&mut left, QUEUE..2 * QUEUE).await;
    assert_receives(&mut right, QUEUE..2 * QUEUE).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_closing_arrives_in_both_directions() {
    for delay in [Duration::ZERO, DELAY] {
        let Pair { mut left, mut right, .. } = Pair::with_delay(delay).await;
        send_all(&mut left, 0..3).await;
        send_all(&mut right, 5..7).await;
        left.sender.close().await;
        left.sender.close().await;
        assert_receives(&mut right, 0..3).await;
        assert_ended(&mut right).await;
        assert_receives(&mut left, 5..7).await;
        assert_ended(&mut left).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_one_half_closes_the_whole() {
    for delay in [Duration::ZERO, DELAY] {
        let Pair { left, mut right, .. } = Pair::with_delay(delay).await;
        let Connection { mut sender, receiver, .. } = left;
        sender.send(message(0)).await.expect("open");
        drop(receiver);
        assert!(matches!(sender.send(message(1)).await, Err(TransportError::Closed)));
        assert_receives(&mut right, 0..1).await;
        assert_ended(&mut right).await;

        let Pair { left, mut right, .. } = Pair::with_delay(delay).await;
        let Connection { mut sender, mut receiver, .. } = left;
        right.sender.send(message(0)).await.expect("open");
        sender.send(message(0)).await.expect("open");
        drop(sender);
        assert_receives(&mut right, 0..1).await;
        assert_ended(&mut right).await;
        assert_eq!(receiver.receive().await, Some(message(0)));
        assert_eq!(receiver.receive().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_and_a_receive_that_wait_end_with_the_connection() {
    type End = fn(Pair);
    let ends: [End; 4] = [
        |pair| drop(pair.left),
        |pair| drop(pair.left.sender),
        |pair| drop(pair.left.receiver),
        |pair| pair.disconnect(),
    ];
    for end in ends {
        let mut pair = Pair::with_delay(Duration::ZERO).await;
        let spare = Pair::with_delay(Duration::ZERO).await;
        send_all(&mut pair.right, 0..QUEUE).await;
        let Connection { mut sender, mut receiver, .. } = std::mem::replace(&mut pair.right, spare.right);
        let sending = tokio::spawn(async move { sender.send(message(99)).await });
        let receiving = tokio::spawn(async move { receiver.receive().await });
        tokio::task::yield_now().await;
        assert!(!sending.is_finished() && !receiving.is_finished());
        end(pair);
        let sent = timeout(FOR_EVER, sending).await.expect("no longer waits").expect("no panic");
        assert!(matches!(sent, Err(TransportError::Closed)));
        assert_eq!(timeout(FOR_EVER, receiving).await.expect("no longer waits").expect("no panic"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_break_loses_what_is_under_way_and_keeps_what_arrived() {
    let mut pair = Pair::with_delay(DELAY).await;
    send_all(&mut pair.left, 0..2).await;
    tokio::time::advance(DELAY).await;
    send_all(&mut pair.left, 2..4).await;
    tokio::time::advance(DELAY / 2).await;
    pair.disconnect();
    let start = Instant::now();
    assert_receives(&mut pair.right, 0..2).await;
    assert_ended(&mut pair.right).await;
    assert_ended(&mut pair.left).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_waits_for_a_message_under_way_sees_the_break_at_once() {
    let mut pair = Pair::with_delay(DELAY).await;
    send_all(&mut pair.left, 0..1).await;
    let start = Instant::now();
    let Pair { network, mut right, .. } = pair;
    let receiving = tokio::spawn(async move { right.receiver.receive().await });
    tokio::time::sleep(DELAY / 2).await;
    network.disconnect(&PeerAddress::new("left"), &PeerAddress::new("right"));
    assert_eq!(receiving.await.expect("no panic"), None);
    assert_eq!(start.elapsed(), DELAY / 2);
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_delivers_even_if_the_network_breaks_later() {
    let mut pair = Pair::with_delay(DELAY).await;
    send_all(&mut pair.left, 0..2).await;
    pair.left.sender.close().await;
    pair.disconnect();
    assert_receives(&mut pair.right, 0..2).await;
    assert_ended(&mut pair.right).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_taken_before_an_end_is_received_on_many_threads() {
    for _ in 0..200 {
        let Pair { mut left, mut right, .. } = Pair::with_delay(Duration::ZERO).await;
        let sending = tokio::spawn(async move {
            let mut taken = 0;
            while left.sender.send(message(taken)).await.is_ok() {
                taken += 1;
            }
            taken
        });
        assert_receives(&mut right, 0..10).await;
        right.sender.close().await;
        let mut received = 10;
        while let Some(next) = right.receiver.receive().await {
            assert_eq!(next, message(received));
            received += 1;
        }
        assert_eq!(sending.await.expect("no panic"), received);
    }
}
