//! The program alone: its commands with and without `serve`, its settings, what it says when they are wrong, and how it ends.

mod harness;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use harness::{Peer, STORAGES, Signaling};
use serde_json::{Value, json};

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Does the same with the documents, whoever holds the storage.
fn story_of_a_document(peer: &Peer) {
    peer.ok(&["put", "milk", r#"{"done":false, "count": 9007199254740993}"#]);
    assert_eq!(peer.ok(&["get", "milk"]), "{\"count\":9007199254740993,\"done\":false}\n");
    peer.ok_with(&["put", "--binary", "picture"], b"\xff\x00\xfe");
    assert_eq!(peer.run(&["get", "picture"]).stdout, b"\xff\x00\xfe");
    peer.ok_with(&["put", "tea"], br#"["green"]"#);
    assert_eq!(peer.ok(&["list", "--ids"]), "milk\npicture\ntea\n");
    assert_eq!(peer.ok(&["list", "--ids", "--limit", "1", "--after", "milk"]), "picture\n");
    assert_eq!(peer.json(&["list", "--prefix", "t"]), [json!({ "id": "tea", "value": ["green"] })]);
    assert_eq!(peer.ok(&["conflicts"]), "");

    let exported = peer.path().join("exported.jsonl");
    peer.ok(&["export", exported.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&exported).unwrap(), peer.ok(&["export"]));
    for id in ["milk", "picture", "tea"] {
        peer.ok(&["delete", id]);
    }
    let missing = peer.run(&["get", "milk"]);
    assert_eq!((missing.status.code(), said(&missing).contains("milk")), (Some(3), true));
    assert_eq!(peer.run(&["delete", "milk"]).status.code(), Some(3));
    let imported = peer.json(&["import", exported.to_str().unwrap()]);
    assert_eq!(imported, [json!({ "imported": 3, "skipped": 0 })]);
    assert_eq!(peer.run(&["get", "picture"]).stdout, b"\xff\x00\xfe");
    assert_eq!(peer.run(&["put", "milk", "{"]).status.code(), Some(2));
    assert_eq!(peer.run(&["put", "", "1"]).status.code(), Some(2));
    assert_eq!(peer.run(&["get", "-c", "others", "1"]).status.code(), Some(2));
}

#[test]
fn commands_do_the_same_whether_the_peer_is_served_or_not() {
    let signaling = Signaling::start();
    for storage in STORAGES {
        let peer = Peer::on_loopback("alone", &signaling, &["--storage", storage]);
        story_of_a_document(&peer);
        for needs_serve in ["watch", "status", "catch-up"] {
            assert_eq!(peer.run(&[needs_serve]).status.code(), Some(5), "{needs_serve}");
        }
        let served = peer.serve();
        story_of_a_document(&peer);
        served.terminate();
        assert_eq!(peer.ok(&["list", "--ids"]), "milk\npicture\ntea\n");
    }
    let peer = Peer::on_loopback("forgetful", &signaling, &["--storage", "memory"]);
    assert_eq!(peer.run(&["put", "1", "1"]).status.code(), Some(5));
    let _served = peer.serve();
    story_of_a_document(&peer);
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_the_socket_it_leaves_is_no_obstacle() {
    let signaling = Signaling::start();
    let peer = Peer::on_loopback("killed", &signaling, &[]);
    let served = peer.serve();
    peer.ok(&["put", "milk", "1"]);
    served.kill();
    assert!(peer.data().join("control.sock").exists());
    assert_eq!(peer.ok(&["get", "milk"]), "1\n");
    let served = peer.serve();
    assert_eq!(peer.ok(&["get", "milk"]), "1\n");
    let second = peer.run(&["serve"]);
    assert_eq!((second.status.code(), said(&second).contains("already")), (Some(4), true));
    served.terminate();
    assert!(!peer.data().join("control.sock").exists());
}

#[test]
fn several_clients_watch_and_write_at_once() {
    let signaling = Signaling::start();
    let peer = Peer::on_loopback("watched", &signaling, &["--collections", "todos,notes=field-wise"]);
    let _served = peer.serve();
    peer.ok(&["put", "-c", "todos", "0", "0"]);
    let mut watching: Vec<_> = (0..3).map(|_| peer.watch(&["-c", "todos", "--from-start"])).collect();
    for change in &mut watching {
        assert_eq!(change.next(), json!({ "id": "0", "value": 0, "in_conflict": false }));
    }
    std::thread::scope(|scope| {
        for writer in 1..5 {
            let peer = &peer;
            scope.spawn(move || peer.ok(&["put", "-c", "todos", &writer.to_string(), "1"]));
        }
    });
    peer.ok(&["delete", "-c", "todos", "0"]);
    for change in &mut watching {
        let mut ids: Vec<Value> = (0..5).map(|_| change.next()["id"].take()).collect();
        ids.sort_by_key(|id| id.as_str().map(str::to_owned));
        assert_eq!(ids, ["0", "1", "2", "3", "4"]);
    }
    let which = peer.run(&["put", "1", "1"]);
    assert_eq!((which.status.code(), said(&which).contains("todos, notes")), (Some(2), true));
    let status = peer.json(&["status"]).remove(0);
    assert_eq!(status["collections"], json!(["todos=last-write-wins", "notes=field-wise"]));
}

#[test]
fn the_socket_is_for_its_user_alone_and_takes_garbage_calmly() {
    let signaling = Signaling::start();
    let peer = Peer::on_loopback("poked", &signaling, &[]);
    let _served = peer.serve();
    let socket = peer.data().join("control.sock");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(&peer.data())), (0o600, 0o700));

    let mut stream = UnixStream::connect(&socket).unwrap();
    let deep = format!("{}\n", "[".repeat(100_000));
    let lines = [
        "\n",
        "{\n",
        "\u{0}\n",
        "{\"do\":\"dance\"}\n",
        &deep,
        "{\"do\":\"get\"}\n",
        "{\"do\":\"put\",\"documents\":[{\"id\":\"1\",\"value\":18446744073709551616}]}\n",
        "{\"do\":\"list\",\"documents_max\":0}\n",
        "{\"do\":\"get\",\"id\":\"1\"}\n",
    ];
    let sent: String = lines.concat();
    stream.write_all(sent.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), lines.len(), "{answers:#?}");
    assert!(answers[..7].iter().all(|answer| answer["kind"] == "invalid"), "{answers:#?}");
    assert_eq!(answers[8], json!({ "answer": "document", "id": "1", "deleted": true }));

    // One more than it takes is refused and harms nobody.
    let mut clients: Vec<UnixStream> = Vec::new();
    let refused = loop {
        let mut client = UnixStream::connect(&socket).unwrap();
        client.write_all(b"{\"do\":\"get\",\"id\":\"1\"}\n").unwrap();
        let mut first = [0; 25];
        client.read_exact(&mut first).unwrap();
        match &first == b"{\"answer\":\"refused\",\"kind" {
            true => break clients.len(),
            false => clients.push(client),
        }
    };
    assert!((16..=64).contains(&refused), "{refused}");
    drop(clients);
}

#[test]
fn a_malformed_line_is_told_by_its_number_and_loses_nothing() {
    let peer = Peer::new("importing", &[]);
    let file = peer.path().join("some.jsonl");
    let mut lines: Vec<String> =
        (1..=2500).map(|number| format!("{{\"id\":\"{number:04}\",\"value\":{number}}}")).collect();
    lines[1200] = "{\"id\":\"1201\",\"value\":".to_owned();
    lines[1300] = "{\"id\":\"\",\"value\":1}".to_owned();
    lines[1400] = "{\"id\":\"1401\",\"valu\":1}".to_owned();
    lines[1500] = "\u{feff}".to_owned();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let path = file.to_str().unwrap();

    let stopped = peer.run(&["import", path]);
    assert_eq!(stopped.status.code(), Some(6));
    for expected in ["line 1201", "the 1200 documents before it are imported", "--from-line 1201"] {
        assert!(said(&stopped).contains(expected), "{}", said(&stopped));
    }
    assert_eq!(peer.ok(&["list", "--ids"]).lines().count(), 1200);

    let skipping = peer.run(&["--json", "import", "--skip-invalid", "--from-line", "1201", path]);
    assert!(skipping.status.success());
    assert_eq!(skipping.stdout, b"{\"imported\":1296,\"skipped\":4}\n");
    for line in [1201, 1301, 1401, 1501] {
        assert!(said(&skipping).contains(&format!("line {line} ")), "{}", said(&skipping));
    }
    assert_eq!(peer.ok(&["list", "--ids"]).lines().count(), 2496);

    // As documents of others look, from standard input.
    peer.ok_with(
        &["import", "--id-field", "key", "-"],
        b"{\"key\":\"a\",\"title\":\"x\"}\n\n{\"key\":\"b\"}\n",
    );
    assert_eq!(peer.ok(&["get", "a"]), "{\"key\":\"a\",\"title\":\"x\"}\n");
    let no_id = peer.run_with(&["import", "--id-field", "key", "-"], b"{\"kay\":\"a\"}\n");
    assert_eq!((no_id.status.code(), said(&no_id).contains("line 1")), (Some(6), true));
}

#[test]
fn settings_come_from_flags_then_variables_then_the_file() {
    let peer = Peer::new("set", &[]);
    let file = peer.path().join("peer.toml");
    std::fs::write(&file, "collections = [\"of-the-file\"]\nlog = \"no filter = 1\"\n").unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let known = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    let get = ["--log", "warn", "get", "-c", "?", "1"];
    let of_the_file = known(&mut peer.command(&[&config[..], &get[..]].concat()));
    assert!(of_the_file.contains("only of-the-file"), "{of_the_file}");
    let variable = ("PEERLOOM_COLLECTIONS", "of,variables");
    let of_variables = known(peer.command(&[&config[..], &get[..]].concat()).env(variable.0, variable.1));
    assert!(of_variables.contains("only of, variables"), "{of_variables}");
    let flags = [&config[..], &["--collections", "of-flags"], &get[..]].concat();
    let of_flags = known(peer.command(&flags).env(variable.0, variable.1));
    assert!(of_flags.contains("only of-flags"), "{of_flags}");
}

#[test]
fn wrong_settings_are_told_by_name() {
    let peer = Peer::new("wrong", &[]);
    let path = |name: &str, content: &str| {
        let path = peer.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (unknown, wrong_type) = (path("unknown", "lissen = 1\n"), path("type", "peers_max = \"many\"\n"));
    let (short, empty) = (path("short", "abcd\n"), path("empty", "\n"));
    let room = ["--topic", "our-topic", "--signaling", "ws://127.0.0.1:1"];
    let cases: &[(&[&str], &str)] = &[
        (&["--config", &unknown, "serve"], "unknown field `lissen`"),
        (&["--config", &wrong_type, "serve"], "peers_max"),
        (&["--config", "/nowhere.toml", "serve"], "/nowhere.toml"),
        (&["serve"], "signaling URL"),
        (&["--signaling", "ws://127.0.0.1:1", "serve"], "topic"),
        (&[&room[..], &["--key-file", &short, "serve"]].concat(), "64 hexadecimal digits"),
        (&[&room[..], &["--token-file", &empty, "serve"]].concat(), "token_file"),
        (&[&room[..], &["--dead-after-seconds", "1", "serve"]].concat(), "dead_after_seconds"),
        (&["--topic", "our-topic", "--signaling", "nowhere", "serve"], "nowhere"),
        (&["--collections", "a,a", "list"], "twice"),
        (&["--collections", "a=magic", "list"], "magic"),
        (&["--storage", "tape", "list"], "tape"),
        (&["--log", "no filter = 1", "list"], "log"),
    ];
    for (arguments, expected) in cases {
        let output = peer.run(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} says\n{said}");
        assert!(said.contains(expected), "{arguments:?} says\n{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn the_sample_settings_and_the_help_are_whole() {
    let peer = Peer::new("sample", &[]);
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/peerloom-peer.toml");
    let output = peer.run(&["--config", sample, "get", "-c", "?", "1"]);
    assert!(said(&output).contains("only todos, notes"), "{}", said(&output));
    let help = peer.ok(&["--help"]);
    for expected in ["serve", "import", "PEERLOOM_DATA", "Exit codes", "--signaling", "[default: fjall]"] {
        assert!(help.contains(expected), "{expected} in\n{help}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let peer = Peer::new("piped", &[]);
    let lines: String = (0..20_000).map(|number| format!("{{\"id\":\"{number}\",\"value\":1}}\n")).collect();
    peer.ok_with(&["import", "-"], lines.as_bytes());
    let mut child = peer.command(&["list"]).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}
