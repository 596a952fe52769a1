//! Who is let in, and what for: nobody asked, a token shared by all, or signed tokens for rooms.
//!
//! A secret is compared in constant time, and is in no log, error or `Debug` output.

mod signed;

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

pub use signed::{InvalidKey, SignedTokens};

use crate::permit::Permit;

/// How the server decides whom to let in.
#[derive(Debug)]
pub enum Authentication {
    /// Everybody, to all rooms. Whoever guesses a room's name can be a member of it.
    None,
    /// Who has this token, to all rooms.
    Token(SharedToken),
    /// Who has a token that we trust, to the rooms that the token names.
    Signed(SignedTokens),
}

/// A token that all peers have.
pub struct SharedToken {
    /// Its hash, so that all comparisons take the same time, whatever the length.
    digest: [u8; 32],
}

/// Why somebody is not let in. The messages are for whoever asks.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Denied {
    /// Needs a token.
    #[error("a token is needed")]
    Missing,
    /// Not a token of ours.
    #[error("the token is not valid")]
    Invalid,
    /// Was valid until some time ago.
    #[error("the token has expired")]
    Expired,
}

impl Authentication {
    /// What the presenter of a token may do. `unix` is the time now since the Unix epoch.
    ///
    /// # Errors
    ///
    /// If it is not let in.
    pub fn admit(&self, token: Option<&str>, unix: Duration) -> Result<Permit, Denied> {
        match (self, token) {
            (Self::None, _) => Ok(Permit::default()),
            (_, None) => Err(Denied::Missing),
            (Self::Token(shared), Some(token)) if shared.is(token) => Ok(Permit::default()),
            (Self::Token(_), Some(_)) => Err(Denied::Invalid),
            (Self::Signed(tokens), Some(token)) => tokens.verify(token, unix),
        }
    }
}

impl SharedToken {
    /// The token with this text.
    pub fn new(token: &str) -> Self {
        Self { digest: Sha256::digest(token).into() }
    }

    fn is(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.digest.ct_eq(&presented).into()
    }
}

impl fmt::Debug for SharedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedToken").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_token_is_let_in() {
        let authentication = Authentication::Token(SharedToken::new("open sesame"));
        let admit = |token| authentication.admit(token, Duration::ZERO);
        assert_eq!(admit(Some("open sesame")), Ok(Permit::default()));
        assert_eq!(admit(Some("open sesam")), Err(Denied::Invalid));
        assert_eq!(admit(Some("")), Err(Denied::Invalid));
        assert_eq!(admit(None), Err(Denied::Missing));
    }
}
