//! Faults: handlers, disks, networks and peers that fail cost what they must and nothing else, and never an acknowledged write.

mod cluster;

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::{
    Cluster, Disk, Fate, Handler, NOTES, TOPIC, Tamper, Topology, Wire, address, eventually, told,
};
use futures_util::{FutureExt, StreamExt};
use peerloom::{
    CloseReason, CommitError, Error, Events, IdRange, InProcess, Memory, PeerState, Room, RoomError,
    RoomEvent, SessionLimits, StorageError,
};
use tokio::time::Instant;

fn told_so_far(events: &mut Events) -> Vec<RoomEvent> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_costs_the_view_and_nothing_else() {
    let mut cluster = Cluster::new(1);
    cluster.handler = Handler::Panic;
    cluster.network.allow(|_, _| false);
    let mut events = Vec::new();
    for index in 0..2 {
        cluster.add().await;
        cluster.put(index, "it", &format!("by {index}")).await;
        events.push(cluster.room(index).events());
    }
    cluster.arrange(Topology::Mesh, 2);
    for events in &mut events {
        told(
            events,
            "the failure",
            |event| matches!(event, RoomEvent::HandlerFailed { id, .. } if id.as_str() == "it"),
        )
        .await;
    }
    let holdings = cluster.converged().await;
    let holding = holdings.documents.values().next().expect("the document");
    assert_eq!(holding.heads.len(), 2);
    assert_eq!(holding.view, holding.heads[1].state, "the last write wins");
    cluster.put(0, "other", "word").await;
    cluster.shows(1, "other", Some("word")).await;
    cluster.put(1, "it", "settled").await;
    assert_eq!(cluster.converged().await.in_conflict.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_not_applied_is_not_there_and_can_be_made_again() {
    let mut cluster = Cluster::new(1);
    cluster.add().await;
    cluster.put(0, "before", "word").await;
    cluster.members[0].disk.fail_commit_after(0, Fate::NotApplied);
    let failed = cluster.notes(0).put("it", &"word".to_owned()).await;
    assert!(matches!(failed, Err(Error::Commit(CommitError::NotApplied(_)))), "{failed:?}");
    assert_eq!(cluster.notes(0).get("it").await.expect("it reads"), None);
    cluster.put(0, "it", "word").await;
    cluster.members[0].disk.fail_read_after(0);
    let failed = cluster.notes(0).put("it", &"again".to_owned()).await;
    assert!(matches!(failed, Err(Error::Storage(StorageError::Io { .. }))), "{failed:?}");
    cluster.shows(0, "it", Some("word")).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_commit_of_unknown_fate_nothing_is_written_until_the_node_is_reopened() {
    for (fate, found) in [(Fate::UnknownButApplied, Some("second")), (Fate::UnknownAndLost, Some("first"))] {
        let mut cluster = Cluster::of(2, Topology::Mesh).await;
        cluster.put(0, "it", "first").await;
        cluster.converged().await;
        let mut events = [0, 1].map(|index| cluster.room(index).events());
        let watched = cluster.notes(0).watch();
        cluster.members[0].disk.fail_commit_after(0, fate);
        let failed = cluster.notes(0).put("it", &"second".to_owned()).await;
        assert!(matches!(failed, Err(Error::Commit(CommitError::Unknown(_)))), "{failed:?}");
        let refused = cluster.notes(0).put("it", &"third".to_owned()).await;
        assert!(matches!(refused, Err(Error::MustReopen)), "{refused:?}");
        assert!(matches!(cluster.room(0).caught_up().await, Err(RoomError::MustReopen(_))));
        told(&mut events[0], "the failure", |event| matches!(event, RoomEvent::StorageFailed { .. })).await;
        let ended = watched.collect::<Vec<_>>().await;
        assert!(matches!(ended.as_slice(), [Err(Error::MustReopen)]), "{ended:?}");
        cluster.put(1, "other", "word").await;
        let failed = |event: &RoomEvent| matches!(event, RoomEvent::PeerStorageFailed { .. });
        told(&mut events[1], "the peer's failure", failed).await;
        assert_eq!(cluster.room(1).peers()[0].state, PeerState::CatchingUp);
        cluster.stop(0).await;
        cluster.start(0).await;
        cluster.converged().await;
        cluster.shows(1, "it", found).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_collection_does_not_hold_up_the_others_of_its_room() {
    let mut cluster = Cluster::of(2, Topology::Mesh).await;
    cluster.put(0, "it", "word").await;
    let mut others = Vec::new();
    for index in 0..2 {
        let other = cluster.running(index).node.collection::<String>("other").open().await.expect("it opens");
        cluster.room(index).share(&other).expect("it is not shared yet");
        others.push(other);
    }
    cluster.members[1].disk.fail_commit_after(0, Fate::UnknownAndLost);
    cluster.notes(1).put("it", &"lost".to_owned()).await.expect_err("the disk fails");
    cluster.put(0, "more", "word").await;
    for round in 0..5 {
        for (from, to) in [(0, 1), (1, 0)] {
            let id = format!("{round}/{from}");
            others[from].put(&id, &"word".to_owned()).await.expect("the other collection works");
            eventually("it arrives", || async { others[to].get(&id).await.expect("it reads") }).await;
        }
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    drop(others);
    cluster.stop(1).await;
    cluster.start(1).await;
    assert_eq!(cluster.converged().await.documents.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_failure_of_a_disk_loses_an_acknowledged_write() {
    for fate in [Fate::NotApplied, Fate::UnknownButApplied, Fate::UnknownAndLost] {
        for commits in 0..12 {
            let mut cluster = Cluster::of(3, Topology::Mesh).await;
            let mut events = cluster.room(1).events();
            cluster.members[1].disk.fail_commit_after(commits, fate);
            let mut acknowledged = BTreeSet::new();
            for number in 0..6 {
                for index in 0..3 {
                    let id = format!("{index}/{number}");
                    if cluster.notes(index).put(&id, &id).await.is_ok() {
                        acknowledged.insert(id);
                    }
                }
                tokio::task::yield_now().await;
            }
            eventually("the failure", || async { cluster.members[1].disk.has_failed().then_some(()) }).await;
            if fate != Fate::NotApplied {
                cluster.stop(1).await;
                cluster.start(1).await;
            }
            let holdings = cluster.converged().await;
            let found: BTreeSet<String> = holdings.documents.keys().map(ToString::to_string).collect();
            assert!(found.is_superset(&acknowledged), "{fate:?} after {commits}: {found:?}");
            for event in told_so_far(&mut events) {
                if let RoomEvent::PeerLeft { reason, .. } = event {
                    assert!(
                        matches!(reason, CloseReason::StorageFailed(_) | CloseReason::Left),
                        "{reason:?}"
                    );
                }
            }
        }
    }
}

/// A node with forty documents, and one without any, on a disk that lets much happen during a commit, that pulls them one by one.
async fn about_to_pull(prepare: impl AsyncFn(&Cluster)) -> Cluster {
    let mut cluster = Cluster::new(1);
    cluster.network.allow(|_, _| false);
    cluster.add().await;
    for number in 0..40 {
        cluster.put(0, &format!("{number:02}"), "word").await;
    }
    let mut limits = SessionLimits::default();
    limits.page.documents_max = 1.try_into().expect("above zero");
    cluster.members.push(cluster::Member::on(Disk::new(Memory::new())));
    let transport = InProcess::new(&cluster.network).named("1");
    cluster.start_with(1, transport, |room| room.limits(limits)).await;
    cluster.members[1].disk.yield_after_commits(1000);
    prepare(&cluster).await;
    cluster.network.allow(|_, _| true);
    cluster
}

#[tokio::test(start_paused = true)]
async fn no_page_is_committed_after_one_that_failed() {
    // No commit holds more than four pages.
    for commits in 0..10 {
        let cluster = about_to_pull(async |cluster| {
            cluster.members[1].disk.fail_commit_after(commits, Fate::NotApplied);
        })
        .await;
        let disk = &cluster.members[1].disk;
        eventually("the failure", || async { disk.has_failed().then_some(()) }).await;
        assert_eq!(cluster.converged().await.documents.len(), 40, "after {commits}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_failed_in_one_commit_come_again() {
    let cluster = about_to_pull(async |cluster| {
        let disk = cluster.members[1].disk.clone();
        disk.fail_commit_after(1, Fate::NotApplied);
        // While this is being committed pages arrive.
        let notes = cluster.notes(1).clone();
        tokio::spawn(async move { notes.put("own", &"word".to_owned()).await });
        tokio::task::yield_now().await;
    })
    .await;
    let disk = &cluster.members[1].disk;
    eventually("the failure", || async { disk.has_failed().then_some(()) }).await;
    assert!(disk.documents_failed() > 1, "several were in it");
    assert_eq!(cluster.converged().await.documents.len(), 41);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_disk_fails_a_read_ends_with_the_reason_and_comes_back() {
    for reads in 0..8 {
        let cluster = Cluster::of(2, Topology::Mesh).await;
        let (mut own, mut peers) = (cluster.room(0).events(), cluster.room(1).events());
        cluster.members[0].disk.fail_read_after(reads);
        for number in 0..10 {
            cluster.put(1, &number.to_string(), "word").await;
            cluster.converged().await;
        }
        assert!(cluster.members[0].disk.has_failed());
        cluster.converged().await;
        let why = |events: &mut Events| {
            let left = |event| match event {
                RoomEvent::PeerLeft { reason, .. } => Some(reason),
                _ => None,
            };
            told_so_far(events).into_iter().find_map(left)
        };
        let (own, peers) = (why(&mut own), why(&mut peers));
        assert!(matches!(own, Some(CloseReason::StorageFailed(_))), "after {reads}: {own:?}");
        assert!(matches!(peers, Some(CloseReason::PeerFailed(_))), "after {reads}: {peers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_harms_nobody_and_is_given_up() {
    let mut cluster = Cluster::of(2, Topology::Mesh).await;
    let wire = Wire::new(InProcess::new(&cluster.network).named("2"));
    cluster.members.push(cluster::Member::on(Disk::new(Memory::new())));
    // It must not be the first to give up.
    let patient = SessionLimits { silence_max: Duration::from_secs(3600), ..SessionLimits::default() };
    cluster.start_with(2, wire.clone(), |room| room.limits(patient)).await;
    cluster.put(2, "before", "word").await;
    cluster.converged().await;
    let mut events = cluster.room(0).events();
    wire.stop_reading();
    let (stopped, word) = (Instant::now(), "x".repeat(10_000));
    for number in 0..2000 {
        cluster.put(0, &format!("{number:04}"), &word).await;
    }
    cluster.shows(1, "1999", Some(&word)).await;
    assert!(stopped.elapsed() < Duration::from_secs(5), "the others do not wait");
    let slow = cluster.running(2).node.replica_id();
    let sent =
        cluster.room(0).peers().iter().find(|peer| peer.replica == Some(slow)).map(|peer| peer.counters);
    assert!(sent.is_some_and(|sent| sent.bytes_sent < 6 << 20), "no more than the queues hold: {sent:?}");
    let left = told(
        &mut events,
        "that it is given up",
        |event| matches!(event, RoomEvent::PeerLeft { peer, .. } if *peer == slow),
    )
    .await;
    assert!(matches!(left, RoomEvent::PeerLeft { reason: CloseReason::Silent, .. }), "{left:?}");
    cluster.converged().await;
}

#[tokio::test(start_paused = true)]
async fn tampering_with_any_frame_ends_that_session_only_and_loses_nothing() {
    for tamper in Tamper::ALL {
        for frames in 0..24 {
            let mut cluster = Cluster::of(2, Topology::Mesh).await;
            cluster.put(0, "before", "word").await;
            let wire = Wire::new(InProcess::new(&cluster.network).named("2"));
            wire.tamper_after(frames, tamper);
            cluster.members.push(cluster::Member::on(Disk::new(Memory::new())));
            let mut events = [cluster.room(0).events(), cluster.room(1).events()];
            cluster.start_with(2, wire.clone(), |room| room).await;
            let mut own = cluster.room(2).events();
            for number in 0..10 {
                for index in 0..3 {
                    cluster.put(index, &format!("{index}/{number}"), "word").await;
                    tokio::task::yield_now().await;
                }
                cluster.converged().await;
            }
            assert!(wire.has_tampered(), "{tamper:?} after {frames}");
            assert_eq!(cluster.converged().await.documents.len(), 31);
            let violation = |event: &RoomEvent| {
                let (RoomEvent::PeerLeft { reason, .. } | RoomEvent::ConnectionFailed { reason, .. }) = event
                else {
                    return false;
                };
                assert!(
                    matches!(reason, CloseReason::Violation(_) | CloseReason::ViolationReported(_)),
                    "{tamper:?} after {frames}: {reason:?}"
                );
                true
            };
            let seen = told_so_far(&mut own).iter().filter(|event| violation(event)).count();
            let reported: usize = events
                .iter_mut()
                .map(|events| told_so_far(events).iter().filter(|event| violation(event)).count())
                .sum();
            if tamper != Tamper::Repeat {
                assert_eq!((seen, reported), (1, 1), "{tamper:?} after {frames}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_comes_back_though_its_old_connection_seems_alive() {
    for seed in 0..8 {
        let mut cluster = Cluster::new(seed);
        cluster.add().await;
        let wire = Wire::new(InProcess::new(&cluster.network).named("1"));
        cluster.members.push(cluster::Member::on(Disk::new(Memory::new())));
        cluster.start_with(1, wire.clone(), |room| room).await;
        cluster.put(0, "before", "word").await;
        cluster.converged().await;
        wire.never_redial();
        wire.stop_reading();
        let mut events = cluster.room(1).events();
        let broken = Instant::now();
        cluster.network.disconnect(&address(0), &address(1));
        cluster.put(0, "after", "word").await;
        cluster.shows(1, "after", Some("word")).await;
        cluster.put(1, "back", "word").await;
        cluster.shows(0, "back", Some("word")).await;
        assert!(broken.elapsed() < Duration::from_secs(80), "seed {seed}: {:?}", broken.elapsed());
        let (mut joined, mut visits) = (true, 0);
        for event in told_so_far(&mut events) {
            let now = match event {
                RoomEvent::PeerJoined { .. } => true,
                RoomEvent::PeerLeft { .. } => false,
                _ => continue,
            };
            assert_ne!(now, joined, "seed {seed}: joining and leaving alternate");
            (joined, visits) = (now, visits + 1);
        }
        assert!(joined, "seed {seed}: after {visits} events it is there");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_rewritten_during_a_scan_is_vouched_for_only_if_it_is_sent() {
    for (written_at, cut_at) in (0..60).step_by(3).flat_map(|at| (0..60).step_by(3).map(move |cut| (at, cut)))
    {
        let mut cluster = Cluster::of(2, Topology::Mesh).await;
        cluster.put(0, "it", "first").await;
        cluster.put(0, "other", "word").await;
        cluster.converged().await;
        cluster.network.allow(|left, right| (left.as_str(), right.as_str()) == ("0", "2"));
        cluster.members[0].disk.yield_after_commits(40);
        cluster.add().await;
        for _ in 0..written_at {
            tokio::task::yield_now().await;
        }
        let notes = cluster.notes(0).clone();
        let writing = tokio::spawn(async move { notes.put("it", &"second".to_owned()).await });
        for _ in 0..cut_at {
            tokio::task::yield_now().await;
        }
        cluster.network.allow(|_, _| false);
        writing.await.expect("no panic").expect("the write is taken");
        cluster.crash(0);
        cluster.members.remove(0);
        cluster.network.allow(|left, right| (left.as_str(), right.as_str()) == ("1", "2"));
        let holdings = cluster.converged().await;
        assert_eq!(holdings.documents.len(), 2, "written at {written_at}, cut at {cut_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_closes_its_room() {
    struct Panicking;

    #[async_trait::async_trait]
    impl peerloom::Transport for Panicking {
        async fn join(
            &self,
            _topic: &peerloom::core::Topic,
        ) -> Result<Box<dyn peerloom::core::Membership>, peerloom::TransportError> {
            Ok(Box::new(Self))
        }
    }

    #[async_trait::async_trait]
    impl peerloom::core::Membership for Panicking {
        async fn accept(&mut self) -> Result<peerloom::core::Connection, peerloom::TransportError> {
            panic!("as the test wants it")
        }

        fn redial(&mut self, _peer: &peerloom::PeerAddress) {}
    }

    let mut cluster = Cluster::new(1);
    let node = cluster.open(&Disk::new(Memory::new())).await;
    let notes = node.collection::<String>(NOTES).open().await.expect("the collection opens");
    let room: Room = node.room(TOPIC).share(&notes).join(Panicking).await.expect("it joins");
    assert!(matches!(room.caught_up().await, Err(RoomError::Left)));
    assert_eq!(notes.list(IdRange::ALL, 1).await.expect("it lists").entries.len(), 0);
    node.close().await.expect("it closes");
}
