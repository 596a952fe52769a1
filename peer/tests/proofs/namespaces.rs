//! A peer in a network namespace of its own, whose link goes down and whose address changes. Needs root and Linux's network
//! namespaces; without them the tests say that they skip.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::harness::{Peer, Served, Signaling};
use crate::size;

/// A namespace with one link to this machine's own, which has the addresses .1 here and .2 there.
struct Namespace {
    name: String,
    here: String,
    there: String,
    prefix: String,
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Namespace {
    /// `None`, and a word about it, where the machine does not allow it.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let (number, process) = (NUMBER.fetch_add(1, Ordering::Relaxed), std::process::id());
        // One of the networks that are set apart for tests of devices (RFC 2544), another for each test and process.
        let prefix = format!("198.{}.{}", 18 + number % 2, process % 256);
        let namespace = Self {
            name: format!("peerloom-{process}-{number}"),
            here: format!("pl{process}h{number}"),
            there: format!("pl{process}t{number}"),
            prefix,
        };
        match namespace.make() {
            Ok(()) => Some(namespace),
            Err(error) => {
                eprintln!("SKIPPED: this machine does not allow network namespaces ({error})");
                assert!(
                    std::env::var("NAMESPACE_TESTS").as_deref() != Ok("required"),
                    "network namespaces are required: {error}"
                );
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let Self { name, here, there, prefix } = self;
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {here} type veth peer name {there} netns {name}"))?;
        ip(&format!("addr add {prefix}.1/24 dev {here}"))?;
        ip(&format!("link set {here} up"))?;
        self.within(&format!("addr add {prefix}.2/24 dev {there}"))?;
        self.within("link set lo up")?;
        self.within(&format!("link set {there} up"))
    }

    fn within(&self, arguments: &str) -> Result<(), String> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// As when somebody pulls the cable and plugs it in again.
    fn link(&self, state: &str) {
        ip(&format!("link set {} {state}", self.here)).unwrap();
    }

    /// As when a laptop moves to another network.
    fn change_address(&self, from: u8, to: u8) {
        let Self { there, prefix, .. } = self;
        self.within(&format!("addr del {prefix}.{from}/24 dev {there}")).unwrap();
        self.within(&format!("addr add {prefix}.{to}/24 dev {there}")).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Both ends of the link go with it.
        let _ = ip(&format!("netns del {}", self.name));
        let _ = ip(&format!("link del {}", self.here));
    }
}

/// A peer here and one in the namespace, connected.
struct Apart {
    _signaling: Signaling,
    home: Peer,
    away: Peer,
    serving: [Served; 2],
    /// The last, because its processes are in it.
    namespace: Namespace,
}

impl Apart {
    fn new(dead_after_seconds: &str) -> Option<Self> {
        let namespace = Namespace::new()?;
        let here = format!("{}.1", namespace.prefix);
        let signaling = Signaling::start_at(SocketAddr::new(here.parse().unwrap(), 0));
        let url = signaling.url();
        let settings = [
            "--topic",
            "our-topic",
            "--signaling",
            &url,
            "--storage",
            "memory",
            "--dead-after-seconds",
            dead_after_seconds,
        ];
        let home = Peer::new("home", &[&settings[..], &["--bind", &here]].concat());
        let away = Peer::new("away", &settings).within(&namespace.name);
        let mut serving = [home.serve(), away.serve()];
        for served in &mut serving {
            served.wait_for("a peer has joined", 1);
        }
        home.ok(&["put", "from-home", "1"]);
        away.watch(&["--from-start"]).until("from-home");
        Some(Self { _signaling: signaling, home, away, serving, namespace })
    }
}

#[test]
fn a_peer_comes_back_from_behind_a_dropped_link() {
    let outage = Duration::from_secs(size("OUTAGE_SECONDS", 0) as u64);
    let Some(mut apart) = Apart::new("4") else { return };
    apart.namespace.link("down");
    apart.home.ok(&["put", "from-home-meanwhile", "1"]);
    apart.away.ok(&["put", "from-away-meanwhile", "1"]);
    for served in &mut apart.serving {
        served.wait_for("a peer has left", 1);
    }
    apart.serving[0].let_pass(outage);
    apart.namespace.link("up");
    apart.home.watch(&["--from-start"]).until("from-away-meanwhile");
    apart.away.watch(&["--from-start"]).until("from-home-meanwhile");
    apart.home.ok(&["catch-up"]);
    assert_eq!(apart.home.ok(&["export"]), apart.away.ok(&["export"]));
}

#[test]
fn a_short_outage_is_survived_by_the_connection() {
    let Some(mut apart) = Apart::new("120") else { return };
    apart.namespace.link("down");
    apart.home.ok(&["put", "from-home-meanwhile", "1"]);
    // Long enough that everything on the way is lost and sent again.
    apart.serving[0].let_pass(Duration::from_secs(3));
    apart.namespace.link("up");
    apart.away.watch(&["--from-start"]).until("from-home-meanwhile");
    for served in &mut apart.serving {
        assert_eq!(served.times("a peer has left"), 0, "{:#?}", served.seen);
    }
}

#[test]
fn a_change_of_address_heals_within_the_same_connection() {
    let Some(mut apart) = Apart::new("120") else { return };
    apart.namespace.change_address(2, 3);
    apart.home.ok(&["put", "from-home-later", "1"]);
    apart.away.watch(&["--from-start"]).until("from-home-later");
    apart.away.ok(&["put", "from-away-later", "1"]);
    apart.home.watch(&["--from-start"]).until("from-away-later");
    // It was an ICE restart, and no new connection.
    for served in &mut apart.serving {
        assert_eq!(served.times("a peer has joined"), 1, "{:#?}", served.seen);
        assert_eq!(served.times("a peer has left"), 0, "{:#?}", served.seen);
    }
}
