//! The handlers that come with Peerloom keep the laws, but for those that are not theirs.
//!
//! `CASES=100000 cargo test -p peerloom-laws --test provided` tries them harder, for an hour or two. Automerge's
//! is not among them.

use peerloom::{Merge, MergeTyped};
use peerloom_core::{
    Counter, DeleteWins, EditWins, FieldWise, Head, LastWriteWins, MergeJson, MergeWith, PerField, Union,
    json,
};
use peerloom_laws::{Law, Skip};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// For handlers that choose one of the versions.
fn as_a_whole() -> [Skip; 1] {
    [Law::DisjointEdits.because("the last write wins as a whole")]
}

/// Every document that has a count, with the highest one; of several such, the last.
fn highest_count(heads: &[Head]) -> peerloom_core::State {
    let count = |head: &Head| json::parse(&head.state.body).ok()?.get("count")?.as_i64();
    let rank = |head: &&Head| (!head.state.deleted, count(head), head.dot.canonical());
    heads.iter().max_by_key(rank).expect("a conflict has heads").state.clone()
}

/// What is open follows from what is done.
fn with_open(mut fields: Value, _versions: &[Value]) -> Option<Value> {
    let is_done = fields.get("done")?.as_bool()?;
    fields.as_object_mut()?.insert("open".into(), json!(!is_done));
    Some(fields)
}

#[derive(Clone, Serialize, Deserialize)]
struct Todo {
    title: String,
    done: bool,
}

impl Merge for Todo {
    fn merge(mut self, versions: &[Self]) -> Self {
        self.done = versions.iter().any(|todo| todo.done);
        self
    }
}

peerloom_laws::conflict_laws! {
    last_write_wins,
    handler: LastWriteWins,
    documents: from_examples("tests/todos/*.json"),
    deletion: LastWriteWins,
    skip: as_a_whole(),
}

peerloom_laws::conflict_laws! {
    field_wise,
    handler: FieldWise,
    documents: from_examples("tests/todos/*.json"),
    deletion: LastWriteWins,
}

peerloom_laws::conflict_laws! {
    delete_wins_last_write,
    handler: DeleteWins::new(LastWriteWins),
    documents: from_examples("tests/todos/*.json"),
    deletion: DeleteWins,
    skip: as_a_whole(),
}

peerloom_laws::conflict_laws! {
    delete_wins_field_wise,
    handler: DeleteWins::new(FieldWise),
    documents: from_examples("tests/todos/*.json"),
    deletion: DeleteWins,
}

peerloom_laws::conflict_laws! {
    edit_wins_last_write,
    handler: EditWins::new(LastWriteWins),
    documents: from_examples("tests/todos/*.json"),
    deletion: EditWins,
    skip: as_a_whole(),
}

peerloom_laws::conflict_laws! {
    edit_wins_field_wise,
    handler: EditWins::new(FieldWise),
    documents: from_examples("tests/todos/*.json"),
    deletion: EditWins,
}

peerloom_laws::conflict_laws! {
    union_and_last_write,
    handler: PerField::new().field("/tags", Union),
    documents: from_examples("tests/todos/*.json"),
    combines: ["/tags"],
    deletion: LastWriteWins,
    skip: as_a_whole(),
}

peerloom_laws::conflict_laws! {
    counter_and_last_write,
    handler: PerField::new().field("/count", Counter),
    documents: from_examples("tests/todos/*.json"),
    combines: ["/count"],
    deletion: LastWriteWins,
    skip: as_a_whole(),
}

peerloom_laws::conflict_laws! {
    per_field_last_write,
    handler: PerField::new().field("/tags", Union).field("/count", Counter).default(LastWriteWins),
    documents: from_examples("tests/todos/*.json"),
    combines: ["/count", "/tags"],
    deletion: LastWriteWins,
    skip: as_a_whole(),
}

peerloom_laws::conflict_laws! {
    per_field_field_wise,
    handler: PerField::new().field("/tags", Union).field("/place/room", Counter).default(FieldWise),
    documents: from_examples("tests/todos/*.json"),
    combines: ["/place/room", "/tags"],
    deletion: LastWriteWins,
}

peerloom_laws::conflict_laws! {
    edit_wins_per_field,
    handler: EditWins::new(PerField::new().field("/tags", Union).field("/count", Counter).default(FieldWise)),
    documents: from_examples("tests/todos/*.json"),
    combines: ["/count", "/tags"],
    deletion: EditWins,
}

peerloom_laws::conflict_laws! {
    merge_with,
    handler: MergeWith::new("highest-count", highest_count),
    documents: from_examples("tests/todos/*.json"),
    deletion: EditWins,
    skip: as_a_whole(),
}

peerloom_laws::conflict_laws! {
    merge_json,
    handler: MergeJson::new("open", with_open),
    documents: from_examples("tests/todos/*.json"),
    combines: ["/open"],
    deletion: LastWriteWins,
}

peerloom_laws::conflict_laws! {
    merge_typed,
    handler: MergeTyped::<Todo>::new("done-stays-done"),
    documents: from_examples("tests/todos/*.json"),
    deletion: LastWriteWins,
    skip: [DisjointEdits.because("who unticks a todo while another one edits it, does not untick it")],
}
