//! The program alone: its commands with and without `serve`, its settings, what it says when they are wrong, and how it ends.

mod harness;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use harness::{Peer, STORAGES, Served, Signaling};
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
fn a_server_that_lets_nobody_in_ends_the_program_and_it_says_why() {
    let signaling = Signaling::that_asks_for("open sesame");
    let peer = Peer::on_loopback("stranger", &signaling, &[]);
    let refused = peer.run(&["serve"]);
    let why = said(&refused);
    assert_eq!(refused.status.code(), Some(1));
    assert!(why.contains(&signaling.url()) && why.contains("token"), "{why}");

    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&token, "open sesame").unwrap();
    let settings = ["--token-file", token.path().to_str().unwrap()];
    let [left, right] = ["left", "right"].map(|name| Peer::on_loopback(name, &signaling, &settings));
    let _served = [left.serve(), right.serve()];
    left.ok(&["put", "milk", "1"]);
    left.ok(&["catch-up"]);
    assert_eq!(right.ok(&["get", "milk"]), "1\n");
}

#[test]
fn root_certificates_that_cannot_be_used_are_told_at_the_start() {
    let signaling = Signaling::start();
    let none = tempfile::NamedTempFile::new().unwrap();
    for (file, reason) in [("nowhere.pem", "nowhere.pem"), (none.path().to_str().unwrap(), "PEM")] {
        let peer = Peer::on_loopback("careful", &signaling, &["--root-certificates-file", file]);
        let refused = peer.run(&["serve"]);
        assert_eq!((refused.status.code(), said(&refused).contains(reason)), (Some(2), true), "{refused:?}");
    }
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
fn a_secret_comes_from_a_flag_then_a_variable_then_the_file() {
    let peer = Peer::new("secrets", &[]);
    let key_file = |name: &str, digit: &str| {
        let path = peer.path().join(name);
        std::fs::write(&path, digit.repeat(64)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let [of_file, of_flag] = [key_file("of-file", "1"), key_file("of-flag", "2")];
    let config = peer.path().join("peer.toml");
    let text = format!("topic = \"t\"\nsignaling = [\"ws://127.0.0.1:1\"]\nkey_file = {of_file:?}\n");
    std::fs::write(&config, text).unwrap();
    let invite = |flags: &[&str], variable: Option<String>| {
        let arguments = [&["--config", config.to_str().unwrap()], flags, &["invite", "--no-qr"]].concat();
        let output =
            peer.command(&arguments).envs(variable.map(|key| ("PEERLOOM_KEY", key))).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    let by_file = invite(&[], None);
    let by_variable = invite(&[], Some("3".repeat(64)));
    let by_flag = invite(&["--key-file", &of_flag], Some("3".repeat(64)));
    assert_ne!(by_variable, by_file);
    assert_eq!(by_variable, invite(&[], Some("3".repeat(64))));
    assert_eq!(by_flag, invite(&["--key-file", &of_flag], None));
    assert_eq!(invite(&[], Some("1".repeat(64))), by_file, "the same key makes the same invitation");
}

/// Reads a QR code of half blocks, which are light modules, as a camera would.
fn scanned(code: &str) -> String {
    let rows: Vec<Vec<bool>> = code
        .lines()
        .flat_map(|line| {
            let halves = line.chars().map(|block| match block {
                ' ' => (true, true),
                '\u{2580}' => (false, true),
                '\u{2584}' => (true, false),
                '\u{2588}' => (false, false),
                other => panic!("{other:?} in\n{code}"),
            });
            let (above, below): (Vec<bool>, Vec<bool>) = halves.unzip();
            [above, below]
        })
        .collect();
    let width = rows[0].len();
    let quiet = 4;
    let is_quiet = |at: usize| at < quiet || at >= width - quiet;
    for (y, row) in rows[..width].iter().enumerate() {
        for (x, dark) in row.iter().enumerate() {
            assert!(
                !(*dark && (is_quiet(x) || is_quiet(y))),
                "the quiet zone is not, at {x}, {y} of\n{code}"
            );
        }
    }
    let modules = rqrr::SimpleGrid::from_func(width - 2 * quiet, |x, y| rows[y + quiet][x + quiet]);
    rqrr::Grid::new(modules).decode().unwrap().1
}

#[test]
fn two_peers_meet_by_an_invitation_alone() {
    let signaling = Signaling::start();
    let host = Peer::new("host", &["--bind", "127.0.0.1"]);
    let guest = Peer::new("guest", &["--bind", "127.0.0.1"]);
    let invited = host.json(&["--signaling", &signaling.url(), "invite", "our-notes"]).remove(0);
    assert_eq!((&invited["topic"], &invited["signaling"]), (&json!("our-notes"), &json!([signaling.url()])));
    let invitation = invited["invitation"].as_str().unwrap();
    // Wrapped, as it is in a letter, and not in the arguments, which the shell keeps.
    let letter = format!("  {}\r\n  {}\n", &invitation[..40], &invitation[40..]);
    guest.ok_with(&["join", "-"], letter.as_bytes());

    let mode = std::fs::metadata(guest.data().join("peer.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(guest.ok(&["invite", "--no-qr"]), format!("{invitation}\n"));
    let printed = guest.ok(&["invite"]);
    let (text, code) = printed.split_once('\n').unwrap();
    assert_eq!((text, scanned(code)), (invitation, invitation.to_uppercase()));

    let _hosting = host.serve();
    host.ok(&["put", "milk", "1"]);
    let mut guesting = guest.serve();
    guest.ok(&["catch-up"]);
    assert_eq!(guest.ok(&["get", "milk"]), "1\n");
    assert_eq!(
        guesting.times(
            "NO KEY: whoever knows the topic and reaches the signaling server can join and read everything"
        ),
        0
    );
}

#[test]
fn peers_with_the_same_passphrase_are_of_one_room() {
    let words = |peer: &Peer, words: &str| {
        let file = peer.path().join("words");
        std::fs::write(&file, words).unwrap();
        let room = ["--topic", "our-notes", "--signaling", "ws://127.0.0.1:1", "--passphrase-file"];
        peer.ok(&[&room[..], &[file.to_str().unwrap(), "invite", "--no-qr"]].concat())
    };
    let (left, right) = (Peer::new("left", &[]), Peer::new("right", &[]));
    let invitation = words(&left, "correct horse battery staple shelf\n");
    assert_eq!(words(&right, "correct horse battery staple shelf"), invitation);
    assert_ne!(words(&right, "correct horse battery staple shelv"), invitation);
}

#[test]
fn an_invitation_with_a_wrong_letter_is_refused_and_changes_nothing() {
    let (host, guest) = (Peer::new("host", &[]), Peer::new("guest", &[]));
    let invitation = host.ok(&["--signaling", "ws://127.0.0.1:1", "invite", "our-notes", "--no-qr"]);
    let mut mistyped = invitation.trim().to_owned();
    let letter = if mistyped.split_off(60).starts_with('q') { 'r' } else { 'q' };
    mistyped.push(letter);
    mistyped.push_str(&invitation.trim()[61..]);
    let cases = [
        (mistyped, "mistyped or cut short"),
        (invitation.trim()[..90].to_owned(), "mistyped or cut short"),
        (invitation.replacen('a', "0", 1), "is '0'"),
        ("https://example.org".to_owned(), "begins with \"peerloom:\""),
        (String::new(), "begins with \"peerloom:\""),
    ];
    for (wrong, expected) in cases {
        let output = guest.run_with(&["join", "-"], wrong.as_bytes());
        let said = said(&output);
        assert_eq!((output.status.code(), said.contains(expected)), (Some(2), true), "{wrong} says\n{said}");
        assert!(!guest.data().exists());
    }
    let nobody = guest.run(&["invite"]);
    assert_eq!((nobody.status.code(), said(&nobody).contains("invite TOPIC")), (Some(2), true));
}

#[test]
fn a_room_is_replaced_only_when_asked_and_the_rest_of_the_file_stays() {
    let (first, second) = (Peer::new("first", &[]), Peer::new("second", &[]));
    let invite = |peer: &Peer, topic: &str| {
        let url = format!("ws://{topic}.example.org");
        peer.ok(&["--signaling", &url, "invite", topic, "--no-qr"]).trim().to_owned()
    };
    let (notes, plans) = (invite(&first, "our-notes"), invite(&second, "our-plans"));
    let guest = Peer::new("guest", &[]);
    let file = guest.path().join("settings.toml");
    let config = ["--config", file.to_str().unwrap()];
    let written =
        "# Ours.\ncollections = [\"a\", \"b\"] # two\ntopic = \"old\"\nsignaling = [\"ws://old\"]\n";
    std::fs::write(&file, written).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();

    let refused = guest.run(&[&config[..], &["join", &notes]].concat());
    let reason = said(&refused);
    assert_eq!(
        (refused.status.code(), reason.contains("\"old\"") && reason.contains("--replace")),
        (Some(2), true),
        "{reason}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);

    for invitation in [&notes, &plans] {
        guest.ok(&[&config[..], &["join", invitation, "--replace"]].concat());
        guest.ok(&[&config[..], &["join", invitation]].concat());
        let expected =
            format!("# Ours.\ncollections = [\"a\", \"b\"] # two\ninvitation = \"{invitation}\"\n");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(guest.ok(&[&config[..], &["invite", "--no-qr"]].concat()).trim(), invitation);
    }
    assert_eq!(
        guest.run(&[&config[..], &["--signaling", "ws://x", "invite", "new"]].concat()).status.code(),
        Some(2)
    );
    let of_flag = guest.run(&[&config[..], &["--topic", "t", "join", &notes, "--replace"]].concat());
    assert_eq!((of_flag.status.code(), said(&of_flag).contains("--topic")), (Some(2), true));
    let two = guest.run(&[&config[..], &["--topic", "t", "serve"]].concat());
    assert_eq!((two.status.code(), said(&two).contains("an invitation and from a topic")), (Some(2), true));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = guest.run(&[&config[..], &["list"]].concat());
    assert_eq!((exposed.status.code(), said(&exposed).contains("chmod")), (Some(2), true));
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
    let key = path("key", &"ab".repeat(32));
    let rxdb = [&room[..], &["--collections", "todos,notes", "--rxdb", "todos"]].concat();
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
        (&[&rxdb[..], &["--key-file", &key, "serve"]].concat(), "leave out rxdb, or the key"),
        (&[&room[..], &["--rxdb", "todos", "serve"]].concat(), "\"todos\", and this peer has documents"),
        (&[&room[..], &["--rxdb-direction", "pull-only", "serve"]].concat(), "rxdb_direction is set"),
        (&[&rxdb[..], &["--rxdb-primary-key", "", "serve"]].concat(), "rxdb_primary_key"),
        (&[&rxdb[..], &["--rxdb-batch-documents", "0", "serve"]].concat(), "rxdb-batch-documents"),
        (&[&rxdb[2..], &["--topic", "short", "serve"]].concat(), "6 to 99"),
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
fn a_peer_that_lets_rxdb_peers_in_says_so() {
    let signaling = Signaling::start();
    let settings = ["--collections", "todos,notes", "--rxdb", "todos"];
    let peer = Peer::on_loopback("bridge", &signaling, &settings);
    let file = peer.path().join("peer.toml");
    std::fs::write(&file, "rxdb_primary_key = \"key\"\nrxdb_direction = \"push-only\"\n").unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let served =
        Served::start(peer.command(&[&config[..], &["--log-format", "json", "serve"]].concat()), "bridge");
    let status = peer.json(&["status"]).remove(0);
    assert_eq!(
        status["rooms"][0]["rxdb"],
        json!({ "collection": "todos", "primary_key": "key", "direction": "push-only" })
    );
    assert!(
        peer.ok(&["status"])
            .contains("RxDB peers replicate with todos (push-only), whose primary key is \"key\"")
    );
    served.terminate();
    let alone = Peer::on_loopback("alone", &signaling, &[]);
    let _served = alone.serve();
    assert_eq!(alone.json(&["status"])[0]["rooms"][0]["rxdb"], Value::Null);
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
