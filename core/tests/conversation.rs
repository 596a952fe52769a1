//! Stories of two sessions in virtual time: how they meet, refuse, move documents, fall silent and come back.

mod room;

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

#[derive(Clone, Copy, Debug)]
enum Meeting {
    OtherVersion,
    OtherTopicKey,
    OtherChannelBinding,
    UnprovenIdentity,
    SameIdentity,
    Itself,
}

/// Changes one byte of the frame that arrives next at an end.
fn tamper(room: &mut Room, end: usize, position: usize, change: impl Fn(u8) -> u8) {
    let (_, frame) = room.ends[end].inbox.front_mut().expect("a frame is on its way");
    let mut bytes = frame.to_vec();
    bytes[position] = change(bytes[position]);
    *frame = bytes.into();
}

fn meet(meeting: Meeting) -> (Room, usize) {
    let mut room = pair();
    let end = match meeting {
        Meeting::OtherVersion => {
            let end = room.connect(LEFT, RIGHT);
            // A Hello begins with the byte of a whole message, the array, its kind, and the two versions.
            for position in [3, 4] {
                tamper(&mut room, end, position, |version| version + 1);
            }
            end
        }
        Meeting::OtherTopicKey => {
            let ours = room.config(LEFT);
            let theirs = SessionConfig { topic_key: TopicKey::new([8; 32]), ..room.config(RIGHT) };
            room.add_end(LEFT, ours);
            room.add_end(RIGHT, theirs);
            0
        }
        Meeting::OtherChannelBinding => {
            for (node, binding) in [(LEFT, "one"), (RIGHT, "another")] {
                let channel_binding = Some(Bytes::from_static(binding.as_bytes()));
                let config = SessionConfig { channel_binding, ..room.config(node) };
                room.add_end(node, config);
            }
            0
        }
        Meeting::UnprovenIdentity => {
            let end = room.connect(LEFT, RIGHT);
            let hello = room.ends[end].inbox.pop_front().expect("the Hello").1;
            let theirs = room.ends[end ^ 1].inbox.pop_front().expect("the Hello").1;
            room.handle(end ^ 1, Input::Received(theirs));
            room.handle(end, Input::Received(hello));
            // The signature follows the 32 bytes of the topic's proof.
            tamper(&mut room, end, 50, |byte| byte ^ 1);
            end
        }
        Meeting::SameIdentity => {
            let disks = room.disks(LEFT);
            let clone = room.clone_node(LEFT, disks, true);
            room.connect(LEFT, clone)
        }
        Meeting::Itself => room.connect(LEFT, LEFT),
    };
    (room, end)
}

#[test]
fn a_refusal_is_typed_and_both_sides_report_it() {
    for (meeting, refusal) in [
        (Meeting::OtherVersion, Refusal::Version),
        (Meeting::OtherTopicKey, Refusal::TopicKey),
        (Meeting::OtherChannelBinding, Refusal::TopicKey),
        (Meeting::UnprovenIdentity, Refusal::Identity),
        (Meeting::SameIdentity, Refusal::SameIdentity),
        (Meeting::Itself, Refusal::Itself),
    ] {
        let (mut room, end) = meet(meeting);
        room.settle();
        let (ours, theirs) = (CloseReason::Refused(refusal.clone()), CloseReason::RefusedByPeer(refusal));
        for reason in closed(&room, end) {
            let reason = reason.expect("both ends are closed");
            assert!(reason == ours || reason == theirs, "{meeting:?}: {reason:?}");
        }
        assert!(!reports(&room, end, |event| matches!(event, Event::Shared { .. })), "{meeting:?}");
    }
}

#[test]
fn nothing_about_collections_is_said_before_the_proof() {
    let mut room = pair();
    let ours = room.config(LEFT);
    let theirs = SessionConfig { topic_key: TopicKey::new([8; 32]), ..room.config(RIGHT) };
    room.add_end(LEFT, ours);
    room.add_end(RIGHT, theirs);
    room.share(0, 0, Terms::FULL);
    let mut frames = Vec::new();
    while room.step(Duration::from_secs(20)) {
        frames.extend(room.ends[1].inbox.iter().map(|frame| frame.1.clone()));
    }
    assert!(!frames.is_empty());
    assert!(!frames.iter().any(|frame| frame.windows(5).any(|part| part == b"notes")));
}

/// Two ends that ask before they admit, and claim something, with a collection on both sides.
fn asking(keys: [u8; 2]) -> Room {
    let mut room = pair();
    room.put(LEFT, "a", "one");
    for (node, key) in [LEFT, RIGHT].into_iter().zip(keys) {
        let config = SessionConfig {
            topic_key: TopicKey::new([key; 32]),
            claim: claim(node),
            admission: Admission::Asked,
            ..room.config(node)
        };
        room.add_end(node, config);
    }
    [LEFT, RIGHT].into_iter().for_each(|end| room.share(end, 0, Terms::FULL));
    room
}

fn claim(node: usize) -> Bytes {
    Bytes::from(format!("the claim of {node}"))
}

/// Everything that was sent until the room has settled.
fn overheard(room: &mut Room) -> Vec<Bytes> {
    let mut frames = Vec::new();
    loop {
        frames.extend(room.ends.iter().flat_map(|end| end.inbox.iter().map(|frame| frame.1.clone())));
        if !room.step(Duration::from_secs(5)) {
            return frames;
        }
    }
}

fn was_said(frames: &[Bytes], words: &[u8]) -> bool {
    frames.iter().any(|frame| frame.windows(words.len()).any(|part| part == words))
}

#[test]
fn a_claim_is_heard_before_anything_is_said_of_collections() {
    let mut room = asking([7, 7]);
    let frames = overheard(&mut room);
    for (end, other) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
        let public_key = Identity::from_secret(&room.nodes[other].secret).public_key();
        assert_eq!(room.ends[end].asked, [Newcomer { public_key, claim: claim(other) }]);
        assert_eq!(room.ends[end].session.peer(), None);
    }
    assert!(!was_said(&frames, b"notes"));
    // One side decides long before the other, and offers what the other may not look at yet.
    room.handle(LEFT, Input::Admitted);
    room.run_for(Duration::from_secs(30));
    assert_eq!(body(&room, RIGHT, "a"), None);
    room.handle(RIGHT, Input::Admitted);
    room.settle();
    assert_eq!(body(&room, RIGHT, "a").as_deref(), Some("one"));
    assert_eq!(closed(&room, LEFT), [None, None]);
}

#[test]
fn a_claim_is_not_shown_to_who_has_another_key() {
    let mut room = asking([7, 8]);
    let frames = overheard(&mut room);
    assert!(!was_said(&frames, b"the claim") && room.ends.iter().all(|end| end.asked.is_empty()));
}

#[test]
fn another_claim_than_the_proven_one_is_a_violation() {
    let mut room = asking([7, 7]);
    let is_claim = |room: &Room| {
        room.ends[LEFT]
            .inbox
            .front()
            .is_some_and(|(_, frame)| frame.windows(9).any(|part| part == b"the claim"))
    };
    while !is_claim(&room) {
        assert!(room.step(Duration::from_secs(5)));
    }
    tamper(&mut room, LEFT, 6, |byte| byte ^ 1);
    room.hostile = true;
    room.settle();
    assert_eq!(room.ends[LEFT].closed, Some(CloseReason::Violation(Violation::Claim)));
    assert!(room.ends[LEFT].asked.is_empty());
}

#[test]
fn who_is_not_admitted_is_told_why_and_shown_nothing() {
    let why = "x".repeat(10_000);
    let mut room = asking([7, 7]);
    room.run_for(Duration::from_secs(1));
    room.handle(RIGHT, Input::Admitted);
    room.handle(LEFT, Input::Refuse(Refusal::Denied(why.clone())));
    room.settle();
    let told = Refusal::Denied(why[..512].to_owned());
    assert_eq!(closed(&room, RIGHT)[0], Some(CloseReason::RefusedByPeer(told)));
    assert_eq!(body(&room, RIGHT, "a"), None);
}

#[test]
fn a_decision_that_does_not_come_is_a_refusal() {
    let mut room = asking([7, 7]);
    room.run_for(Duration::from_secs(59));
    assert_eq!(closed(&room, LEFT), [None, None]);
    room.run_for(Duration::from_secs(2));
    let denied = |reason: &Option<CloseReason>| {
        matches!(
            reason,
            Some(CloseReason::Refused(Refusal::Denied(_)) | CloseReason::RefusedByPeer(Refusal::Denied(_)))
        )
    };
    assert!(closed(&room, LEFT).iter().all(denied));
}

#[test]
fn different_schema_versions_are_told_on_both_sides_and_nothing_moves() {
    let mut room = pair();
    room.nodes[RIGHT].shelves[0].schema_version = 2;
    room.put(LEFT, "a", "one");
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    for end in [end, end + 1] {
        assert!(reports(&room, end, |event| matches!(event, Event::SchemaMismatch { .. })));
    }
    assert_eq!(body(&room, RIGHT, "a"), None);
    assert_eq!(closed(&room, end), [None, None]);
}

#[test]
fn a_collection_that_the_peer_does_not_share_is_told() {
    let mut room = Room::new(5);
    (0..2).for_each(|_| {
        room.add_node(&["notes", "tasks"]);
    });
    let end = room.connect_bare(LEFT, RIGHT);
    [0, 1].into_iter().for_each(|shelf| room.share(end, shelf, Terms::FULL));
    room.share(end + 1, 1, Terms::FULL);
    room.settle();
    let told =
        |end: usize| room.ends[end].events.iter().filter(|event| matches!(event, Event::NotShared { .. }));
    assert_eq!(told(end).collect::<Vec<_>>(), [&Event::NotShared { collection: CollectionIndex(0) }]);
    assert_eq!(told(end + 1).count(), 0);
    assert!(room.ends[end].session.is_caught_up(), "nobody waits for what was never shared");
}

#[test]
fn a_peer_whose_store_has_failed_is_told_and_never_caught_up() {
    let mut room = pair();
    room.put(LEFT, "a", "one");
    let end = room.connect_bare(LEFT, RIGHT);
    room.share(end, 0, Terms::FULL);
    room.share(end + 1, 0, Terms { serves: false, pulls: false, filter: None });
    room.settle();
    let failed = Event::PeerStorageFailed { collection: CollectionIndex(0) };
    assert!(room.ends[end].events.contains(&failed));
    for end in [end, end + 1] {
        let events = &room.ends[end].events;
        assert!(!events.iter().any(|event| matches!(event, Event::Shared { .. } | Event::CaughtUp)));
        assert!(!room.ends[end].session.is_caught_up());
    }
    assert_eq!(body(&room, RIGHT, "a"), None);
}

#[test]
fn different_handlers_are_told_on_both_sides_and_documents_still_move() {
    let mut room = pair();
    room.nodes[RIGHT].shelves[0].handler = "another".into();
    room.put(LEFT, "a", "one");
    let end = room.connect(LEFT, RIGHT);
    room.settle();
    for end in [end, end + 1] {
        assert!(reports(&room, end, |event| matches!(event, Event::HandlerMismatch { .. })));
        assert!(reports(&room, end, |event| *event == Event::CaughtUp));
    }
    assert_eq!(body(&room, RIGHT, "a").as_deref(), Some("one"));
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
fn collections_share_one_connection_and_may_be_shared_late_on_either_side() {
    for order in [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0], [1, 2, 3, 0]] {
        let mut room = Room::new(5);
        (0..2).for_each(|_| {
            room.add_node(&["notes", "tasks"]);
        });
        let end = room.connect_bare(LEFT, RIGHT);
        for step in order {
            // The left shares notes first, the right tasks: their numbers differ.
            let (end, shelf) = [(end, 0), (end, 1), (end + 1, 1), (end + 1, 0)][step];
            room.write(LEFT, 0, "a", Some("note"), Seen::Current).expect("within limits");
            room.write(RIGHT, 1, "a", Some("task"), Seen::Current).expect("within limits");
            room.share(end, shelf, Terms::FULL);
            room.settle();
        }
        let before = room.holdings();
        room.assert_converged(&before);
        room.assert_idle();
        let id = DocumentId::new("a").expect("valid");
        let bodies = [0, 1].map(|shelf| room.nodes[LEFT].shelves[shelf].disk.read(&id).expect("there"));
        assert_eq!(bodies.map(|record| record.view().body.clone()), ["note".as_bytes(), b"task"]);
    }
}

#[test]
fn a_side_that_only_pulls_or_only_pushes_gets_or_gives_only() {
    let pulls = Terms { serves: false, ..Terms::FULL };
    let pushes = Terms { pulls: false, ..Terms::FULL };
    for (ours, theirs, right_gets, left_gets) in [
        (Terms::FULL, pulls, true, false),
        (pushes, Terms::FULL, true, false),
        (pulls, Terms::FULL, false, true),
        (pushes, pulls, true, false),
        (pulls, pulls, false, false),
        (pushes, pushes, false, false),
    ] {
        let mut room = pair();
        room.put(LEFT, "left", "text");
        room.put(RIGHT, "right", "text");
        room.connect_on(LEFT, RIGHT, ours, theirs);
        room.settle();
        room.put(LEFT, "left", "more");
        room.settle();
        assert_eq!(body(&room, RIGHT, "left").is_some(), right_gets, "{ours:?} {theirs:?}");
        assert_eq!(body(&room, LEFT, "right").is_some(), left_gets, "{ours:?} {theirs:?}");
        room.assert_idle();
    }
}

#[test]
fn a_filtered_link_moves_what_the_filter_lets_through() {
    let mut room = pair();
    for id in ["open 1", "closed 1"] {
        room.put(LEFT, id, "text");
    }
    let open = Terms { filter: Some("open"), ..Terms::FULL };
    let end = room.connect_on(LEFT, RIGHT, open, Terms::FULL);
    room.settle();
    room.put(LEFT, "open 2", "text");
    room.settle();
    let ids = |room: &Room| -> Vec<String> {
        room.nodes[RIGHT].shelves[0].disk.records().map(|record| record.id.to_string()).collect()
    };
    assert_eq!(ids(&room), ["open 1", "open 2"]);
    room.disconnect(end);
    room.connect(LEFT, RIGHT);
    room.settle();
    assert_eq!(ids(&room), ["closed 1", "open 1", "open 2"]);
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
