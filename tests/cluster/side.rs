//! One node with one collection, for stories in which the two sides of a room are not alike.

use peerloom::{Collection, Events, InProcess, Memory, Network, Node, Room, RoomBuilder, Transport};

use super::{NOTES, TOPIC};

pub struct Side {
    pub node: Node,
    pub notes: Collection<String>,
}

impl Side {
    pub async fn new() -> Self {
        Self::on(Memory::new()).await
    }

    pub async fn on(disk: Memory) -> Self {
        let node = Node::open(disk).await.expect("the node opens");
        let notes = node.collection(NOTES).open().await.expect("the collection opens");
        Self { node, notes }
    }

    /// Its room, in which nothing is shared yet.
    pub fn room(&self) -> RoomBuilder {
        self.node.room(TOPIC)
    }

    /// Its room, in which the notes are shared.
    pub fn sharing(&self) -> RoomBuilder {
        self.room().share(&self.notes)
    }

    pub async fn put(&self, id: &str) {
        self.notes.put(id, &"word".to_owned()).await.expect("the write is taken");
    }

    pub async fn has(&self, id: &str) -> bool {
        self.notes.get(id).await.expect("it reads").is_some()
    }
}

/// Joins under an address, and listens from then on.
pub async fn join(room: RoomBuilder, network: &Network, address: usize) -> (Room, Events) {
    join_over(room, InProcess::new(network).named(&address.to_string())).await
}

pub async fn join_over(room: RoomBuilder, transport: impl Transport) -> (Room, Events) {
    let room = room.join(transport).await.expect("the room is joined");
    let events = room.events();
    (room, events)
}
