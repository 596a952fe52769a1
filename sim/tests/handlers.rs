//! Every conflict handler that comes with Peerloom, under the swarm.
//!
//! `SEEDS=1000` runs more seeds of each.

use peerloom::core::ConflictHandler;
use peerloom::{
    Counter, DeleteWins, EditWins, FieldWise, LastWriteWins, MergeJson, MergeWith, PerField, Union,
};
use peerloom_sim::plan::{Faults, mix};
use peerloom_sim::{RunOptions, Scenario, Verdict};
use serde_json::Value;

fn holds(name: &str, handler: impl ConflictHandler) {
    // Few documents and many users of each, so that conflicts are the rule.
    let users = mix().insert(2).edit(8).delete(2).bulk(1..20, 1).settle(2).hot_documents(0.9);
    let scenario =
        Scenario::new(name).operations(100).workload(users).faults(Faults::swarm()).handler(handler);
    let seeds: u64 = std::env::var("SEEDS").map_or(15, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        let verdict = scenario.run(&scenario.plan(seed), RunOptions::default()).verdict;
        assert_eq!(verdict, Verdict::Held, "seed {seed} with {name}");
    }
}

#[test]
fn last_write_wins_holds() {
    holds("last write wins", LastWriteWins);
}

#[test]
fn field_wise_holds() {
    holds("field-wise", FieldWise);
}

#[test]
fn delete_wins_and_edit_wins_hold() {
    holds("delete wins", DeleteWins::new(FieldWise));
    holds("edit wins", EditWins::new(LastWriteWins));
}

#[test]
fn a_rule_per_field_holds() {
    let rules = PerField::new().field("/tags", Union).field("/priority", Counter).default(FieldWise);
    holds("per field", rules);
}

#[test]
fn a_closure_holds() {
    holds(
        "longest",
        MergeWith::new("longest body", |heads: &[peerloom::Head]| {
            let longest = heads.iter().max_by_key(|head| (head.state.body.len(), head.dot.canonical()));
            longest.expect("a conflict has heads").state.clone()
        }),
    );
    let urgent = |mut fields: Value, versions: &[Value]| {
        if versions.iter().any(|version| version["priority"] == 4) {
            fields["priority"] = 4.into();
        }
        Some(fields)
    };
    holds("field-wise, and urgent stays urgent", MergeJson::new("urgent", urgent));
}
