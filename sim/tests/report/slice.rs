//! What the causal slice keeps, and what it leaves out.

use std::collections::BTreeSet;

use peerloom_sim::causal_slice;
use peerloom_sim::plan::{Crash, FaultKind, PeerNumber};
use peerloom_sim::trace::What;

use crate::traces::{Room, busy, crash_in_the_middle, divergence_after_a_partition, loop_in_a_triangle};

fn slice_of(report: &peerloom_sim::Report) -> BTreeSet<usize> {
    causal_slice(&report.trace, report.violation.as_ref().expect("the report is of a violation"))
}

#[test]
fn a_slice_follows_the_document_from_the_write_over_the_message_to_the_commit() {
    let mut room = Room::of(3);
    let write = room.write(0, "note", "1");
    room.keep_alive(0, 1);
    let other = room.write(0, "other", "2");
    let before = room.trace().events.len();
    room.pass(0, 1, "note");
    let [sent, delivered, commit] = [before, before + 1, before + 2];
    let after_it = room.write(0, "note", "3");
    let report = room.violated("reads", "wrong", Some(1), Some("note"));
    let slice = slice_of(&report);
    for index in [write - 1, write, write + 1, sent, delivered, commit] {
        assert!(slice.contains(&index), "event {index} is missing: {:?}", report.trace.events[index]);
    }
    assert!(!slice.contains(&other), "another document cannot have led to it");
    assert!(slice.contains(&after_it), "an acknowledged write is what the check compares with");
    let keep_alive = report
        .trace
        .events
        .iter()
        .position(|event| matches!(&event.what, What::Sent { says, .. } if says == "keep-alive"));
    assert!(!slice.contains(&keep_alive.expect("one was sent")));
    assert_eq!(slice.last(), Some(&(report.trace.events.len() - 1)), "the violation itself is its end");
}

#[test]
fn what_a_peer_did_after_it_sent_its_version_is_not_in_the_slice() {
    let mut room = Room::of(3);
    room.write(0, "note", "1");
    room.pass(0, 1, "note");
    // Peer 2 writes, peer 0 takes it over, and the violation shows at peer 1, which never heard of that.
    room.write(2, "note", "2");
    let before = room.trace().events.len();
    room.pass(2, 0, "note");
    let report = room.violated("reads", "wrong", Some(1), Some("note"));
    let slice = slice_of(&report);
    assert!(!slice.contains(&before) && !slice.contains(&(before + 1)) && !slice.contains(&(before + 2)));
}

#[test]
fn a_message_without_description_is_taken_if_its_sender_had_the_state_already() {
    let mut room = Room::of(3);
    let early = room.send(2, 1, "", "");
    let early = room.arrive(early);
    room.write(0, "note", "1");
    let long_before = room.send(0, 1, "", "");
    let long_before = room.arrive(long_before);
    let carrier = room.send(0, 1, "", "");
    let carrier = room.arrive(carrier);
    let from_elsewhere = room.send(2, 1, "", "");
    let from_elsewhere = room.arrive(from_elsewhere);
    room.adopt(1, "note", 0);
    let slice = slice_of(&room.violated("reads", "wrong", Some(1), Some("note")));
    assert!(slice.contains(&carrier) && slice.contains(&(carrier - 1)));
    assert!(!slice.contains(&from_elsewhere), "its sender never had the document");
    assert!(!slice.contains(&early), "nobody had the document then");
    assert!(!slice.contains(&long_before), "only the last from each peer is guessed");
}

#[test]
fn a_lost_message_that_carried_the_document_is_kept() {
    let report = divergence_after_a_partition();
    let slice = slice_of(&report);
    let lost = report
        .trace
        .events
        .iter()
        .position(|event| matches!(&event.what, What::Sent { abnormal, .. } if abnormal == "lost"));
    assert!(slice.contains(&lost.expect("one was lost")));
    for index in &slice {
        if let What::Delivered { message, .. } = &report.trace.events[*index].what {
            let sent = slice.iter().any(|index| {
                matches!(&report.trace.events[*index].what, What::Sent { message: it, .. } if it == message)
            });
            assert!(sent, "an arrival is in the slice without its sending");
        }
    }
}

#[test]
fn a_loop_is_in_the_slice_with_every_turn() {
    let report = loop_in_a_triangle();
    let slice = slice_of(&report);
    let left_out: Vec<usize> =
        (0..report.trace.events.len()).filter(|index| !slice.contains(index)).collect();
    assert_eq!(left_out.len(), 2, "the keep-alive, sent and arrived: {left_out:?}");
}

#[test]
fn a_crash_and_its_fault_are_kept_and_one_that_was_over_is_not() {
    let slice = slice_of(&crash_in_the_middle());
    let report = crash_in_the_middle();
    let crashed = |event: &peerloom_sim::trace::Event| matches!(event.what, What::Crashed { .. });
    assert!(slice.contains(&report.trace.events.iter().position(crashed).expect("it crashes")));

    let mut room = Room::of(2);
    let kind = || FaultKind::Crash { peer: PeerNumber(1), manner: Crash::Kill };
    let over = room.begin_fault(1, "over before the document was there", &[0], kind());
    room.end_fault(1);
    room.write(0, "note", "1");
    let of_others = room.begin_fault(2, "of another peer", &[1], kind());
    let lasting = room.begin_fault(3, "of this peer", &[0], kind());
    let slice = slice_of(&room.violated("reads", "wrong", Some(0), Some("note")));
    assert!(!slice.contains(&over) && !slice.contains(&of_others));
    assert!(slice.contains(&lasting));
}

#[test]
fn without_a_document_the_slice_is_the_causal_past_of_the_peer() {
    let mut room = Room::of(3);
    let first = room.write(0, "note", "1");
    room.keep_alive(0, 1);
    let later = room.write(0, "note", "2");
    let elsewhere = room.write(2, "other", "3");
    let report = room.violated("panics", "a task panicked", Some(1), None);
    let slice = slice_of(&report);
    assert!(slice.contains(&first) && !slice.contains(&later) && !slice.contains(&elsewhere));
    let mut nobody = report.violation.clone().expect("it is violated");
    nobody.peer = None;
    assert_eq!(causal_slice(&report.trace, &nobody).len(), report.trace.events.len());
}

#[test]
fn a_slice_of_a_busy_room_is_a_small_part_of_it() {
    let report = busy(6, 2_000);
    let slice = slice_of(&report);
    assert!(slice.len() * 3 < report.trace.events.len(), "{} events", slice.len());
    let of_note = |event: &peerloom_sim::trace::Event| match &event.what {
        What::Committed { documents } => documents.iter().any(|committed| committed.document == "note"),
        _ => false,
    };
    for (index, event) in report.trace.events.iter().enumerate() {
        if let What::Committed { .. } = event.what {
            assert_eq!(slice.contains(&index), of_note(event), "{event:?}");
        }
    }
}

#[test]
fn a_violation_that_the_trace_does_not_hold_is_taken_as_its_end() {
    let report = divergence_after_a_partition();
    let mut trace = report.trace.clone();
    let violation = report.violation.expect("it is violated");
    let whole = causal_slice(&trace, &violation);
    trace.events.pop();
    let without = causal_slice(&trace, &violation);
    assert_eq!(whole.len(), without.len() + 1);
    assert!(causal_slice(&peerloom_sim::Trace::default(), &violation).is_empty());
}
