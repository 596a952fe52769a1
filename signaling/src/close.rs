//! Why the server ends a connection: the code and the reason in the WebSocket's close frame.

use std::fmt;

/// Why the server closed a connection.
///
/// Codes between 4000 and 4999 are a protocol's own (RFC 6455, section 7.4.2). What a client does next depends on
/// [`retry`](Self::retry).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server is shutting down or starting again.
    ServerStopping,
    /// A message was not JSON text, had an unknown type, or lacked a field.
    MalformedMessage,
    /// A signal carried another's peer id as its sender.
    SpoofedSender,
    /// The token that opened the session has expired.
    TokenExpired,
    /// The token that opened the session is not for the room that was to be joined.
    RoomForbidden,
    /// The room has as many members as the server or the token allows.
    RoomFull,
    /// The peer is in as many rooms as the server allows.
    TooManyRooms,
    /// A message had more bytes than the server allows.
    MessageTooLarge,
    /// The peer sent more messages than the server allows in that time.
    TooManyMessages,
    /// The peer did not read what the server had for it.
    SlowReader,
    /// The peer was silent for longer than the server allows.
    IdleTimeout,
    /// The server has no memory left for this peer.
    ServerFull,
}

/// Whether it makes sense for a client to connect again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// Yes, after the usual backoff.
    Backoff,
    /// Only with another token.
    WithAnotherToken,
    /// Not before something else has changed: the same would happen again.
    Never,
}

impl CloseReason {
    /// Every reason there is.
    pub const ALL: [Self; 12] = [
        Self::ServerStopping,
        Self::MalformedMessage,
        Self::SpoofedSender,
        Self::TokenExpired,
        Self::RoomForbidden,
        Self::RoomFull,
        Self::TooManyRooms,
        Self::MessageTooLarge,
        Self::TooManyMessages,
        Self::SlowReader,
        Self::IdleTimeout,
        Self::ServerFull,
    ];

    /// The code in the close frame.
    pub fn code(self) -> u16 {
        match self {
            Self::ServerStopping => 1001,
            Self::MalformedMessage => 4000,
            Self::SpoofedSender => 4001,
            Self::TokenExpired => 4002,
            Self::RoomForbidden => 4003,
            Self::RoomFull => 4004,
            Self::TooManyRooms => 4005,
            Self::MessageTooLarge => 4006,
            Self::TooManyMessages => 4007,
            Self::SlowReader => 4008,
            Self::IdleTimeout => 4009,
            Self::ServerFull => 4010,
        }
    }

    /// The reason with this code, if it is one of ours.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// What a client that was closed for this reason does next.
    pub fn retry(self) -> Retry {
        match self {
            Self::ServerStopping
            | Self::RoomFull
            | Self::TooManyMessages
            | Self::SlowReader
            | Self::IdleTimeout
            | Self::ServerFull => Retry::Backoff,
            Self::TokenExpired | Self::RoomForbidden => Retry::WithAnotherToken,
            Self::MalformedMessage | Self::SpoofedSender | Self::TooManyRooms | Self::MessageTooLarge => {
                Retry::Never
            }
        }
    }

    /// A word for it, as in the close frame's reason, the logs and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerStopping => "server stopping",
            Self::MalformedMessage => "malformed message",
            Self::SpoofedSender => "spoofed sender",
            Self::TokenExpired => "token expired",
            Self::RoomForbidden => "room forbidden",
            Self::RoomFull => "room full",
            Self::TooManyRooms => "too many rooms",
            Self::MessageTooLarge => "message too large",
            Self::TooManyMessages => "too many messages",
            Self::SlowReader => "slow reader",
            Self::IdleTimeout => "idle timeout",
            Self::ServerFull => "server full",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_names_one_reason() {
        for reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(CloseReason::from_code(1000), None);
    }
}
