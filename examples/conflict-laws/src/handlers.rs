//! Two handlers for the items of a shopping list. They differ in a few lines.

use bytes::Bytes;
use peerloom_core::{ConflictHandler, Dot, Head, State, json};
use serde_json::{Map, Value};

/// Merges versions two by two, each field on its own: whatever was changed counts.
///
/// How does it know what was changed? Of two values it takes the one that is "more": bought rather than not, the larger
/// amount, the longer text. And if an item is wanted in very different amounts, somebody has mistyped, so that the smaller one
/// counts.
pub(crate) struct TwoByTwo;

impl ConflictHandler for TwoByTwo {
    fn id(&self) -> &str {
        "shopping-1"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        fold(heads, |amounts| {
            amounts.into_iter().reduce(|left, right| {
                let (less, more) = (left.min(right), left.max(right));
                if more > less.saturating_mul(3) { less } else { more }
            })
        })
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}

/// The same, but for amounts: the latest one counts, whatever it is.
///
/// "The larger one, unless it is too large" is no maximum of anything: whether an amount is too large depends on what it is
/// compared with, and so on who is compared first.
pub(crate) struct LatestAmount;

impl ConflictHandler for LatestAmount {
    fn id(&self) -> &str {
        "shopping-2"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        fold(heads, |amounts| amounts.last().copied())
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}

/// What both have in common: a deletion counts more than an edit, an item that somebody bought is bought, and for everything else the
/// latest version counts.
fn fold(heads: &[Head], amount: impl FnOnce(Vec<u64>) -> Option<u64>) -> State {
    if let Some(deleted) = heads.iter().rev().find(|head| head.state.deleted) {
        return deleted.state.clone();
    }
    let versions: Vec<Map<String, Value>> = heads.iter().filter_map(item).collect();
    let Some(mut merged) = heads.last().and_then(item) else {
        return heads[heads.len() - 1].state.clone();
    };
    let amounts = versions.iter().filter_map(|version| version.get("amount")?.as_u64());
    if let Some(amount) = amount(amounts.collect())
        && merged.get("amount").is_some_and(Value::is_u64)
    {
        merged.insert("amount".into(), amount.into());
    }
    if versions.iter().any(|version| version.get("bought") == Some(&Value::Bool(true)))
        && merged.contains_key("bought")
    {
        merged.insert("bought".into(), true.into());
    }
    let body = json::to_canonical(&Value::Object(merged)).expect("no deeper than what was parsed");
    State { deleted: false, body, annotations: Bytes::new() }
}

fn item(head: &Head) -> Option<Map<String, Value>> {
    match json::parse(&head.state.body) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}
