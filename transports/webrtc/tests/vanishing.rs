//! Peers that stop reading, or vanish without a word.

use std::sync::mpsc;
use std::time::Duration;

use peerloom_core::{Connection, Membership, Topic, Transport};
use peerloom_webrtc::{InProcessSignaling, Interfaces, Options, WebRtc};
use tokio::time::timeout;

const TIME_MAX: Duration = Duration::from_secs(60);

fn transport(signaling: &InProcessSignaling) -> WebRtc {
    let options = Options {
        interfaces: Interfaces::loopback(),
        keep_alive: Duration::from_millis(100),
        dead_after: Duration::from_millis(1500),
        ..Options::default()
    };
    WebRtc::with_options(signaling.clone(), options)
}

async fn join(signaling: &InProcessSignaling) -> Box<dyn Membership> {
    transport(signaling).join(&Topic::new("our-notes").unwrap()).await.unwrap()
}

async fn accept(member: &mut Box<dyn Membership>) -> Connection {
    timeout(TIME_MAX, member.accept()).await.expect("a connection comes").unwrap()
}

/// A member on a runtime of its own, which ends like a process that is killed: its sockets close, and nobody is told.
fn doomed(signaling: &InProcessSignaling) -> (mpsc::Receiver<()>, impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (connected, is_connected) = mpsc::channel();
    let signaling = signaling.clone();
    let held = runtime.spawn(async move {
        let mut member = join(&signaling).await;
        let connection = accept(&mut member).await;
        connected.send(()).unwrap();
        std::future::pending::<()>().await;
        drop((member, connection));
    });
    let kill = move || {
        // What its end would say by being dropped is not said: the runtime that would is gone.
        std::mem::forget(held);
        runtime.shutdown_background();
    };
    (is_connected, kill)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_vanishes_is_noticed() {
    let signaling = InProcessSignaling::new();
    let mut member = join(&signaling).await;
    let (is_connected, kill) = doomed(&signaling);
    let mut connection = accept(&mut member).await;
    tokio::task::spawn_blocking(move || is_connected.recv()).await.unwrap().unwrap();
    kill();
    let ended = timeout(TIME_MAX, connection.receiver.receive()).await.expect("the silence ends it");
    assert_eq!(ended, None);
    assert!(connection.sender.send("anybody there?".into()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_holds_up_nobody_else() {
    const HELD_BYTES_MAX: usize = 24 << 20;
    let signaling = InProcessSignaling::new();
    let mut busy = join(&signaling).await;
    let mut idle = join(&signaling).await;
    let (mut to_idle, unread) = tokio::join!(accept(&mut busy), accept(&mut idle));
    let mut sent = 0;
    while timeout(Duration::from_millis(500), to_idle.sender.send(vec![7; 32 << 10].into())).await.is_ok() {
        sent += 32 << 10;
        assert!(sent <= HELD_BYTES_MAX, "{sent} bytes are held for somebody who does not read");
    }

    // In another room, where it meets nobody but the one who is held up here.
    let others = Topic::new("others").unwrap();
    let mut busy = transport(&signaling).join(&others).await.unwrap();
    let mut eager = transport(&signaling).join(&others).await.unwrap();
    let (mut to_eager, mut from_busy) = tokio::join!(accept(&mut busy), accept(&mut eager));
    for number in 0..200_u8 {
        let message = vec![number; 32 << 10];
        let (taken, received) =
            tokio::join!(to_eager.sender.send(message.clone().into()), from_busy.receiver.receive());
        taken.unwrap();
        assert_eq!(received.as_deref(), Some(&message[..]));
    }
    drop((to_idle, unread));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_is_made_again() {
    let signaling = InProcessSignaling::new();
    let (mut left, mut right) = (join(&signaling).await, join(&signaling).await);
    let (mut to_right, mut to_left) = tokio::join!(accept(&mut left), accept(&mut right));
    for _ in 0..5 {
        to_left.sender.close().await;
        assert_eq!(to_right.receiver.receive().await, None);
        // Whichever of the two is to call, hears of the end, and then calls.
        left.redial(&to_right.peer);
        right.redial(&to_left.peer);
        (to_right, to_left) = tokio::join!(accept(&mut left), accept(&mut right));
        to_right.sender.send("again".into()).await.unwrap();
        assert_eq!(to_left.receiver.receive().await.as_deref(), Some(&b"again"[..]));
    }
}
