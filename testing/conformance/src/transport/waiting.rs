//! Backpressure, and futures that are dropped while they wait.

use peerloom_core::Connection;
use tokio::time::timeout;

use super::TransportFixture;
use super::sample::{
    Flood, HELD_BYTES_MAX, Pair, QUIET, accept, join, large, message, message_of, number, receive_all,
    send_all,
};
use crate::poll::attempt;

/// Messages are sent until sending waits, which it does before 32 MiB are held. Once they are received, all
/// are there.
pub async fn sending_waits_while_the_other_end_does_not_receive<F: TransportFixture>() {
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    let bytes = large(&left);
    for sent in 0.. {
        let mut sending = left.sender.send(message_of(sent, bytes));
        if let Ok(taken) = timeout(QUIET, &mut sending).await {
            taken.expect("the connection is open");
            assert!(sent as usize * bytes <= HELD_BYTES_MAX, "{sent} messages are held, and still no end");
            continue;
        }
        let receiving = async {
            for expected in 0..=sent {
                let received = right.receiver.receive().await.expect("the connection is open");
                assert_eq!(number(&received), expected, "nothing is lost");
            }
        };
        let (taken, ()) = tokio::join!(sending, receiving);
        taken.expect("the connection is open");
        break;
    }
}

/// While sending to the right waits, messages to the left pass.
pub async fn one_direction_does_not_wait_for_the_other<F: TransportFixture>() {
    let Pair { left, mut right, members: _members } = Pair::<F>::connected().await;
    let bytes = large(&left);
    let Connection { sender, mut receiver, .. } = left;
    let mut flood = Flood::on(sender, bytes);
    flood.until_it_waits().await;
    tokio::join!(send_all(&mut right.sender, 0..100), receive_all(&mut receiver, 0..100));
}

/// While sending to one peer waits, messages to and from another pass.
pub async fn one_connection_does_not_wait_for_another<F: TransportFixture>() {
    let Pair { left, right, mut members } = Pair::<F>::connected().await;
    let bytes = large(&left);
    let Connection { sender, receiver, .. } = left;
    let mut flood = Flood::on(sender, bytes);
    flood.until_it_waits().await;

    let mut third = join(&members.fixture).await;
    let both = async { (accept(&mut third).await, accept(&mut third).await) };
    let (mut to_third, mut aside, (first, second)) =
        tokio::join!(accept(&mut members.left), accept(&mut members.right), both);
    let mut to_left = of_which_is_heard(&mut to_third, &mut aside, first, second).await;
    tokio::join!(
        send_all(&mut to_third.sender, 0..100),
        receive_all(&mut to_left.receiver, 0..100),
        send_all(&mut to_left.sender, 0..100),
        receive_all(&mut to_third.receiver, 0..100),
    );
    drop((receiver, right));
}

/// The one of two ends whose other end is `wanted`. The other one belongs to `other`.
async fn of_which_is_heard(
    wanted: &mut Connection,
    other: &mut Connection,
    mut first: Connection,
    mut second: Connection,
) -> Connection {
    let (sent, sent_aside, heard, _) = tokio::join!(
        wanted.sender.send(message(1)),
        other.sender.send(message(2)),
        first.receiver.receive(),
        second.receiver.receive(),
    );
    sent.and(sent_aside).expect("the connections are open");
    match number(&heard.expect("the connection is open")) {
        1 => first,
        _ => second,
    }
}

/// Receives that are dropped again and again, before messages come and while they do.
pub async fn dropping_a_receive_loses_no_message<F: TransportFixture>() {
    const MESSAGES: u32 = 200;
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    let bytes = large(&left);
    for _ in 0..4 {
        assert_eq!(attempt(0, right.receiver.receive()).await, None, "nothing was sent");
    }
    let sending = async {
        for number in 0..MESSAGES {
            // Some that may take long on their way.
            let bytes = if number % 20 == 0 { bytes } else { 4 };
            left.sender.send(message_of(number, bytes)).await.expect("the connection is open");
        }
    };
    let receiving = async {
        let mut expected = 0;
        for attempts in 0.. {
            if let Some(received) = attempt(attempts, right.receiver.receive()).await {
                assert_eq!(
                    number(&received.expect("the connection is open")),
                    expected,
                    "in order, each once"
                );
                expected += 1;
            }
            if expected == MESSAGES {
                break;
            }
        }
    };
    tokio::join!(sending, receiving);
}

/// Sends that are dropped at once and while they wait. What was said to be taken arrives, what was dropped
/// does so at most once, and all of it in order.
pub async fn a_dropped_send_sends_its_message_once_or_not_at_all<F: TransportFixture>() {
    const DROPPED: usize = 20;
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    let bytes = large(&left);
    let (mut taken, mut dropped) = (Vec::new(), 0);
    for number in 0.. {
        match attempt(u64::from(number), left.sender.send(message_of(number, bytes))).await {
            Some(sent) => {
                sent.expect("the connection is open");
                taken.push(number);
            }
            None => dropped += 1,
        }
        // A transport without bound drops nothing here, and breaks another promise.
        if dropped == DROPPED || number as usize * bytes > HELD_BYTES_MAX {
            break;
        }
    }
    let last = u32::MAX;
    let sending = async { left.sender.send(message(last)).await.expect("the connection is open") };
    let receiving = async {
        let mut received = Vec::new();
        while let Some(message) = right.receiver.receive().await
            && number(&message) != last
        {
            assert_eq!(message, message_of(number(&message), bytes), "whole");
            received.push(number(&message));
        }
        received
    };
    let ((), received) = tokio::join!(sending, receiving);
    assert!(received.is_sorted_by(|left, right| left < right), "in order, each once: {received:?}");
    let lost: Vec<_> = taken.iter().filter(|number| received.binary_search(number).is_err()).collect();
    assert_eq!(lost, [&0; 0], "taken and not received");
}
