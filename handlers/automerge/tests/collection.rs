//! Two nodes write into one text while they do not hear each other.

use std::time::Duration;

use peerloom::{Binary, Collection, InProcess, Memory, Network, Node, PeerAddress, Room};
use peerloom_automerge::{MergeAutomerge, edit_text, empty_text, text};

async fn open(network: &Network, name: &str) -> (Node, Collection<Binary>, Room) {
    let node = Node::open(Memory::new()).await.expect("the node opens");
    let notes = node.collection("notes").handler(MergeAutomerge).open().await.expect("the collection opens");
    let transport = InProcess::new(network).named(name);
    let room = node.room("notes").share(&notes).join(transport).await.expect("the room is joined");
    (node, notes, room)
}

async fn write(notes: &Collection<Binary>, value: &str) {
    let seen = notes.read("note").await.expect("it reads");
    let body = seen.map_or_else(|| empty_text("note"), |seen| seen.into_value().0);
    let body = edit_text(&body, "note", value).expect("a text");
    notes.put("note", &Binary(body)).await.expect("the write is taken");
}

async fn shows(notes: &Collection<Binary>, expected: &str) -> bytes::Bytes {
    loop {
        if let Some(Binary(body)) = notes.get("note").await.expect("it reads")
            && text(&body, "note").expect("a text") == expected
        {
            return body;
        }
        // On the paused clock: the next event of the room comes first.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_write_into_one_text() {
    let network = Network::new();
    let (_left_node, left, _left_room) = open(&network, "left").await;
    let (_right_node, right, _right_room) = open(&network, "right").await;
    write(&left, "Buy milk.").await;
    shows(&right, "Buy milk.").await;
    network.cut(&PeerAddress::new("left"), &PeerAddress::new("right"));
    write(&left, "Buy oat milk.").await;
    write(&right, "Buy milk and bread.").await;
    network.heal(&PeerAddress::new("left"), &PeerAddress::new("right"));
    let merged = "Buy oat milk and bread.";
    assert_eq!(shows(&left, merged).await, shows(&right, merged).await);
    write(&right, "Nothing.").await;
    shows(&left, "Nothing.").await;
    assert!(left.conflicts(None, 1).await.expect("conflicts are listed").conflicts.is_empty());
}
