//! The design holds in every state of the small scopes, and the scopes reach what they are for.

use peerloom_model::{SMALL, Search, explore};

#[track_caller]
fn holds(name: &str) {
    let scope = SMALL.iter().find(|scope| scope.name == name).expect("a small scope").clone();
    let report = explore(scope, Search::Deepest, 1, None);
    println!("{report}");
    if let Some(finding) = report.findings.first() {
        panic!("{} does not hold:\n{}", finding.property, finding.story);
    }
    assert!(report.missed.is_empty(), "never reached: {:?}", report.missed);
}

#[test]
fn a_pair_converges_however_long_anything_waits() {
    holds("pair");
}

#[test]
fn a_write_supersedes_what_its_writer_had_seen_and_no_more() {
    holds("pair-old-contexts");
}

#[test]
fn a_lost_connection_loses_nothing() {
    holds("pair-disconnects");
}

#[test]
fn a_crash_loses_nothing_durable() {
    holds("pair-crashes");
}

#[test]
fn a_restored_backup_gets_everything_back_that_somebody_has() {
    holds("pair-restores");
}

#[test]
fn a_restore_that_moves_documents_back_hides_none() {
    holds("pair-moved-back");
}

#[test]
fn a_filter_hides_nothing_for_good() {
    holds("pair-filtered");
}

#[test]
fn a_line_relays_both_ways() {
    holds("line-quiet");
}

#[test]
fn a_line_relays_while_it_is_still_catching_up() {
    holds("line-connected");
}

#[test]
fn a_triangle_delivers_what_is_held_back() {
    holds("triangle-quiet");
}

#[test]
fn a_line_that_becomes_a_triangle_learns_to_hold_back() {
    holds("triangle-closes");
}

#[test]
fn a_triangle_delivers_however_long_its_stores_take() {
    holds("triangle-effects");
}
