//! The program `peerloom-signaling`: its settings, what it says when they are wrong, and how it ends.
#![cfg(feature = "server")]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use peerloom_signaling::CloseReason;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerloom-signaling"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running server. Killed when it is dropped.
struct Running {
    child: Child,
    address: SocketAddr,
    log: BufReader<std::process::ChildStderr>,
    started: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut started = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "ended before it listened:\n{started}");
            started.push_str(&line);
            let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else {
                panic!("not JSON: {line}")
            };
            if line["fields"]["message"] == "listening" {
                break line["fields"]["address"].as_str().unwrap().parse().unwrap();
            }
        };
        Self { child, address, log, started }
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn on_any_port() -> Command {
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
    command
}

#[tokio::test]
async fn sigterm_closes_connections_with_a_reason_and_ends_well() {
    let mut running = Running::start(&mut on_any_port());
    assert!(running.started.contains("NO AUTHENTICATION"), "{}", running.started);
    let stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let (mut socket, _) = client_async("ws://here/", stream).await.unwrap();
    socket.send(Message::text(r#"{"type":"join","room":"our-room"}"#)).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.push(socket.next().await.unwrap().unwrap().into_text().unwrap());
    }
    assert!(heard[1].starts_with(r#"{"type":"joined""#), "{heard:?}");

    running.terminate();
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else {
        panic!("closed without a reason")
    };
    assert_eq!(CloseReason::from_code(frame.code.into()), Some(CloseReason::ServerStopping));
    drop(socket);
    let status = tokio::task::spawn_blocking(move || running.child.wait()).await.unwrap().unwrap();
    assert!(status.success());
}

#[test]
fn settings_come_from_flags_then_variables_then_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("signaling.toml");
    std::fs::write(
        &file,
        "log = \"debug\"\nlog_format = \"json\"\nidle_timeout_seconds = 7\nlisten = \"256.0.0.1:1\"\n",
    )
    .unwrap();
    // The file's address is no address. The variable's is taken instead.
    let mut command = program();
    command.env("PEERLOOM_SIGNALING_LISTEN", "127.0.0.1:0").env("PEERLOOM_SIGNALING_TOKEN", "hush");
    command.env("PEERLOOM_SIGNALING_IDLE_TIMEOUT_SECONDS", "8").args([
        "--idle-timeout-seconds",
        "9",
        "--config",
    ]);
    let mut running = Running::start(command.arg(&file));
    assert!(!running.started.contains("NO AUTHENTICATION"), "the variable's token is in force");

    let init = |path: &str| {
        let stream = TcpStream::connect(running.address).unwrap();
        let (mut socket, _) =
            tokio_tungstenite::tungstenite::client(format!("ws://here{path}"), stream).ok()?;
        Some(socket.read().unwrap().into_text().unwrap().as_str().to_owned())
    };
    assert_eq!(init("/"), None);
    let init = init("/?token=hush").unwrap();
    assert!(init.contains(r#""idleTimeoutMs":9000"#), "{init}");

    running.terminate();
    let mut log = running.started.clone();
    running.log.read_to_string(&mut log).unwrap();
    assert!(log.contains("DEBUG"), "the file's filter is in force");
    assert!(!log.contains("hush"), "a token was logged");
}

#[test]
fn wrong_settings_are_told_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (unknown, short) = (path("unknown.toml", "lissen = 1\n"), path("short", "short\n"));
    let wrong_type = path("type.toml", "idle_timeout_seconds = \"long\"\n");
    let cases: &[(&[&str], &str)] = &[
        (&["--config", &unknown], "no setting `lissen`"),
        (&["--config", &wrong_type], "idle_timeout_seconds"),
        (&["--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["--listen", "everywhere"], "--listen"),
        (&["--tls-certificate", "/nowhere.pem"], "--tls-key"),
        (&["--tls-certificate", "/nowhere.pem", "--tls-key", "/nowhere.pem"], "/nowhere.pem"),
        (&["--jwt-key-file", &short], "at least 32 bytes"),
        (&["--turn-url", "turn:here"], "TURN secret"),
        (&["--client-address-header", "not a header"], "client_address_header"),
        (&["--messages-per-second", "0"], "--messages-per-second"),
    ];
    for (arguments, expected) in cases {
        let output = program().args(*arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(expected), "{arguments:?} says\n{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn help_names_every_setting_and_its_default() {
    let output = program().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for expected in
        ["--listen", "[default: 127.0.0.1:8080]", "--jwt-key-file", "PEERLOOM_SIGNALING_TOKEN", "/metrics"]
    {
        assert!(help.contains(expected), "{expected} in\n{help}");
    }
}
