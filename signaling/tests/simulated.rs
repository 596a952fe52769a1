//! The real server in turmoil, a simulated network: the same seed, the same run.
#![cfg(feature = "server")]

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use peerloom_signaling::environment::Environment;
use peerloom_signaling::rooms::Now;
use peerloom_signaling::server::{Listener, Server, ServerOptions};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use turmoil::net::{TcpListener, TcpStream};

const NAMES: [&str; 3] = ["left", "middle", "right"];

struct Simulated(TcpListener);

impl Listener for Simulated {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}

struct Seeded {
    started: tokio::time::Instant,
    drawn: AtomicU64,
}

impl Environment for Seeded {
    fn now(&self) -> Now {
        let monotonic = self.started.elapsed();
        Now { monotonic, unix: Duration::from_secs(1_700_000_000) + monotonic }
    }

    fn random_u64(&self) -> u64 {
        self.drawn.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
    }
}

/// Three clients who come back after the server was off. Returns all that they were told, with the time.
fn run(seed: u64) -> Vec<String> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut network = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(std::time::SystemTime::UNIX_EPOCH)
        .min_message_latency(Duration::from_millis(5))
        .max_message_latency(Duration::from_millis(60))
        .simulation_duration(Duration::from_secs(60))
        .build();
    network.host("server", || async {
        let listener = Simulated(TcpListener::bind("0.0.0.0:80").await?);
        let environment = Seeded { started: tokio::time::Instant::now(), drawn: AtomicU64::new(1) };
        let server = Server::new(ServerOptions::default(), Arc::new(environment));
        server.serve(listener, std::future::pending()).await;
        Ok(())
    });
    for name in NAMES {
        let log = Arc::clone(&log);
        network.client(name, async move {
            // Once before the server was off, and once after it.
            for visit in 0..2 {
                let mut socket = loop {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    let Ok(stream) = TcpStream::connect("server:80").await else { continue };
                    if let Ok((socket, _)) = client_async("ws://server/", stream).await {
                        break socket;
                    }
                };
                let join = r#"{"type":"join","room":"our-room","peerloom":{"version":1}}"#;
                if socket.send(Message::text(join)).await.is_err() {
                    continue;
                }
                let until = tokio::time::sleep(Duration::from_secs(10));
                tokio::pin!(until);
                loop {
                    let received = tokio::select! {
                        biased;
                        received = socket.next() => received,
                        () = &mut until => break,
                    };
                    let Some(Ok(message)) = received else { break };
                    let line = format!("{:?} {name} {visit} {message}", turmoil::elapsed());
                    log.lock().unwrap().push(line);
                }
            }
            Ok(())
        });
    }
    // Its power is cut: it says no more, not even that it ends. Were it to, the order would depend on the ids of its
    // tasks, which tokio counts for the whole process.
    let mut on = true;
    while !network.step().unwrap() {
        if on && network.elapsed() >= Duration::from_secs(3) {
            on = false;
            NAMES.iter().for_each(|&name| network.partition(name, "server"));
            network.crash("server");
            NAMES.iter().for_each(|&name| network.repair(name, "server"));
            network.bounce("server");
        }
    }
    drop(network);
    Arc::into_inner(log).expect("the clients are gone").into_inner().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_run_through_a_power_cut_of_the_server() {
    let log = run(7);
    for visit in 0..2 {
        for name in NAMES {
            let heard = |kind: &str| {
                log.iter().any(|line| line.contains(&format!("{name} {visit} ")) && line.contains(kind))
            };
            assert!(heard("\"init\"") && heard("\"members\""), "{name} {visit} in\n{}", log.join("\n"));
        }
    }
    assert_eq!(log, run(7));
    assert_ne!(log, run(8));
}
