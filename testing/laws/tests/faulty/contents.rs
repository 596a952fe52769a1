//! Faults in what is made of the contents.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use peerloom_core::{ConflictHandler, Dot, Head, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Folding, fields};

fn last(versions: &[Value]) -> Value {
    versions[versions.len() - 1].clone()
}

/// Notes when it has merged.
pub(crate) const READS_THE_CLOCK: Folding = Folding {
    id: "reads-the-clock",
    fold: |versions| {
        let mut merged = last(versions);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        merged["mergedAt"] = now.into();
        merged
    },
};

/// Collects the tags in a hash map.
pub(crate) const WALKS_A_HASH_MAP: Folding = Folding {
    id: "walks-a-hash-map",
    fold: |versions| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for tag in versions.iter().filter_map(|version| version.get("tags")?.as_array()).flatten() {
            *counts.entry(tag.to_string()).or_default() += 1;
        }
        let tags = counts.keys().filter_map(|tag| serde_json::from_str(tag).ok()).collect();
        let mut merged = last(versions);
        merged["tags"] = Value::Array(tags);
        merged
    },
};

/// A todo as the application knows it.
#[derive(Serialize, Deserialize)]
struct Todo {
    title: String,
    done: bool,
    count: i64,
    tags: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Value>,
}

/// Reads todos into a struct and writes them back.
pub(crate) const DROPS_UNKNOWN_FIELDS: Folding = Folding {
    id: "drops-unknown-fields",
    fold: |versions| {
        let merged = last(versions);
        let todo: Result<Todo, _> = serde_json::from_value(merged.clone());
        let written = todo.ok().and_then(|todo| serde_json::to_value(todo).ok());
        written.unwrap_or(merged)
    },
};

/// The mean of ratings, weighted by votes, of which there may be none.
pub(crate) struct DividesByZero;

impl ConflictHandler for DividesByZero {
    fn id(&self) -> &str {
        "divides-by-zero"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let number = |head: &Head, field: &str| fields(&head.state)?.get(field)?.as_f64();
        let sum = |term: &dyn Fn(&Head) -> f64| heads.iter().map(term).sum::<f64>();
        let votes = sum(&|head| number(head, "votes").unwrap_or(0.0));
        let weighed =
            sum(&|head| number(head, "rating").unwrap_or(0.0) * number(head, "votes").unwrap_or(0.0));
        let rating = weighed / votes;
        State { body: format!(r#"{{"rating":{rating},"votes":{votes}}}"#).into(), ..State::default() }
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}

/// Keeps both texts where two differ.
pub(crate) const APPENDS_FOR_EVER: Folding = Folding {
    id: "appends-for-ever",
    fold: |versions| {
        let titles: Vec<&str> =
            versions.iter().filter_map(|version| version.get("title")?.as_str()).collect();
        let mut merged = last(versions);
        merged["title"] = titles.join("\n").into();
        merged
    },
};

/// Takes the larger count, as JavaScript would.
pub(crate) const ROUNDS_LARGE_INTEGERS: Folding = Folding {
    id: "rounds-large-integers",
    fold: |versions| {
        let counts = versions.iter().filter_map(|version| version.get("count")?.as_f64());
        let mut merged = last(versions);
        if let Some(count) = counts.reduce(f64::max) {
            merged["count"] = json!(count);
        }
        merged
    },
};

/// Takes keys for equal that differ in case, and writes them small.
pub(crate) const LOWERCASES_KEYS: Folding = Folding {
    id: "lowercases-keys",
    fold: |versions| {
        let entries = versions.iter().filter_map(Value::as_object).flatten();
        entries.map(|(key, value)| (key.to_lowercase(), value.clone())).collect()
    },
};

/// A priority that goes round in circles: whoever is next to the other one wins.
pub(crate) const GOES_IN_CIRCLES: Folding = Folding {
    id: "goes-in-circles",
    fold: |versions| {
        const ORDER: [&str; 3] = ["low", "high", "urgent"];
        let rank = |version: &Value| {
            let priority = version.get("priority").and_then(Value::as_str);
            ORDER.iter().position(|name| Some(*name) == priority).unwrap_or_default()
        };
        let wins = |one: Value, other: &Value| {
            if (rank(&one) + 1) % 3 == rank(other) { other.clone() } else { one }
        };
        versions[1..].iter().fold(versions[0].clone(), wins)
    },
};
