//! What only a peer that is being served can tell.

use indicatif::{HumanBytes, HumanCount};

use crate::access::Access;
use crate::control::{Answer, PeerStatus, RxdbStatus, Status, WatchFrom};
use crate::failure::Failure;
use crate::output::Output;

/// Prints documents as they change, until the peer stops.
pub(crate) async fn watch(
    access: Access,
    output: &mut Output,
    collection: Option<String>,
    from: WatchFrom,
) -> Result<(), Failure> {
    let mut changes = access.watch(collection, from).await?;
    tracing::info!("watching");
    loop {
        match changes.receive().await.map_err(Failure::Socket)? {
            None => return Err(Failure::Stopped),
            Some(Answer::Changed(changed)) => {
                let conflict = if changed.in_conflict { "\t(in conflict)" } else { "" };
                let document = &changed.document;
                output.print(&changed, || format!("{}\t{}{conflict}", document.id, document.content))?;
                output.flush()?;
            }
            Some(Answer::Refused(refusal)) => return Err(refusal.into()),
            Some(_) => {}
        }
    }
}

/// Prints who this peer is, and who is connected.
pub(crate) async fn status(access: &mut Access, output: &mut Output) -> Result<(), Failure> {
    let status = access.status().await?;
    output.print(&status, || text(&status))
}

fn text(status: &Status) -> String {
    let mut lines = vec![
        format!("replica      {}", status.replica),
        format!("storage      {}", status.storage),
        format!("collections  {}", status.collections.join(", ")),
    ];
    for room in &status.rooms {
        lines.push(format!("\nroom {:?} at {}: {} peers", room.topic, room.signaling, room.peers.len()));
        if let Some(rxdb) = &room.rxdb {
            let RxdbStatus { collection, direction, primary_key } = rxdb;
            lines.push(format!(
                "  RxDB peers replicate with {collection} ({direction}), whose primary key is {primary_key:?}"
            ));
        }
        for peer in &room.peers {
            let left_out = match peer.documents_left_out {
                0 => String::new(),
                count => format!("; {} could not cross over", HumanCount(count)),
            };
            lines.push(format!(
                "  {}  {}  received {} documents in {}, sent {} in {}{left_out}",
                name(peer),
                peer.state.replace('_', " "),
                HumanCount(peer.documents_received),
                HumanBytes(peer.bytes_received),
                HumanCount(peer.documents_sent),
                HumanBytes(peer.bytes_sent),
            ));
        }
    }
    lines.join("\n")
}

fn name(peer: &PeerStatus) -> String {
    match (&peer.replica, &peer.rxdb_token) {
        (Some(replica), _) => replica.clone(),
        (None, Some(token)) => format!("RxDB {token}"),
        (None, None) => peer.address.clone(),
    }
}

/// Waits until everything is everywhere.
pub(crate) async fn catch_up(access: &mut Access) -> Result<(), Failure> {
    access.catch_up().await
}
