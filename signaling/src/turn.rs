//! Time-limited TURN credentials: coturn's "TURN REST API" (`use-auth-secret`, draft-uberti-behave-turn-rest-00).
//!
//! The TURN server and this one share a secret. The user name is `<expiry in Unix seconds>:<peer id>`, the password is
//! `base64(HMAC-SHA1(secret, user name))`; so the TURN server can check it without asking anyone.

use std::fmt;
use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::message::{PeerId, TurnServer};

/// A TURN server that peers may use.
#[derive(Clone)]
pub struct Turn {
    /// Such as `turn:turn.example.org:3478?transport=udp`.
    pub urls: Vec<String>,
    /// What the TURN server knows as `static-auth-secret`.
    pub secret: Vec<u8>,
    /// How long credentials are valid. New ones are sent after half of it.
    pub valid_for: Duration,
}

impl Turn {
    /// Credentials for one peer. `unix` is the time now since the Unix epoch.
    pub fn credentials(&self, peer: PeerId, unix: Duration) -> TurnServer {
        let username = format!("{}:{peer}", (unix + self.valid_for).as_secs());
        let mut mac =
            <Hmac<Sha1> as KeyInit>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        mac.update(username.as_bytes());
        TurnServer {
            urls: self.urls.clone(),
            credential: BASE64.encode(&mac.finalize().into_bytes()),
            username,
            valid_seconds: self.valid_for.as_secs(),
        }
    }

    /// How long after credentials were sent the next ones are.
    pub(crate) fn renewed_after(&self) -> Duration {
        self.valid_for / 2
    }
}

/// Leaves the secret out.
impl fmt::Debug for Turn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Turn")
            .field("urls", &self.urls)
            .field("valid_for", &self.valid_for)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_what_coturn_computes() {
        let turn = Turn {
            urls: vec!["turn:turn.example.org:3478".into()],
            secret: b"north".to_vec(),
            valid_for: Duration::from_secs(3600),
        };
        let given =
            turn.credentials("eyzlabrwqoql".parse().unwrap(), Duration::from_millis(1_700_000_000_900));
        assert_eq!(given.username, "1700003600:eyzlabrwqoql");
        // printf 1700003600:eyzlabrwqoql | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(given.credential, "hMcMoc1uG+9y7TI8O9w7f4V1SAw=");
        assert_eq!(given.valid_seconds, 3600);
    }
}
