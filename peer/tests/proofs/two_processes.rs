//! Two processes with a directory each.

use std::thread;

use crate::harness::{Peer, STORAGES, Served, Signaling};
use crate::{lines, size};

/// A document whose number is not known to be received by the other side when the process is killed is sent again: at most
/// two pages, because a session has no more under way.
const UNDER_WAY_MAX: u64 = 2 * 1000;

struct Two {
    signaling: Signaling,
    left: Peer,
    right: Peer,
}

impl Two {
    fn new(storage: &str) -> Self {
        let signaling = Signaling::start();
        let settings = ["--storage", storage, "--dead-after-seconds", "4"];
        let left = Peer::on_loopback("left", &signaling, &settings);
        let right = Peer::on_loopback("right", &signaling, &settings);
        Self { signaling, left, right }
    }

    /// Fails unless both hold the same documents and the same versions of those in conflict. Returns how many are in conflict.
    fn agree(&self) -> usize {
        let held =
            [&self.left, &self.right].map(|peer| (peer.ok(&["export"]), peer.ok(&["--json", "conflicts"])));
        assert!(held[0] == held[1], "the two differ");
        held[0].1.lines().count()
    }
}

fn count(peer: &Peer) -> u64 {
    peer.ok(&["list", "--ids"]).lines().count() as u64
}

#[test]
fn killed_processes_catch_up_with_only_the_difference() {
    for storage in STORAGES {
        let documents = size("DOCUMENTS", 10_000);
        let (one_way, other_way) = (documents as u64, documents as u64 / 10);
        let two = Two::new(storage);
        let (left, right) = (&two.left, &two.right);
        left.ok_with(&["import", "-"], lines((0..one_way).map(|id| format!("l{id:07}")), "left").as_bytes());
        right.ok_with(
            &["import", "-"],
            lines((0..other_way).map(|id| format!("r{id:07}")), "right").as_bytes(),
        );

        // The receiver is killed in the middle of the first sync.
        let mut serving_left = left.serve();
        let serving_right = right.serve();
        let mut arriving = right.watch(&["--from-start"]);
        for _ in 0..other_way + one_way / 4 {
            arriving.next();
        }
        serving_right.kill();
        let had = count(right);
        assert!((other_way + one_way / 4..=other_way + one_way).contains(&had), "{had}");

        let serving_right = right.serve();
        right.ok(&["catch-up"]);
        let (received, duplicate) =
            (right.counted("documents_received"), right.counted("documents_duplicate"));
        assert_eq!(received - duplicate, one_way + other_way - had, "the difference");
        assert!(duplicate <= UNDER_WAY_MAX, "{duplicate} of {received} documents came twice");
        assert_eq!((two.agree(), count(right)), (0, one_way + other_way));
        serving_left.wait_for("a peer has left", 1);

        // The other one is killed, and misses a few edits.
        serving_left.kill();
        let edits = 50;
        right.ok_with(&["import", "-"], lines((0..edits).map(|id| format!("l{id:07}")), "edited").as_bytes());
        serving_left = left.serve();
        left.ok(&["catch-up"]);
        let received = left.counted("documents_received") - left.counted("documents_duplicate");
        assert_eq!(received, edits, "the difference");
        let bytes = left.counted("bytes_received") + left.counted("bytes_sent");
        assert!(bytes < 100_000, "{edits} edits of 250 bytes took {bytes} bytes");
        assert_eq!(two.agree(), 0);
        drop((serving_left, serving_right));
    }
}

#[test]
fn concurrent_edits_of_two_processes_end_alike() {
    for storage in STORAGES {
        let two = Two::new(storage);
        let ids = || (0..200).map(|id| format!("{id:03}"));
        // Apart, so that each of them is in conflict.
        two.left.ok_with(&["import", "-"], lines(ids(), "left").as_bytes());
        two.right.ok_with(&["import", "-"], lines(ids(), "right").as_bytes());
        let _served = [two.left.serve(), two.right.serve()];
        two.left.ok(&["catch-up"]);
        two.right.ok(&["catch-up"]);
        assert_eq!(two.agree(), 200);

        // Connected, and at once.
        thread::scope(|scope| {
            for (peer, text) in [(&two.left, "left again"), (&two.right, "right again")] {
                scope.spawn(move || {
                    for chunk in ids().collect::<Vec<_>>().chunks(20) {
                        peer.ok_with(&["import", "-"], lines(chunk.to_vec(), text).as_bytes());
                    }
                });
            }
        });
        two.left.ok(&["catch-up"]);
        two.right.ok(&["catch-up"]);
        two.agree();
        // A write that has seen all versions leaves one.
        two.left.ok_with(&["import", "-"], lines(ids(), "settled").as_bytes());
        two.left.ok(&["catch-up"]);
        assert_eq!(two.agree(), 0);
    }
}

#[test]
fn the_signaling_server_can_be_killed_and_come_back_in_the_middle() {
    let mut two = Two::new("fjall");
    let mut served = [two.left.serve(), two.right.serve()];
    served.iter_mut().for_each(|served| served.wait_for("a peer has joined", 1));
    let mut arriving = two.right.watch(&["--from-start"]);
    thread::scope(|scope| {
        let left = &two.left;
        scope.spawn(move || {
            left.ok_with(&["import", "-"], lines((0..5000).map(|id| format!("{id:04}")), "x").as_bytes())
        });
        arriving.until("0000");
        two.signaling.kill();
    });
    arriving.until("4999");
    two.right.ok(&["put", "back", "1"]);
    two.left.watch(&["--from-start"]).until("back");
    two.signaling.restart();

    // Who comes now finds both, and the two have not even noticed.
    let third = Peer::on_loopback("third", &two.signaling, &["--storage", "memory"]);
    let mut serving_third = third.serve();
    serving_third.wait_for("a peer has joined", 2);
    third.ok(&["catch-up"]);
    assert_eq!(count(&third), 5001);
    for served in &mut served {
        served.wait_for("a peer has joined", 2);
        assert_eq!(served.times("a peer has left"), 0, "{:#?}", served.seen);
    }
    two.agree();
}

#[test]
fn documents_of_one_byte_to_sixteen_mebibytes_arrive() {
    let signaling = Signaling::start();
    let [left, right] =
        ["left", "right"].map(|name| Peer::on_loopback(name, &signaling, &["--storage", "memory"]));
    let _served: Vec<Served> = [&left, &right].map(Peer::serve).into();
    for bytes in [1, 16 << 10, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 1 << 20, 16 << 20] {
        let content: Vec<u8> = (0..bytes).map(|index: usize| (index as u8).wrapping_mul(31) ^ 0x80).collect();
        let id = bytes.to_string();
        left.ok_with(&["put", "--binary", &id], &content);
        right.watch(&["--from-start"]).until(&id);
        assert!(right.run(&["get", &id]).stdout == content, "{bytes} bytes do not arrive as they were");
    }
}
