//! First contact of two replicas that share nearly everything: each got the same 100,000 documents from a third, and then
//! wrote five of its own.

use peerloom::{Memory, Network};

use crate::clock::{self, Clock};
use crate::document;
use crate::group::{Replica, Traffic, quiet};
use crate::report::{Figure, Target};
use crate::synthetic;

const DOCUMENTS: usize = 100_000;
const OWN_DOCUMENTS: usize = 5;

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let bytes = |incarnations: usize| clock::simulated(async |clock| meet(&clock, incarnations).await);
    Ok(vec![
        Figure::new(
            "sent by both, 100,000 documents of one incarnation, 10 differ",
            bytes(1)? as f64,
            "bytes",
        )
        .target(Target::AtMost(65_536.0)),
        Figure::new("the same, documents of 1,000 incarnations", bytes(1_000)? as f64, "bytes"),
        Figure::new("the same, documents of 10,000 incarnations", bytes(10_000)? as f64, "bytes"),
    ])
}

/// The bytes that both send at their first contact.
async fn meet(clock: &Clock, incarnations: usize) -> anyhow::Result<u64> {
    let documents =
        (0..DOCUMENTS).map(|number| (document::id(number), synthetic::document_by_one(number, incarnations)));
    let third = synthetic::store(documents).await?;
    let (left, right) =
        (Replica::open(Memory::new(), clock).await?, Replica::open(Memory::new(), clock).await?);
    for (replica, own) in [(&left, DOCUMENTS), (&right, DOCUMENTS + OWN_DOCUMENTS)] {
        copy(&third, replica, clock).await?;
        replica.write_many(own..own + OWN_DOCUMENTS).await?;
    }
    let network = Network::new();
    let rooms = [left.join(&network, "left").await?, right.join(&network, "right").await?];
    for replica in [&left, &right] {
        replica.has(DOCUMENTS + 2 * OWN_DOCUMENTS).await?;
    }
    let Traffic { bytes, documents, .. } = quiet(&rooms).await;
    assert_eq!(documents, 2 * OWN_DOCUMENTS as u64, "only the difference moves");
    Ok(bytes)
}

async fn copy(third: &Memory, to: &Replica, clock: &Clock) -> anyhow::Result<()> {
    let from = Replica::open(third.fork(), clock).await?;
    let network = Network::new();
    let rooms = [from.join(&network, "third").await?, to.join(&network, "copy").await?];
    rooms[1].caught_up().await?;
    quiet(&rooms).await;
    for room in rooms {
        room.leave().await;
    }
    Ok(from.node.close().await?)
}
