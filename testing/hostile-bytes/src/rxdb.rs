//! An RxDB peer that says anything, before a replica with a store, as its master or its fork.

use std::time::Duration;

use peerloom_core::{FieldWise, json};
use peerloom_rxdb::{Direction, Settings};
use serde_json::Value;

use crate::rxdb_replica::{Peer, Store};

/// Tokens of which the first is the master towards the second.
const TOKENS: [&str; 2] = ["tok0x0aaaa", "tok1x0aaaa"];

/// The bounds are small, so that a fuzzer meets them.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// What a frame names the request by that the replica made last.
const LAST_REQUEST: &[u8] = b"$";

/// A line for each frame of the peer. The first byte chooses the side and the direction. A line of one byte is what happens at the
/// replica meanwhile: a write, a removal, time that passes. `"$"` in a frame stands for the id of the last request.
pub fn rxdb(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let own = usize::from(mode & 1);
    let direction = match mode >> 1 & 3 {
        0 | 1 => Direction::Both,
        2 => Direction::PullOnly,
        _ => Direction::PushOnly,
    };
    let settings = Settings {
        direction,
        batch_documents: 2,
        page_documents_max: 3,
        page_bytes_max: 1024,
        message_bytes_max: MESSAGE_BYTES_MAX,
        ..Settings::default()
    };
    let mut store = Store::new(FieldWise);
    (0..3).for_each(|number| store.put(&document(number)));
    let mut peer = Peer::connect(store, TOKENS[own], settings);
    let mut request = String::new();
    for line in data.split(|byte| *byte == b'\n') {
        request = peer.last_request().unwrap_or(request);
        match line {
            [what] => local(&mut peer, *what),
            b"token" => peer.answer(&request, &TOKENS[1 - own].into()),
            _ if peer.session.wants_to_receive() => peer.hear_bytes(&replaced(line, &request)),
            _ => {}
        }
        if peer.closed.is_some() {
            break;
        }
    }
    let knowledge = peer.store.knowledge();
    for record in peer.store.records.values() {
        assert!(knowledge.covers(record.document.context()), "{record:?} is not known of");
        assert!(json::parse(&record.view().body).is_ok() || record.view().deleted);
    }
}

fn document(number: u8) -> Value {
    serde_json::json!({ "id": format!("d{number}"), "title": "one", "count": number })
}

fn local(peer: &mut Peer, what: u8) {
    let number = what % 4;
    match what / 4 % 4 {
        0 => peer.pass(Duration::from_secs(1 << number)),
        1 => peer.write(|store| store.remove(&format!("d{number}"))),
        _ => peer.write(|store| {
            let mut document = document(number);
            document["title"] = what.into();
            store.put(&document);
        }),
    }
}

/// The line with the id of a request in the place of its sign.
fn replaced(line: &[u8], request: &str) -> Vec<u8> {
    let quoted = [b"\"", LAST_REQUEST, b"\""].concat();
    match line.windows(quoted.len()).position(|window| window == quoted) {
        None => line.to_vec(),
        Some(at) => {
            let request = Value::from(request).to_string();
            [&line[..at], request.as_bytes(), &line[at + quoted.len()..]].concat()
        }
    }
}
