//! Each rule of the design, removed from core, is missed: the model finds a counterexample, and tells it.

use peerloom_model::{Rule, Search, catching, explore, without};

#[track_caller]
fn is_missed(rule: Rule, property: &str) {
    let report = without(rule, || explore(catching(rule), Search::Nearest, 1, None));
    let finding = report.findings.first().expect("a rule is missing, and nobody notices");
    println!("without {rule:?}: {report}\n{}", finding.story);
    assert_eq!(finding.property, property);
}

#[test]
fn an_incarnation_for_each_opening() {
    is_missed(Rule::SessionIdentity, "knowledge is sound");
}

#[test]
fn a_checkpoint_that_does_not_fit_means_from_the_start() {
    is_missed(Rule::CheckpointFits, "checkpoints stand behind durable documents");
}

#[test]
fn a_checkpoint_fits_by_the_end_of_the_feed() {
    is_missed(Rule::CheckpointEnd, "checkpoints stand behind durable documents");
}

#[test]
fn knowledge_is_vouched_for_when_everything_was_sent() {
    is_missed(Rule::KnowledgeOnlyWhenComplete, "knowledge is sound");
}

#[test]
fn a_filtered_link_vouches_for_nothing() {
    is_missed(Rule::KnowledgeNotOnFiltered, "knowledge is sound");
}

#[test]
fn a_write_supersedes_what_was_seen() {
    is_missed(Rule::SeenContext, "heads and views are what was written");
}

#[test]
fn merged_contexts_join() {
    is_missed(Rule::ContextInMerge, "no assertion of core or of a store fails");
}

#[test]
fn what_is_held_back_is_not_vouched_for() {
    is_missed(Rule::VouchPerOrigin, "knowledge is sound");
}
