//! An RxDB peer in a process of its own, and RxDB's signaling server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{oneshot, watch};

/// Where the scripts and their packages lie.
fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("node")
}

/// Whether RxDB is installed, which `cargo xtask test` does. Where it must be (`RXDB_TESTS=required`) and is not, this panics.
pub fn is_there() -> bool {
    let there = directory().join("node_modules/rxdb/package.json").exists();
    let required = std::env::var_os("RXDB_TESTS").is_some_and(|value| value == "required");
    assert!(there || !required, "RxDB is not installed: run `npm ci` in {}", directory().display());
    if !there {
        eprintln!("skipped: RxDB is not installed; `cargo xtask test` installs it");
    }
    there
}

type Answers = Arc<Mutex<BTreeMap<u64, oneshot::Sender<anyhow::Result<Value>>>>>;

/// An RxDB peer with memory storage. Its process ends when this is dropped. If it ends by itself, so does the test.
#[derive(Debug)]
pub struct RxdbPeer {
    /// Before the process: what ends without it has ended by itself.
    wanted: Arc<()>,
    child: Child,
    input: tokio::sync::Mutex<(u64, ChildStdin)>,
    answers: Answers,
    changes: watch::Receiver<()>,
}

fn node(script: &str, arguments: &[String]) -> anyhow::Result<Child> {
    let mut command = Command::new("node");
    command.arg(script).args(arguments).current_dir(directory()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().context("node could not be started")
}

impl RxdbPeer {
    /// Starts a process.
    pub fn start() -> anyhow::Result<Self> {
        let mut child = node("peer.mjs", &[])?;
        let input = child.stdin.take().context("its input is piped")?;
        let output = child.stdout.take().context("its output is piped")?;
        let answers = Answers::default();
        let (changed, changes) = watch::channel(());
        let wanted = Arc::new(());
        tokio::spawn({
            let answers = answers.clone();
            let wanted = Arc::downgrade(&wanted);
            async move {
                let mut lines = BufReader::new(output).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let Ok(mut answer) = serde_json::from_str::<Value>(&line) else { continue };
                    if answer["changed"] == true {
                        changed.send_replace(());
                        continue;
                    }
                    let number = answer["number"].as_u64().unwrap_or_default();
                    let asked = answers.lock().expect("nobody panics with it").remove(&number);
                    let Some(asked) = asked else { continue };
                    let result = match answer["error"].as_str() {
                        Some(error) => Err(anyhow::anyhow!("RxDB: {error}")),
                        None => Ok(answer["result"].take()),
                    };
                    let _ = asked.send(result);
                }
                if wanted.upgrade().is_some() {
                    give_up();
                }
                answers.lock().expect("nobody panics with it").clear();
            }
        });
        Ok(Self { wanted, child, input: tokio::sync::Mutex::new((0, input)), answers, changes })
    }

    /// Starts a process, opens its database and joins the room. `options` are those of `open` in `peer.mjs`.
    pub async fn open(options: Value) -> anyhow::Result<Self> {
        let peer = Self::start()?;
        peer.ask("open", options).await?;
        Ok(peer)
    }

    /// Has a command of `peer.mjs` carried out.
    pub async fn ask(&self, command: &str, parameters: Value) -> anyhow::Result<Value> {
        let Value::Object(mut message) = parameters else { bail!("parameters are an object") };
        let (reply, answer) = oneshot::channel();
        {
            let mut input = self.input.lock().await;
            input.0 += 1;
            message.insert("number".into(), input.0.into());
            message.insert("command".into(), command.into());
            self.answers.lock().expect("nobody panics with it").insert(input.0, reply);
            let line = format!("{}\n", Value::Object(message));
            input.1.write_all(line.as_bytes()).await?;
        }
        let answer = answer.await.with_context(|| format!("the process ended during `{command}`"))?;
        answer.with_context(|| format!("`{command}`"))
    }

    /// Inserts documents.
    pub async fn insert(&self, documents: &[Value]) -> anyhow::Result<()> {
        self.ask("insert", json!({ "documents": documents })).await.map(drop)
    }

    /// Changes fields of a document.
    pub async fn patch(&self, id: &str, fields: Value) -> anyhow::Result<()> {
        self.ask("patch", json!({ "id": id, "fields": fields })).await.map(drop)
    }

    /// Deletes a document.
    pub async fn remove(&self, id: &str) -> anyhow::Result<()> {
        self.ask("remove", json!({ "id": id })).await.map(drop)
    }

    /// All documents by id, deleted ones too.
    pub async fn documents(&self) -> anyhow::Result<Value> {
        self.ask("documents", json!({})).await
    }

    /// Waits until it has these documents, by id.
    pub async fn until(&self, expected: Value) -> anyhow::Result<()> {
        self.ask("until", json!({ "expected": expected })).await.map(drop)
    }

    /// Has an item after its documents have changed, one for several changes if nobody looks. Ends with the process.
    pub fn changes(&self) -> BoxStream<'static, ()> {
        stream::unfold(self.changes.clone(), |mut changes| async {
            changes.changed().await.ok()?;
            Some(((), changes))
        })
        .boxed()
    }

    /// Kills the process, and waits until it is gone.
    pub async fn kill(self) -> anyhow::Result<()> {
        let Self { wanted, mut child, .. } = self;
        drop(wanted);
        Ok(child.kill().await?)
    }
}

/// Ends this process, because a peer's has ended by itself: others would wait for ever for what it was to do.
fn give_up() {
    use std::io::Write;
    // Not `eprintln`, which a test keeps for itself until it has ended.
    let _ = writeln!(std::io::stderr(), "an RxDB peer's process has ended by itself");
    std::process::exit(101);
}

/// RxDB's own signaling server. Ends when this is dropped.
#[derive(Debug)]
pub struct RxdbSignaling {
    _child: Child,
    /// Where it listens.
    pub url: String,
}

impl RxdbSignaling {
    /// Starts it.
    pub async fn start() -> anyhow::Result<Self> {
        let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = node("signaling.mjs", &[free.to_string()])?;
        let output = child.stdout.take().context("its output is piped")?;
        let line = BufReader::new(output).lines().next_line().await?;
        anyhow::ensure!(line.as_deref() == Some("listening"), "RxDB's signaling server did not start");
        Ok(Self { _child: child, url: format!("ws://127.0.0.1:{free}") })
    }
}
