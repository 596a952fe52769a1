//! The session that two RxDB 17.6.0 peers had, with Peerloom in the place of either.

mod support;

use peerloom_core::LastWriteWins;
use peerloom_rxdb::{Assembler, Message, Settings};
use serde_json::{Value, json};
use support::{Peer, Store};

const CAPTURE: &str = include_str!("wire-capture.jsonl");

/// A line of the capture.
enum Line {
    Frame { from: char, text: String },
    Note(String),
}

/// What went over the data channel, as it was sent, and the notes in between.
fn lines() -> Vec<Line> {
    let entries = CAPTURE.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let line = |entry: Value| {
        let text = |field: &str| entry[field].as_str().map(str::to_owned);
        if let Some(note) = text("note") {
            return Some(Line::Note(note));
        }
        let is_sent = entry["ch"] == "datachannel" && entry["dir"] == "send";
        let from = text("peer")?.chars().next()?;
        is_sent.then(|| Line::Frame { from, text: repeated(&text("raw").expect("a frame")) })
    };
    entries.filter_map(line).collect()
}

/// The capture abbreviates: `<x repeated 16384>`.
fn repeated(frame: &str) -> String {
    let Some((before, rest)) = frame.split_once("<x repeated ") else { return frame.to_owned() };
    let (times, after) = rest.split_once('>').expect("it is closed");
    format!("{before}{}{after}", "x".repeat(times.parse().expect("a number")))
}

/// Documents of a page or rows of a write, without what both sides may choose: order and checkpoints.
fn documents(page: &Value) -> Vec<String> {
    let mut documents: Vec<String> =
        page["documents"].as_array().expect("documents").iter().map(Value::to_string).collect();
    documents.sort();
    documents
}

fn stored(id: &str, name: &str, counter: u64) -> Value {
    let payload = &format!("{id}-").repeat(3)[..20];
    json!({ "id": id, "name": name, "counter": counter, "payload": payload })
}

#[test]
fn every_captured_message_is_understood() {
    let mut assembler = [Assembler::new(1 << 20), Assembler::new(1 << 20)];
    let mut messages = Vec::new();
    for line in lines() {
        if let Line::Frame { from, text } = line {
            let whole = assembler[usize::from(from == 'B')].take(text.as_bytes()).expect("within the bounds");
            messages.extend(whole.map(|text| Message::parse(&text).expect("a message")));
        }
    }
    let requests = messages.iter().filter(|message| matches!(message, Message::Request { .. })).count();
    assert_eq!((messages.len(), requests), (19, 6));
    let Some(Message::Response { result, .. }) = messages.last() else { panic!("the last is a change") };
    assert_eq!(result["documents"][0]["payload"].as_str().map(str::len), Some(40_000));
}

#[test]
fn in_the_place_of_the_master_it_says_the_same_without_the_echoes() {
    let mut store = Store::new(LastWriteWins);
    for number in 0..3 {
        store.put(&stored(&format!("A-00000{number}"), &format!("name-{number}"), number));
    }
    let mut master = Peer::connect(store, "tok0x0aaaa", Settings::default());
    let (own_token_request, _) = master.asked("token");
    let mut assembler = Assembler::new(1 << 20);
    let mut expected = Vec::new();
    for line in lines() {
        match line {
            Line::Note(note) => {
                master.write(|store| match note.as_str() {
                    note if note.starts_with("initial sync done") => {
                        store.put(&stored("LA-000000", "name-0", 0));
                    }
                    note if note.starts_with("both peers patch") => {
                        store.put(&stored("A-000000", "edit-of-A", 101));
                    }
                    note if note.starts_with("delete of") => store.remove("B-000000"),
                    note if note.starts_with("insert of one") => {
                        let mut large = stored("A-000001", "name-1", 1);
                        large["payload"] = "x".repeat(40_000).into();
                        store.put(&large);
                    }
                    _ => {}
                });
            }
            Line::Frame { from: 'B', text } => match Message::parse(&text).expect("a message") {
                Message::Response { result, .. } => master.answer(&own_token_request, &result),
                Message::Request { .. } => master.hear(&text),
            },
            Line::Frame { text, .. } => {
                let whole = assembler.take(text.as_bytes()).expect("within the bounds");
                expected.extend(whole.map(|text| Message::parse(&text).expect("a message")));
            }
        }
    }
    // RxDB tells a fork of its own writes, and serves them to it. Peerloom does not.
    let comparable = |message: Message| match message {
        Message::Request { .. } => None,
        Message::Response { id, result, .. } if result.get("documents").is_some() => {
            let mut documents = documents(&result);
            let is_live = id == "masterChangeStream$";
            documents.retain(|text| !text.contains("\"B-00000") || text.contains("\"_deleted\":true"));
            documents.retain(|text| !text.contains("\"LB-"));
            (!documents.is_empty()).then_some((is_live, documents))
        }
        Message::Response { id, result, .. } => Some((id == "masterChangeStream$", vec![result.to_string()])),
    };
    let said: Vec<_> = master.said().into_iter().filter_map(comparable).collect();
    let expected: Vec<_> = expected.into_iter().filter_map(comparable).collect();
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for part in &expected {
        assert!(said.contains(part), "it did not say {part:?}, but {said:?}");
    }
    assert_eq!(master.store.get("A-000000"), Some(stored("A-000000", "edit-of-A", 101)));
    assert_eq!(master.store.get("LB-000000"), Some(stored("LB-000000", "name-0", 0)));
    assert_eq!(master.store.get("B-000000"), None);
}

#[test]
fn in_the_place_of_the_fork_it_says_the_same_and_pulls_before_it_pushes() {
    let mut store = Store::new(LastWriteWins);
    for number in 0..3 {
        store.put(&stored(&format!("B-00000{number}"), &format!("name-{number}"), number));
    }
    let mut fork = Peer::connect(store, "tok1x0aaaa", Settings::default());
    let (token, _) = fork.asked("token");
    fork.answer(&token, &json!("tok0x0aaaa"));
    let (pull, params) = fork.asked("masterChangesSince");
    assert_eq!(params[0], Value::Null);
    let held = |id: &str, name: &str, counter: u64| {
        let mut document = stored(id, name, counter);
        document["_deleted"] = false.into();
        document
    };
    let page = |documents: Vec<Value>| {
        let last = documents.last().expect("a document")["id"].clone();
        json!({ "checkpoint": { "id": last, "lwt": 1795339342583.04 }, "documents": documents })
    };
    let theirs = (0..3).map(|number| held(&format!("A-00000{number}"), &format!("name-{number}"), number));
    fork.answer(&pull, &page(theirs.collect()));
    let (push, rows) = fork.asked("masterWrite");
    let captured = lines().into_iter().find_map(|line| match line {
        Line::Frame { from: 'B', text } if text.contains("masterWrite") => Message::parse(&text),
        _ => None,
    });
    let Some(Message::Request { params, .. }) = captured else { panic!("B pushes") };
    assert_eq!(rows, params, "what B pushed");
    // The master tells of the push before it answers it.
    let ours = (0..3).map(|number| held(&format!("B-00000{number}"), &format!("name-{number}"), number));
    let end = fork.store.end();
    fork.answer("masterChangeStream$", &page(ours.collect()));
    fork.answer(&push, &json!([]));
    assert_eq!(fork.said(), []);
    assert_eq!(fork.store.end(), end, "an echo is no write");
    // Both edit, the master refuses, and the fork takes the merged view to it.
    fork.write(|store| store.put(&stored("A-000000", "edit-of-B", 102)));
    let (push, rows) = fork.asked("masterWrite");
    assert_eq!(rows[0][0]["assumedMasterState"], held("A-000000", "name-0", 0));
    fork.answer("masterChangeStream$", &page(vec![held("A-000000", "edit-of-A", 101)]));
    fork.answer(&push, &json!([held("A-000000", "edit-of-A", 101)]));
    assert_eq!(fork.store.heads("A-000000"), 2, "both edits are kept");
    assert_eq!(fork.store.get("A-000000"), Some(stored("A-000000", "edit-of-A", 101)));
    assert_eq!(fork.said(), [], "the master has what is seen here");
}
