//! A peer that holds the key and breaks the rules: whatever it sends, the session ends with a reason or goes on, nothing
//! panics, nothing grows without bound, and the store stays as it should be.

mod room;

use std::time::Duration;

use bytes::Bytes;
use minicbor::Encoder;
use peerloom_core::*;
use proptest::prelude::*;
use room::{Room, Terms};

/// The end that is attacked; its peer's session is honest, the frames injected on its side are not.
const VICTIM: usize = 0;

/// Two nodes with documents and a conflict, connected and settled.
fn established(limits: impl FnOnce(&mut Room)) -> Room {
    let mut room = Room::of(3, 2);
    room.hostile = true;
    limits(&mut room);
    for number in 0..20 {
        room.put(number % 2, &format!("d{}", number % 7), &format!("text {number}"));
    }
    room.connect(0, 1);
    room.settle();
    room.put(1, "d1", "later");
    room.put(0, "d1", "later still");
    room.run_for(Duration::from_millis(100));
    assert!(room.ends[VICTIM].closed.is_none());
    room
}

/// Whether the end was closed for what the peer did.
fn violation(room: &Room) -> Option<Violation> {
    match &room.ends[VICTIM].closed {
        Some(CloseReason::Violation(violation)) => Some(violation.clone()),
        _ => None,
    }
}

// Messages as a peer may make them.

const PULL: u64 = 3;
const MORE: u64 = 4;
const CHANGES: u64 = 5;
const UPDATE: u64 = 6;
const ANNOUNCE: u64 = 7;
const GRAFT: u64 = 8;
const PRUNE: u64 = 9;
const PING: u64 = 10;

type Fields = Encoder<Vec<u8>>;

fn message(kind: u64, items: u64, fields: impl FnOnce(&mut Fields)) -> Vec<u8> {
    let mut encoder = Encoder::new(vec![1]);
    encoder.array(items + 1).expect("a vector").u64(kind).expect("a vector");
    fields(&mut encoder);
    encoder.into_writer()
}

fn numbers(fields: &mut Fields, numbers: &[u64]) {
    fields.array(numbers.len() as u64).expect("a vector");
    numbers.iter().for_each(|number| {
        fields.u64(*number).expect("a vector");
    });
}

fn pull(documents_max: u64, bytes_max: u64) -> Vec<u8> {
    message(PULL, 5, |fields| {
        fields.u64(0).and_then(|f| f.null()).and_then(|f| f.u64(2)).expect("a vector");
        fields.u64(documents_max).and_then(|f| f.u64(bytes_max)).expect("a vector");
    })
}

/// A page of documents by one origin, each with this many heads.
fn changes(ids: &[&str], heads: u64, knowledge: &[u64]) -> Vec<u8> {
    message(CHANGES, 6, |fields| {
        fields.u64(0).expect("a vector");
        numbers(fields, &(1..=heads).collect::<Vec<_>>());
        fields.array(2 * ids.len() as u64).expect("a vector");
        for id in ids {
            fields.str(id).and_then(|f| f.array(2)).expect("a vector");
            numbers(fields, &(0..heads).flat_map(|place| [place, 5 + place]).collect::<Vec<_>>());
            fields.array(heads).expect("a vector");
            for place in 0..heads {
                fields.array(5).and_then(|f| f.u64(place)).and_then(|f| f.u64(0)).expect("a vector");
                fields.bool(false).and_then(|f| f.bytes(b"x")).and_then(|f| f.bytes(b"")).expect("a vector");
            }
        }
        fields.null().and_then(|f| f.bool(true)).expect("a vector");
        numbers(fields, knowledge);
    })
}

fn update(knowledge: &[u64], connected: &[u64], disconnected: &[u64]) -> Vec<u8> {
    message(UPDATE, 5, |fields| {
        fields.u64(0).and_then(|f| f.null()).expect("a vector");
        [knowledge, connected, disconnected].into_iter().for_each(|list| numbers(fields, list));
    })
}

fn about(kind: u64, list: &[u64]) -> Vec<u8> {
    message(kind, 2, |fields| {
        fields.u64(0).expect("a vector");
        numbers(fields, list);
    })
}

fn more() -> Vec<u8> {
    message(MORE, 1, |fields| {
        fields.u64(0).expect("a vector");
    })
}

fn ping() -> Vec<u8> {
    message(PING, 0, |_| ())
}

// Anything at all.

/// A frame that no honest peer sends now.
#[derive(Clone, Debug)]
enum Attack {
    Garbage(Vec<u8>),
    /// A frame of the conversation so far, once more.
    Replay(prop::sample::Index),
    Cut(prop::sample::Index, prop::sample::Index),
    Flip(prop::sample::Index, prop::sample::Index, u8),
    Grown(prop::sample::Index, Vec<u8>),
    /// A first part that declares this much.
    Declares(u32, Vec<u8>),
    /// CBOR of the outer form of a message.
    Shaped(u64, Vec<Item>),
    /// Swaps the frames that are on their way.
    Reorder(prop::sample::Index),
    Steps(usize),
}

#[derive(Clone, Debug)]
enum Item {
    Number(u64),
    Flag(bool),
    Null,
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<u64>),
}

fn attack() -> impl Strategy<Value = Attack> {
    let any_index = any::<prop::sample::Index>;
    let bytes = || proptest::collection::vec(any::<u8>(), 0..80);
    let number = prop_oneof![0u64..4, any::<u64>(), Just(u64::MAX), Just(1 << 63)];
    let item = prop_oneof![
        number.clone().prop_map(Item::Number),
        any::<bool>().prop_map(Item::Flag),
        Just(Item::Null),
        bytes().prop_map(Item::Bytes),
        "[a-z]{0,9}".prop_map(Item::Text),
        proptest::collection::vec(number, 0..6).prop_map(Item::Array),
    ];
    prop_oneof![
        1 => bytes().prop_map(Attack::Garbage),
        1 => any_index().prop_map(Attack::Replay),
        1 => (any_index(), any_index()).prop_map(|(frame, at)| Attack::Cut(frame, at)),
        4 => (any_index(), any_index(), 0u8..8).prop_map(|(frame, at, bit)| Attack::Flip(frame, at, bit)),
        1 => (any_index(), bytes()).prop_map(|(frame, more)| Attack::Grown(frame, more)),
        1 => (any::<u32>(), bytes()).prop_map(|(declared, part)| Attack::Declares(declared, part)),
        4 => (0u64..14, proptest::collection::vec(item, 0..8)).prop_map(|(kind, items)| Attack::Shaped(kind, items)),
        1 => any_index().prop_map(Attack::Reorder),
        2 => (0usize..40).prop_map(Attack::Steps),
    ]
}

fn shaped(kind: u64, items: &[Item]) -> Vec<u8> {
    message(kind, items.len() as u64, |fields| {
        for item in items {
            match item {
                Item::Number(number) => fields.u64(*number).map(drop),
                Item::Flag(flag) => fields.bool(*flag).map(drop),
                Item::Null => fields.null().map(drop),
                Item::Bytes(bytes) => fields.bytes(bytes).map(drop),
                Item::Text(text) => fields.str(text).map(drop),
                Item::Array(list) => {
                    numbers(fields, list);
                    Ok(())
                }
            }
            .expect("a vector");
        }
    })
}

fn carry_out(room: &mut Room, attack: &Attack) {
    let frames: Vec<Bytes> =
        room.tap.iter().filter(|tapped| tapped.0 == VICTIM).map(|tapped| tapped.1.clone()).collect();
    let frame = |index: &prop::sample::Index| index.get(&frames).to_vec();
    let bytes = match attack {
        Attack::Garbage(bytes) => bytes.clone(),
        Attack::Replay(index) => frame(index),
        Attack::Cut(index, at) => {
            let mut bytes = frame(index);
            bytes.truncate(at.index(bytes.len()));
            bytes
        }
        Attack::Flip(index, at, bit) => {
            let mut bytes = frame(index);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            bytes
        }
        Attack::Grown(index, more) => [frame(index), more.clone()].concat(),
        Attack::Declares(declared, part) => [&[2], declared.to_be_bytes().as_slice(), part].concat(),
        Attack::Shaped(kind, items) => shaped(*kind, items),
        Attack::Reorder(index) => {
            let inbox = &mut room.ends[VICTIM].inbox;
            if !inbox.is_empty() {
                let to = index.index(inbox.len());
                inbox.swap(0, to);
            }
            return;
        }
        Attack::Steps(steps) => return room.churn(*steps),
    };
    room.inject(VICTIM, bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_arrives_the_session_ends_with_a_reason_or_goes_on(
        attacks in proptest::collection::vec(attack(), 1..12),
    ) {
        let mut room = established(|_| ());
        for attack in &attacks {
            carry_out(&mut room, attack);
        }
        room.settle();
        if room.ends[VICTIM].closed.is_some() {
            prop_assert!(room.ends[VICTIM].session.deadline().is_none());
        }
        room.assert_sound(0, 0);
        room.assert_sound(1, 0);
    }

    #[test]
    fn whatever_arrives_first_the_handshake_ends_with_a_reason(
        attacks in proptest::collection::vec(attack(), 1..6),
        late in 0usize..4,
    ) {
        let mut room = Room::of(3, 2);
        room.hostile = true;
        room.put(1, "a", "text");
        room.connect(0, 1);
        (0..late).for_each(|_| {
            room.step(Duration::from_secs(2));
        });
        for attack in &attacks {
            carry_out(&mut room, attack);
            let inbox = &mut room.ends[VICTIM].inbox;
            inbox.rotate_right(usize::from(!inbox.is_empty()));
        }
        room.settle();
        prop_assert!(room.ends[VICTIM].closed.is_some() || room.ends[VICTIM].session.peer().is_some());
    }
}

#[test]
fn a_broken_rule_closes_the_link_with_its_name() {
    let collections = |room: &mut Room| room.limits.heads_accepted_max = 3;
    let long: Vec<u64> = (0..50).flat_map(|number| [number, 9]).collect();
    let cases: Vec<(Vec<Vec<u8>>, Violation)> = vec![
        (vec![changes(&["x"], 1, &[]); APPLIES_MAX + 2], Violation::PageNotAsked),
        (vec![changes(&["x", "x"], 1, &[])], Violation::RepeatedDocument),
        (vec![changes(&["x"], 4, &[])], Violation::TooManyHeads { heads: 4, heads_max: 3 }),
        (vec![more(); 3], Violation::Unexpected("More")),
        (vec![pull(10, 10)], Violation::Unexpected("Pull")),
        (vec![update(&long, &[], &[])], Violation::VectorTooLong { entries: 50, entries_max: 40 }),
        (vec![about(ANNOUNCE, &long)], Violation::VectorTooLong { entries: 50, entries_max: 40 }),
        (vec![changes(&[], 0, &long)], Violation::VectorTooLong { entries: 50, entries_max: 40 }),
        (vec![message(MORE, 1, |fields| drop(fields.u64(9)))], Violation::NotShared("More")),
    ];
    for (frames, expected) in cases {
        let mut room = established(|room| {
            collections(room);
            room.limits.vector_entries_max = 40;
        });
        frames.into_iter().for_each(|frame| {
            room.handle(VICTIM, Input::Received(frame.into()));
        });
        assert_eq!(violation(&room), Some(expected));
        let reported = |end: &room::End| matches!(end.closed, Some(CloseReason::ViolationReported(_)));
        room.settle();
        assert!(reported(&room.ends[VICTIM ^ 1]), "the peer is told");
    }
}

#[test]
fn a_context_or_a_page_that_is_too_long_is_a_violation() {
    let mut room = established(|room| room.limits.context_entries_max = 2);
    room.handle(VICTIM, Input::Received(changes(&["x"], 3, &[]).into()));
    assert_eq!(violation(&room), Some(Violation::VectorTooLong { entries: 3, entries_max: 2 }));

    let mut room = established(|room| room.limits.page.bytes_max = 1000.try_into().expect("above zero"));
    let ids: Vec<String> = (0..80).map(|number| format!("{number:02}{}", "x".repeat(1000))).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    room.handle(VICTIM, Input::Received(changes(&ids[..60], 1, &[]).into()));
    assert_eq!(violation(&room), None, "a little more than was asked for is no offence");
    let mut room = established(|room| room.limits.page.bytes_max = 1000.try_into().expect("above zero"));
    room.handle(VICTIM, Input::Received(changes(&ids, 1, &[]).into()));
    assert!(matches!(violation(&room), Some(Violation::PageTooHeavy { bytes_max: 1000, .. })));
}

/// A page with one document, whose only write has always the same name.
fn forged(body: &[u8]) -> Vec<u8> {
    message(CHANGES, 6, |fields| {
        fields.u64(0).expect("a vector");
        numbers(fields, &[77]);
        fields.array(2).and_then(|f| f.str("forged")).and_then(|f| f.array(2)).expect("a vector");
        numbers(fields, &[0, 5]);
        fields.array(1).and_then(|f| f.array(5)).and_then(|f| f.u64(0)).expect("a vector");
        fields.u64(0).and_then(|f| f.bool(false)).and_then(|f| f.bytes(body)).expect("a vector");
        fields.bytes(b"").and_then(|f| f.null()).and_then(|f| f.bool(true)).expect("a vector");
        numbers(fields, &[]);
    })
}

#[test]
fn a_write_of_another_content_than_the_known_one_is_a_violation() {
    let mut room = established(|_| ());
    // The honest session at the other end has not sent these pages, and does not hear of them.
    room.inbox_frames_max = 0;
    for body in [b"one".as_slice(), b"one", b"two"] {
        assert_eq!(violation(&room), None);
        room.inject(VICTIM, forged(body));
        let until = room.now;
        while room.ends[VICTIM].closed.is_none() && room.step(until) {}
    }
    let id = DocumentId::new("forged").expect("valid");
    assert_eq!(violation(&room), Some(Violation::ForgedWrite { id: id.clone() }));
    let kept = room.nodes[0].shelves[0].disk.read(&id).expect("it is there");
    assert_eq!(kept.view().body.as_ref(), b"one");
}

#[test]
fn replicas_that_a_forged_write_keeps_apart_meet_again_once_either_writes_the_document_anew() {
    let mut room = established(|_| ());
    room.inbox_frames_max = 0;
    for (end, body) in [(0, b"one"), (1, b"two")] {
        room.inject(end, forged(body));
        let until = room.now;
        while room.step(until) {}
    }
    room.disconnect(0);
    room.inbox_frames_max = Room::new(3).inbox_frames_max;
    let meet = |room: &mut Room| {
        let end = room.connect(0, 1);
        room.run_for(Duration::from_secs(5));
        let closed = [end, end + 1].map(|end| room.ends[end].closed.clone());
        let bodies = [0, 1].map(|node| {
            let id = DocumentId::new("forged").expect("valid");
            room.nodes[node].shelves[0].disk.read(&id).expect("it is there").view().body.clone()
        });
        (closed, bodies)
    };
    let (closed, bodies) = meet(&mut room);
    let is_forged = |reason| matches!(reason, &Some(CloseReason::Violation(Violation::ForgedWrite { .. })));
    assert!(closed.iter().any(is_forged), "{closed:?}");
    assert_eq!(bodies.each_ref().map(|body| body.as_ref()), [b"one", b"two"]);

    room.put(1, "forged", "anew");
    let (closed, [left, right]) = meet(&mut room);
    assert_eq!(closed, [None, None]);
    assert_eq!((&left, left.ends_with(b"anew")), (&right, true), "{left:?}");
}

#[test]
fn who_has_proven_nothing_gets_little_memory() {
    let mut room = Room::of(3, 2);
    room.hostile = true;
    room.connect(0, 1);
    let declares = |bytes: u32| [&[2], bytes.to_be_bytes().as_slice(), b"part"].concat();
    room.handle(VICTIM, Input::Received(declares(1 << 20).into()));
    assert!(matches!(violation(&room), Some(Violation::Frame(_))), "{:?}", violation(&room));
    let mut room = established(|_| ());
    room.handle(VICTIM, Input::Received(declares(1 << 20).into()));
    assert_eq!(violation(&room), None);
}

#[test]
fn what_a_peer_vouches_for_without_end_is_not_believed_without_end() {
    let mut replica = Replica::load(
        ReplicaLimits { knowledge_entries_max: 100, ..ReplicaLimits::default() },
        Incarnation::new(1),
        [],
    )
    .expect("an empty store");
    for first in 0..50u64 {
        let entry = |number| (Incarnation::new(1000 + 10 * first + number), Stamp::new(9).expect("small"));
        let page = Page { documents: Vec::new(), checkpoint: None, knowledge: (0..10).map(entry).collect() };
        let mut transaction = replica.begin(Now::default(), Incarnation::new(2), []);
        transaction.apply(page);
        let (_, committable, _) = transaction.finish(&mut room::Calls(&room::Append));
        replica.committed(committable);
    }
    assert_eq!(replica.snapshot().knowledge.len(), 100);
}

#[test]
fn a_page_larger_than_asked_for_is_a_violation() {
    let mut room = established(|room| room.limits.page.documents_max = 2.try_into().expect("above zero"));
    room.handle(VICTIM, Input::Received(changes(&["x", "y", "z"], 1, &[]).into()));
    assert_eq!(violation(&room), Some(Violation::PageTooLarge { documents: 3, documents_max: 2 }));
}

#[test]
fn a_pull_that_asks_for_nothing_is_a_violation() {
    for frame in [pull(0, 10), pull(10, 0)] {
        let mut room = Room::of(3, 2);
        room.hostile = true;
        room.connect(0, 1);
        let is_pull = |room: &Room| {
            let front = room.ends[VICTIM].inbox.front();
            front.is_some_and(|(_, frame)| frame.starts_with(&[1, 0x86, PULL as u8]))
        };
        while !is_pull(&room) {
            assert!(room.step(Duration::from_secs(5)));
        }
        room.ends[VICTIM].inbox[0].1 = frame.into();
        room.settle();
        assert_eq!(violation(&room), Some(Violation::ZeroLimit));
    }
}

#[test]
fn a_page_for_a_side_that_does_not_pull_is_a_violation() {
    let mut room = Room::of(3, 2);
    room.hostile = true;
    let end = room.connect_on(0, 1, Terms { pulls: false, ..Terms::FULL }, Terms::FULL);
    room.settle();
    room.handle(end, Input::Received(changes(&["x"], 1, &[]).into()));
    assert_eq!(violation(&room), Some(Violation::PageNotAsked));
}

/// What may wait for a peer that reads nothing while 200 writes are made in 12 seconds: one small Update for each.
const WAITING_BYTES_MAX: usize = 200 * 64;

#[test]
fn a_peer_that_sends_and_never_reads_makes_nothing_pile_up() {
    let lists: Vec<u64> = (0..200).collect();
    let floods: Vec<(&str, Vec<u8>)> = vec![
        ("Ping", ping()),
        ("Graft", about(GRAFT, &lists)),
        ("Prune", about(PRUNE, &lists)),
        ("Announce", about(ANNOUNCE, &[1, 9, 2, 9])),
        ("Update", update(&[1, 9], &lists, &[])),
        ("Update back and forth", update(&[], &[], &lists)),
    ];
    for (name, frame) in floods {
        let mut room = established(|_| ());
        room.inbox_frames_max = 0;
        for number in 0..6_000 {
            room.ends[VICTIM].inbox.clear();
            room.inject(VICTIM, frame.clone());
            if number % 30 == 0 {
                room.put(0, "d3", &number.to_string());
            }
            let until = room.now;
            while room.step(until) {}
            room.now += Duration::from_millis(2);
        }
        assert!(room.ends[VICTIM].closed.is_none(), "{name}: {:?}", room.ends[VICTIM].closed);
        let waiting = drain(&mut room);
        assert!(waiting <= WAITING_BYTES_MAX, "{name}: {waiting} bytes wait");
    }
}

fn drain(room: &mut Room) -> usize {
    let now = room.now_at(0);
    std::iter::from_fn(|| room.ends[VICTIM].session.transmit(now)).map(|frame| frame.len()).sum()
}

#[test]
fn vectors_that_grow_with_every_message_are_cut_off() {
    for kind in [UPDATE, ANNOUNCE, CHANGES] {
        let mut room = established(|room| room.limits.vector_entries_max = 1000);
        room.inbox_frames_max = 0;
        let mut sent = 0;
        while violation(&room).is_none() {
            sent += 1;
            assert!(sent < 2_000, "kind {kind}: {sent} entries are held");
            let vector = [1_000_000 + sent, u64::from(u32::MAX)];
            let frame = match kind {
                UPDATE => update(&vector, &[], &[]),
                ANNOUNCE => about(ANNOUNCE, &vector),
                _ => changes(&[], 0, &vector),
            };
            room.inject(VICTIM, frame);
            let until = room.now;
            while room.ends[VICTIM].closed.is_none() && room.step(until) {}
        }
        assert!(matches!(violation(&room), Some(Violation::VectorTooLong { .. })), "{:?}", violation(&room));
    }
}

#[test]
fn a_peer_that_takes_only_small_messages_is_sent_what_fits_them() {
    let mut room = Room::of(3, 2);
    room.hostile = true;
    room.put(0, "small", "text");
    room.put(0, "large", &"x".repeat(1000));
    let ours = room.config(0);
    let mut theirs = room.config(1);
    theirs.limits.message_bytes_max = 2000;
    room.add_end(0, ours);
    room.add_end(1, theirs);
    [0, 1].into_iter().for_each(|end| room.share(end, 0, Terms::FULL));
    room.settle();
    assert!(room.ends[VICTIM].closed.is_none());
    let told = |event: &Event| matches!(event, Event::DocumentTooLarge { id, .. } if id.as_str() == "large");
    assert_eq!(room.ends[VICTIM].events.iter().filter(|event| told(event)).count(), 1);
    let arrived: Vec<_> = room.nodes[1].shelves[0].disk.records().map(|record| record.id.as_str()).collect();
    assert_eq!(arrived, ["small"]);
}
