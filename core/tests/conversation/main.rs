//! Stories of two sessions in virtual time: how they meet, what they share, move documents, fall silent and come back.

mod meeting;
#[path = "../room/mod.rs"]
mod room;
mod sharing;

use std::time::Duration;

use bytes::Bytes;
use peerloom_core::*;
use room::{Replay, Room, Terms};

const LEFT: usize = 0;
const RIGHT: usize = 1;

fn pair() -> Room {
    Room::of(1, 2)
}

fn closed(room: &Room, end: usize) -> [Option<CloseReason>; 2] {
    [room.ends[end].closed.clone(), room.ends[end ^ 1].closed.clone()]
}

/// Documents and bytes sent by one end.
fn sent(room: &Room, end: usize) -> (u64, u64) {
    (room.ends[end].session.counters().documents_sent, room.ends[end].bytes_sent)
}

fn body(room: &Room, node: usize, id: &str) -> Option<String> {
    let record = room.nodes[node].shelves[0].disk.read(&DocumentId::new(id).expect("valid"))?;
    Some(String::from_utf8_lossy(&record.view().body).into_owned())
}

fn reports(room: &Room, end: usize, expected: impl Fn(&Event) -> bool) -> bool {
    room.ends[end].events.iter().any(expected)
}

#[test]
fn an_idle_connection_lives_on_signs_of_life() {
    let mut room = pair();
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    let (_, before) = sent(&room, end);
    room.run_for(Duration::from_secs(600));
    let (_, after) = sent(&room, end);
    assert_eq!(closed(&room, end), [None, None]);
    assert!((1..=300).contains(&(after - before)), "{} bytes in ten minutes", after - before);
}

#[test]
fn a_peer_that_says_nothing_counts_as_gone() {
    let mut room = pair();
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    room.latency = Duration::from_secs(3600);
    room.run_for(Duration::from_secs(39));
    assert_eq!(closed(&room, end), [None, None]);
    room.run_for(Duration::from_secs(20));
    assert_eq!(closed(&room, end), [Some(CloseReason::Silent), Some(CloseReason::Silent)]);
}

#[test]
fn a_handshake_that_does_not_end_is_given_up() {
    let mut room = pair();
    room.latency = Duration::from_secs(3600);
    let end = room.connect(LEFT, RIGHT);
    room.run_for(Duration::from_secs(11));
    let late = || Some(CloseReason::HandshakeTimedOut);
    assert_eq!(closed(&room, end), [late(), late()]);
}

#[test]
fn whoever_leaves_says_so() {
    let mut room = pair();
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    room.handle(end, Input::Leave);
    room.settle();
    assert_eq!(closed(&room, end), [Some(CloseReason::Left), Some(CloseReason::LeftByPeer)]);
}

#[test]
fn a_write_arrives_after_one_way_of_the_connection() {
    let mut room = pair();
    room.latency = Duration::from_millis(50);
    room.connect(LEFT, RIGHT);
    room.settle();
    for (number, writer) in [LEFT, RIGHT, LEFT].into_iter().enumerate() {
        let text = number.to_string();
        room.put(writer, "a", &text);
        room.run_for(Duration::from_millis(49));
        assert_ne!(body(&room, writer ^ 1, "a"), Some(text.clone()));
        room.run_for(Duration::from_millis(1));
        assert_eq!(body(&room, writer ^ 1, "a"), Some(text));
        room.settle();
    }
}

#[test]
fn first_contact_moves_only_the_difference() {
    let mut room = Room::of(1, 3);
    (0..500).for_each(|number| room.put(2, &format!("shared {number}"), "what both have"));
    let links = [room.connect(LEFT, 2), room.connect(RIGHT, 2)];
    room.settle();
    links.into_iter().for_each(|end| room.disconnect(end));
    for (node, name) in [(LEFT, "left"), (RIGHT, "right")] {
        (0..3).for_each(|number| room.put(node, &format!("{name} {number}"), "what one has"));
    }
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    for end in [end, end + 1] {
        let (documents, bytes) = sent(&room, end);
        assert_eq!(documents, 3);
        assert!(bytes < 1200, "{bytes} bytes");
    }
    assert_eq!(room.nodes[LEFT].shelves[0].disk.records().count(), 506);
}

#[test]
fn coming_back_moves_only_the_difference() {
    let mut room = pair();
    (0..300).for_each(|number| room.put(LEFT, &format!("old {number}"), "text"));
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    room.disconnect(end);
    room.put(LEFT, "new", "text");
    room.restart(RIGHT);
    room.put(RIGHT, "old 7", "changed");
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    assert_eq!(sent(&room, end).0, 1);
    assert_eq!(sent(&room, end + 1).0, 1);
    assert!(sent(&room, end).1 < 800, "{} bytes", sent(&room, end).1);
}

#[test]
fn breaking_off_in_the_middle_loses_no_more_than_the_pages_under_way() {
    let mut room = Room::of(1, 2).pages_of(10);
    (0..300).for_each(|number| room.put(LEFT, &format!("document {number}"), "text"));
    let end = room.connect(LEFT, RIGHT);
    while room.nodes[RIGHT].shelves[0].disk.records().count() < 150 {
        room.step(Duration::from_secs(5));
    }
    let arrived = room.nodes[RIGHT].shelves[0].disk.records().count() as u64;
    room.disconnect(end);
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    assert_eq!(sent(&room, end).0, 300 - arrived);
}

#[test]
fn a_large_document_travels_in_small_frames() {
    let mut room = pair();
    room.frame_bytes_max = MESSAGE_BYTES_MIN;
    let text = "x".repeat(300_000);
    room.put(LEFT, "large", &text);
    room.put(LEFT, "small", "text");
    room.connect(LEFT, RIGHT);
    room.settle();
    assert_eq!(body(&room, RIGHT, "large"), Some(text));
    assert_eq!(body(&room, RIGHT, "small").as_deref(), Some("text"));
}

#[test]
fn a_document_too_large_for_the_peer_is_reported_and_the_others_go() {
    let mut room = pair();
    room.limits.message_bytes_max = 128 << 10;
    let ids: Vec<String> = (0..40).map(|number| format!("small {number}")).collect();
    for (number, id) in ids.iter().enumerate() {
        room.put(LEFT, id, &"x".repeat(1500));
        if number == 20 {
            room.put(LEFT, "large", &"x".repeat(100_000));
        }
    }
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    let too_large =
        |event: &Event| matches!(event, Event::DocumentTooLarge { id, .. } if id.as_str() == "large");
    assert!(reports(&room, end, too_large));
    assert!(ids.iter().all(|id| body(&room, RIGHT, id).is_some()));
    assert_eq!(body(&room, RIGHT, "large"), None);
    assert!(!room.ends[end].session.is_caught_up(), "something is not at the peer");

    room.put(LEFT, "large", "small by now");
    room.settle();
    assert_eq!(body(&room, RIGHT, "large").as_deref(), Some("small by now"));
    room.assert_idle();
}

#[test]
fn who_takes_small_messages_only_gets_small_documents() {
    let mut room = pair();
    room.limits.message_bytes_max = 8 << 10;
    (0..300).for_each(|number| room.put(LEFT, &format!("small {number}"), &"x".repeat(7 * number)));
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    assert!(!reports(&room, end, |event| matches!(event, Event::DocumentTooLarge { .. })));
    assert!(room.ends[end].session.is_caught_up());
    room.assert_idle();
}

#[test]
fn a_page_and_the_large_document_that_ends_it_fit_one_message() {
    let mut room = pair();
    room.limits.message_bytes_max = 128 << 10;
    (0..40).for_each(|number| room.put(LEFT, &format!("small {number}"), &"x".repeat(100 * number)));
    for number in 0..40 {
        room.put(LEFT, &format!("middle {number}"), &"x".repeat(38_000));
        (0..number).for_each(|small| room.put(LEFT, &format!("beside {number} {small}"), ""));
    }
    room.connect(LEFT, RIGHT);
    room.settle();
    room.assert_idle();
    let counts = [LEFT, RIGHT].map(|node| room.nodes[node].shelves[0].disk.records().count());
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn a_restored_replica_hears_that_it_was_rolled_back() {
    let mut room = pair();
    room.put(LEFT, "a", "kept");
    let backup = room.disks(LEFT);
    room.put(LEFT, "a", "forgotten");
    room.connect(LEFT, RIGHT);
    room.settle();
    room.restore(LEFT, backup);
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    assert!(reports(&room, end, |event| matches!(event, Event::RolledBack { .. })));
    assert_eq!(body(&room, LEFT, "a").as_deref(), Some("forgotten"));
}

#[test]
fn two_collections_converge_whatever_comes_between() {
    for seed in 0..60 {
        let _replay = Replay("two collections", seed);
        let mut room = Room::new(seed).pages_of(1 + (seed % 3) as u32);
        (0..3).for_each(|_| {
            room.add_node(&["notes", "tasks"]);
        });
        let edges = [(0, 1), (1, 2), (2, 0)];
        for _ in 0..60 {
            let (node, shelf, id) = (room.random.below(3), room.random.below(2), room.random.below(3));
            match room.random.below(10) {
                0..5 => {
                    room.write(node, shelf, &id.to_string(), Some("text"), Seen::Current).expect("small");
                }
                5..8 => {
                    let (left, right) = *room.random.pick(&edges);
                    if !room.is_connected(left, right) && !room.is_connected(right, left) {
                        let end = room.connect_bare(left, right);
                        for end in [end, end + 1] {
                            let first = room.random.below(2);
                            for shelf in [first, 1 - first] {
                                room.share(end, shelf, Terms::FULL);
                                room.churn(10);
                                if room.ends[end].dead {
                                    break;
                                }
                            }
                        }
                    }
                }
                8 => room.restart(node),
                _ => {}
            }
            let steps = room.random.below(30);
            room.churn(steps);
        }
        let before = room.holdings();
        (0..3).for_each(|node| room.disconnect_node(node));
        for (left, right) in edges {
            room.connect(left, right);
        }
        room.settle();
        room.assert_converged(&before);
        room.assert_idle();
    }
}
