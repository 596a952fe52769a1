//! A peer that means no good: whatever it says, little memory is held for it, and the conversation goes on or ends with a reason.

mod support;

use peerloom_core::LastWriteWins;
use peerloom_rxdb::{CloseReason, Message, Settings};
use serde_json::{Value, json};
use support::{Peer, Store};

const MASTER: &str = "tok0x0aaaa";
const FORK: &str = "tok1x0aaaa";

/// A session that has not been told who the peer is.
fn unmet(store: Store, own: &str, settings: Settings) -> (Peer, String) {
    let mut peer = Peer::connect(store, own, settings);
    let (token, _) = peer.asked("token");
    (peer, token)
}

fn master(store: Store, settings: Settings) -> Peer {
    let (mut peer, token) = unmet(store, MASTER, settings);
    peer.answer(&token, &json!(FORK));
    peer.said();
    peer
}

fn fork(store: Store, settings: Settings) -> Peer {
    let (mut peer, token) = unmet(store, FORK, settings);
    peer.answer(&token, &json!(MASTER));
    peer
}

fn write_of(rows: &str) -> String {
    format!(r#"{{"id":"w","method":"masterWrite","params":[[{rows}]]}}"#)
}

#[test]
fn a_short_message_that_is_long_in_memory_ends_the_conversation() {
    let settings = Settings { parsed_bytes_max: 1 << 20, ..Settings::default() };
    for (item, times) in [(r#"{"":1}"#, 2000), ("[]", 6000), ("1", 9000)] {
        let few = write_of(&vec![item; times / 2].join(","));
        let many = write_of(&vec![item; times].join(","));
        let mut peer = master(Store::new(LastWriteWins), settings.clone());
        peer.hear(&few);
        assert_eq!((peer.said().len(), &peer.closed), (1, &None), "{item}: half of it is answered");
        peer.hear(&many);
        let closed = matches!(peer.closed, Some(CloseReason::Message { bytes_max: 0x0010_0000, .. }));
        assert!(closed, "{item}: {:?}", peer.closed);
    }
}

#[test]
fn brackets_and_quotes_within_strings_cost_nothing() {
    let settings = Settings { parsed_bytes_max: 100_000, ..Settings::default() };
    let mut peer = master(Store::new(LastWriteWins), settings);
    let title = r#"\"[{,\\"#.repeat(1000);
    peer.hear(&write_of(&format!(r#"{{"newDocumentState":{{"id":"a","title":"{title}"}}}}"#)));
    assert_eq!((&peer.closed, peer.store.heads("a")), (&None, 1));
}

#[test]
fn who_asks_without_end_before_it_says_who_it_is_is_sent_away() {
    let (mut peer, _) = unmet(Store::new(LastWriteWins), MASTER, Settings::default());
    let write = write_of(&vec!["{}"; 5000].join(","));
    let mut heard = 0;
    while peer.closed.is_none() {
        peer.hear(&write);
        heard += 1;
    }
    assert_eq!(peer.closed, Some(CloseReason::Unnamed));
    assert!(heard < 10, "{heard} writes of 5,000 rows were kept");
}

#[test]
fn a_checkpoint_that_grows_with_every_page_ends_the_conversation() {
    let mut peer = fork(Store::new(LastWriteWins), Settings::default());
    let (pull, _) = peer.asked("masterChangesSince");
    peer.answer(&pull, &json!({ "documents": [], "checkpoint": { "lwt": 1 } }));
    let mut pages = 0;
    while peer.closed.is_none() {
        let mut checkpoint = json!({});
        checkpoint[format!("k{pages}")] = "x".repeat(1000).into();
        peer.answer("masterChangeStream$", &json!({ "documents": [], "checkpoint": checkpoint }));
        pages += 1;
    }
    assert!(matches!(peer.closed, Some(CloseReason::Checkpoint { .. })), "{:?}", peer.closed);
    assert!((50..70).contains(&pages), "{pages} pages of a kilobyte each");
}

#[test]
fn a_row_of_some_bytes_does_not_call_for_megabytes_again_and_again() {
    let mut store = Store::new(LastWriteWins);
    store.put(&json!({ "id": "a", "title": "x".repeat(10_000) }));
    let settings = Settings { message_bytes_max: 64 << 10, ..Settings::default() };
    let mut peer = master(store, settings);
    let row = r#"{"newDocumentState":{"id":"a","title":"other"}}"#;
    let mut answer = |rows: usize| {
        peer.hear(&write_of(&vec![row; rows].join(",")));
        let is_answer = |message: &Message| matches!(message, Message::Response { id, .. } if id == "w");
        match peer.said().into_iter().find(is_answer) {
            Some(Message::Response { result, error, .. }) => (result, error.is_some()),
            _ => panic!("it is answered"),
        }
    };
    assert_eq!(answer(1000), (Value::Null, true));
    let (refused, failed) = answer(5);
    assert_eq!((refused.as_array().map(Vec::len), failed), (Some(5), false));
}

#[test]
fn a_master_that_differs_in_everything_gets_everything() {
    const DOCUMENTS: usize = 1500;
    let id = |number: usize| format!("d{number:04}");
    let mut store = Store::new(LastWriteWins);
    (0..DOCUMENTS).for_each(|number| store.put(&json!({ "id": id(number), "title": "ours" })));
    let mut peer = fork(store, Settings::default());
    let (pull, _) = peer.asked("masterChangesSince");
    let theirs = |number| json!({ "id": id(number), "title": "theirs", "_deleted": false });
    let documents: Vec<Value> = (0..DOCUMENTS).map(theirs).collect();
    let checkpoint = json!({ "id": id(DOCUMENTS - 1), "lwt": 1 });
    peer.answer(&pull, &json!({ "documents": documents, "checkpoint": checkpoint }));
    let mut pushed = std::collections::BTreeSet::new();
    loop {
        let said = peer.said();
        let Some(Message::Request { id, method, params }) = said.last() else { break };
        let answer = match method.as_str() {
            "masterWrite" => {
                let rows = params[0].as_array().expect("rows").iter();
                pushed.extend(rows.map(|row| row["newDocumentState"]["id"].to_string()));
                json!([])
            }
            _ => json!({ "documents": [], "checkpoint": null }),
        };
        peer.answer(&id.clone(), &answer);
    }
    assert_eq!((pushed.len(), peer.session.is_caught_up()), (DOCUMENTS, true));
}
