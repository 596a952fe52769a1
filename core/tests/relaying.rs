//! How many bytes a mesh takes beside the ideal, where each document goes once to each replica that lacks it.

mod room;

use std::time::Duration;

use peerloom_core::*;
use room::{Replay, Room};

const LATENCY: Duration = Duration::from_millis(20);

fn mesh(seed: u64, nodes: usize) -> Room {
    let mut room = Room::of(seed, nodes);
    room.latency = LATENCY;
    for left in 0..nodes {
        (0..left).for_each(|right| {
            room.connect(left, right);
        });
    }
    room.settle();
    room
}

#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    bytes: u64,
    frames: u64,
    documents: u64,
    duplicates: u64,
}

fn traffic(room: &Room) -> Traffic {
    room.ends.iter().fold(Traffic::default(), |sum, end| Traffic {
        bytes: sum.bytes + end.bytes_sent,
        frames: sum.frames + end.frames_sent,
        documents: sum.documents + end.session.counters().documents_sent,
        duplicates: sum.duplicates + end.session.counters().documents_duplicate,
    })
}

fn has(room: &Room, node: usize, id: &str) -> bool {
    room.nodes[node].shelves[0].disk.read(&DocumentId::new(id).expect("valid")).is_some()
}

#[test]
fn a_full_mesh_sends_each_document_about_once_to_each_replica() {
    const WRITES: u64 = 200;
    const BODY_BYTES: usize = 300;
    for nodes in [5, 8] {
        let mut room = mesh(11, nodes);
        let before = traffic(&room);
        for number in 0..WRITES {
            let writer = room.random.below(nodes);
            room.put(writer, &format!("d{number}"), &"x".repeat(BODY_BYTES));
            room.run_for(Duration::from_millis(150));
        }
        room.settle();
        let after = traffic(&room);
        let (documents, ideal) = (after.documents - before.documents, WRITES * (nodes as u64 - 1));
        let bytes = (after.bytes - before.bytes) as f64 / (ideal * BODY_BYTES as u64) as f64;
        println!(
            "{nodes} replicas: {documents} documents sent, ideal {ideal}; {} duplicates; {bytes:.2} bytes per ideal byte; {:.1} frames per delivery",
            after.duplicates - before.duplicates,
            (after.frames - before.frames) as f64 / ideal as f64,
        );
        assert!(documents * 100 <= ideal * 105, "{documents} documents sent, ideal {ideal}");
        let holdings = room.holdings();
        room.assert_converged(&holdings);
        room.assert_idle();
    }
}

#[test]
fn a_burst_from_all_sides_settles_with_few_duplicates() {
    for nodes in [5, 8] {
        let mut room = mesh(12, nodes);
        let before = traffic(&room);
        for number in 0..300 {
            room.put(number % nodes, &format!("d{number}"), "text");
            room.churn(3);
        }
        room.settle();
        let after = traffic(&room);
        let (documents, ideal) = (after.documents - before.documents, 300 * (nodes as u64 - 1));
        println!("burst, {nodes} replicas: {documents} documents sent, ideal {ideal}");
        assert!(documents <= ideal * 2, "{documents} documents sent, ideal {ideal}");
        let holdings = room.holdings();
        room.assert_converged(&holdings);
        room.assert_idle();
    }
}

#[test]
fn what_passes_through_a_line_takes_one_way_per_hop() {
    let mut room = Room::of(13, 5);
    room.latency = LATENCY;
    (1..5).for_each(|right| {
        room.connect(right - 1, right);
    });
    room.settle();
    room.put(0, "a", "text");
    room.run_for(LATENCY * 4);
    assert!(has(&room, 4, "a"));
}

/// The link between writer and reader stops carrying anything from the writer; a third replica has to step in.
#[test]
fn a_reader_whose_direct_link_delivers_nothing_gets_the_document_from_another() {
    for seed in 0..30 {
        let _replay = Replay("a silent link", seed);
        let mut room = mesh(seed, 3);
        (0..10).for_each(|number| {
            room.put(0, &format!("learnt {number}"), "text");
            room.run_for(Duration::from_millis(200));
        });
        let to_reader = room.live().find(|end| room.ends[*end].node == 2 && room.ends[end ^ 1].node == 0);
        let to_reader = to_reader.expect("the writer and the reader are connected");
        room.put(0, "a", "text");
        let until = room.now + Duration::from_secs(4);
        while room.now < until && !has(&room, 2, "a") {
            room.ends[to_reader].inbox.clear();
            if !room.step(until) {
                break;
            }
        }
        assert!(has(&room, 2, "a"), "the third replica was asked for it");
        assert!(room.now + Duration::from_secs(2) < until, "it takes an announcement and a graft");
    }
}

/// The writer's link to one reader dies right after the write; the other reader knows at once that it must relay.
#[test]
fn a_link_that_dies_right_after_the_write_loses_nothing() {
    for seed in 0..60 {
        let _replay = Replay("a dying link", seed);
        let nodes = 3 + (seed % 4) as usize;
        let mut room = mesh(seed, nodes);
        room.put(0, "b", "text");
        room.run_for(Duration::from_millis(500));
        room.put(0, "a", "text");
        let steps = room.random.below(12);
        room.churn(steps);
        for end in room.live().collect::<Vec<_>>() {
            let (left, right) = (room.ends[end].node, room.ends[end ^ 1].node);
            if left == 0 && right > 1 {
                room.disconnect(end);
            }
        }
        room.run_for(Duration::from_secs(3));
        assert!((1..nodes).all(|node| has(&room, node, "a")));
        let holdings = room.holdings();
        room.settle();
        room.assert_converged(&holdings);
        room.assert_idle();
    }
}
