//! Running `peerloom-signaling` and `peerloom-peer` as a terminal would.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::earthquake::{self, Earthquake};
use crate::number;
use crate::telling::Traffic;

/// The longest wait for anything. This only keeps the demo from hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that lies beside this one.
fn program(name: &str) -> anyhow::Result<Command> {
    let this = std::env::current_exe().context("where this program lies")?;
    let path = this.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    ensure!(path.exists(), "{} is missing: `cargo xtask demo --webrtc` builds it", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// A topic key.
pub(crate) fn fresh_key() -> anyhow::Result<String> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A process that writes its log as JSON. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Never locked: it lets threads run commands for a replica whose process this is.
    log: Mutex<Receiver<Value>>,
    /// How often each message was logged.
    said: BTreeMap<String, usize>,
}

impl Process {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.spawn()?;
        let log = Mutex::new(read(child.stderr.take().context("the log is piped")?));
        Ok(Self { child, log, said: BTreeMap::new() })
    }

    /// Waits until a message was logged so many times, and returns the last one's line.
    fn wait_for(&mut self, message: &str, times: usize) -> anyhow::Result<Value> {
        let until = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        let log = self.log.get_mut().expect("nobody panics while holding it");
        while self.said.get(message).copied().unwrap_or(0) < times {
            let line = log.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.with_context(|| format!("it has not said {message:?} {times} times"))?;
            let said = line["fields"]["message"].as_str().unwrap_or_default().to_owned();
            *self.said.entry(said.clone()).or_default() += 1;
            if said == message {
                last = line;
            }
        }
        Ok(last)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(log: ChildStderr) -> Receiver<Value> {
    let (lines, read) = channel();
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap_or(Value::Null);
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    read
}

/// The signaling server.
pub(crate) struct Signaling {
    process: Process,
    address: String,
}

impl Signaling {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::start_at("127.0.0.1:0")
    }

    fn start_at(address: &str) -> anyhow::Result<Self> {
        let mut command = program("peerloom-signaling")?;
        command.args(["--log-format", "json", "--listen", address]);
        let mut process = Process::start(command)?;
        let listening = process.wait_for("listening", 1)?;
        let address = listening["fields"]["address"].as_str().context("it listens at an address")?.to_owned();
        Ok(Self { process, address })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.child.kill()?;
        self.process.child.wait()?;
        Ok(())
    }

    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        *self = Self::start_at(&self.address)?;
        Ok(())
    }
}

/// A replica: a directory, and a process that serves it most of the time.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    data: PathBuf,
    variables: [(&'static str, String); 6],
    served: Option<Process>,
}

/// What a replica holds, in one line.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Fingerprint {
    pub(crate) documents: usize,
    pub(crate) conflicts: usize,
    pub(crate) hash: String,
}

impl Peer {
    pub(crate) fn new(
        name: &'static str,
        directory: &Path,
        storage: &str,
        signaling: &Signaling,
        key: &str,
    ) -> Self {
        let variables = [
            ("PEERLOOM_STORAGE", storage.to_owned()),
            ("PEERLOOM_TOPIC", "earthquakes of the week".to_owned()),
            ("PEERLOOM_KEY", key.to_owned()),
            ("PEERLOOM_SIGNALING", format!("ws://{}", signaling.address())),
            ("PEERLOOM_BIND", "127.0.0.1".to_owned()),
            // Shorter than anybody wants it on the Internet, so that the story goes on.
            ("PEERLOOM_DEAD_AFTER_SECONDS", "5".to_owned()),
        ];
        Self { name, data: directory.join(name), variables, served: None }
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = program("peerloom-peer")?;
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.arg("--data").arg(&self.data).args(arguments);
        Ok(command)
    }

    /// Serves the replica, and returns when commands reach it.
    pub(crate) fn serve(&mut self) -> anyhow::Result<()> {
        let mut process = Process::start(self.command(&["--log-format", "json", "serve"])?)?;
        process.wait_for("serving", 1).with_context(|| format!("{} is not served", self.name))?;
        self.served = Some(process);
        Ok(())
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.served.as_ref().map_or(0, |process| process.child.id())
    }

    /// Ends the process with SIGKILL.
    pub(crate) fn kill(&self) {
        // By the system's command, so that a writer can hold this replica meanwhile.
        let _ = Command::new("kill").args(["-9", &self.process_id().to_string()]).status();
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.served.take() {
            process.child.wait()?;
        }
        Ok(())
    }

    /// Ends the process with SIGTERM, in order.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.process_id().to_string()]).status()?;
        if let Some(mut process) = self.served.take() {
            let status = process.child.wait()?;
            ensure!(status.success(), "{} did not end well: {status}", self.name);
        }
        Ok(())
    }

    /// Waits until so many peers are connected.
    pub(crate) fn wait_for_peers(&mut self, count: usize) -> anyhow::Result<()> {
        let served = self.served.as_mut().context("the replica is served")?;
        let left = served.said.get("a peer has left").copied().unwrap_or(0);
        served.wait_for("a peer has joined", count + left).map(drop)
    }

    /// Waits until so many peers have left since it was served.
    pub(crate) fn wait_until_left(&mut self, count: usize) -> anyhow::Result<()> {
        self.served.as_mut().context("the replica is served")?.wait_for("a peer has left", count).map(drop)
    }

    /// Runs a command, and returns what it prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_with(arguments, "")
    }

    /// Imports documents.
    pub(crate) fn write(&self, documents: &[Earthquake]) -> anyhow::Result<()> {
        self.run_with(&["import", "-"], &earthquake::lines(documents)).map(drop)
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut child = self.command(arguments)?.stdin(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("standard input is piped")?;
        // If it ends before it has read everything, it says why.
        let written = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{} {arguments:?}: {}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        written?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// All documents that it holds.
    pub(crate) fn documents(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut documents = BTreeMap::new();
        for line in self.run(&["export"])?.lines() {
            let mut line: Value = serde_json::from_str(line)?;
            let id = line["id"].as_str().context("a document has an id")?.to_owned();
            documents.insert(id, line["value"].take());
        }
        Ok(documents)
    }

    pub(crate) fn conflicts(&self) -> anyhow::Result<Vec<Value>> {
        let printed = self.run(&["--json", "conflicts"])?;
        Ok(printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// Reads all of it: every document in the order of the ids, and every version of those in conflict.
    pub(crate) fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        let (documents, conflicts) = (self.run(&["export"])?, self.run(&["--json", "conflicts"])?);
        let hash =
            Sha256::new().chain_update(&documents).chain_update([0]).chain_update(&conflicts).finalize();
        Ok(Fingerprint {
            documents: documents.lines().count(),
            conflicts: conflicts.lines().count(),
            hash: hash[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// A command that prints documents as they change from now on, and what it prints.
    pub(crate) fn watch(&self) -> anyhow::Result<(Process, BufReader<ChildStdout>)> {
        let command = self.command(&["--json", "--log", "info", "--log-format", "json", "watch"])?;
        let mut process = Process::start(command)?;
        process.wait_for("watching", 1)?;
        let lines = BufReader::new(process.child.stdout.take().context("standard output is piped")?);
        Ok((process, lines))
    }
}

impl Traffic {
    /// What these replicas received. Between all of them, that is what they sent.
    pub(crate) fn received_by(peers: &[Peer]) -> anyhow::Result<Self> {
        Self::sum(peers, "bytes_received", "documents_received", Some("documents_duplicate"))
    }

    pub(crate) fn sent_by(peers: &[Peer]) -> anyhow::Result<Self> {
        Self::sum(peers, "bytes_sent", "documents_sent", None)
    }

    fn sum(peers: &[Peer], bytes: &str, documents: &str, duplicates: Option<&str>) -> anyhow::Result<Self> {
        let mut sum = Self::default();
        for peer in peers {
            let status: Value = serde_json::from_str(&peer.run(&["--json", "status"])?)?;
            for connection in status["rooms"][0]["peers"].as_array().into_iter().flatten() {
                sum.bytes += number(connection, bytes)?;
                sum.documents += number(connection, documents)?;
                sum.duplicates += duplicates.map_or(Ok(0), |duplicates| number(connection, duplicates))?;
            }
        }
        Ok(sum)
    }
}
