//! Tells a path through the model as a story: one line for each step, with what was sent.

use peerloom_core::{Context, Record};

use crate::frames::{describe, stamp};
use crate::model::{Action, RoomModel, Seeing};
use crate::room::{Room, Terms, Work, document_id};
use crate::writes::{WriteName, incarnation_name, replica_name};

/// The lines of a story, and after them what every replica holds in the end.
pub(crate) fn tell(model: &RoomModel, steps: &[(Action, Room)], first: &Room) -> String {
    let mut lines = Vec::new();
    let mut before = first;
    for (number, (action, after)) in steps.iter().enumerate() {
        let what = happened(model, before, *action);
        lines.push(format!(
            "{:3}. {}",
            number + 1,
            [vec![what], sent(model, before, *action, after)].concat().join("; ")
        ));
        before = after;
    }
    lines.extend(before.failure.as_ref().map(|failure| format!("     and then: {failure}")));
    lines.extend((0..before.nodes.len()).map(|replica| holdings(before, replica)));
    lines.join("\n")
}

fn happened(model: &RoomModel, room: &Room, action: Action) -> String {
    let at = |end: usize| replica_name(model.replica_at(end));
    let from = |end: usize| replica_name(model.replica_at(end ^ 1));
    let of = |end: usize| room.ends[end].as_ref().expect("steps happen at connections that are up");
    let both = |connection: usize| format!("{} and {}", at(2 * connection), at(2 * connection + 1));
    match action {
        Action::Write { replica, document, seeing } => {
            let seeing = match seeing {
                Seeing::Current => "over what is there",
                Seeing::Reading => "having seen what was read before",
                Seeing::Nothing => "having seen nothing",
            };
            let name = WriteName::new(replica, usize::from(room.nodes[replica].writes));
            format!("{} writes {name} to {}, {seeing}", replica_name(replica), document_id(document))
        }
        Action::Read { replica, document } => {
            format!("somebody reads {} at {}", document_id(document), replica_name(replica))
        }
        Action::Deliver { end } => {
            format!("{} gets from {}: {}", at(end), from(end), describe(&of(end).inbox[0]))
        }
        Action::Perform { end } => match &of(end).work[0] {
            Work::Scan { after, .. } => {
                format!("{} scans after {} for {}", at(end), after.number(), from(end))
            }
            Work::Apply(page) => {
                let documents: Vec<_> = page.documents.iter().map(|(id, _)| id.to_string()).collect();
                format!("{} commits the page of {} [{}]", at(end), from(end), documents.join(" "))
            }
        },
        Action::Answer { end } => format!("{} hears that it is done, for {}", at(end), from(end)),
        Action::Tell { end } => format!("{} hears of its commits, for {}", at(end), from(end)),
        Action::Tick { end } => format!("{} sees that something is due, for {}", at(end), from(end)),
        Action::Connect { connection, terms: Terms::Full } => format!("{} connect", both(connection)),
        Action::Connect { connection, terms: Terms::Filtered } => {
            format!("{} connect and serve each other d0 only", both(connection))
        }
        Action::Disconnect { connection } => format!("{} lose their connection", both(connection)),
        Action::Crash { replica } => format!("{} crashes and opens its store again", replica_name(replica)),
        Action::Backup { replica } => format!("{} copies its store", replica_name(replica)),
        Action::Restore { replica } => format!("{} is restored from its last copy", replica_name(replica)),
    }
}

/// The frames that a step put on their way.
fn sent(model: &RoomModel, before: &Room, action: Action, after: &Room) -> Vec<String> {
    after
        .live()
        .flat_map(|(end, of)| {
            let there = before.ends[end].as_ref().map_or(0, |end| end.inbox.len());
            let there = there - usize::from(matches!(action, Action::Deliver { end: at } if at == end));
            let route = format!(
                "{} sends {}",
                replica_name(model.replica_at(end ^ 1)),
                replica_name(model.replica_at(end))
            );
            of.inbox.iter().skip(there).map(move |frame| format!("{route}: {}", describe(frame)))
        })
        .collect()
}

fn holdings(room: &Room, replica: usize) -> String {
    let node = &room.nodes[replica];
    let knowledge = &node.replica.snapshot().knowledge;
    let known: Vec<_> = knowledge.iter().map(|(origin, at)| entry(origin.number(), at.number())).collect();
    let records: Vec<_> = node.store.records().map(record).collect();
    format!("     {} holds {}, knows [{}]", replica_name(replica), list(&records), known.join(" "))
}

fn list(records: &[String]) -> String {
    if records.is_empty() { "nothing".into() } else { records.join(", ") }
}

fn record(record: &Record) -> String {
    let heads = record.document.heads().iter().map(|head| String::from_utf8_lossy(&head.state.body));
    let heads: Vec<_> = heads.collect();
    format!(
        "{}={} at {} [{}]",
        record.id,
        heads.join("+"),
        record.sequence.number(),
        context(record.document.context())
    )
}

fn context(context: &Context) -> String {
    let entries: Vec<_> = context.iter().map(|(origin, at)| entry(origin.number(), at.number())).collect();
    entries.join(" ")
}

fn entry(origin: u64, at: u64) -> String {
    format!("{}:{}", incarnation_name(origin), stamp(at))
}
