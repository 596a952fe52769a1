//! The documents that the benchmarks move: JSON of about 250 bytes, each different from the others.

use bytes::Bytes;
use peerloom::core::{Document, Record, Sequence};
use peerloom::{DocumentId, Dot, Head, Incarnation, Stamp, State, json};
use serde::{Deserialize, Serialize};

/// What a document holds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    amount_cents: u64,
    article: String,
    customer: String,
    delivered: bool,
    note: String,
    ordered_at: u64,
    quantity: u32,
    reference: String,
}

impl Order {
    /// The order with this number.
    pub(crate) fn numbered(number: usize) -> Self {
        let scattered = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            amount_cents: scattered % 100_000,
            article: format!("article-{:05}", scattered % 20_000),
            customer: format!("customer-{:06}@example.org", scattered % 500_000),
            delivered: scattered.is_multiple_of(3),
            note: "Leave it with the neighbours if nobody answers the door.".to_owned(),
            ordered_at: 1_767_225_600_000 + number as u64,
            quantity: (scattered % 12) as u32 + 1,
            reference: format!("{scattered:016x}"),
        }
    }

    /// The body that a collection writes for it.
    pub(crate) fn body(&self) -> Bytes {
        let value = serde_json::to_value(self).expect("an order is plain JSON");
        json::to_canonical(&value).expect("an order is plain JSON")
    }
}

/// The id of the document with this number.
pub(crate) fn id(number: usize) -> DocumentId {
    DocumentId::new(format!("order/{number:08}")).expect("short")
}

/// A state with the body of this order.
pub(crate) fn state(number: usize) -> State {
    State { deleted: false, body: Order::numbered(number).body(), annotations: Bytes::new() }
}

/// The bytes of a document's id and body: what its user has written.
pub(crate) fn bare_bytes(number: usize) -> usize {
    id(number).as_bytes().len() + Order::numbered(number).body().len()
}

/// The bytes of a document that was written once, encoded alone with its id, context and head: what every replica that lacks it
/// must get.
pub(crate) fn ideal_bytes(number: usize) -> usize {
    let stamp = Stamp::new(1_767_225_600_000 << 16).expect("a stamp of our time");
    let dot = Dot { incarnation: Incarnation::new(u64::MAX), stamp };
    let document = Document::from(Head { dot, state: state(number) });
    let record = Record { id: id(number), sequence: Sequence::ZERO, document, resolved: None };
    record.id.as_bytes().len() + record.encode().len()
}
