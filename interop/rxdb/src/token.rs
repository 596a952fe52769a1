//! Storage tokens, and which of two is the master.

use data_encoding::HEXLOWER;
use peerloom_core::ReplicaId;
use sha2::{Digest, Sha256};

/// The most bytes of a peer's token. RxDB's have 10.
const BYTES_MAX: usize = 128;

/// What names a storage among RxDB peers: a stable string.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token(String);

/// Which side of a pair a peer is. Decided by the two tokens, for each pair anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Answers, and tells its changes.
    Master,
    /// Pulls and pushes.
    Fork,
}

impl Token {
    /// A token that a peer claims. `None` if it is empty, longer than 128 bytes, or has control characters.
    pub fn new(token: &str) -> Option<Self> {
        let fits = (1..=BYTES_MAX).contains(&token.len()) && !token.chars().any(char::is_control);
        fits.then(|| Self(token.to_owned()))
    }

    /// The token of a Peerloom replica: ten letters, derived from its id.
    pub fn of_replica(replica: &ReplicaId) -> Self {
        let digest =
            Sha256::new().chain_update(b"peerloom rxdb token").chain_update(replica.as_bytes()).finalize();
        Self(digest.iter().take(10).map(|byte| char::from(b'a' + byte % 26)).collect())
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The role of a peer with this token towards one with another, by RxDB's rule.
    pub fn role_towards(&self, other: &Self) -> Role {
        let digest =
            |left: &Self, right: &Self| HEXLOWER.encode(&Sha256::digest(format!("{}|{}", left.0, right.0)));
        if digest(self, other) > digest(other, self) { Role::Master } else { Role::Fork }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_captured_peers_have_the_roles_they_took() {
        let [a, b] = ["tok0x0aaaa", "tok1x0aaaa"].map(|token| Token::new(token).expect("a token"));
        let roles = [a.role_towards(&b), b.role_towards(&a)];
        assert_eq!(roles, [Role::Master, Role::Fork]);
    }

    #[test]
    fn a_token_that_could_not_be_kept_is_none() {
        assert_eq!(Token::new(""), None);
        assert_eq!(Token::new("a\0b"), None);
        assert_eq!(Token::new(&"x".repeat(129)), None);
        assert!(Token::new("aaaaaaaaaa").is_some());
    }
}
