//! Which collections two sides share, which way, and what they are told of those that they do not.

use crate::*;

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
