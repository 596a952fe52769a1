//! Where connections come from: a TCP socket, or whatever a simulator has for one.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Accepts streams.
pub trait Listener {
    /// An ordered, reliable stream of bytes, both ways.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next stream and says where it comes from. Must be cancel-safe.
    ///
    /// # Errors
    ///
    /// If a stream could not be accepted. The server waits a moment and goes on.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Signals are small and waited for.
        stream.set_nodelay(true)?;
        Ok((stream, address))
    }
}
