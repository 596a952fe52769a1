//! A handler that is right raises no alarm, with documents from each of the sources.
//!
//! `CASES=100000 cargo test -p peerloom-laws --test right` tries it harder.

use std::collections::BTreeMap;

use bytes::Bytes;
use peerloom_core::{ConflictHandler, Dot, Head, State, json};
use proptest::prelude::{Just, Strategy, any};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Each field's last write wins, and a deletion over everything.
///
/// Annotations name for each field of the top the stamp and the incarnation of the write that changed it last.
#[derive(Debug, Default)]
struct TodoHandler {}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Changes(BTreeMap<String, (u64, u64)>);

impl Changes {
    fn of(state: &State) -> Self {
        serde_json::from_slice(&state.annotations).unwrap_or_default()
    }

    fn write(&self) -> Bytes {
        serde_json::to_vec(self).expect("a map of numbers").into()
    }
}

fn fields(state: &State) -> Option<Map<String, Value>> {
    match json::parse(&state.body) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

impl ConflictHandler for TodoHandler {
    fn id(&self) -> &str {
        "last-write-of-each-field"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let last = &heads[heads.len() - 1].state;
        if let Some(deleted) = heads.iter().rev().find(|head| head.state.deleted) {
            return deleted.state.clone();
        }
        let Some(versions) = heads.iter().map(|head| fields(&head.state)).collect::<Option<Vec<_>>>() else {
            return last.clone();
        };
        let changes: Vec<Changes> = heads.iter().map(|head| Changes::of(&head.state)).collect();
        let (mut merged, mut latest) = (Map::new(), Changes::default());
        let keys = versions
            .iter()
            .flat_map(|version| version.keys())
            .chain(changes.iter().flat_map(|changes| changes.0.keys()));
        for key in keys {
            if latest.0.contains_key(key) {
                continue;
            }
            // A version without a change of its own has the field from where the others have it.
            let change = |index: &usize| (changes[*index].0.get(key).copied().unwrap_or_default(), *index);
            let winner = (0..versions.len()).max_by_key(change).expect("two heads at least");
            latest.0.insert(key.clone(), change(&winner).0);
            if let Some(value) = versions[winner].get(key) {
                merged.insert(key.clone(), value.clone());
            }
        }
        let body = json::to_canonical(&Value::Object(merged)).expect("no deeper than what was parsed");
        State { deleted: false, body, annotations: latest.write() }
    }

    fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Bytes {
        let mut changes = seen.map(Changes::of).unwrap_or_default();
        let before = seen.and_then(fields).unwrap_or_default();
        let after = fields(next).unwrap_or_default();
        for key in before.keys().chain(after.keys()) {
            if before.get(key) != after.get(key) || seen.is_none() {
                // A clock far ahead moves no other clock, but a change is later than what it replaces.
                let replaced = changes.0.get(key).map_or(0, |change| change.0.saturating_add(1));
                let change = (dot.stamp.number().max(replaced), dot.incarnation.number());
                changes.0.insert(key.clone(), change);
            }
        }
        changes.write()
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code)]
struct Event {
    name: String,
    guests: Vec<Guest>,
    seats: Option<u8>,
    kind: Kind,
    notes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code)]
struct Guest {
    name: String,
    comes: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code)]
enum Kind {
    Party,
    Wedding { couples: u16 },
}

fn notes() -> impl Strategy<Value = Value> {
    let text = proptest::sample::select(vec!["a", "b", "c"]);
    (text, any::<bool>(), proptest::option::of(Just(1))).prop_map(|(text, pinned, color)| match color {
        Some(color) => serde_json::json!({ "text": text, "pinned": pinned, "color": color }),
        None => serde_json::json!({ "text": text, "pinned": pinned }),
    })
}

peerloom_laws::conflict_laws! {
    todo_laws,
    handler: TodoHandler::default(),
    documents: from_examples("tests/todos/*.json"),   // or from_schema(...) or from_type::<Todo>() (schemars) or a Strategy
    deletion: DeleteWins,
}

peerloom_laws::conflict_laws! {
    from_a_type,
    handler: TodoHandler::default(),
    documents: from_type::<Event>(),
    deletion: DeleteWins,
}

peerloom_laws::conflict_laws! {
    from_a_json_schema,
    handler: TodoHandler::default(),
    documents: from_schema(&serde_json::from_str(include_str!("recipe.schema.json")).expect("JSON")),
    deletion: DeleteWins,
    equality: |left, right| left == right,
}

peerloom_laws::conflict_laws! {
    from_a_strategy,
    handler: TodoHandler::default(),
    documents: notes(),
    cases: 64,
}
