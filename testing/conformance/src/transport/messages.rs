//! Messages: in order, each once, as they were sent, within the limits.

use bytes::Bytes;
use peerloom_core::{Connection, MESSAGE_BYTES_MIN, TransportError};

use super::TransportFixture;
use super::sample::{Pair, TRIED_BYTES_MAX, assert_carries, message_of, receive_all, send_all};

/// A thousand messages each way at once.
pub async fn messages_arrive_in_order_and_each_once<F: TransportFixture>() {
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    tokio::join!(
        send_all(&mut left.sender, 0..1000),
        receive_all(&mut right.receiver, 0..1000),
        send_all(&mut right.sender, 5000..6000),
        receive_all(&mut left.receiver, 5000..6000),
    );
}

/// From one byte to the connection's limit, each a message of its own.
pub async fn a_message_of_any_size_arrives_as_it_was_sent<F: TransportFixture>() {
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    let largest = left.message_bytes_max.min(TRIED_BYTES_MAX);
    let sizes = [1, 2, 3, 4, 125, 126, 127, 255, 256, 1023, 1024, 16_383, 16_384, 65_535, 65_536, 65_537];
    let sizes = sizes.into_iter().filter(|&size| size < largest).chain([largest - 1, largest]);
    let messages: Vec<Bytes> = sizes
        .zip(0..)
        // A message may also be of zeros, or like one of another kind: the start of its bytes says nothing.
        .flat_map(|(size, number)| [message_of(number, size.max(4)).slice(..size), vec![0; size].into()])
        .collect();
    let sending = async {
        for message in &messages {
            left.sender.send(message.clone()).await.expect("the connection is open");
        }
    };
    let receiving = async {
        for message in &messages {
            let received = right.receiver.receive().await.expect("the connection is open");
            assert_eq!(received.len(), message.len(), "bytes of a message");
            assert!(received == message, "other bytes than those sent, {} of them", message.len());
        }
    };
    tokio::join!(sending, receiving);
}

/// The limit of a connection, at either end, is not below [`MESSAGE_BYTES_MIN`].
pub async fn a_connection_carries_messages_of_the_least_size<F: TransportFixture>() {
    let Pair { left, right, members: _members } = Pair::<F>::connected().await;
    for end in [&left, &right] {
        assert!(end.message_bytes_max >= MESSAGE_BYTES_MIN, "{} bytes", end.message_bytes_max);
    }
}

/// The error gives both sizes, and the connection goes on.
pub async fn a_message_too_large_is_refused_and_harms_nothing<F: TransportFixture>() {
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    let limit = left.message_bytes_max;
    if limit < TRIED_BYTES_MAX {
        for size in [limit + 1, 2 * limit] {
            let refused = left.sender.send(vec![0; size].into()).await;
            let told = matches!(
                refused,
                Err(TransportError::TooLarge { bytes, bytes_max }) if (bytes, bytes_max) == (size, limit)
            );
            assert!(told, "{size} bytes: {refused:?}");
        }
    }
    assert_goes_on(&mut left, &mut right).await;
}

/// An empty message is refused by an error of its own, and the connection goes on.
pub async fn an_empty_message_is_refused_and_harms_nothing<F: TransportFixture>() {
    let Pair { mut left, mut right, members: _members } = Pair::<F>::connected().await;
    let refused = left.sender.send(Bytes::new()).await;
    assert!(matches!(refused, Err(TransportError::Empty)), "{refused:?}");
    assert_goes_on(&mut left, &mut right).await;
}

async fn assert_goes_on(left: &mut Connection, right: &mut Connection) {
    assert_carries(left, right).await;
    assert_carries(right, left).await;
}
