//! Several peers in one room, each connected to all others.

use std::collections::BTreeSet;
use std::thread;

use crate::harness::{Peer, Served, Signaling};
use crate::{lines, size};

#[test]
fn ten_peers_make_a_full_mesh_and_converge() {
    const PEERS: usize = 10;
    let signaling = Signaling::start();
    let peers: Vec<Peer> = (0..PEERS)
        .map(|number| Peer::on_loopback(&format!("of-ten-{number}"), &signaling, &["--storage", "memory"]))
        .collect();
    let mut served: Vec<Served> = peers.iter().map(Peer::serve).collect();
    for served in &mut served {
        served.wait_for("a peer has joined", PEERS - 1);
    }
    for peer in &peers {
        let status = peer.json(&["status"]).remove(0);
        let others = status["rooms"][0]["peers"].as_array().unwrap();
        let replicas: BTreeSet<String> = others.iter().map(|other| other["replica"].to_string()).collect();
        assert_eq!(replicas.len(), PEERS - 1, "{status:#}");
    }
    thread::scope(|scope| {
        for peer in &peers {
            let name = peer.name.clone();
            scope.spawn(move || {
                peer.ok_with(
                    &["import", "-"],
                    lines((0..20).map(|id| format!("{name}-{id:02}")), "x").as_bytes(),
                )
            });
        }
    });
    for peer in &peers {
        let mut watching = peer.watch(&["--from-start"]);
        let mut seen = BTreeSet::new();
        while seen.len() < 20 * PEERS {
            seen.insert(watching.next()["id"].to_string());
        }
    }
    let exported: BTreeSet<String> = peers.iter().map(|peer| peer.ok(&["export"])).collect();
    assert_eq!(exported.len(), 1, "all hold the same");
}

#[test]
fn a_peer_that_stops_reading_does_not_hurt_the_others() {
    let documents = size("DOCUMENTS", 10_000);
    let signaling = Signaling::start();
    // Longer than it is stopped for, so that its connections are open all the time and have to be waited with.
    let settings = ["--storage", "memory", "--dead-after-seconds", "120"];
    let [writer, reader, stopped] =
        ["writer", "reader", "stopped"].map(|name| Peer::on_loopback(name, &signaling, &settings));
    let mut served = [&writer, &reader, &stopped].map(Peer::serve);
    for served in &mut served {
        served.wait_for("a peer has joined", 2);
    }
    let mut arriving = reader.watch(&["--from-start"]);
    served[2].signal("-STOP");
    let last = format!("{:07}", documents - 1);
    writer.ok_with(&["import", "-"], lines((0..documents).map(|id| format!("{id:07}")), "x").as_bytes());
    arriving.until(&last);
    assert_eq!(reader.ok(&["list", "--ids"]).lines().count(), documents);
    reader.ok(&["put", "from-the-reader", "1"]);
    writer.watch(&["--from-start"]).until("from-the-reader");
    for served in &mut served[..2] {
        assert_eq!(served.times("a peer has left"), 0, "{:#?}", served.seen);
    }

    served[2].signal("-CONT");
    stopped.watch(&["--from-start"]).until("from-the-reader");
    for peer in [&writer, &reader, &stopped] {
        peer.ok(&["catch-up"]);
    }
    assert_eq!(stopped.ok(&["export"]), writer.ok(&["export"]));
}
