//! Backups and copies: a replica that was restored or copied never loses an acknowledged write, and takes an identity of its own.

mod cluster;

use std::path::Path;

use cluster::{Cluster, Disk, NOTES, TOPIC, Topology, eventually, told};
use peerloom::{Fjall, InProcess, Memory, Network, Node, RoomEvent};

#[tokio::test(start_paused = true)]
async fn a_restored_backup_gets_back_what_it_forgot_beside_what_it_wrote_since() {
    let mut cluster = Cluster::of(2, Topology::Mesh).await;
    let disk = Memory::new();
    let restored = cluster.add_on(Disk::new(disk.clone())).await;
    cluster.put(restored, "old", "word").await;
    cluster.converged().await;
    let backup = disk.fork();
    cluster.put(restored, "it", "forgotten").await;
    cluster.put(restored, "old", "forgotten").await;
    cluster.converged().await;
    cluster.stop(restored).await;

    cluster.members[restored].disk = Disk::new(backup);
    let mut events = cluster.room(0).events();
    cluster.put_alone(restored, "it", "rewritten").await;
    cluster.put_alone(restored, "old", "rewritten").await;
    cluster.start(restored).await;
    let mut own_events = cluster.room(restored).events();
    told(&mut own_events, "that it was rolled back", |event| matches!(event, RoomEvent::RolledBack { .. }))
        .await;
    let holdings = cluster.converged().await;
    assert_eq!(holdings.in_conflict.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["it", "old"]);
    assert!(holdings.documents.values().all(|holding| holding.heads.len() == 2));
    told(&mut events, "that it came back", |event| matches!(event, RoomEvent::PeerJoined { .. })).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_runs_beside_the_original_takes_another_identity_and_both_replicate() {
    for third in [false, true] {
        let mut cluster = Cluster::new(7);
        if third {
            cluster.add().await;
        }
        let disk = Memory::new();
        let original = cluster.add_on(Disk::new(disk.clone())).await;
        cluster.put(original, "before", "word").await;
        if third {
            cluster.converged().await;
        }
        let copy_of_disk = disk.fork();
        cluster.put(original, "it", "original").await;
        let mut events = vec![cluster.room(original).events()];
        let copy = cluster.add_on(Disk::new(copy_of_disk)).await;
        events.push(cluster.room(copy).events());
        cluster.put(copy, "it", "copy").await;
        cluster.put(copy, "before", "again").await;
        assert_eq!(cluster.converged().await.documents.len(), 2, "with a third: {third}");
        let identity = |index: usize| cluster.running(index).node.replica_id();
        eventually("the identities differ", || async {
            (identity(original) != identity(copy)).then_some(())
        })
        .await;
        let holdings = cluster.converged().await;
        let values: Vec<_> =
            holdings.documents.iter().map(|(id, holding)| (id.as_str(), holding.heads.len())).collect();
        assert_eq!(values, [("before", 1), ("it", 2)]);
        cluster.room(original).caught_up().await.expect("it is not left");
        let changes = [&mut events.remove(0), &mut events.remove(0)].map(changes_of_identity);
        assert_eq!(changes.iter().sum::<usize>(), 1, "only one of them changes, and once");
        let identities = [identity(original), identity(copy)];
        cluster.stop(copy).await;
        cluster.start(copy).await;
        assert_eq!(cluster.running(copy).node.replica_id(), identities[1], "the identity is kept");
        cluster.put(copy, "late", "word").await;
        cluster.converged().await;
    }
}

fn changes_of_identity(events: &mut peerloom::Events) -> usize {
    use futures_util::{FutureExt, StreamExt};
    let mut changes = 0;
    while let Some(Some(event)) = events.next().now_or_never() {
        changes += usize::from(matches!(event, RoomEvent::IdentityChanged { .. }));
    }
    changes
}

#[tokio::test(start_paused = true)]
async fn many_copies_of_one_disk_all_come_to_an_identity_of_their_own() {
    let disk = Memory::new();
    let mut cluster = Cluster::new(3);
    cluster.add_on(Disk::new(disk.clone())).await;
    cluster.put(0, "before", "word").await;
    let copies: Vec<Memory> = (0..4).map(|_| disk.fork()).collect();
    for copy in copies {
        let index = cluster.add_on(Disk::new(copy)).await;
        cluster.put(index, &format!("by/{index}"), "word").await;
        cluster.put(index, "everybody's", &index.to_string()).await;
    }
    let holdings = eventually("everybody meets everybody", || async {
        let holdings = cluster.converged().await;
        let met = (0..5).all(|index| cluster.room(index).peers().len() == 4);
        met.then_some(holdings)
    })
    .await;
    assert_eq!(holdings.documents.len(), 6);
    let identities: std::collections::BTreeSet<_> =
        (0..5).map(|index| cluster.running(index).node.replica_id()).collect();
    assert_eq!(identities.len(), 5);
}

#[tokio::test]
async fn a_copied_directory_opens_beside_the_original_and_both_replicate() {
    let directory = tempfile::tempdir().expect("a directory");
    let (original_at, copy_at) = (directory.path().join("original"), directory.path().join("copy"));
    let node = Node::open(Fjall::at(&original_at)).await.expect("the node opens");
    let notes = node.collection::<String>(NOTES).open().await.expect("the collection opens");
    notes.put("before", &"word".to_owned()).await.expect("the write is taken");
    node.close().await.expect("it closes");
    copy_all(&original_at, &copy_at);

    let network = Network::new();
    let mut sides = Vec::new();
    for (at, value) in [(&original_at, "original"), (&copy_at, "copy")] {
        let node = Node::open(Fjall::at(at)).await.expect("the node opens");
        let notes = node.collection::<String>(NOTES).open().await.expect("the collection opens");
        notes.put("it", &value.to_owned()).await.expect("the write is taken");
        let room = node.room(TOPIC).share(&notes).join(InProcess::new(&network)).await.expect("it joins");
        sides.push((node, notes, room));
    }
    for (_, notes, room) in &sides {
        room.caught_up().await.expect("it is not left");
        let conflicts = notes.conflicts(None, 10).await.expect("it lists").conflicts;
        let versions: Vec<_> =
            conflicts[0].versions.iter().map(|version| version.value.clone().expect("a word")).collect();
        assert_eq!((conflicts.len(), versions.len()), (1, 2), "{versions:?}");
    }
    assert_ne!(sides[0].0.replica_id(), sides[1].0.replica_id());
    for (node, _, _) in &sides {
        node.close().await.expect("it closes");
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory is made");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file is copied");
        }
    }
}
