//! How two sessions meet: what is proven, claimed and refused before anything is said of collections.

use crate::*;

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
