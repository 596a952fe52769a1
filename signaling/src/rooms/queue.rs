//! What waits to be sent to one peer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::Limits;
use super::limits::MESSAGE_BYTES;
use crate::message::PeerId;

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    in_flight: Option<InFlight>,
    bytes: usize,
    signal_bytes: BTreeMap<PeerId, usize>,
    signal_bytes_total: usize,
}

#[derive(Debug)]
struct Waiting {
    text: Bytes,
    /// Whose signal it is. `None` is from the server itself.
    signal_of: Option<PeerId>,
}

/// The message that was taken last: it may still be in the hands of whoever sends it.
#[derive(Debug)]
struct InFlight {
    bytes: usize,
    since: Duration,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Offered {
    Queued,
    /// The peer has too many signals waiting, from whomever.
    Full,
    /// This sender has too many signals waiting for the peer.
    SenderFloods,
}

impl Queue {
    /// Bytes that it takes, with the message in flight.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits. Something may be in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Since when the message in flight has been.
    pub(super) fn in_flight_since(&self) -> Option<Duration> {
        self.in_flight.as_ref().map(|in_flight| in_flight.since)
    }

    pub(super) fn push(&mut self, text: Bytes) {
        self.bytes += cost(&text);
        self.waiting.push_back(Waiting { text, signal_of: None });
    }

    pub(super) fn offer(&mut self, text: &str, sender: PeerId, limits: &Limits) -> Offered {
        let cost = text.len() + MESSAGE_BYTES;
        let of_sender = self.signal_bytes.get(&sender).copied().unwrap_or(0) + cost;
        // A single signal always fits, however small the limits.
        if of_sender > cost && of_sender > limits.queue_bytes_per_sender_max() {
            return Offered::SenderFloods;
        }
        if self.signal_bytes_total > 0 && self.signal_bytes_total + cost > limits.queue_signal_bytes_max() {
            return Offered::Full;
        }
        self.signal_bytes.insert(sender, of_sender);
        self.signal_bytes_total += cost;
        self.bytes += cost;
        // A copy: the text is a part of a read buffer that would stay allocated as a whole.
        let text = Bytes::copy_from_slice(text.as_bytes());
        self.waiting.push_back(Waiting { text, signal_of: Some(sender) });
        Offered::Queued
    }

    /// The next message. What was taken before it has been sent.
    pub(super) fn take(&mut self, now: Duration) -> Option<Bytes> {
        if let Some(sent) = self.in_flight.take() {
            self.bytes -= sent.bytes;
        }
        let Waiting { text, signal_of } = self.waiting.pop_front()?;
        let bytes = cost(&text);
        if let Some(sender) = signal_of {
            self.signal_bytes_total -= bytes;
            let of_sender = self.signal_bytes.get_mut(&sender).expect("a signal that waits is counted");
            *of_sender -= bytes;
            if *of_sender == 0 {
                self.signal_bytes.remove(&sender);
            }
        }
        self.in_flight = Some(InFlight { bytes, since: now });
        Some(text)
    }

    /// Drops what waits. What is in flight stays counted.
    pub(super) fn clear(&mut self) {
        self.waiting = VecDeque::new();
        self.signal_bytes.clear();
        self.signal_bytes_total = 0;
        self.bytes = self.in_flight.as_ref().map_or(0, |in_flight| in_flight.bytes);
    }
}

fn cost(text: &Bytes) -> usize {
    text.len() + MESSAGE_BYTES
}
