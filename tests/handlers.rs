//! The provided conflict handlers through collections: three nodes are cut off from each other, each edits, and when they meet again
//! all show the same, and what they meant.

mod cluster;

use std::sync::Arc;

use cluster::{TOPIC, address, eventually};
use peerloom::{
    Collection, ConflictHandler, Counter, DeleteWins, EditWins, FieldWise, Head, InProcess, LastWriteWins,
    Memory, Merge, MergeJson, MergeTyped, MergeWith, Network, Node, PerField, Room, State, Union,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const ID: &str = "the document";

/// One handler on all nodes.
#[derive(Clone)]
struct Shared(Arc<dyn ConflictHandler>);

impl ConflictHandler for Shared {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn resolve(&self, heads: &[Head]) -> State {
        self.0.resolve(heads)
    }

    fn annotate(&self, seen: Option<&State>, next: &State, dot: peerloom::Dot) -> bytes::Bytes {
        self.0.annotate(seen, next, dot)
    }
}

struct Nodes {
    network: Network,
    collections: Vec<Collection<Value>>,
    _rooms: Vec<(Node, Room)>,
}

impl Nodes {
    async fn of(handler: impl ConflictHandler) -> Self {
        let (network, handler) = (Network::new(), Shared(Arc::new(handler)));
        let (mut collections, mut rooms) = (Vec::new(), Vec::new());
        for index in 0..3 {
            let node = Node::open(Memory::new()).await.expect("the node opens");
            let documents = node.collection("documents").handler(handler.clone());
            let documents = documents.open().await.expect("the collection opens");
            let transport = InProcess::new(&network).named(&index.to_string());
            let room = node.room(TOPIC).share(&documents).join(transport).await.expect("the room is joined");
            collections.push(documents);
            rooms.push((node, room));
        }
        Self { network, collections, _rooms: rooms }
    }

    fn each_pair(&self, act: impl Fn(&Network, usize, usize)) {
        [(0, 1), (0, 2), (1, 2)].into_iter().for_each(|(left, right)| act(&self.network, left, right));
    }

    async fn shown(&self, index: usize) -> Option<Value> {
        self.collections[index].get(ID).await.expect("it reads")
    }

    /// Starts from `base`, edits it at each node while nobody hears another, and waits until all have heard all.
    async fn after(&self, base: Value, edits: [Option<Value>; 3]) -> Option<Value> {
        self.collections[0].put(ID, &base).await.expect("the write is taken");
        for index in 0..3 {
            eventually("the base is everywhere", || async {
                (self.shown(index).await.as_ref() == Some(&base)).then_some(())
            })
            .await;
        }
        self.each_pair(|network, left, right| network.cut(&address(left), &address(right)));
        for (collection, edit) in self.collections.iter().zip(&edits) {
            match edit {
                Some(value) => collection.put(ID, value).await.expect("the write is taken"),
                None => assert!(collection.remove(ID).await.expect("the removal is taken")),
            }
        }
        self.each_pair(|network, left, right| network.heal(&address(left), &address(right)));
        for collection in &self.collections {
            eventually("all versions are everywhere", || async {
                let page = collection.conflicts(None, 10).await.expect("conflicts are listed");
                page.conflicts.first().is_some_and(|conflict| conflict.versions.len() == 3).then_some(())
            })
            .await;
        }
        let shown = self.shown(0).await;
        assert_eq!((self.shown(1).await, self.shown(2).await), (shown.clone(), shown.clone()));
        shown
    }

    /// Writes on top of what node 0 sees, and waits until all see that and no conflict.
    async fn settle(&self, value: Value) {
        self.collections[0].put(ID, &value).await.expect("the write is taken");
        for (index, collection) in self.collections.iter().enumerate() {
            eventually("the conflict is settled", || async {
                let conflicts = collection.conflicts(None, 10).await.expect("conflicts are listed").conflicts;
                (conflicts.is_empty() && self.shown(index).await.as_ref() == Some(&value)).then_some(())
            })
            .await;
        }
    }
}

/// What becomes of three edits, of the same in another session, and of a write on top.
async fn becomes(handler: impl ConflictHandler, base: Value, edits: [Option<Value>; 3]) -> Option<Value> {
    let nodes = Nodes::of(handler).await;
    let first = nodes.after(base.clone(), edits.clone()).await;
    nodes.settle(base.clone()).await;
    assert_eq!(nodes.after(base, edits).await, first, "the second time as the first");
    first
}

#[tokio::test(start_paused = true)]
async fn field_wise_keeps_edits_of_different_fields() {
    let base = json!({ "title": "a", "text": "a", "who": { "name": "a", "mail": "a" } });
    let edits = [
        json!({ "title": "b", "text": "a", "who": { "name": "a", "mail": "a" } }),
        json!({ "title": "a", "text": "a", "who": { "name": "b", "mail": "a" } }),
        json!({ "title": "a", "who": { "name": "a", "mail": "b" } }),
    ];
    let merged = json!({ "title": "b", "who": { "name": "b", "mail": "b" } });
    assert_eq!(becomes(FieldWise, base, edits.map(Some)).await, Some(merged));
}

#[tokio::test(start_paused = true)]
async fn sets_and_counters_hold_what_everybody_did() {
    // One adds: of several additions at the same time, the clocks would decide the order.
    let sets = [json!(["x", "y", "b"]), json!(["x"]), json!(["y", "x"])];
    assert_eq!(becomes(Union, json!(["x", "y"]), sets.map(Some)).await, Some(json!(["x", "b"])));
    let counts = [json!(12), json!(7), json!(11)];
    assert_eq!(becomes(Counter, json!(10), counts.map(Some)).await, Some(json!(10)));
}

#[tokio::test(start_paused = true)]
async fn a_document_follows_a_rule_for_each_field() {
    let rules = PerField::new().field("/tags", Union).field("/votes", Counter).default(FieldWise);
    let base = json!({ "title": "a", "text": "a", "tags": ["x"], "votes": 1 });
    let edits = [
        json!({ "title": "b", "text": "a", "tags": ["x", "y"], "votes": 2 }),
        json!({ "title": "a", "text": "b", "tags": [], "votes": 3 }),
        json!({ "title": "a", "text": "a", "tags": ["x"], "votes": 0 }),
    ];
    let merged = json!({ "title": "b", "text": "b", "tags": ["y"], "votes": 3 });
    assert_eq!(becomes(rules, base, edits.map(Some)).await, Some(merged));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_wins_or_an_edit_as_said() {
    let base = json!({ "a": 1, "b": 1 });
    let edits = [Some(json!({ "a": 2, "b": 1 })), None, Some(json!({ "a": 1, "b": 2 }))];
    assert_eq!(becomes(DeleteWins::new(FieldWise), base.clone(), edits.clone()).await, None);
    let merged = Some(json!({ "a": 2, "b": 2 }));
    assert_eq!(becomes(EditWins::new(FieldWise), base, edits).await, merged);
}

#[tokio::test(start_paused = true)]
async fn closures_decide() {
    let longest = MergeWith::new("longest", |heads: &[Head]| {
        heads.iter().max_by_key(|head| head.state.body.len()).expect("a conflict").state.clone()
    });
    let edits = [json!("long"), json!("longest"), json!("l")];
    assert_eq!(becomes(longest, json!("?"), edits.map(Some)).await, Some(json!("longest")));
    let earliest = MergeJson::new("earliest", |mut fields: Value, versions: &[Value]| {
        fields["due"] = versions.iter().filter_map(|version| version["due"].as_i64()).min()?.into();
        Some(fields)
    });
    let edits = [json!({ "due": 4, "x": 1 }), json!({ "due": 3, "x": 0 }), json!({ "due": 6, "x": 0 })];
    let base = json!({ "due": 9, "x": 0 });
    assert_eq!(becomes(earliest, base, edits.map(Some)).await, Some(json!({ "due": 3, "x": 1 })));
}

#[tokio::test(start_paused = true)]
async fn the_last_write_is_one_of_them() {
    let edits = [json!(1), json!(2), json!(3)];
    let nodes = Nodes::of(LastWriteWins).await;
    let shown = nodes.after(json!(0), edits.clone().map(Some)).await.expect("it is there");
    assert!(edits.contains(&shown), "{shown}");
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Todo {
    title: String,
    done: bool,
    #[serde(default)]
    details: Details,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Details {
    priority: u8,
}

impl Merge for Todo {
    fn merge(mut self, versions: &[Self]) -> Self {
        self.done = versions.iter().any(|todo| todo.done);
        self.details.priority = versions.iter().map(|todo| todo.details.priority).max().unwrap_or_default();
        self
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_says_how_it_merges_and_unknown_fields_stay() {
    let base =
        json!({ "title": "a", "done": false, "details": { "priority": 1, "color": "red" }, "other": 1 });
    let edits = [
        json!({ "title": "b", "done": false, "details": { "priority": 3, "color": "red" }, "other": 1 }),
        json!({ "title": "a", "done": true, "details": { "priority": 1, "color": "blue" }, "other": 1 }),
        json!({ "title": "a", "done": false, "details": { "priority": 2, "color": "red" }, "other": 2 }),
    ];
    let merged =
        json!({ "title": "b", "done": true, "details": { "priority": 3, "color": "blue" }, "other": 2 });
    assert_eq!(becomes(MergeTyped::<Todo>::new("todo-1"), base, edits.map(Some)).await, Some(merged));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_of_the_type_falls_back_to_the_last_write() {
    let edits =
        [json!({ "title": "b", "done": true }), json!({ "title": 7 }), json!({ "title": "c", "done": true })];
    let nodes = Nodes::of(MergeTyped::<Todo>::new("todo-1")).await;
    let base = json!({ "title": "a", "done": false, "details": { "priority": 1 } });
    let shown = nodes.after(base, edits.clone().map(Some)).await.expect("it is there");
    assert!(edits.contains(&shown), "{shown}");
}
