//! A data channel of the `webrtc` crate without anything of ours but large socket buffers.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use bytes::BytesMut;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCPeerConnectionIceEvent, SettingEngineBuilder,
};
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime, TokioRuntime,
};

use crate::processor::{Clock, Span};

const SOCKET_BUFFER_BYTES: usize = 4 << 20;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[derive(Debug)]
struct LargeBuffers;

impl Runtime for LargeBuffers {
    fn spawn(&self, future: BoxFuture<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let buffers = socket2::SockRef::from(&socket);
        buffers.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        buffers.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp(&self, remote: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(remote)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }
}

struct Handler {
    candidates: mpsc::UnboundedSender<RTCIceCandidateInit>,
    channels: mpsc::UnboundedSender<Arc<dyn DataChannel>>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            let _ = self.candidates.send(candidate);
        }
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let _ = self.channels.send(channel);
    }
}

struct Peer {
    connection: Arc<dyn PeerConnection>,
    candidates: mpsc::UnboundedReceiver<RTCIceCandidateInit>,
    channels: mpsc::UnboundedReceiver<Arc<dyn DataChannel>>,
}

async fn peer() -> anyhow::Result<Peer> {
    let (candidates_in, candidates) = mpsc::unbounded_channel();
    let (channels_in, channels) = mpsc::unbounded_channel();
    let settings = SettingEngineBuilder::new()
        .with_include_loopback_candidate(true)
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(256 << 10))
        .build();
    let connection = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_setting_engine(settings)
        .with_runtime(Arc::new(LargeBuffers))
        .with_handler(Arc::new(Handler { candidates: candidates_in, channels: channels_in }))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .with_data_channel_send_buffer_limit(1 << 20)
        .build()
        .await?;
    Ok(Peer { connection: Arc::new(connection), candidates, channels })
}

/// Two ends of a channel that is open.
struct Pair {
    peers: [Arc<dyn PeerConnection>; 2],
    left: Arc<dyn DataChannel>,
    right: Arc<dyn DataChannel>,
}

impl Pair {
    async fn connected() -> anyhow::Result<Self> {
        let (mut left, mut right) = (peer().await?, peer().await?);
        let ordered = RTCDataChannelInit { ordered: true, ..RTCDataChannelInit::default() };
        let channel = left.connection.create_data_channel("bare", Some(ordered)).await?;
        let offer = left.connection.create_offer(None).await?;
        left.connection.set_local_description(offer.clone()).await?;
        right.connection.set_remote_description(offer).await?;
        let answer = right.connection.create_answer(None).await?;
        right.connection.set_local_description(answer.clone()).await?;
        left.connection.set_remote_description(answer).await?;
        for (mut candidates, other) in
            [(left.candidates, right.connection.clone()), (right.candidates, left.connection.clone())]
        {
            tokio::spawn(async move {
                while let Some(candidate) = candidates.recv().await {
                    let _ = other.add_ice_candidate(candidate).await;
                }
            });
        }
        while !matches!(channel.poll().await, Some(DataChannelEvent::OnOpen) | None) {}
        let accepted = right.channels.recv().await.context("the channel is announced")?;
        left.channels.close();
        Ok(Self { peers: [left.connection, right.connection], left: channel, right: accepted })
    }

    async fn close(self) -> anyhow::Result<()> {
        for peer in self.peers {
            peer.close().await?;
        }
        Ok(())
    }
}

async fn message(channel: &Arc<dyn DataChannel>) -> anyhow::Result<usize> {
    loop {
        if let DataChannelEvent::OnMessage(message) = channel.poll().await.context("the channel ended")? {
            return Ok(message.data.len());
        }
    }
}

/// How long so many bytes take.
pub(crate) async fn throughput(message_bytes: usize, bytes: usize) -> anyhow::Result<Span> {
    let pair = Pair::connected().await?;
    let messages = bytes / message_bytes;
    let sender = pair.left.clone();
    let clock = Clock::start();
    let sending = tokio::spawn(async move {
        for _ in 0..messages {
            sender.send(BytesMut::from(&vec![7; message_bytes][..])).await?;
        }
        anyhow::Ok(())
    });
    for _ in 0..messages {
        message(&pair.right).await?;
    }
    let took = clock.elapsed();
    sending.await??;
    pair.close().await?;
    Ok(took)
}

/// The times of round trips of messages of this size.
pub(crate) async fn round_trips(message_bytes: usize, trips: usize) -> anyhow::Result<[Duration; 2]> {
    let pair = Pair::connected().await?;
    let echo = pair.right.clone();
    tokio::spawn(async move {
        while let Some(event) = echo.poll().await {
            if let DataChannelEvent::OnMessage(message) = event
                && echo.send(message.data).await.is_err()
            {
                return;
            }
        }
    });
    let mut times = Vec::new();
    for _ in 0..trips {
        let started = Instant::now();
        pair.left.send(BytesMut::from(&vec![7; message_bytes][..])).await?;
        message(&pair.left).await?;
        times.push(started.elapsed());
    }
    pair.close().await?;
    Ok(crate::p50_and_p99(times))
}

/// From nothing to an open channel.
pub(crate) async fn open_time() -> anyhow::Result<Duration> {
    let started = Instant::now();
    let pair = Pair::connected().await?;
    let time = started.elapsed();
    pair.close().await?;
    Ok(time)
}
