//! Serving a peer: its rooms, its control socket, and how both end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::select_all;
use peerloom::{RoomEvent, WebRtc, WebSocketSignaling};
use tokio_util::sync::CancellationToken;

use crate::access::connect;
use crate::control::{self, Listener};
use crate::failure::Failure;
use crate::peer::{Joined, Opened, Peer};
use crate::secrets::{TokenSource, read_token};
use crate::settings::{RoomSettings, Settings};

/// Runs the peer until `stop`.
pub(crate) async fn serve(settings: &Settings, stop: &CancellationToken) -> Result<(), Failure> {
    let rooms = settings.room()?;
    if connect(settings).await?.is_some() {
        return Err(Failure::AlreadyServed { socket: settings.socket.clone() });
    }
    let peer = Arc::new(Peer::open(settings).await?);
    let served = while_open(settings, &rooms, &peer, stop).await;
    // Says farewell to the peers, and waits for the commits that are under way.
    let closed = peer.node.close().await;
    served?;
    closed?;
    tracing::info!("stopped");
    Ok(())
}

async fn while_open(
    settings: &Settings,
    rooms: &RoomSettings,
    peer: &Arc<Peer>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let listener = bind(&settings.socket)?;
    let joined = join(rooms, peer).await?;
    let mut ends = Vec::new();
    for Joined { signaling, room, .. } in &joined {
        ends.push(Box::pin(follow(signaling.clone(), room.events())));
    }
    peer.joined(joined);
    tracing::info!(
        replica = %peer.node.replica_id(),
        storage = %settings.storage,
        data = %settings.data.display(),
        socket = %settings.socket.display(),
        "serving"
    );
    let stop_clients = CancellationToken::new();
    let clients = tokio::spawn(control::serve(listener, peer.clone(), stop_clients.clone()));
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        (failure, ..) = select_all(ends) => Err(failure),
    };
    tracing::info!("stopping");
    stop_clients.cancel();
    // Fails if it panicked, and then nothing is left to be waited for.
    let _ = clients.await;
    ended
}

fn bind(path: &Path) -> Result<Listener, Failure> {
    Listener::bind(path).map_err(|source| Failure::Bind { path: path.to_owned(), source })
}

async fn join(settings: &RoomSettings, peer: &Peer) -> Result<Vec<Joined>, Failure> {
    if settings.invitation.topic_key().is_none() {
        tracing::warn!(
            "NO KEY: whoever knows the topic and reaches the signaling server can join and read everything"
        );
    }
    let mut joined = Vec::new();
    for url in &settings.signaling {
        let mut signaling = WebSocketSignaling::new(url)?;
        if let Some(pem) = &settings.root_certificates {
            signaling = signaling.root_certificates_pem(pem)?;
        }
        match &settings.token {
            Some(TokenSource::Fixed(token)) => signaling = signaling.token(token),
            Some(TokenSource::File(path)) => signaling = signaling.token_from(token_in(path.clone())),
            None => {}
        }
        let mut builder = peer.node.room_of(&settings.invitation);
        for opened in &peer.collections {
            builder = builder.share(&opened.collection);
        }
        if let Some(peers_max) = settings.peers_max {
            builder = builder.peers_max(peers_max.get());
        }
        if let Some(rxdb) = &settings.rxdb {
            let named = |opened: &&Opened| opened.collection.name().as_str() == rxdb.collection;
            let opened = peer.collections.iter().find(named).expect("the settings name one of the peer's");
            builder = builder.rxdb(rxdb.bridge(&opened.collection));
        }
        let room = builder.join(WebRtc::with_options(signaling, settings.connections.clone())).await?;
        joined.push(Joined {
            topic: settings.invitation.topic().to_owned(),
            signaling: url.clone(),
            rxdb: settings.rxdb.clone(),
            room,
        });
    }
    Ok(joined)
}

/// Reads the token whenever it is asked for, because somebody may renew it.
fn token_in(path: PathBuf) -> impl Fn() -> String + Send + Sync + 'static {
    move || {
        read_token(&path).unwrap_or_else(|error| {
            tracing::error!(%error, "the signaling token cannot be read");
            String::new()
        })
    }
}

/// Writes into the log what happens in a room. Returns when the room has ended, or a store has failed: whoever watches the process starts it again,
/// and it goes on from what is on the disk.
async fn follow(signaling: String, mut events: peerloom::Events) -> Failure {
    let mut source = None;
    while let Some(event) = events.next().await {
        match event {
            RoomEvent::Ended { error } => source = Some(error),
            RoomEvent::StorageFailed { collection, error: source } => {
                return Failure::StorageFailed { collection, source };
            }
            event => log(&event),
        }
    }
    Failure::RoomEnded { signaling, source }
}

fn log(event: &RoomEvent) {
    use tracing::{debug, info, warn};
    match event {
        RoomEvent::PeerJoined { peer, address } => info!(%peer, %address, "a peer has joined"),
        RoomEvent::PeerLeft { peer, address, reason } => info!(%peer, %address, %reason, "a peer has left"),
        RoomEvent::CaughtUp { peer } => info!(%peer, "caught up with a peer"),
        RoomEvent::ConnectionFailed { address, reason } => info!(%address, %reason, "a connection failed"),
        RoomEvent::Refused { address, peer, reason, by_peer } => {
            let peer = peer.map(tracing::field::display);
            warn!(%address, peer, %reason, by_peer, "refused");
        }
        RoomEvent::NotShared { peer, collection } => {
            warn!(%peer, %collection, "a peer does not share a collection; compare the names");
        }
        RoomEvent::Shared { peer, collection } => debug!(%peer, %collection, "a collection is shared"),
        RoomEvent::Conflict { collection, id, versions } => {
            debug!(%collection, %id, versions, "versions stand beside each other");
        }
        RoomEvent::IdentityChanged { replica } => {
            warn!(%replica, "a copy of this peer is alive; this one has a new id");
        }
        RoomEvent::RxdbJoined { address, token } => info!(token, %address, "an RxDB peer has joined"),
        RoomEvent::RxdbLeft { address, token } => info!(token, %address, "an RxDB peer has left"),
        RoomEvent::RxdbCaughtUp { address } => info!(%address, "caught up with an RxDB peer"),
        RoomEvent::RxdbLeftOut { address, collection, id, reason } => {
            let id = id.as_ref().map(tracing::field::display);
            warn!(%address, %collection, id, reason, "a document cannot cross over to RxDB, or from it");
        }
        RoomEvent::Missed { events } => debug!(events, "events were missed"),
        other => warn!(event = ?other, "something to look at"),
    }
}
