//! What a peer's states mean: what is a write on its behalf, what had it seen, and what is no write.

mod support;

use std::time::Duration;

use peerloom_core::{FieldWise, Head, LastWriteWins, MergeWith};
use peerloom_rxdb::{CloseReason, Direction, Event, Message, Settings, Unfit};
use serde_json::{Value, json};
use support::{Peer, Store};

const MASTER: &str = "tok0x0aaaa";
const FORK: &str = "tok1x0aaaa";

fn held(document: &Value, deleted: bool) -> Value {
    let mut held = document.clone();
    held["_deleted"] = deleted.into();
    held
}

fn page(documents: &[Value]) -> Value {
    json!({ "checkpoint": { "id": "any", "lwt": 1.5 }, "documents": documents })
}

/// A session that is the master of the peer, with its first words said.
fn master(store: Store) -> Peer {
    begun(store, MASTER, FORK, Settings::default())
}

/// A session that is the fork of the peer, which had these documents to pull.
fn fork(store: Store, documents: &[Value]) -> Peer {
    let mut fork = begun(store, FORK, MASTER, Settings::default());
    let (pull, _) = fork.asked("masterChangesSince");
    fork.answer(&pull, &page(documents));
    fork
}

fn begun(store: Store, own: &str, other: &str, settings: Settings) -> Peer {
    let mut peer = Peer::connect(store, own, settings);
    let (token, _) = peer.asked("token");
    peer.answer(&token, &json!(other));
    if own == MASTER {
        peer.said();
    }
    peer
}

fn write(master: &mut Peer, assumed: Option<&Value>, new: &Value) -> Value {
    let mut row = json!({ "newDocumentState": new });
    if let Some(assumed) = assumed {
        row["assumedMasterState"] = assumed.clone();
    }
    master.hear_value(&json!({ "id": "w", "method": "masterWrite", "params": [[row]] }));
    let said = master.said();
    let Some(Message::Response { result, .. }) =
        said.into_iter().find(|message| matches!(message, Message::Response { id, .. } if id == "w"))
    else {
        panic!("it is answered")
    };
    result
}

fn pull(master: &mut Peer, checkpoint: &Value) -> Value {
    let params = json!([checkpoint, 20]);
    master.hear_value(&json!({ "id": "p", "method": "masterChangesSince", "params": params }));
    master.answered().1
}

fn told(fork: &mut Peer, document: &Value) {
    fork.answer("masterChangeStream$", &page(std::slice::from_ref(document)));
}

/// The documents of each message of a change stream.
fn told_by(said: &[Message]) -> Vec<Value> {
    let told = |message: &Message| match message {
        Message::Response { id, result, .. } if id == "masterChangeStream$" => {
            Some(result["documents"].clone())
        }
        _ => None,
    };
    said.iter().filter_map(told).collect()
}

fn todo(title: &str) -> Value {
    json!({ "id": "milk", "title": title })
}

fn stored(title: &str) -> Store {
    let mut store = Store::new(LastWriteWins);
    store.put(&todo(title));
    store
}

#[test]
fn a_write_upon_what_was_served_supersedes_it() {
    let mut master = master(stored("one"));
    let answer = write(&mut master, Some(&held(&todo("one"), false)), &held(&todo("two"), false));
    assert_eq!((answer, master.store.heads("milk")), (json!([]), 1));
    assert_eq!(master.store.get("milk"), Some(todo("two")));
}

#[test]
fn a_write_upon_an_older_state_is_refused_with_our_view() {
    let mut master = master(stored("one"));
    master.write(|store| store.put(&todo("newer")));
    master.said();
    let answer = write(&mut master, Some(&held(&todo("one"), false)), &held(&todo("two"), false));
    assert_eq!(answer, json!([held(&todo("newer"), false)]));
    assert_eq!((master.store.get("milk"), master.store.heads("milk")), (Some(todo("newer")), 1));
    let answer = write(&mut master, Some(&held(&todo("newer"), false)), &held(&todo("both"), false));
    assert_eq!((answer, master.store.heads("milk")), (json!([]), 1));
}

#[test]
fn key_order_and_the_primary_key_do_not_matter_for_equality() {
    let mut store = Store::new(LastWriteWins);
    store.put(&json!({ "id": "milk", "b": [1, { "y": null, "x": 1 }], "a": 1 }));
    let mut master = master(store);
    let assumed = r#"{"_deleted":false,"b":[1,{"x":1,"y":null}],"a":1,"id":"milk"}"#;
    let new = r#"{"a":2,"id":"milk","_deleted":false}"#;
    master.hear(&format!(
        r#"{{"method":"masterWrite","params":[[{{"assumedMasterState":{assumed},"newDocumentState":{new}}}]],"id":"w"}}"#
    ));
    assert_eq!(master.answered(), ("w".to_owned(), json!([])));
    assert_eq!(master.store.get("milk"), Some(json!({ "id": "milk", "a": 2 })));
}

#[test]
fn null_is_not_the_same_as_nothing() {
    let mut store = Store::new(LastWriteWins);
    store.put(&json!({ "id": "milk", "note": null }));
    let mut master = master(store);
    let answer =
        write(&mut master, Some(&json!({ "id": "milk", "_deleted": false })), &held(&todo("x"), false));
    assert_eq!(answer, json!([{ "id": "milk", "note": null, "_deleted": false }]));
}

#[test]
fn a_peer_is_never_told_what_it_wrote_itself() {
    let mut master = master(stored("one"));
    let served = pull(&mut master, &Value::Null);
    assert_eq!(served["documents"], json!([held(&todo("one"), false)]));
    assert_eq!(write(&mut master, Some(&held(&todo("one"), false)), &held(&todo("two"), false)), json!([]));
    assert_eq!(master.said(), [], "an answer, and no change");
    let nothing_new = json!({ "checkpoint": served["checkpoint"], "documents": [] });
    assert_eq!(pull(&mut master, &served["checkpoint"]), nothing_new);
}

#[test]
fn a_write_after_a_refused_one_is_told_because_of_what_was_told_before() {
    let mut master = master(stored("one"));
    pull(&mut master, &Value::Null);
    master.write(|store| store.put(&todo("ours")));
    assert_eq!(master.answered().1["documents"], json!([held(&todo("ours"), false)]));
    // The fork has not taken that up when it writes, and perhaps not when it writes again upon the answer.
    let (ours, both) = (held(&todo("ours"), false), held(&todo("both"), false));
    let refused = write(&mut master, Some(&held(&todo("one"), false)), &held(&todo("theirs"), false));
    assert_eq!(refused, json!([ours]));
    let row = json!({ "assumedMasterState": ours, "newDocumentState": both });
    master.hear_value(&json!({ "id": "w", "method": "masterWrite", "params": [[row]] }));
    let said = master.said();
    let told = |message: &Message| match message {
        Message::Response { id, result, .. } if id == "masterChangeStream$" => {
            Some(result["documents"].clone())
        }
        _ => None,
    };
    assert_eq!(said.iter().filter_map(told).collect::<Vec<_>>(), [json!([both])]);
    assert_eq!(master.store.heads("milk"), 1, "and it is no write of ours");
}

#[test]
fn a_write_is_told_if_more_than_one_state_was_told_before() {
    let mut master = master(stored("one"));
    for title in ["two", "one"] {
        master.write(|store| store.put(&todo(title)));
        assert_eq!(master.answered().1["documents"], json!([held(&todo(title), false)]));
    }
    // Written upon which of the two? If upon the first, the second is still to come.
    let row = json!({ "assumedMasterState": held(&todo("one"), false), "newDocumentState": held(&todo("mine"), false) });
    master.hear_value(&json!({ "id": "w", "method": "masterWrite", "params": [[row]] }));
    let said = master.said();
    assert_eq!(told_by(&said), [json!([held(&todo("mine"), false)])]);
}

#[test]
fn a_state_that_was_changed_here_and_changed_back_is_told() {
    let mut master = master(Store::new(LastWriteWins));
    assert_eq!(write(&mut master, None, &held(&todo("one"), false)), json!([]));
    for title in ["two", "one"] {
        master.write(|store| store.put(&todo(title)));
        assert_eq!(master.answered().1["documents"], json!([held(&todo(title), false)]));
    }
}

#[test]
fn a_fork_that_comes_back_empty_is_served_all_that_it_had() {
    let mut master = master(Store::new(LastWriteWins));
    assert_eq!(write(&mut master, None, &held(&todo("one"), false)), json!([]));
    let mut again = begun(master.store, MASTER, FORK, Settings::default());
    assert_eq!(pull(&mut again, &Value::Null)["documents"], json!([held(&todo("one"), false)]));
}

#[test]
fn a_master_that_comes_back_empty_is_pushed_all_that_it_had() {
    let milk = held(&todo("one"), false);
    let bread = json!({ "id": "bread", "title": "brown" });
    let tea = held(&json!({ "id": "tea", "title": "green" }), false);
    for finds in [Vec::new(), vec![tea]] {
        let mut store = fork(Store::new(LastWriteWins), std::slice::from_ref(&milk)).store;
        store.put(&bread);
        store.remove("milk");
        // Twice: the first time it is lost again before it has taken anything.
        for _ in 0..2 {
            let mut back = begun(store, FORK, MASTER, Settings::default());
            let (oldest, params) = back.asked("masterChangesSince");
            assert_eq!(params, json!([null, 1]).as_array().expect("parameters").as_slice());
            let after = |documents: &[Value]| json!({ "checkpoint": { "id": "tea", "lwt": 2 }, "documents": documents });
            back.answer(&oldest, &after(&finds));
            let (pulled, params) = back.asked("masterChangesSince");
            assert_eq!(params[0], json!({ "id": "any", "lwt": 1.5 }), "nothing of it was noted");
            back.answer(&pulled, &after(&finds));
            let (_, rows) = back.asked("masterWrite");
            let new = |id: &str, title: &str, deleted| json!({ "newDocumentState": { "id": id, "title": title, "_deleted": deleted } });
            assert_eq!(rows[0], json!([new("bread", "brown", false), new("milk", "one", true)]));
            store = back.store;
            store.reopen();
        }
    }
}

#[test]
fn a_master_of_which_everything_was_edited_is_not_taken_for_an_empty_one() {
    let mut store = fork(Store::new(LastWriteWins), &[held(&todo("one"), false)]).store;
    store.reopen();
    let mut back = begun(store, FORK, MASTER, Settings::default());
    for _ in 0..2 {
        let (request, _) = back.asked("masterChangesSince");
        let page =
            json!({ "checkpoint": { "id": "milk", "lwt": 2 }, "documents": [held(&todo("two"), false)] });
        back.answer(&request, &page);
    }
    assert_eq!(back.said(), [], "it is not pushed what it has told of");
    assert_eq!((back.store.get("milk"), back.store.heads("milk")), (Some(todo("two")), 1));
    assert!(back.session.is_caught_up());
}

#[test]
fn a_served_checkpoint_leads_on_and_a_foreign_one_to_the_start() {
    let mut store = Store::new(LastWriteWins);
    for number in 0..5 {
        store.put(&json!({ "id": format!("d{number}") }));
    }
    let mut master = master(store);
    let mut pull = |checkpoint: &Value| {
        let params = json!([checkpoint, 3]);
        master.hear_value(&json!({ "id": "p", "method": "masterChangesSince", "params": params }));
        master.answered().1
    };
    let first = pull(&Value::Null);
    let ids = |page: &Value| {
        let documents = page["documents"].as_array().expect("documents").clone();
        documents.iter().map(|document| document["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&first), ["d0", "d1", "d2"]);
    assert!(first["checkpoint"]["id"].is_string() && first["checkpoint"]["lwt"].is_number());
    let second = pull(&first["checkpoint"]);
    assert_eq!(ids(&second), ["d3", "d4"]);
    assert_eq!(pull(&second["checkpoint"]), json!({ "checkpoint": second["checkpoint"], "documents": [] }));
    assert_eq!(ids(&pull(&json!({ "id": "d4", "lwt": 1795339342583.04 }))), ["d0", "d1", "d2"]);
}

#[test]
fn a_peer_that_slept_through_a_delete_does_not_revive_the_document() {
    let mut store = stored("one");
    store.remove("milk");
    let mut fork = fork(store, &[held(&todo("one, edited while away"), false)]);
    assert_eq!(fork.store.get("milk"), None);
    assert_eq!(fork.store.heads("milk"), 2, "but what it had is kept");
    let (push, rows) = fork.asked("masterWrite");
    assert_eq!(rows[0][0]["newDocumentState"]["_deleted"], true);
    assert_eq!(rows[0][0]["assumedMasterState"], held(&todo("one, edited while away"), false));
    fork.answer(&push, &json!([]));
    assert_eq!(fork.said(), []);
}

#[test]
fn a_first_contact_of_a_fork_loses_nothing_either() {
    let mut master = master(stored("ours"));
    let answer = write(&mut master, None, &held(&todo("theirs"), false));
    assert_eq!(answer, json!([held(&todo("ours"), false)]));
    assert_eq!(master.store.heads("milk"), 2);
    let answer =
        write(&mut master, Some(&held(&todo("ours"), false)), &held(&todo("ours and theirs"), false));
    assert_eq!((answer, master.store.heads("milk")), (json!([]), 1));
}

#[test]
fn our_own_earlier_views_handed_back_are_no_writes() {
    let mut fork = fork(stored("one"), &[]);
    let (_push, _) = fork.asked("masterWrite");
    for title in ["two", "three", "four"] {
        fork.write(|store| store.put(&todo(title)));
    }
    let end = fork.store.end();
    // By another way it got what was seen here in between.
    told(&mut fork, &held(&todo("two"), false));
    assert_eq!((fork.store.end(), fork.store.get("milk")), (end, Some(todo("four"))));
    // What it is told of comes to mean that it had seen that much.
    told(&mut fork, &held(&todo("edited"), false));
    assert_eq!(fork.store.heads("milk"), 2, "it had not seen four");
}

#[test]
fn a_view_before_the_last_sixteen_counts_as_a_write() {
    let mut fork = fork(stored("first"), &[]);
    fork.said();
    for number in 0..17 {
        fork.write(|store| store.put(&todo(&format!("{number}"))));
    }
    let end = fork.store.end();
    told(&mut fork, &held(&todo("0"), false));
    assert_eq!(fork.store.end(), end, "the sixteenth before the present one");
    told(&mut fork, &held(&todo("first"), false));
    assert!(fork.store.end() > end);
}

#[test]
fn a_user_who_goes_back_to_an_earlier_state_makes_a_write() {
    let mut fork = fork(Store::new(LastWriteWins), &[held(&todo("one"), false)]);
    told(&mut fork, &held(&todo("two"), false));
    told(&mut fork, &held(&todo("one"), false));
    assert_eq!((fork.store.get("milk"), fork.store.heads("milk")), (Some(todo("one")), 1));
}

#[test]
fn what_a_peer_wrote_does_not_claim_to_have_seen_what_stands_beside_it() {
    let mut fork = fork(Store::new(FieldWise), &[held(&json!({ "id": "milk", "a": 0, "b": 0 }), false)]);
    fork.write(|store| store.put(&json!({ "id": "milk", "a": 1, "b": 0 })));
    fork.said();
    // Twice, without having seen our edit of `a`.
    told(&mut fork, &held(&json!({ "id": "milk", "a": 0, "b": 1 }), false));
    told(&mut fork, &held(&json!({ "id": "milk", "a": 0, "b": 2 }), false));
    assert_eq!(fork.store.heads("milk"), 2, "its first write is superseded, ours is not");
    assert_eq!(fork.store.get("milk"), Some(json!({ "id": "milk", "a": 1, "b": 2 })));
}

#[test]
fn a_restart_between_a_push_and_its_answer_makes_no_write_of_the_echo() {
    let mut fork = fork(Store::new(LastWriteWins), &[held(&todo("one"), false)]);
    fork.write(|store| store.put(&todo("two")));
    fork.asked("masterWrite");
    fork.write(|store| store.put(&todo("three")));
    let mut store = fork.store;
    store.reopen();
    let end = store.end();
    let mut fork = begun(store, FORK, MASTER, Settings::default());
    let (oldest, _) = fork.asked("masterChangesSince");
    fork.answer(
        &oldest,
        &json!({ "checkpoint": { "id": "any", "lwt": 1 }, "documents": [held(&todo("one"), false)] }),
    );
    let (pull, params) = fork.asked("masterChangesSince");
    assert_eq!(params[0], json!({ "id": "any", "lwt": 1.5 }), "from where it was");
    fork.answer(&pull, &page(&[held(&todo("two"), false)]));
    assert_eq!(fork.store.end(), end);
    let (_, rows) = fork.asked("masterWrite");
    let row = json!({ "assumedMasterState": held(&todo("two"), false), "newDocumentState": held(&todo("three"), false) });
    assert_eq!(rows[0][0], row);
}

/// `a` was changed by the peer and `b` here, at once. Whole documents: the peer's edit is the later one. By field: both.
fn in_conflict() -> Store {
    let mut fork = fork(Store::new(LastWriteWins), &[held(&json!({ "id": "milk", "a": 0, "b": 0 }), false)]);
    fork.write(|store| store.put(&json!({ "id": "milk", "a": 0, "b": 1 })));
    let (push, _) = fork.asked("masterWrite");
    let theirs = held(&json!({ "id": "milk", "a": 1, "b": 0 }), false);
    fork.answer(&push, &json!([theirs]));
    assert_eq!(fork.store.heads("milk"), 2);
    fork.store
}

#[test]
fn a_view_of_an_earlier_handler_handed_back_is_no_write() {
    let mut store = in_conflict();
    let before = store.get("milk").expect("a view");
    store.change_handler(MergeWith::new("least", |heads: &[Head]| heads[0].state.clone()));
    let after = store.get("milk").expect("a view");
    assert_ne!(before, after);
    store.reopen();
    let (end, heads) = (store.end(), store.heads("milk"));
    // Somebody who was shown it at another time.
    let mut other = begun(store, FORK, "tok0x1aaaa", Settings::default());
    let (pull, _) = other.asked("masterChangesSince");
    other.answer(&pull, &page(&[held(&before, false)]));
    assert_eq!((other.store.end(), other.store.heads("milk")), (end, heads));
    let (_, rows) = other.asked("masterWrite");
    assert_eq!(rows[0][0]["newDocumentState"], held(&after, false));
}

#[test]
fn what_another_handler_makes_of_a_conflict_is_served() {
    let mut master = master(in_conflict());
    let checkpoint = pull(&mut master, &Value::Null)["checkpoint"].clone();
    let mut store = master.store;
    store.change_handler(MergeWith::new("least", |heads: &[Head]| heads[0].state.clone()));
    let view = held(&store.get("milk").expect("a view"), false);
    store.reopen();
    let mut master = begun(store, MASTER, FORK, Settings::default());
    assert_eq!(pull(&mut master, &checkpoint)["documents"], json!([view]));
}

#[test]
fn nothing_is_pushed_that_the_master_has() {
    let mut fork = fork(stored("one"), &[held(&todo("one"), false)]);
    assert_eq!(fork.said(), []);
    fork.write(|store| store.put(&todo("two")));
    let (push, _) = fork.asked("masterWrite");
    // An edit and its undoing while the push is on its way.
    fork.write(|store| store.put(&todo("three")));
    fork.write(|store| store.put(&todo("two")));
    fork.answer(&push, &json!([]));
    assert_eq!(fork.said(), []);
    assert!(fork.session.is_caught_up());
}

#[test]
fn what_cannot_cross_over_is_passed_over_and_counted() {
    let mut store = Store::new(LastWriteWins);
    store.put(&json!({ "id": "good" }));
    store.put(&json!({ "id": "rounded", "n": 9_007_199_254_740_993_u64 }));
    let mut fork =
        fork(store, &[json!({ "title": "without an id" }), held(&json!({ "id": "theirs" }), false)]);
    let (_, rows) = fork.asked("masterWrite");
    assert_eq!(rows[0].as_array().map(Vec::len), Some(1));
    assert_eq!(rows[0][0]["newDocumentState"]["id"], "good");
    assert_eq!(fork.session.counters().documents_left_out, 2);
    assert!(fork.events.contains(&Event::LeftOut { id: None, why: Unfit::NotADocument }));
    assert!(fork.store.get("theirs").is_some());
}

#[test]
fn a_document_that_the_master_stumbles_over_does_not_hold_up_the_others() {
    let mut store = Store::new(LastWriteWins);
    store.put(&json!({ "id": "good" }));
    store.put(&json!({ "id": "ill", "title": 1 }));
    let mut fork = fork(store, &[]);
    let (push, _) = fork.asked("masterWrite");
    let error = |id: &str| json!({ "id": id, "result": null, "error": { "message": "schema" } });
    fork.hear_value(&error(&push));
    // It pulls, and pushes them one by one.
    let (pull, _) = fork.asked("masterChangesSince");
    fork.answer(&pull, &page(&[]));
    let (push, rows) = fork.asked("masterWrite");
    assert_eq!(rows[0].as_array().map(Vec::len), Some(1));
    fork.answer(&push, &json!([]));
    let (push, rows) = fork.asked("masterWrite");
    assert_eq!(rows[0][0]["newDocumentState"]["id"], "ill");
    fork.hear_value(&error(&push));
    assert_eq!(fork.session.counters().documents_left_out, 1);
    assert!(fork.session.is_caught_up());
}

#[test]
fn a_request_without_an_answer_is_made_again() {
    let settings = Settings::default();
    let (timeout, retry) = (settings.request_timeout, settings.retry_after);
    let mut fork = begun(Store::new(LastWriteWins), FORK, MASTER, settings);
    let (first, _) = fork.asked("masterChangesSince");
    fork.pass(timeout);
    assert_eq!(fork.said(), []);
    fork.pass(retry);
    let (second, _) = fork.asked("masterChangesSince");
    assert_ne!(first, second);
    fork.answer(&first, &page(&[held(&todo("late"), false)]));
    assert_eq!(fork.store.get("milk"), None, "nobody waits for that any more");
    fork.answer(&second, &page(&[held(&todo("in time"), false)]));
    assert_eq!(fork.store.get("milk"), Some(todo("in time")));
}

#[test]
fn changes_told_during_a_pull_are_pulled_after_it() {
    let mut fork = begun(Store::new(LastWriteWins), FORK, MASTER, Settings::default());
    let (pull, _) = fork.asked("masterChangesSince");
    told(&mut fork, &held(&todo("one"), false));
    fork.answer(&pull, &page(&[]));
    let (pull, _) = fork.asked("masterChangesSince");
    fork.answer(&pull, &page(&[held(&todo("one"), false)]));
    assert_eq!(fork.store.get("milk"), Some(todo("one")));
    fork.answer("masterChangeStream$", &json!("RESYNC"));
    fork.asked("masterChangesSince");
}

#[test]
fn one_way_means_one_way() {
    let one_way = |direction| Settings { direction, ..Settings::default() };
    let mut master = begun(stored("ours"), MASTER, FORK, one_way(Direction::PullOnly));
    master.hear_value(&json!({ "id": "p", "method": "masterChangesSince", "params": [null, 20] }));
    assert_eq!(master.answered().1["documents"], json!([]));
    assert_eq!(write(&mut master, None, &held(&json!({ "id": "new" }), false)), json!([]));
    assert!(master.store.get("new").is_some());

    let mut master = begun(stored("ours"), MASTER, FORK, one_way(Direction::PushOnly));
    assert_eq!(write(&mut master, None, &held(&json!({ "id": "new" }), false)), json!([]));
    assert_eq!(master.store.get("new"), None);
    let refused = write(&mut master, Some(&held(&todo("ours"), false)), &held(&todo("theirs"), false));
    assert_eq!(refused, json!([held(&todo("ours"), false)]));
    assert_eq!(master.store.heads("milk"), 1);

    let mut fork = begun(stored("ours"), FORK, MASTER, one_way(Direction::PushOnly));
    let (push, _) = fork.asked("masterWrite");
    fork.answer(&push, &json!([held(&todo("theirs"), false)]));
    let (_, rows) = fork.asked("masterWrite");
    let row = json!({ "assumedMasterState": held(&todo("theirs"), false), "newDocumentState": held(&todo("ours"), false) });
    assert_eq!((rows[0][0].clone(), fork.store.heads("milk")), (row, 1));
}

#[test]
fn a_page_cut_short_by_its_size_is_followed_by_a_word_to_pull_again() {
    let mut store = Store::new(LastWriteWins);
    for number in 0..3 {
        store.put(&json!({ "id": format!("d{number}"), "text": "x".repeat(1000) }));
    }
    let settings = Settings { page_bytes_max: 1500, ..Settings::default() };
    let mut master = begun(store, MASTER, FORK, settings);
    master.hear_value(&json!({ "id": "p", "method": "masterChangesSince", "params": [null, 20] }));
    let said = master.said();
    let [Message::Response { result: page, .. }, Message::Response { result: resync, .. }] = said.as_slice()
    else {
        panic!("a page and a word, and it said {said:?}")
    };
    assert_eq!((page["documents"].as_array().map(Vec::len), resync), (Some(2), &json!("RESYNC")));
}

#[test]
fn a_peer_without_a_token_is_hung_up_on() {
    let mut peer = Peer::connect(Store::new(LastWriteWins), MASTER, Settings::default());
    let (token, _) = peer.asked("token");
    peer.answer(&token, &json!(""));
    assert_eq!(peer.closed, Some(CloseReason::Token));
}

#[test]
fn requests_that_are_none_are_ignored_or_answered_with_an_error() {
    let mut master = master(stored("one"));
    for frame in ["{", "[]", "{}", r#"{"id":1,"method":"token"}"#, r#"{"id":"x","method":"other"}"#] {
        master.hear(frame);
        assert_eq!(master.said(), []);
    }
    for params in [json!([]), json!([null]), json!([null, 0]), json!([null, -1])] {
        master.hear_value(&json!({ "id": "p", "method": "masterChangesSince", "params": params }));
        let said = master.said();
        assert!(matches!(said.as_slice(), [Message::Response { error: Some(_), .. }]), "{said:?}");
    }
    master.pass(Duration::from_secs(3600));
    assert_eq!(master.closed, None);
}
