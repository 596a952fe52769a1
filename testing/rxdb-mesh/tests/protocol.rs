//! What two peers say to each other, compared with a session of RxDB 17.6.0.

mod support;

use std::sync::Arc;

use peerloom_rxdb_mesh::{
    Answer, Change, Direction, ForkStart, Input, LinkId, Mesh, Message, Output, Peer, PeerError, Request,
    RxdbConflictHandler, Settings, mesh_with_roles, tokens_for,
};
use serde_json::{Value, json};
use support::{LADDER, master_wins, mesh, newest, note, text};

/// The sequence of messages in a session of two RxDB peers, as sent by the master A and the fork B: what, and of how many documents.
/// `push` counts with a `+` the rows that name an assumed state.
const CAPTURED: [(&str, &[&str], &[&str]); 5] = [
    (
        "three documents each, then a link",
        &["token?", "token", "RESYNC", "change 3", "refused 0", "changes 6"],
        &["token?", "token", "push 3", "changes since? 20"],
    ),
    ("A inserts", &["change 1"], &[]),
    ("B inserts", &["change 1", "refused 0"], &["push 1"]),
    ("both edit the same document", &["change 1", "refused 1"], &["push 1+"]),
    ("A deletes", &["change 1"], &[]),
];

fn tell(message: &Message) -> String {
    match message {
        Message::Request { request: Request::Token, .. } => "token?".into(),
        Message::Request { request: Request::ChangesSince { batch_size, .. }, .. } => {
            format!("changes since? {batch_size}")
        }
        Message::Request { request: Request::Write { rows }, .. } => {
            let assumed = rows.iter().filter(|row| row.assumed_master_state.is_some()).count();
            format!("push {}{}", rows.len(), "+".repeat(assumed))
        }
        Message::Answer { answer: Answer::Token(_), .. } => "token".into(),
        Message::Answer { answer: Answer::Changes(changes), .. } => {
            format!("changes {}", changes.documents.len())
        }
        Message::Answer { answer: Answer::Refused(states), .. } => format!("refused {}", states.len()),
        Message::Change(Change::Resync) => "RESYNC".into(),
        Message::Change(Change::Documents(changes)) => format!("change {}", changes.documents.len()),
    }
}

/// Delivers everything, and returns what A and what B said.
fn settle(mesh: &mut Mesh) -> [Vec<String>; 2] {
    let mut said = [Vec::new(), Vec::new()];
    while !mesh.quiet() {
        for direction in mesh.deliverable() {
            said[direction.from].push(tell(&mesh.deliver(direction).unwrap().message.unwrap()));
        }
    }
    said
}

#[test]
fn two_peers_say_what_rxdb_peers_said() {
    let tokens = tokens_for(2, &[(0, 1)]).unwrap();
    let mut mesh = Mesh::new(&tokens, &Settings::default(), &master_wins());
    let document = |id: &str, name: &str| json!({ "id": id, "name": name });
    for number in 0..3 {
        mesh.write(0, document(&format!("A-{number}"), "first")).unwrap();
        mesh.write(1, document(&format!("B-{number}"), "first")).unwrap();
    }
    for (story, master, fork) in CAPTURED {
        match story {
            "A inserts" => drop(mesh.write(0, document("LA", "live")).unwrap()),
            "B inserts" => drop(mesh.write(1, document("LB", "live")).unwrap()),
            "both edit the same document" => {
                mesh.write(0, document("A-0", "edit of A")).unwrap();
                mesh.write(1, document("A-0", "edit of B")).unwrap();
            }
            "A deletes" => {
                mesh.write(0, json!({ "id": "B-0", "name": "first", "_deleted": true })).unwrap();
            }
            _ => mesh.link(0, 1),
        }
        let [a, b] = settle(&mut mesh);
        assert_eq!(a, master, "what A says when {story}");
        assert_eq!(b, fork, "what B says when {story}");
        assert!(mesh.converged(), "{story}");
    }
    assert_eq!(mesh.peer(1).state("A-0").unwrap()["name"], "edit of A");
    assert_eq!(mesh.peer(1).state("B-0").unwrap()["_deleted"], true);
}

#[test]
fn a_refused_push_is_resolved_and_pushed_on_top_of_what_the_master_has() {
    let mut mesh = mesh(&[(0, 1)], &newest());
    mesh.write(0, note("master", 1)).unwrap();
    mesh.write(1, note("fork", 2)).unwrap();
    let (up, down) = (Direction { from: 1, to: 0 }, Direction { from: 0, to: 1 });
    mesh.deliver(down).unwrap();
    assert_eq!(text(&mesh, 1), "fork", "what is streamed does not overwrite what is to be pushed");
    assert_eq!(tell(&mesh.deliver(up).unwrap().message.unwrap()), "push 1+");
    assert_eq!(text(&mesh, 0), "master");
    let token = mesh.peer(0).token().to_owned();
    assert_eq!(tell(&mesh.deliver(down).unwrap().message.unwrap()), "refused 1");
    assert_eq!(mesh.peer(1).assumed_master_state(&token, "note").unwrap()["text"], "master");

    let Some(Message::Request { request: Request::Write { rows }, .. }) = mesh.queue(up).next() else {
        panic!("the resolved state is pushed")
    };
    assert_eq!(rows[0].assumed_master_state.as_ref().unwrap()["text"], "master");
    assert_eq!(rows[0].new_document_state["text"], "fork");
    mesh.settle(100).unwrap().unwrap();
    assert_eq!((text(&mesh, 0), text(&mesh, 1)), ("fork", "fork"));
    assert_eq!(mesh.peer(1).assumed_master_state(&token, "note").unwrap()["text"], "fork");
}

#[test]
fn one_push_is_on_its_way_at_a_time() {
    let mut mesh = mesh(&[(0, 1)], &newest());
    let up = Direction { from: 1, to: 0 };
    for at in 1..=5 {
        mesh.write(1, note("again", at)).unwrap();
        assert_eq!(mesh.queue(up).count(), 1);
    }
    mesh.settle(100).unwrap().unwrap();
    assert_eq!(mesh.peer(0).state("note").unwrap()["at"], 5);
}

#[test]
fn what_comes_over_one_link_is_offered_over_the_others() {
    let mut mesh = mesh(&LADDER, &newest());
    mesh.write(2, note("from C", 1)).unwrap();
    // C pushes to B. B, as the fork of A, pushes on, though A will hear it from C as well.
    mesh.deliver(Direction { from: 2, to: 1 }).unwrap();
    let said: Vec<_> = mesh.queue(Direction { from: 1, to: 0 }).map(tell).collect();
    assert_eq!(said, ["push 1+"]);
}

#[test]
fn a_fork_goes_on_where_it_was_after_a_lost_connection() {
    let mut mesh = mesh(&[(0, 1)], &newest());
    mesh.write(1, note("on its way", 1)).unwrap();
    mesh.unlink(0, 1);
    mesh.write(0, json!({ "id": "other" })).unwrap();
    mesh.link(0, 1);
    let [a, b] = settle(&mut mesh);
    assert_eq!(b, ["token?", "token", "push 1+", "changes since? 20"]);
    assert_eq!(a, ["token?", "token", "RESYNC", "change 1", "refused 0", "changes 2"]);
    assert!(mesh.converged());
}

#[test]
fn a_backlog_is_moved_in_batches() {
    let documents: Vec<_> = (0..50).map(|number| json!({ "id": format!("{number:02}") })).collect();
    for (first, expected) in [(0, "changes 20"), (1, "push 20")] {
        let tokens = tokens_for(2, &[(0, 1)]).unwrap();
        let mut mesh = Mesh::new(&tokens, &Settings::default(), &newest());
        for document in &documents {
            mesh.write(first, document.clone()).unwrap();
        }
        mesh.link(0, 1);
        let said = settle(&mut mesh);
        assert_eq!(said[first].iter().filter(|said| *said == expected).count(), 2, "{said:?}");
        assert!(mesh.converged());
    }
}

#[test]
fn a_fork_that_starts_early_pulls_again_at_resync() {
    let settings = Settings { fork_start: ForkStart::AtToken, ..Settings::default() };
    let tokens = tokens_for(2, &[(0, 1)]).unwrap();
    let mut mesh = Mesh::new(&tokens, &settings, &newest());
    mesh.write(0, note("a", 1)).unwrap();
    mesh.link(0, 1);
    let [_, fork] = settle(&mut mesh);
    assert_eq!(fork.iter().filter(|said| said.starts_with("changes since")).count(), 2);
    assert!(mesh.converged());
}

#[test]
fn messages_survive_a_connection_of_bytes() {
    let mut mesh = mesh_with_roles(&LADDER, &[], &Settings::default(), &newest()).unwrap();
    mesh.write(2, note("a", 1)).unwrap();
    mesh.write(0, note("b", 2)).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    while let Some(&direction) = mesh.deliverable().first() {
        for message in mesh.queue(direction) {
            let bytes = serde_json::to_vec(message).unwrap();
            assert_eq!(&serde_json::from_slice::<Message>(&bytes).unwrap(), message);
            kinds.insert(tell(message));
        }
        mesh.deliver(direction).unwrap();
    }
    assert!(
        kinds.contains("refused 1") && kinds.contains("change 1") && kinds.contains("push 1"),
        "{kinds:?}"
    );
}

#[test]
fn bad_input_is_refused() {
    let mut peer = Peer::new("token", Settings::default(), master_wins());
    let mut outputs: Vec<Output> = Vec::new();
    let bad =
        [json!(1), json!({ "name": "no id" }), json!({ "id": 7 }), json!({ "id": "x", "_deleted": "yes" })];
    for document in bad {
        let refused = peer.handle(Input::Write(document), &mut outputs);
        assert!(matches!(refused, Err(PeerError::NotADocument { .. })));
    }
    let message = Message::Change(Change::Resync);
    let refused = peer.handle(Input::Message(LinkId(3), message), &mut outputs);
    assert_eq!(refused, Err(PeerError::NoSuchLink(LinkId(3))));
    assert_eq!(peer.handle(Input::LinkDown(LinkId(3)), &mut outputs), Err(PeerError::NoSuchLink(LinkId(3))));
    peer.handle(Input::LinkUp(LinkId(3)), &mut outputs).unwrap();
    let answer = Message::Answer { id: 0, answer: Answer::Refused(Vec::new()) };
    let refused = peer.handle(Input::Message(LinkId(3), answer), &mut outputs);
    assert_eq!(refused, Err(PeerError::UnexpectedAnswer(LinkId(3))));
    assert_eq!(peer.documents().count(), 0);
}

#[test]
fn a_handler_that_returns_another_document_is_reported() {
    struct Renames;
    impl RxdbConflictHandler for Renames {
        fn is_equal(&self, a: &Value, b: &Value) -> bool {
            a == b
        }
        fn resolve(&self, _: &Value, _: &Value, _: Option<&Value>) -> Value {
            json!({ "id": "another" })
        }
    }
    let mut mesh = mesh(&[(0, 1)], &(Arc::new(Renames) as Arc<dyn RxdbConflictHandler>));
    mesh.write(0, note("a", 1)).unwrap();
    mesh.write(1, note("b", 1)).unwrap();
    assert!(matches!(mesh.settle(100), Err(PeerError::NotAResolution { id, .. }) if id == "note"));
}
