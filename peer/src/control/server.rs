//! The peer's side of the control socket.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use peerloom::json;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::message::{Answer, Kind, Refusal, Request};
use crate::lines::{LINE_BYTES_MAX, Line, Lines};
use crate::peer::Peer;

/// The most clients at a time. Others are refused.
const CLIENTS_MAX: usize = 32;

/// A socket that nobody but this user can connect to. Removed when this is dropped.
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at a path, in place of whatever a process that is gone has left there.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        // Made where nobody else can reach it, so that there is no moment in which another user could connect.
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let private = tempfile::Builder::new().prefix(".control").tempdir_in(beside)?;
        let socket = private.path().join("s");
        let listener = UnixListener::bind(&socket)?;
        std::fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        std::fs::rename(&socket, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // If it is gone already, all the better.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers clients until `stop`, and returns when what was begun for them is done.
pub(crate) async fn serve(listener: Listener, peer: Arc<Peer>, stop: CancellationToken) {
    let (clients, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CLIENTS_MAX)));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a client could not be accepted");
                // Such as too many open files: waits for one to be closed, or at least not as fast as it can.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            clients.spawn(refuse(stream));
            continue;
        };
        let (peer, stop) = (peer.clone(), stop.clone());
        clients.spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, &peer, &stop).await {
                tracing::debug!(%error, "a client is gone");
            }
        });
    }
    drop(listener);
    clients.close();
    clients.wait().await;
}

async fn refuse(stream: UnixStream) {
    let (_, mut answers) = stream.into_split();
    let refusal = Refusal::new(Kind::TooManyClients, format!("the peer has {CLIENTS_MAX} clients already"));
    // A client that is gone needs no answer.
    let _ = answer(&mut answers, &Answer::Refused(refusal)).await;
}

async fn converse(stream: UnixStream, peer: &Peer, stop: &CancellationToken) -> io::Result<()> {
    let (requests, mut answers) = stream.into_split();
    let mut requests = Lines::new(BufReader::new(requests));
    loop {
        let line = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            line = requests.next() => line?,
        };
        let request = match line {
            None => return Ok(()),
            Some(Line::TooLong) => {
                Err(Refusal::new(Kind::Invalid, format!("a request has more than {LINE_BYTES_MAX} bytes")))
            }
            Some(Line::Whole(line)) => parse(line),
        };
        match request {
            Err(refusal) => answer(&mut answers, &Answer::Refused(refusal)).await?,
            Ok(Request::Watch { collection, from }) => {
                let watching = async {
                    match peer.watch(collection.as_deref(), from) {
                        Err(refusal) => answer(&mut answers, &Answer::Refused(refusal)).await,
                        Ok(changes) => {
                            answer(&mut answers, &Answer::Watching).await?;
                            let mut changes = std::pin::pin!(changes);
                            while let Some(change) = changes.next().await {
                                answer(&mut answers, &change).await?;
                            }
                            Ok(())
                        }
                    }
                };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    // Whoever watches says nothing more, but closes the connection.
                    _ = requests.next() => return Ok(()),
                    watched = watching => watched?,
                }
            }
            Ok(request) => {
                let waits = matches!(request, Request::CatchUp);
                let answered = async { peer.answer(request).await.unwrap_or_else(Answer::Refused) };
                // A commit is never given up half-way; waiting for peers is.
                let found = tokio::select! {
                    biased;
                    () = stop.cancelled(), if waits => return Ok(()),
                    _ = requests.next(), if waits => return Ok(()),
                    found = answered => found,
                };
                answer(&mut answers, &found).await?;
            }
        }
    }
}

fn parse(line: &[u8]) -> Result<Request, Refusal> {
    let malformed =
        |error: &dyn std::fmt::Display| Refusal::new(Kind::Invalid, format!("no request: {error}"));
    let value = json::parse(line).map_err(|error| malformed(&error))?;
    serde_json::from_value(value).map_err(|error| malformed(&error))
}

async fn answer(answers: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    answers.write_all(&line).await
}
