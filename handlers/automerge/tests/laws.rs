//! Automerge's handler under the laws.

mod as_json;

use proptest::prelude::{Strategy, any};
use serde_json::{Value, json};

use as_json::AsJson;

fn articles() -> impl Strategy<Value = Value> {
    (any::<bool>(), any::<bool>()).prop_map(|(is_draft, is_long)| {
        let pages = if is_long { 12 } else { 3 };
        json!({ "title": if is_draft { "a draft" } else { "an article" }, "size": { "pages": pages } })
    })
}

peerloom_laws::conflict_laws! {
    automerge,
    handler: AsJson,
    documents: articles(),
    deletion: LastWriteWins,
    skip: [
        Commutativity.because("of two values of one field, Automerge's own clock chooses, not the hour"),
        NoInvention.because("a deletion that loses brings along, in its history, what it had seen"),
        BoundedGrowth.because("an Automerge document holds its history"),
    ],
    cases: 48,
}
