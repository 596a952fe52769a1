//! A writer as its parent sees it: what it has said so far, and the end that it is given.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::disk::Kind;
use crate::plan::Side;

/// How long a writer may take to say what it is waited for. It takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a writer has said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) listening: Option<SocketAddr>,
    /// Whether it has opened its collection.
    pub(crate) open: bool,
    pub(crate) joined: bool,
    /// The last operation that it began.
    pub(crate) begun: Option<u64>,
    /// The last operation that was acknowledged.
    pub(crate) done: Option<u64>,
    /// How many operations were acknowledged.
    pub(crate) acknowledged: u64,
    closed: bool,
    ended: bool,
}

impl Said {
    /// The operation that was not acknowledged when the writer ended.
    pub(crate) fn under_way(&self) -> Option<u64> {
        self.begun.filter(|begun| self.done != Some(*begun))
    }

    fn hear(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "listening" => self.listening = Some(rest.parse().ok()?),
            "joined" => self.joined = true,
            "begin" => self.begun = Some(rest.parse().ok()?),
            "done" => {
                self.done = Some(rest.parse().ok()?);
                self.acknowledged += 1;
            }
            "closed" => self.closed = true,
            "open" => self.open = true,
            _ => return None,
        }
        Some(())
    }
}

/// What a writer is started with, beside the seed and the storage.
pub(crate) struct Start {
    pub(crate) side: Side,
    pub(crate) from: u64,
    pub(crate) alone: u64,
    pub(crate) dial: Option<SocketAddr>,
}

/// A running writer. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    /// Its end is the wish that the writer ends.
    input: Option<ChildStdin>,
    said: Arc<(Mutex<Said>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn start(storage: Kind, directory: &Path, seed: u64, start: &Start) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["write", "--storage", &storage.name(), "--directory"]).arg(directory);
        command.arg(format!("--side={}", start.side)).arg(format!("--seed={seed}"));
        command.arg(format!("--from={}", start.from)).arg(format!("--alone={}", start.alone));
        command.args(start.dial.map(|address| format!("--dial={address}")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        let said = Arc::<(Mutex<Said>, Condvar)>::default();
        let hearing = said.clone();
        let reader = std::thread::spawn(move || {
            let (said, changed) = &*hearing;
            // Line by line up to the end of the pipe; a word that a kill cut short was not said.
            for line in output.lines().map_while(Result::ok) {
                let _ = said.lock().unwrap_or_else(PoisonError::into_inner).hear(&line);
                changed.notify_all();
            }
            said.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            changed.notify_all();
        });
        Ok(Self { child, input, said, reader: Some(reader) })
    }

    /// Waits until what it has said is enough. Fails if it ends before.
    pub(crate) fn wait_for(&self, enough: impl Fn(&Said) -> bool) -> anyhow::Result<Said> {
        let said = self.wait(|said| said.ended || enough(said))?;
        ensure!(enough(&said), "a writer ended by itself: {said:?}");
        Ok(said)
    }

    fn wait(&self, enough: impl Fn(&Said) -> bool) -> anyhow::Result<Said> {
        let (said, changed) = &*self.said;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(said, PATIENCE, |said| !enough(said));
        let (said, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(!waited.timed_out(), "a writer said nothing more for {PATIENCE:?}: {said:?}");
        Ok(said.clone())
    }

    /// Kills it with SIGKILL, and returns all that it had said.
    pub(crate) fn kill(mut self) -> anyhow::Result<Said> {
        // Sent whether or not it has ended; that it had not is what the status says.
        self.child.kill()?;
        let status = self.child.wait()?;
        ensure!(!status.success() && status.code().is_none(), "it was not killed: {status}");
        self.join();
        self.wait(|said| said.ended)
    }

    /// Asks it to end, and returns all that it had said.
    pub(crate) fn stop(mut self) -> anyhow::Result<Said> {
        self.input = None;
        let said = self.wait(|said| said.ended)?;
        let status = self.child.wait()?;
        if !status.success() || !said.closed {
            bail!("a writer that was not killed ended with {status}: {said:?}");
        }
        self.join();
        Ok(said)
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading lines does not panic");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
