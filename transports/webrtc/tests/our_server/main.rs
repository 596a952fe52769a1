//! The client against the real signaling server: TLS, and TURN servers that are handed out.

mod certificates;
mod firewall;
mod relayed;
mod turn_server;

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peerloom_core::{Connection, Membership};
use peerloom_signaling::environment::SystemEnvironment;
use peerloom_signaling::server::{Listener, Server, ServerOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const TIME_MAX: Duration = Duration::from_secs(60);

/// A server, which runs until it is stopped or the test ends.
struct Running {
    task: JoinHandle<()>,
    /// One for each stream that it has accepted.
    accepted: mpsc::UnboundedReceiver<()>,
}

impl Running {
    fn start(options: ServerOptions, listener: TcpListener) -> Self {
        let server = Server::new(options, Arc::new(SystemEnvironment::new()));
        let (announced, accepted) = mpsc::unbounded_channel();
        let task = tokio::spawn(server.serve(Door { listener, announced }, pending()));
        Self { task, accepted }
    }

    async fn stop(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Tells of each stream that it accepts.
struct Door {
    listener: TcpListener,
    announced: mpsc::UnboundedSender<()>,
}

impl Listener for Door {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = Listener::accept(&mut self.listener).await;
        // Nobody may want to know.
        let _ = self.announced.send(());
        accepted
    }
}

async fn accept(member: &mut Box<dyn Membership>) -> Connection {
    timeout(TIME_MAX, member.accept()).await.expect("a connection comes").unwrap()
}

/// Both ends of the connection of two members.
async fn meet(left: &mut Box<dyn Membership>, right: &mut Box<dyn Membership>) -> (Connection, Connection) {
    tokio::join!(accept(left), accept(right))
}

async fn carries(from: &mut Connection, to: &mut Connection) {
    from.sender.send("good morning".into()).await.unwrap();
    let heard = timeout(TIME_MAX, to.receiver.receive()).await.expect("a message comes");
    assert_eq!(heard.as_deref(), Some(&b"good morning"[..]));
}
