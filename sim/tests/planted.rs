//! The proof that the simulator finds bugs: each that can be planted in Peerloom shows within a few seeds of one scenario, and without
//! them nothing does.
//!
//! This is the short form, with seeds that are known. `cargo run -p peerloom-sim --example planted-bugs` makes the whole table.

#[path = "../examples/planted-bugs/campaign.rs"]
mod campaign;

use std::collections::BTreeSet;
use std::time::Duration;

use peerloom::core::planted::Bug;

use campaign::{Found, Hunt, check_that_fails, hunt, stage};

/// A seed that shows each bug. A change of the protocol may make another one necessary: then the bug is looked for from the first
/// seed on, which takes longer.
const KNOWN: &[(Bug, u64)] = &[
    (Bug::StampGivenTwice, 0),
    (Bug::StampsDecide, 0),
    (Bug::EqualCopyIsNews, 0),
    (Bug::ThirdHeadDropped, 0),
    (Bug::IncarnationOfDevice, 1),
    (Bug::PageEndsAtDuplicate, 0),
    (Bug::MergedCountsAsSent, 0),
    (Bug::ViewKept, 0),
    (Bug::SettledStaysListed, 0),
    (Bug::AnnotatedOverCurrent, 0),
    (Bug::HistoryOffByOne, 135),
    (Bug::CheckpointAtHeldBack, 1),
    (Bug::LatestHeldBack, 1),
    (Bug::OneOriginHeldBack, 8),
    (Bug::ReceivedOffByOne, 2),
    (Bug::TombstonesNotServed, 0),
    (Bug::WindowNotReopened, 1),
    (Bug::PrunedForGood, 1),
    (Bug::VouchedThoughRewound, 3),
    (Bug::NeverGrafts, 1),
    (Bug::PeersKnowledgeJoined, 1),
    (Bug::NoKeepAliveWhenCaughtUp, 0),
    (Bug::SentCountsAsHeard, 13),
    (Bug::CheckpointBeforePage, 0),
    (Bug::StateBeforeCommit, 5),
    (Bug::FailedPageSkipped, 19),
    (Bug::FailedWriteAcknowledged, 0),
    (Bug::UnknownCommitTrusted, 0),
    (Bug::LookUpOvertakesCommit, 0),
    (Bug::FeedNotHeldStill, 1),
    (Bug::OnlyOwnWritesWake, 0),
    (Bug::DraftOverCurrent, 0),
    (Bug::LateHandshakeNotRedialed, 13),
    (Bug::CloneKeepsIdentity, 7),
    (Bug::ListOfRejoinIgnored, 0),
    (Bug::EndedLineNotRedialed, 2),
];

/// For how long a bug is looked for whose seed does not show it any more.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_planted_bug_is_found() {
    for (bug, seed) in KNOWN {
        let (scenario, fabric) = stage(*bug);
        if check_that_fails(&scenario, fabric, *seed, Some(*bug)).is_some() {
            continue;
        }
        let Hunt { found, seeds, took } = hunt(*bug, PATIENCE);
        let Some(Found { seed: instead, check }) = found else {
            panic!("{bug:?} is not found in {seeds} seeds and {took:?}");
        };
        println!("{bug:?} does not show with seed {seed} any more, but with {instead}: {check}");
    }
}

#[test]
fn nothing_is_found_where_nothing_is_planted() {
    let mut ran = BTreeSet::new();
    for (bug, seed) in KNOWN {
        let (scenario, fabric) = stage(*bug);
        if ran.insert((scenario.name().to_owned(), *seed)) {
            let found = check_that_fails(&scenario, fabric, *seed, None);
            assert_eq!(found, None, "with seed {seed} of {}", scenario.name());
        }
    }
}

#[test]
fn every_bug_that_can_be_planted_has_a_seed() {
    let known: BTreeSet<Bug> = KNOWN.iter().map(|(bug, _)| *bug).collect();
    assert_eq!(known, Bug::ALL.iter().copied().collect());
}
