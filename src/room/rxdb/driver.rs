//! The driver of one connection with an RxDB peer: keeps still, or has the conversation.
//!
//! A peer that was kept waiting is not spoken with on the same connection, because RxDB asks once for a token and does not wait for
//! ever. It is hung up on, and connects again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::{CloseReason, MessageReceiver, MessageSender};
use tokio::sync::watch;

use super::Election;
use super::conversation::{Conversation, End};
use crate::collection::{Mark, SessionNumber};
use crate::room::RoomCore;
use crate::room::connection::Ended;
use crate::room::peers::{PeerState, Stop};

/// How many messages of a peer that is kept waiting are kept with it.
const KEPT_MESSAGES_MAX: usize = 16;

/// For how long they are worth anything: RxDB waits 20 seconds for an answer.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// How long a farewell may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection whose first message was of RxDB's dialect.
pub(in crate::room) struct Line {
    pub(in crate::room) sender: Box<dyn MessageSender>,
    pub(in crate::room) receiver: Box<dyn MessageReceiver>,
    pub(in crate::room) message_bytes_max: usize,
    pub(in crate::room) address: peerloom_core::PeerAddress,
    pub(in crate::room) first: Bytes,
}

/// Runs the connection to its end.
pub(in crate::room) async fn run(
    room: Arc<RoomCore>,
    number: SessionNumber,
    mut line: Line,
    mut stop: watch::Receiver<Option<Stop>>,
) -> Ended {
    let mut election = Election::new(&room);
    let kept = match wait(&room, number, &mut line, &mut stop, &mut election).await {
        Waited::Speak(kept) => kept,
        Waited::Over(reason) => {
            farewell(&room, line).await;
            return Ended { reason, peer: None, proven: None, joined_for: None, is_told: true };
        }
    };
    let began = room.node.environment().now().monotonic;
    let conversation = Conversation::new(room.clone(), number, line, kept);
    let (line, end) = conversation.run(&mut stop, &mut election).await;
    farewell(&room, line).await;
    let reason = match end {
        End::Stopped => CloseReason::Left,
        // It is still connected, by the connection that replaced this one.
        End::Replaced => CloseReason::Refused(peerloom_core::Refusal::Duplicate),
        End::Lost => CloseReason::ConnectionLost,
        // To be connected again, and kept waiting.
        End::SteppedDown => CloseReason::ConnectionLost,
        End::Failed(detail) => CloseReason::PeerFailed(detail),
        End::StorageFailed(detail) => CloseReason::StorageFailed(detail),
    };
    let joined_for = room.node.environment().now().monotonic.saturating_sub(began);
    Ended { reason, peer: None, proven: None, joined_for: Some(joined_for), is_told: true }
}

enum Waited {
    /// The conversation may begin, with what was said so far.
    Speak(VecDeque<Bytes>),
    Over(CloseReason),
}

/// Keeps still while somebody else speaks.
async fn wait(
    room: &Arc<RoomCore>,
    number: SessionNumber,
    line: &mut Line,
    stop: &mut watch::Receiver<Option<Stop>>,
    election: &mut Election,
) -> Waited {
    let environment = room.node.environment_handle();
    let bridge = room.rxdb.as_ref().expect("a room without a bridge keeps no such line");
    let mut kept = VecDeque::from([line.first.clone()]);
    let mut is_whole = true;
    let began = environment.now().monotonic;
    // Nobody waits for what it does not speak with.
    room.peers.update(number, |status| {
        status.peer.state = PeerState::CaughtUp;
        status.marks = vec![Mark::BEYOND; room.shares.borrow().len()];
    });
    loop {
        let now = environment.now().monotonic;
        if now >= bridge.speaks_from && election.is_won() {
            let fresh = is_whole && now.saturating_sub(began) < KEPT_FOR;
            return if fresh { Waited::Speak(kept) } else { Waited::Over(CloseReason::ConnectionLost) };
        }
        let patience = async {
            match now < bridge.speaks_from {
                true => environment.sleep_until(bridge.speaks_from).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Ok(()) = stop.changed() => return Waited::Over(CloseReason::Left),
            () = patience => {}
            () = election.changed() => {}
            message = line.receiver.receive() => match message {
                None => return Waited::Over(CloseReason::ConnectionLost),
                Some(message) if kept.len() < KEPT_MESSAGES_MAX => kept.push_back(message),
                Some(_) => is_whole = false,
            },
        }
    }
}

/// Closes the connection, as far as the peer lets it within the time-out.
async fn farewell(room: &RoomCore, mut line: Line) {
    let environment = room.node.environment_handle();
    let deadline = environment.now().monotonic + FAREWELL_TIMEOUT;
    tokio::select! {
        biased;
        () = line.sender.close() => {}
        () = environment.sleep_until(deadline) => {}
    }
}
