//! How connections end: as a whole, once, for both ends.

use peerloom_core::{Connection, TransportError};

use super::TransportFixture;
use super::sample::{
    Flood, Pair, QUIET, accept, assert_carries, assert_ends, assert_receiver_ends, assert_refuses, join,
    large, message, message_of, number, send_all,
};

/// A thousand messages, the connection closed right after the last was taken: all are received, and then the
/// end.
pub async fn what_was_taken_before_closing_arrives<F: TransportFixture>() {
    const MESSAGES: u32 = 1000;
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            left.sender
                .send(message_of(number, 4 + number as usize % 900))
                .await
                .expect("the connection is open");
        }
        left.sender.close().await;
        left
    });
    for expected in 0..MESSAGES {
        let received = right.receiver.receive().await;
        assert_eq!(received.as_ref().map(number), Some(expected), "taken before the connection was closed");
    }
    let mut left = sending.await.expect("sending does not panic");
    assert_ends(&mut right).await;
    assert_ends(&mut left).await;
}

/// After one end closed, both receive no more than was sent before, then the end, and cannot send.
pub async fn closing_ends_both_ends<F: TransportFixture>() {
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    assert_carries(&mut left, &mut right).await;
    left.sender.close().await;
    assert_refuses(&mut left.sender).await;
    assert_ends(&mut right).await;
    assert_ends(&mut left).await;
}

/// The same end twice, and both ends.
pub async fn closing_twice_is_fine<F: TransportFixture>() {
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    left.sender.close().await;
    left.sender.close().await;
    right.sender.close().await;
    assert_ends(&mut left).await;
    assert_ends(&mut right).await;
    right.sender.close().await;
}

/// The other end and the receiver that is left both learn of it.
pub async fn dropping_the_sender_closes_the_connection<F: TransportFixture>() {
    let Pair { left, mut right, members: _members } = Pair::<F>::connected().await;
    let Connection { mut sender, mut receiver, .. } = left;
    tokio::join!(send_all(&mut sender, 0..1), super::sample::receive_all(&mut right.receiver, 0..1));
    drop(sender);
    assert_ends(&mut right).await;
    assert_receiver_ends(&mut receiver).await;
}

/// The other end and the sender that is left both learn of it.
pub async fn dropping_the_receiver_closes_the_connection<F: TransportFixture>() {
    let Pair { left, mut right, members: _members } = Pair::<F>::connected().await;
    let Connection { mut sender, receiver, .. } = left;
    drop(receiver);
    assert_ends(&mut right).await;
    assert_refuses(&mut sender).await;
}

/// A send that waits because nobody receives fails once the connection is closed or dropped, at either end.
pub async fn a_send_that_waits_ends_with_the_connection<F: TransportFixture>() {
    for end in ["the other end closes", "the other end is dropped", "its own receiver is dropped"] {
        let Pair { left, mut right, members: _members } = Pair::<F>::connected().await;
        let bytes = large(&left);
        let Connection { sender, receiver, .. } = left;
        let mut flood = Flood::on(sender, bytes);
        flood.until_it_waits().await;
        let (mut own, mut other) = (Some(receiver), None);
        match end {
            "the other end closes" => {
                right.sender.close().await;
                other = Some(right);
            }
            "the other end is dropped" => drop(right),
            _ => {
                own = None;
                other = Some(right);
            }
        }
        let ended = flood.ended().await;
        assert!(matches!(ended, TransportError::Closed), "{end}: {ended}");
        drop((own, other));
    }
}

/// A receive that waits because nobody sends gets the end once the connection is closed or dropped, at either
/// end.
pub async fn a_receive_that_waits_ends_with_the_connection<F: TransportFixture>() {
    for end in ["the other end closes", "the other end is dropped", "its own end closes"] {
        let Pair { left, mut right, members: _members } = Pair::<F>::connected().await;
        let Connection { mut sender, mut receiver, .. } = left;
        let waiting = tokio::spawn(async move { receiver.receive().await });
        tokio::time::sleep(QUIET).await;
        assert!(!waiting.is_finished(), "nothing was sent, and nothing closed");
        let mut held = None;
        match end {
            "the other end closes" => {
                right.sender.close().await;
                held = Some(right);
            }
            "the other end is dropped" => drop(right),
            _ => {
                sender.close().await;
                held = Some(right);
            }
        }
        assert_eq!(waiting.await.expect("receiving does not panic"), None, "{end}");
        drop((sender, held));
    }
}

/// The other connections of both members go on.
pub async fn closing_a_connection_leaves_the_others<F: TransportFixture>() {
    let Pair { mut left, mut right, mut members } = Pair::<F>::connected().await;
    let mut third = join(&members.fixture).await;
    let both = async { (accept(&mut third).await, accept(&mut third).await) };
    let (mut from_left, mut from_right, (mut first, mut second)) =
        tokio::join!(accept(&mut members.left), accept(&mut members.right), both);
    left.sender.close().await;
    assert_ends(&mut right).await;
    let (from_left_sent, from_right_sent, at_first, at_second) = tokio::join!(
        from_left.sender.send(message(1)),
        from_right.sender.send(message(2)),
        first.receiver.receive(),
        second.receiver.receive(),
    );
    from_left_sent.and(from_right_sent).expect("the connections are open");
    let mut heard = [at_first, at_second].map(|message| number(&message.expect("the connection is open")));
    heard.sort_unstable();
    assert_eq!(heard, [1, 2]);
}
