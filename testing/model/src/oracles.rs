//! What must hold in every room, and what must be seen in some.

use std::time::Duration;

use peerloom_core::*;
use stateright::Property;

use crate::frames::{self, Kind};
use crate::model::{Landmark, RoomModel};
use crate::room::{Room, Work, document_id};
use crate::step::NOW;
use crate::writes::{WriteName, Writes};

/// From one in this many states the way to a quiet room is tried. The search meets all orders of the steps anyway; this finds
/// rooms that never come to rest.
const SETTLED_SHARE: u64 = 64;

/// More steps than any of these small rooms needs to come to rest.
const SETTLING_STEPS_MAX: usize = 1000;

/// The name of the property whose counterexample goes on from its last state.
pub(crate) const SETTLES: &str = "every room comes to rest";

pub(crate) fn properties(model: &RoomModel) -> Vec<Property<RoomModel>> {
    let mut properties = vec![
        Property::always("no assertion of core or of a store fails", |_, room: &Room| room.failure.is_none()),
        Property::always("heads and views are what was written", heads_are_right),
        Property::always("knowledge is sound", knowledge_is_sound),
        Property::always("checkpoints stand behind durable documents", checkpoints_are_behind),
        Property::always("who is caught up has delivered", caught_up_is_true),
        Property::always("a quiet room has converged", quiet_is_converged),
        Property::always("a quiet room has nothing left to say", quiet_is_idle),
    ];
    if model.scope.settles {
        properties.push(Property::always(SETTLES, |model, room: &Room| {
            room.failure.is_some()
                || !room.fingerprint().is_multiple_of(SETTLED_SHARE)
                || comes_to_rest(model, room)
        }));
    }
    properties.extend(model.scope.reaches.iter().map(|landmark| reaches(*landmark)));
    properties
}

/// Each copy has just the heads that its writes make, and the view that these heads make.
fn heads_are_right(model: &RoomModel, room: &Room) -> bool {
    (0..room.nodes.len()).all(|replica| {
        room.documents().into_iter().all(|document| {
            let heads = room.chronicle.heads(room.included(replica, document));
            let Some(record) = room.nodes[replica].store.read(&document_id(document)) else {
                return heads.is_empty();
            };
            let dots = heads.iter().map(|(dot, _)| *dot);
            let is_written = |(head, (_, name)): (&Head, &(Dot, WriteName))| {
                let content = model.users.content(*name);
                head.state.body == content.body && head.state.deleted == content.deleted
            };
            let made =
                record.document.in_conflict().then(|| model.users.clone().resolve(record.document.heads()));
            record.document.heads().iter().map(|head| head.dot).eq(dots)
                && record.document.heads().iter().zip(&heads).all(is_written)
                && made.is_none_or(|made| made.as_ref() == Some(record.view()))
        })
    })
}

/// Every write that a replica's knowledge covers is in its copy of that document.
fn knowledge_is_sound(_: &RoomModel, room: &Room) -> bool {
    (0..room.nodes.len()).all(|replica| {
        let knowledge = &room.nodes[replica].replica.snapshot().knowledge;
        room.chronicle.facts.iter().all(|(name, fact)| {
            knowledge.stamp(fact.dot.incarnation) < fact.dot.stamp
                || room.included(replica, fact.document).has(*name)
        })
    })
}

/// What stands at or before a kept checkpoint in the feed it belongs to is in the reader's store.
fn checkpoints_are_behind(model: &RoomModel, room: &Room) -> bool {
    positions(model, room).all(|(reader, source, _, position)| {
        let passed = |record: &&Record| record.sequence <= position;
        room.nodes[source].store.records().filter(passed).all(|record| includes(room, reader, record))
    })
}

/// For each link: reader, source, the checkpoint that is kept, and where it stands now.
fn positions<'r>(
    model: &'r RoomModel,
    room: &'r Room,
) -> impl Iterator<Item = (usize, usize, Checkpoint, Sequence)> + 'r {
    let links = model.scope.edges.iter().flat_map(|&(left, right)| [(left, right), (right, left)]);
    links.filter_map(|(reader, source)| {
        let checkpoint =
            checkpoint_from_value(room.nodes[reader].store.entry(model.checkpoint_key(source))?)?;
        let position = room.nodes[source].replica.snapshot().position(Some(checkpoint));
        Some((reader, source, checkpoint, position))
    })
}

fn includes(room: &Room, replica: usize, record: &Record) -> bool {
    let copy = room.nodes[replica].store.read(&record.id);
    copy.is_some_and(|copy| copy.document.context().covers(record.document.context()))
}

/// Whoever says it is caught up has made everything durable at the peer that it was told of.
fn caught_up_is_true(model: &RoomModel, room: &Room) -> bool {
    room.live().filter(|(_, of)| of.session.is_caught_up() && of.terms == crate::room::Terms::Full).all(
        |(end, of)| {
            let (replica, peer) = (model.replica_at(end), model.replica_at(end ^ 1));
            let told = of.session.end(crate::room::COLLECTION);
            let was_told = |record: &&Record| record.sequence <= told;
            room.nodes[replica].store.records().filter(was_told).all(|record| includes(room, peer, record))
        },
    )
}

fn quiet_is_converged(_: &RoomModel, room: &Room) -> bool {
    let content = |replica: usize| {
        let records = room.nodes[replica].store.records();
        records.map(|record| (&record.id, &record.document, record.view())).collect::<Vec<_>>()
    };
    let owed = |replica: usize| {
        let held = room.documents().into_iter().map(|document| room.included(replica, document));
        room.chronicle.owed.without(held.fold(Writes::default(), Writes::and))
    };
    !room.is_quiet()
        || (0..room.nodes.len()).all(|replica| content(replica) == content(0) && owed(replica).is_empty())
}

/// Everybody is caught up, and the next thing that is due is a sign of life.
fn quiet_is_idle(_: &RoomModel, room: &Room) -> bool {
    let far = NOW.monotonic + Duration::from_secs(365 * 24 * 60 * 60);
    !room.is_quiet()
        || room.live().all(|(_, end)| {
            end.session.is_caught_up() && end.session.deadline().is_some_and(|deadline| deadline > far)
        })
}

fn comes_to_rest(model: &RoomModel, room: &Room) -> bool {
    let mut room = room.clone();
    for _ in 0..SETTLING_STEPS_MAX {
        let Some(action) = model.step_to_quiet(&room) else {
            return room.is_quiet() && quiet_is_converged(model, &room) && quiet_is_idle(model, &room);
        };
        room = model.after(&room, action);
        if room.failure.is_some() {
            return false;
        }
    }
    false
}

fn reaches(landmark: Landmark) -> Property<RoomModel> {
    match landmark {
        Landmark::Conflict => Property::sometimes("versions stand beside each other", |_, room: &Room| {
            room.nodes.iter().flat_map(|node| node.store.records()).any(|r| r.document.in_conflict())
        }),
        Landmark::HeldBack => {
            Property::sometimes("documents are held back", |_, room: &Room| is_sent(room, Kind::Announce))
        }
        Landmark::Graft => Property::sometimes("what was held back is asked for", |_, room: &Room| {
            is_sent(room, Kind::Graft)
        }),
        Landmark::Prune => {
            Property::sometimes("a peer is told to hold back", |_, room: &Room| is_sent(room, Kind::Prune))
        }
        Landmark::PageAtRisk => {
            Property::sometimes("a crash may come before a commit", |model: &RoomModel, room: &Room| {
                let waits = |work: &Work| matches!(work, Work::Apply(_));
                room.budget.crashes + room.budget.restores > 0
                    && room.live().any(|(end, of)| {
                        model.scope.unstable.contains(&model.replica_at(end)) && of.work.iter().any(waits)
                    })
            })
        }
        Landmark::Misfit => Property::sometimes("a checkpoint no longer fits", |model, room: &Room| {
            positions(model, room).any(|(_, _, kept, position)| kept.sequence > position)
        }),
        Landmark::Forgotten => Property::sometimes("a write is forgotten by everybody", |_, room: &Room| {
            room.chronicle.facts.keys().any(|name| !room.chronicle.owed.has(*name))
        }),
    }
}

fn is_sent(room: &Room, kind: Kind) -> bool {
    room.live().flat_map(|(_, end)| &end.inbox).any(|frame| frames::kind(frame) == Some(kind))
}
