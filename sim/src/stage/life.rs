//! One lifetime of a peer, from the start of its software to its end: what its user does with it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Inbox, lock};
use crate::plan::{Draw, Operation};
use crate::subject::{PeerContext, Running, Subject};
use crate::trace::{What, WriteName};
use crate::world::{Doing, name};

/// How long a peer's software waits before it is started again after it did not start.
const START_AGAIN: Duration = Duration::from_secs(1);

/// One lifetime of a peer: its software, and the user in front of it.
pub(super) struct Life {
    pub(super) subject: Arc<dyn Subject>,
    pub(super) context: PeerContext,
    pub(super) inbox: Arc<Mutex<Inbox>>,
    pub(super) wake: Arc<Notify>,
}

/// What a user does next.
enum Next {
    Act(Box<Operation>),
    Wait(Option<Duration>),
    Stop,
    OpenAgain,
}

impl Life {
    pub(super) async fn live(self) {
        let (world, peer) = (self.context.world.clone(), self.context.number);
        loop {
            let mut running = self.start().await;
            world.record(Some(peer), What::Started);
            let stop = self.use_it(&mut *running).await;
            if !stop {
                // Until somebody notices, the software must do no harm.
                tokio::time::sleep(self.notices_after()).await;
            }
            running.stop().await;
            world.lock().peers[peer.index()].must_reopen = false;
            if stop {
                world.record(Some(peer), What::Stopped);
                world.lock().peers[peer.index()].running = false;
                return;
            }
            crate::marks::reach("a peer that had to be opened again");
        }
    }

    async fn start(&self) -> Box<dyn Running> {
        loop {
            match self.subject.start(&self.context).await {
                Ok(running) => return running,
                Err(says) => {
                    self.context.world.record(Some(self.context.number), What::Told { says });
                    tokio::time::sleep(START_AGAIN).await;
                }
            }
        }
    }

    /// Until the peer must stop, or be opened again. Returns whether it must stop.
    async fn use_it(&self, running: &mut dyn Running) -> bool {
        loop {
            match self.next() {
                Next::Stop => return true,
                Next::OpenAgain => return false,
                Next::Act(operation) => self.act(running, &operation).await,
                Next::Wait(None) => self.wake.notified().await,
                Next::Wait(Some(wait)) => {
                    tokio::select! {
                        biased;
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// How long it takes until somebody opens a store again whose commit has failed.
    fn notices_after(&self) -> Duration {
        let PeerContext { seed, number, world, .. } = &self.context;
        Duration::from_millis(Draw::new(*seed, ("notices", number, world.now_us())).mostly_small(1, 3_000))
    }

    fn next(&self) -> Next {
        if self.context.world.lock().peers[self.context.number.index()].must_reopen {
            return Next::OpenAgain;
        }
        let now = (self.context.environment.elapsed)();
        let mut inbox = lock(&self.inbox);
        if inbox.stop {
            return Next::Stop;
        }
        match inbox.operations.front() {
            None => Next::Wait(None),
            Some((at, _)) if *at > now => Next::Wait(Some(*at - now)),
            Some(_) => {
                let (_, operation) = inbox.operations.pop_front().expect("it is there");
                // Marked as busy under the lock, so that nobody finds the user idle in between.
                let doing = Doing::default();
                self.context.world.lock().peers[self.context.number.index()].doing = Some(doing);
                Next::Act(Box::new(operation))
            }
        }
    }

    async fn act(&self, running: &mut dyn Running, operation: &Operation) {
        let (world, peer) = (&self.context.world, self.context.number);
        let says = if world.lock().recorder.wants_events() { words(operation) } else { String::new() };
        world.record(Some(peer), What::Called { operation: operation.number, says });
        let acted = running.act(&operation.action).await;
        let doing = world.lock().peers[peer.index()].doing.take();
        match acted {
            Ok(()) => {
                let wrote = doing.map(|doing| doing.wrote).unwrap_or_default();
                let mut state = world.lock();
                for (_, dot) in &wrote {
                    if let Some(fact) = state.facts.get_mut(&(dot.incarnation, dot.stamp)) {
                        fact.acknowledged = true;
                    }
                }
                state.figures.acknowledged += 1;
                drop(state);
                let writes: Vec<WriteName> = wrote.iter().map(|(id, dot)| name(id, *dot)).collect();
                world.record(Some(peer), What::Acknowledged { operation: operation.number, writes });
            }
            Err(error) => world.record(Some(peer), What::Failed { operation: operation.number, error }),
        }
    }
}

/// An operation, for people.
fn words(operation: &Operation) -> String {
    use crate::plan::Action;
    match &operation.action {
        Action::Put { document, value } => format!("put {document} {value}"),
        Action::Edit { document, fields, ponders_ms } => {
            let fields: Vec<String> =
                fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
            let ponders =
                if *ponders_ms > 0 { format!(", pondering {ponders_ms} ms") } else { String::new() };
            format!("edit {document} {}{ponders}", fields.join(" "))
        }
        Action::Delete { document } => format!("delete {document}"),
        Action::Bulk { documents } => format!("put {} documents in one commit", documents.len()),
        Action::Settle { nth } => format!("settle conflict {nth}"),
    }
}
