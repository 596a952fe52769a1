//! The key of a topic: where it comes from, and the name under which those who know it meet.
//!
//! Proving it to a peer is the handshake's part.

use alloc::vec::Vec;
use core::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::{Encoding, Specification};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::id::Topic;

/// Memory, passes and lanes of Argon2id for a passphrase: the second recommendation of RFC 9106, section 4. All replicas
/// must use the same, so they change only with the version of the protocol.
const PASSPHRASE_MEMORY_KIB: u32 = 64 << 10;
const PASSPHRASE_PASSES: u32 = 3;
const PASSPHRASE_LANES: u32 = 4;

/// The most bytes of a passphrase.
const PASSPHRASE_BYTES_MAX: usize = 1024;

/// What everybody in a room knows and nobody else should: 32 bytes. Wiped from memory when it is dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct TopicKey([u8; 32]);

/// A passphrase of which no key can be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// It has no bytes, or too many.
    #[error("a passphrase has 1 to {PASSPHRASE_BYTES_MAX} bytes, this one has {bytes}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// There is no memory to make a key of it, which takes 64 MiB for a moment.
    #[error("there is not enough memory to make a key of a passphrase")]
    Memory,
}

impl TopicKey {
    /// A key of 32 random bytes.
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The key that a passphrase makes in a topic: Argon2id (RFC 9106) with 64 MiB, 3 passes, 4 lanes and a salt made of
    /// the topic, so that one passphrase makes another key in every topic.
    ///
    /// The passphrase counts byte for byte, without normalization. Whoever carries the room, such as a signaling
    /// server, can try passphrases against the name of the room, each at the price of one call of this function: five
    /// random words are out of reach, a name with a year is not. A random key cannot be tried.
    ///
    /// Takes some tenths of a second and 64 MiB, so not for a thread that others wait for.
    pub fn from_passphrase(passphrase: &str, topic: &Topic) -> Result<Self, PassphraseError> {
        if passphrase.is_empty() || passphrase.len() > PASSPHRASE_BYTES_MAX {
            return Err(PassphraseError::Length { bytes: passphrase.len() });
        }
        let salt = Sha256::new()
            .chain_update(b"peerloom 1 passphrase salt\0")
            .chain_update(topic.as_str().as_bytes())
            .finalize();
        let params = Params::new(PASSPHRASE_MEMORY_KIB, PASSPHRASE_PASSES, PASSPHRASE_LANES, Some(32))
            .expect("the parameters are those of the RFC");
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut key)
            .map_err(|_| PassphraseError::Memory)?;
        Ok(Self(key))
    }

    /// The key of a room that has none: derived from the topic, so that whoever knows its name may join.
    pub fn of_open_topic(topic: &Topic) -> Self {
        let mut mac = mac(b"peerloom 1 open topic");
        mac.update(topic.as_str().as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn mac(&self) -> Hmac<Sha256> {
        mac(&self.0)
    }

    /// Under what name those meet who know this key.
    pub(crate) fn room(&self, topic: &Topic) -> Topic {
        let mut mac = self.mac();
        mac.update(&framed(&[b"peerloom 1 room", topic.as_str().as_bytes()]));
        let name = base32().encode(&mac.finalize().into_bytes());
        Topic::new(&name).expect("52 letters and digits are a topic")
    }
}

impl Drop for TopicKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for TopicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TopicKey(…)")
    }
}

/// Each part behind its length, so that no two lists of parts run into the same bytes.
pub(crate) fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Base 32 of RFC 4648, in lower case and without padding; either case reads.
pub(crate) fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    specification.translate.to.push_str("abcdefghijklmnopqrstuvwxyz");
    specification.encoding().expect("32 symbols, each once")
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn topic(name: &str) -> Topic {
        Topic::new(name).expect("valid")
    }

    #[test]
    fn a_passphrase_makes_the_key_that_protocol_md_says() {
        let key =
            TopicKey::from_passphrase("correct horse battery staple", &topic("our-notes")).expect("made");
        let hex: String = key.0.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        assert_eq!(hex, "4c1f7a4255448cc70eea419e86cc5297c8263eccc9696ee40d4cab1dd016887d");
        let room = "f3mf5drv3gakroqry7poknlcqhe7243wopeqduykdjyfyqe4w2mq";
        assert_eq!(key.room(&topic("our-notes")).as_str(), room);
        let elsewhere = TopicKey::from_passphrase("correct horse battery staple", &topic("our-plans"));
        assert_ne!(elsewhere, Ok(key));
    }

    #[test]
    fn an_empty_or_endless_passphrase_is_refused() {
        for bytes in [0, PASSPHRASE_BYTES_MAX + 1] {
            let made = TopicKey::from_passphrase(&"p".repeat(bytes), &topic("our-notes"));
            assert_eq!(made, Err(PassphraseError::Length { bytes }));
        }
    }
}
