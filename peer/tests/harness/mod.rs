//! The program as tests see it: peers as processes, and a signaling server to kill.
#![allow(dead_code, reason = "each binary uses a part of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use peerloom_signaling::authentication::{Authentication, SharedToken};
use peerloom_signaling::environment::SystemEnvironment;
use peerloom_signaling::server::{Server, ServerOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Far longer than anything takes, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// The storages that this build has.
pub(crate) const STORAGES: &[&str] =
    if cfg!(feature = "rocksdb") { &["fjall", "rocksdb"] } else { &["fjall"] };

/// A signaling server that can be killed and started again at the same address.
pub(crate) struct Signaling {
    runtime: Option<Runtime>,
    address: SocketAddr,
    token: Option<String>,
}

impl Signaling {
    pub(crate) fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into())
    }

    pub(crate) fn start_at(address: SocketAddr) -> Self {
        Self::started(address, None)
    }

    /// One that lets in whoever has this token.
    pub(crate) fn that_asks_for(token: &str) -> Self {
        Self::started(([127, 0, 0, 1], 0).into(), Some(token.to_owned()))
    }

    fn started(address: SocketAddr, token: Option<String>) -> Self {
        let mut server = Self { runtime: None, address, token };
        server.restart();
        server
    }

    /// Drops every connection and the listener where they are, as the end of a process does.
    pub(crate) fn kill(&mut self) {
        self.runtime.take().expect("the server runs").shutdown_timeout(PATIENCE);
    }

    pub(crate) fn restart(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(self.address)).unwrap();
        self.address = listener.local_addr().unwrap();
        let authentication = match &self.token {
            Some(token) => Authentication::Token(SharedToken::new(token)),
            None => Authentication::None,
        };
        let options = ServerOptions { authentication, ..ServerOptions::default() };
        let server = Server::new(options, Arc::new(SystemEnvironment::new()));
        runtime.spawn(server.serve(listener, std::future::pending()));
        self.runtime = Some(runtime);
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

impl Drop for Signaling {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A peer's directory, and how the program is called for it.
pub(crate) struct Peer {
    pub(crate) name: String,
    directory: TempDir,
    settings: Vec<String>,
    /// In which network namespace its processes run.
    namespace: Option<String>,
}

impl Peer {
    pub(crate) fn new(name: &str, settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix(&format!("peer-{name}-")).tempdir().unwrap();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Self { name: name.to_owned(), directory, settings, namespace: None }
    }

    /// A peer that meets others on this machine alone.
    pub(crate) fn on_loopback(name: &str, signaling: &Signaling, settings: &[&str]) -> Self {
        let url = signaling.url();
        let mut all = vec!["--topic", "our-topic", "--signaling", &url, "--bind", "127.0.0.1"];
        all.extend(settings);
        Self::new(name, &all)
    }

    pub(crate) fn within(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_peerloom-peer");
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, program]);
                command
            }
        };
        let variables: Vec<(String, String)> =
            std::env::vars().filter(|(name, _)| name == "PATH" || name == "TMPDIR").collect();
        command.env_clear().envs(variables);
        command.arg("--data").arg(self.data()).args(&self.settings).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command with something on standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // Beside the reading of what it prints. It may end without having read everything.
        let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        output
    }

    /// Runs a command that has to succeed, and returns what it prints.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        printed(&self.name, arguments, self.run(arguments))
    }

    pub(crate) fn ok_with(&self, arguments: &[&str], input: &[u8]) -> String {
        printed(&self.name, arguments, self.run_with(arguments, input))
    }

    /// What a command prints as JSON, one object a line.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [&["--json"], arguments].concat();
        self.ok(&arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The sum of a counter over the connections there are.
    pub(crate) fn counted(&self, counter: &str) -> u64 {
        let status = self.json(&["status"]).remove(0);
        let peers = status["rooms"][0]["peers"].as_array().unwrap();
        peers.iter().map(|peer| peer[counter].as_u64().unwrap()).sum()
    }

    pub(crate) fn serve(&self) -> Served {
        Served::start(self.command(&["--log-format", "json", "serve"]), &self.name)
    }

    pub(crate) fn watch(&self, arguments: &[&str]) -> Watching {
        let mut child = self.command(&[&["--json", "watch"], arguments].concat()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Watching { child, lines }
    }
}

fn printed(name: &str, arguments: &[&str], output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {} {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A peer that is being served. Killed when it is dropped.
pub(crate) struct Served {
    pub(crate) child: Child,
    name: String,
    log: Receiver<Value>,
    /// What was read of the log.
    pub(crate) seen: Vec<Value>,
}

impl Served {
    /// Starts it, and waits until it can be used.
    pub(crate) fn start(mut command: Command, name: &str) -> Self {
        let mut child = command.spawn().unwrap();
        let log = read(child.stderr.take().unwrap());
        let mut served = Self { child, name: name.to_owned(), log, seen: Vec::new() };
        served.wait_for("serving", 1);
        served
    }

    /// Waits until the log has said this so many times.
    pub(crate) fn wait_for(&mut self, message: &str, times: usize) {
        let until = Instant::now() + PATIENCE;
        while self.times(message) < times {
            match self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!(
                    "{} does not say {message:?} {times} times ({error}); it said {:#?}",
                    self.name, self.seen
                ),
            }
        }
    }

    /// How often the log has said this so far.
    pub(crate) fn times(&mut self, message: &str) -> usize {
        self.seen.extend(self.log.try_iter());
        self.seen.iter().filter(|line| line["fields"]["message"] == message).count()
    }

    /// Lets time pass, and reads the log meanwhile.
    pub(crate) fn let_pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            match self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => panic!("{} has ended: {:#?}", self.name, self.seen),
            }
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it with SIGTERM, and waits until it has.
    pub(crate) fn terminate(mut self) {
        self.signal("-TERM");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The lines of a log, read as they come so that nobody waits for them to be read.
fn read(log: ChildStderr) -> Receiver<Value> {
    let (lines, read) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines() {
            let Ok(line) = line else { return };
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    read
}

/// A command that prints changes. Killed when it is dropped.
pub(crate) struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "there are no more changes");
        serde_json::from_str(&line).unwrap()
    }

    /// Waits until this document changes, and returns it.
    pub(crate) fn until(&mut self, id: &str) -> Value {
        loop {
            let change = self.next();
            if change["id"] == id {
                return change;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
