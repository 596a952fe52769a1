//! The server under load: memory of idle connections, joins at a rate, one large room.
//!
//! `cargo bench -p peerloom-signaling` runs the program itself as a process of its own and talks to it over loopback.
//! Clients share the machine with it, so times are upper bounds.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

const IDLE: usize = 2_000;
const ROOM: usize = 10;
const JOINS_PER_SECOND: u64 = 200;
const JOINS: u64 = 2_000;
const LARGE_ROOM: usize = 500;

fn main() {
    let files = rlimit::increase_nofile_limit(u64::MAX).expect("the system says how many files may be open");
    assert!(files > 2 * IDLE as u64, "{files} open files are not enough: raise `ulimit -n`");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        idle(Kind::Capable, false).await;
        idle(Kind::Stock, false).await;
        idle(Kind::Capable, true).await;
        joins().await;
        for kind in [Kind::Capable, Kind::Stock] {
            large_room(kind).await;
        }
    });
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Capable,
    Stock,
}

impl Kind {
    fn join(self, room: &str) -> Message {
        Message::text(match self {
            Self::Capable => format!(r#"{{"type":"join","room":"{room}","peerloom":{{"version":1}}}}"#),
            Self::Stock => format!(r#"{{"type":"join","room":"{room}"}}"#),
        })
    }

    /// What a newcomer is told first.
    fn answer(self) -> &'static str {
        match self {
            Self::Capable => r#"{"type":"members""#,
            Self::Stock => r#"{"type":"joined""#,
        }
    }
}

async fn idle(kind: Kind, tls: bool) {
    let server = Process::start(tls);
    // The first connection allocates what all of them share.
    let first = server.join(kind, "the-first-room").await;
    let before = server.resident_bytes();
    let clients = server.fill(kind).await;
    let each = (server.resident_bytes() - before) as f64 / IDLE as f64;
    println!(
        "{IDLE} idle connections in rooms of {ROOM}, {kind:?}, {}: {:.1} KB each, {:.1} MB in all",
        if tls { "TLS" } else { "plain" },
        each / 1e3,
        server.resident_bytes() as f64 / 1e6,
    );
    drop((first, clients));
}

async fn joins() {
    let server = Process::start(false);
    let idle = server.fill(Kind::Capable).await;
    let cpu_before = server.cpu();
    let mut clock =
        interval(Duration::from_secs(1) / u32::try_from(JOINS_PER_SECOND).expect("a small number"));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut joining = JoinSet::new();
    let started = Instant::now();
    for number in 0..JOINS {
        // From when it was due, not from when there was time for it.
        let due = clock.tick().await;
        let address = server.address;
        joining.spawn(async move {
            let client = join(address, Kind::Capable, &format!("crowd-{}", number / ROOM as u64)).await;
            (due.elapsed(), client)
        });
    }
    let joined = joining.join_all().await;
    let took = started.elapsed();
    let mut latencies: Vec<Duration> = joined.iter().map(|&(latency, _)| latency).collect();
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{JOINS} joins at {JOINS_PER_SECOND}/s beside {IDLE} idle connections: {:.0}/s, connect to member list p50 {:.2} ms, \
         p99 {:.2} ms, max {:.2} ms, server CPU {:.0} µs per join",
        JOINS as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        (server.cpu() - cpu_before).as_secs_f64() * 1e6 / JOINS as f64,
    );
    drop((idle, joined));
}

async fn large_room(kind: Kind) {
    let server = Process::start(false);
    let mut clients = JoinSet::new();
    let started = Instant::now();
    for _ in 0..LARGE_ROOM {
        let address = server.address;
        clients.spawn(async move {
            let (mut socket, mut members, mut bytes) = join(address, kind, "the-large-room").await;
            while members < LARGE_ROOM {
                let text = hear(&mut socket).await;
                bytes += text.len();
                count(&text, &mut members);
            }
            (socket, bytes)
        });
    }
    let all = clients.join_all().await;
    let took = started.elapsed();
    let bytes: usize = all.iter().map(|(_, bytes)| bytes).sum();

    let mut readers = JoinSet::new();
    let started = Instant::now();
    for (mut socket, _) in all {
        readers.spawn(async move {
            hear(&mut socket).await;
            socket
        });
    }
    let newcomer = join(server.address, kind, "the-large-room").await;
    let all = readers.join_all().await;
    println!(
        "a room of {LARGE_ROOM}, {kind:?}: {:.2} s until all knew all, {:.1} MB sent, server CPU {:.2} s; one more known \
         to all after {:.1} ms; {:.1} MB resident",
        took.as_secs_f64(),
        bytes as f64 / 1e6,
        server.cpu().as_secs_f64(),
        started.elapsed().as_secs_f64() * 1e3,
        server.resident_bytes() as f64 / 1e6,
    );
    drop((all, newcomer));
}

/// How many members a peer knows of after this message, itself included.
fn count(text: &str, members: &mut usize) {
    let message: serde_json::Value = serde_json::from_str(text).expect("the server speaks JSON");
    match message["type"].as_str() {
        Some("members") => *members = message["members"].as_array().expect("a list").len() + 1,
        Some("memberJoined") => *members += 1,
        Some("joined") => *members = message["otherPeerIds"].as_array().expect("a list").len(),
        _ => {}
    }
}

/// Connects and joins. Returns how many members there were, and the bytes that were heard.
async fn join(address: SocketAddr, kind: Kind, room: &str) -> (WebSocketStream<TcpStream>, usize, usize) {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a socket option");
    let (mut socket, _) =
        client_async("ws://localhost/", stream).await.expect("the server lets everybody in");
    socket.send(kind.join(room)).await.expect("the connection is open");
    let (mut members, mut bytes) = (0, 0);
    loop {
        let text = hear(&mut socket).await;
        bytes += text.len();
        if text.starts_with(kind.answer()) {
            count(&text, &mut members);
            return (socket, members, bytes);
        }
    }
}

async fn hear<S>(socket: &mut WebSocketStream<S>) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let message = socket.next().await.expect("the connection is open").expect("the connection is sound");
    message.into_text().expect("the server speaks JSON").as_str().to_owned()
}

/// The program, running.
struct Process {
    child: Child,
    address: SocketAddr,
    tls: Option<TlsConnector>,
    _files: tempfile::TempDir,
}

/// An idle client: kept open, read by nobody.
#[expect(dead_code, reason = "they are there to be dropped later")]
enum Idle {
    Plain(Box<WebSocketStream<TcpStream>>),
    Tls(Box<WebSocketStream<TlsStream<TcpStream>>>),
}

impl Process {
    fn start(tls: bool) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_peerloom-signaling"));
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--log",
            "warn,peerloom_signaling=info",
            "--log-format",
            "json",
        ]);
        command.args(["--connections-per-address-max", "100000"]).stderr(Stdio::piped());
        let tls = tls.then(|| {
            let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            let write = |name: &str, content: String| -> PathBuf {
                let path = files.path().join(name);
                std::fs::write(&path, content).expect("a file");
                path
            };
            command.arg("--tls-certificate").arg(write("certificate.pem", issued.cert.pem()));
            command.arg("--tls-key").arg(write("key.pem", issued.signing_key.serialize_pem()));
            let mut roots = RootCertStore::empty();
            roots.add(issued.cert.der().clone()).expect("a certificate");
            let config = ClientConfig::builder_with_provider(ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .expect("TLS 1.2 and 1.3")
                .with_root_certificates(roots)
                .with_no_client_auth();
            TlsConnector::from(std::sync::Arc::new(config))
        });
        let mut child = command.spawn().expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
        let address = log.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
            line["fields"]["address"].as_str().map(|text| text.parse().expect("an address"))
        });
        // The rest is read too, or the server would wait for a place to write its log.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address: address.expect("it listens"), tls, _files: files }
    }

    /// Rooms of idle members: the rooms one by one, the members of each at once.
    async fn fill(&self, kind: Kind) -> Vec<Idle> {
        let mut members = Vec::new();
        for number in 0..IDLE / ROOM {
            let room = format!("room-{number}");
            let joins = (0..ROOM).map(|_| self.join(kind, &room));
            members.extend(futures_util::future::join_all(joins).await);
        }
        members
    }

    async fn join(&self, kind: Kind, room: &str) -> Idle {
        let Some(connector) = &self.tls else {
            return Idle::Plain(Box::new(join(self.address, kind, room).await.0));
        };
        let stream = TcpStream::connect(self.address).await.expect("the server listens");
        let name = "localhost".try_into().expect("a name");
        let stream = connector.connect(name, stream).await.expect("TLS");
        let (mut socket, _) =
            client_async("ws://localhost/", stream).await.expect("the server lets everybody in");
        socket.send(kind.join(room)).await.expect("the connection is open");
        while !hear(&mut socket).await.starts_with(kind.answer()) {}
        Idle::Tls(Box::new(socket))
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("Linux");
        let fields = stat.rsplit_once(") ").expect("a name in parentheses").1;
        let ticks: u64 =
            fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
        // USER_HZ is 100 on Linux, whatever the kernel's own.
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
