//! The other side of the control socket.

use std::io;
use std::path::Path;

use peerloom::json;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::message::{Answer, Request};
use crate::lines::{Line, Lines};

/// A connection to a peer that is being served.
pub(crate) struct Client {
    requests: OwnedWriteHalf,
    answers: Lines<BufReader<OwnedReadHalf>>,
}

impl Client {
    /// Connects to the socket at a path. `None` if nobody listens there.
    pub(crate) async fn connect(path: &Path) -> io::Result<Option<Self>> {
        match UnixStream::connect(path).await {
            Ok(stream) => {
                let (answers, requests) = stream.into_split();
                Ok(Some(Self { requests, answers: Lines::new(BufReader::new(answers)) }))
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
        line.push(b'\n');
        match self.requests.write_all(&line).await {
            // What it had to say before it closed is yet to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent,
        }
    }

    /// The next answer. `None` if the peer has closed the connection.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Answer>> {
        let malformed = |error: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the peer's answer is malformed: {error}"))
        };
        match self.answers.next().await {
            Ok(None) => Ok(None),
            Ok(Some(Line::TooLong)) => Err(malformed(&"it is too long")),
            Ok(Some(Line::Whole(line))) => {
                let value = json::parse(line).map_err(|error| malformed(&error))?;
                serde_json::from_value(value).map(Some).map_err(|error| malformed(&error))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }
}
