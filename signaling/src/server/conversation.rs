//! One peer's WebSocket: hands over what it says, and sends what the rooms have for it, one message at a time.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tracing::{debug, info};

use super::Shared;
use crate::close::CloseReason;
use crate::message::PeerId;
use crate::permit::Permit;
use crate::rooms::{Input, Outgoing};

/// A peer and its WebSocket. The peer leaves when this is dropped.
pub(super) struct Conversation<'a, S> {
    shared: &'a Shared,
    socket: WebSocketStream<S>,
    peer: PeerId,
    wake: Arc<Notify>,
}

/// The connection has ended without our doing.
struct Gone;

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Conversation<'a, S> {
    pub(super) fn new(
        shared: &'a Shared,
        socket: WebSocketStream<S>,
        permit: Permit,
        address: IpAddr,
    ) -> Self {
        let (peer, wake) = shared.enter(permit);
        info!(%peer, %address, "connected");
        Self { shared, socket, peer, wake }
    }

    /// Returns when the connection has ended.
    pub(super) async fn run(mut self) {
        match self.converse().await {
            Ok(reason) => {
                info!(peer = %self.peer, %reason, "closed");
                self.close(reason).await;
            }
            Err(Gone) => info!(peer = %self.peer, "gone"),
        }
    }

    async fn converse(&mut self) -> Result<CloseReason, Gone> {
        loop {
            match self.shared.take(self.peer) {
                Some(Outgoing::Close(reason)) => return Ok(reason),
                Some(Outgoing::Message(text)) => {
                    self.send(text).await?;
                    // Somebody who is sent much is heard all the same.
                    if let Some(received) = self.socket.next().now_or_never() {
                        self.receive(received)?;
                    }
                }
                None => tokio::select! {
                    biased;
                    () = self.wake.notified() => {}
                    received = self.socket.next() => self.receive(received)?,
                },
            }
        }
    }

    /// Returns when the message is on its way, or is not worth waiting for any more.
    async fn send(&mut self, text: Bytes) -> Result<(), Gone> {
        let text = Utf8Bytes::try_from(text).expect("a message is JSON, and JSON is UTF-8");
        let mut sent = pin!(self.socket.send(Message::Text(text)));
        loop {
            tokio::select! {
                biased;
                result = &mut sent => return result.map_err(|_| Gone),
                () = self.wake.notified() => if self.shared.is_cut(self.peer) {
                    return Ok(());
                },
            }
        }
    }

    fn receive(&self, received: Option<Result<Message, Error>>) -> Result<(), Gone> {
        let peer = self.peer;
        let input = match received {
            Some(Ok(Message::Text(text))) => {
                self.shared.handle(Input::Message { peer, text: text.as_str() });
                return Ok(());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Input::Alive { peer },
            // It is answered while the next is waited for, which is the end of the stream.
            Some(Ok(Message::Close(_))) => return Ok(()),
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                Input::Violation { peer, reason: CloseReason::MalformedMessage }
            }
            Some(Err(Error::Capacity(_))) => Input::Violation { peer, reason: CloseReason::MessageTooLarge },
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => return Err(Gone),
            Some(Err(error @ (Error::Protocol(_) | Error::Utf8(_)))) => {
                debug!(%peer, %error, "not a WebSocket frame");
                Input::Violation { peer, reason: CloseReason::MalformedMessage }
            }
            Some(Err(_)) | None => return Err(Gone),
        };
        self.shared.handle(input);
        Ok(())
    }

    /// Says why, and lets the peer read it.
    async fn close(&mut self, reason: CloseReason) {
        let said = async {
            let frame = CloseFrame { code: reason.code().into(), reason: reason.as_str().into() };
            self.socket.send(Message::Close(Some(frame))).await.ok();
            // A socket that is dropped with something unread resets the connection, and the peer never sees the frame.
            // What comes may be anything by now, so it is not read as a WebSocket.
            let stream = self.socket.get_mut();
            stream.shutdown().await.ok();
            let mut rest = vec![0; 4096];
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        };
        if timeout(self.shared.options.close_timeout, said).await.is_err() {
            debug!(peer = %self.peer, "did not take note of the end");
        }
    }
}

impl<S> Drop for Conversation<'_, S> {
    fn drop(&mut self) {
        self.shared.leave(self.peer);
    }
}
