//! Signed room tokens: JSON Web Tokens (RFC 7519) of two kinds, HS256 and EdDSA with Ed25519.
//!
//! The kind follows from the key and never from the token, so that a public key is not taken for a secret
//! (RFC 8725, section 2.1). Written here because the crates for it bring RSA, their own clock and a provider for the whole process
//! along, for what is a signature over two base64 texts.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::pkcs8::DecodePublicKey;
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use thiserror::Error;

use super::Denied;
use crate::message::RoomName;
use crate::permit::{Permit, PermittedRooms, StockPeers};

/// Tokens signed by somebody whom the server trusts.
///
/// The claims are `exp` (required) and `nbf`, in seconds since the Unix epoch; `room`, a name or a list of names
/// (required); `peers_max`, how many members a room may have with the one who joins; and `stock_peers`, `"introduced"`
/// or `"kept_apart"`.
pub struct SignedTokens {
    key: Key,
}

enum Key {
    Hs256(Vec<u8>),
    EdDsa(Box<VerifyingKey>),
}

/// A key that cannot be used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum InvalidKey {
    /// An HMAC key must have as many bytes as the hash (RFC 7518, section 3.2).
    #[error("a secret key has at least {} bytes", SignedTokens::SECRET_BYTES_MIN)]
    TooShort,
    /// PEM, but no Ed25519 public key.
    #[error("a PEM file must hold an Ed25519 public key")]
    NotEd25519,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood. We understand none (RFC 7515, section 4.1.11).
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    /// Seconds, which may have a fraction.
    exp: f64,
    nbf: Option<f64>,
    room: OneOrMany,
    peers_max: Option<NonZeroUsize>,
    stock_peers: Option<StockPeersClaim>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(RoomName),
    Many(BTreeSet<RoomName>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum StockPeersClaim {
    Introduced,
    KeptApart,
}

impl SignedTokens {
    /// The fewest bytes of a secret key.
    pub const SECRET_BYTES_MIN: usize = 32;

    /// Tokens that this key verifies: an Ed25519 public key in PEM, or else the secret of HS256.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] if it is too short for a secret, or PEM of something else.
    pub fn new(key: &[u8]) -> Result<Self, InvalidKey> {
        let pem = str::from_utf8(key).ok().filter(|text| text.trim_start().starts_with("-----BEGIN"));
        let key = match pem {
            Some(pem) => {
                let key =
                    VerifyingKey::from_public_key_pem(pem.trim()).map_err(|_| InvalidKey::NotEd25519)?;
                Key::EdDsa(Box::new(key))
            }
            None if key.len() < Self::SECRET_BYTES_MIN => return Err(InvalidKey::TooShort),
            None => Key::Hs256(key.to_vec()),
        };
        Ok(Self { key })
    }

    pub(super) fn verify(&self, token: &str, unix: Duration) -> Result<Permit, Denied> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Denied::Invalid)?;
        let (header, claims) = signed.split_once('.').ok_or(Denied::Invalid)?;
        let header: Header = decode_json(header)?;
        if header.alg != self.key.algorithm() || header.crit.is_some() {
            return Err(Denied::Invalid);
        }
        self.key.verify(signed.as_bytes(), &decode(signature)?)?;

        let claims: Claims = decode_json(claims)?;
        let expires_at = Duration::try_from_secs_f64(claims.exp).map_err(|_| Denied::Invalid)?;
        if expires_at <= unix {
            return Err(Denied::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > unix.as_secs_f64()) {
            return Err(Denied::Invalid);
        }
        Ok(Permit {
            rooms: PermittedRooms::Only(match claims.room {
                OneOrMany::One(room) => BTreeSet::from([room]),
                OneOrMany::Many(rooms) => rooms,
            }),
            expires_at: Some(expires_at),
            members_per_room_max: claims.peers_max,
            stock_peers: claims.stock_peers.map(|claim| match claim {
                StockPeersClaim::Introduced => StockPeers::Introduced,
                StockPeersClaim::KeptApart => StockPeers::KeptApart,
            }),
        })
    }
}

impl Key {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), Denied> {
        match self {
            Self::Hs256(secret) => {
                let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret)
                    .expect("HMAC takes a key of any length");
                mac.update(signed);
                mac.verify_slice(signature).map_err(|_| Denied::Invalid)
            }
            Self::EdDsa(key) => {
                let signature = Signature::from_slice(signature).map_err(|_| Denied::Invalid)?;
                key.verify_strict(signed, &signature).map_err(|_| Denied::Invalid)
            }
        }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Denied> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Denied::Invalid)
}

fn decode_json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Denied> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Denied::Invalid)
}

impl fmt::Debug for SignedTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SignedTokens")
            .field("algorithm", &self.key.algorithm())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn hs256(header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(header.as_bytes()),
            BASE64URL_NOPAD.encode(claims.as_bytes())
        );
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
    }

    fn verify(token: &str) -> Result<Permit, Denied> {
        SignedTokens::new(SECRET).unwrap().verify(token, NOW)
    }

    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    #[test]
    fn the_claims_become_a_permit() {
        let one = r#"{"room":"our-notes","exp":1700000001.5,"peers_max":3,"stock_peers":"kept_apart"}"#;
        let permit = verify(&hs256(HEADER, one)).unwrap();
        assert!(permit.rooms.contain(&"our-notes".parse().unwrap()));
        assert!(!permit.rooms.contain(&"your-notes".parse().unwrap()));
        assert_eq!(permit.expires_at, Some(Duration::from_millis(1_700_000_001_500)));
        assert_eq!(permit.members_per_room_max, NonZeroUsize::new(3));
        assert_eq!(permit.stock_peers, Some(StockPeers::KeptApart));

        let many = r#"{"room":["our-notes","your-notes"],"exp":1700000060,"sub":"somebody"}"#;
        assert!(verify(&hs256(HEADER, many)).unwrap().rooms.contain(&"your-notes".parse().unwrap()));
    }

    #[test]
    fn a_token_made_elsewhere_is_understood() {
        // By Python's `json`, `base64` and `hmac`.
        let token = "eyJ0eXAiOiAiSldUIiwgImFsZyI6ICJIUzI1NiJ9.eyJzdWIiOiAic29tZWJvZHkiLCAicm9vbSI6ICJvdXItbm90ZXMiLCAiaWF0IjogMTY5OTk5OTAwMCwgImV4cCI6IDE3MDAwMDAwNjB9.iZvVVsqRtF8fS5BXezszYm4mnpHZ9Q-h84ldWI5ekQo";
        assert!(verify(token).unwrap().rooms.contain(&"our-notes".parse().unwrap()));
    }

    #[test]
    fn what_is_not_to_be_trusted_is_refused() {
        let claims = r#"{"room":"our-notes","exp":1700000060}"#;
        let good = hs256(HEADER, claims);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let other = hs256(HEADER, r#"{"room":"your-notes","exp":1700000060}"#);
        let cases = [
            (String::new(), Denied::Invalid),
            ("a.b".into(), Denied::Invalid),
            (format!("{signed}."), Denied::Invalid),
            (format!("{good}A"), Denied::Invalid),
            (format!("{}.{signature}", other.rsplit_once('.').unwrap().0), Denied::Invalid),
            (hs256(r#"{"alg":"none"}"#, claims), Denied::Invalid),
            (hs256(r#"{"alg":"EdDSA"}"#, claims), Denied::Invalid),
            (hs256(r#"{"alg":"HS256","crit":["b64"]}"#, claims), Denied::Invalid),
            (hs256(HEADER, r#"{"room":"our-notes"}"#), Denied::Invalid),
            (hs256(HEADER, r#"{"exp":1700000060}"#), Denied::Invalid),
            (hs256(HEADER, r#"{"room":"our-notes","exp":-1}"#), Denied::Invalid),
            (hs256(HEADER, r#"{"room":"our-notes","exp":1700000060,"nbf":1700000001}"#), Denied::Invalid),
            (hs256(HEADER, r#"{"room":"our-notes","exp":1700000000}"#), Denied::Expired),
        ];
        assert!(verify(&good).is_ok());
        for (token, denied) in cases {
            assert_eq!(verify(&token), Err(denied), "{token}");
        }
    }

    #[test]
    fn a_token_signed_with_ed25519_is_verified_by_the_public_key() {
        use ed25519_dalek::pkcs8::EncodePublicKey;
        use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
        use ed25519_dalek::{Signer, SigningKey};

        let signing = SigningKey::from_bytes(&[7; 32]);
        let pem = signing.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        let tokens = SignedTokens::new(pem.as_bytes()).unwrap();
        let signed = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(br#"{"alg":"EdDSA"}"#),
            BASE64URL_NOPAD.encode(br#"{"room":"our-notes","exp":1700000060}"#)
        );
        let signature = BASE64URL_NOPAD.encode(&signing.sign(signed.as_bytes()).to_bytes());
        assert!(tokens.verify(&format!("{signed}.{signature}"), NOW).is_ok());
        assert_eq!(tokens.verify(&format!("{signed}x.{signature}"), NOW), Err(Denied::Invalid));

        // The public key as if it were a secret.
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(pem.as_bytes()).unwrap();
        let signed = signed.replace(
            &BASE64URL_NOPAD.encode(br#"{"alg":"EdDSA"}"#),
            &BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#),
        );
        mac.update(signed.as_bytes());
        let confused = format!("{signed}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()));
        assert_eq!(tokens.verify(&confused, NOW), Err(Denied::Invalid));
    }

    #[test]
    fn a_key_that_is_too_weak_is_refused() {
        assert_eq!(SignedTokens::new(b"short").unwrap_err(), InvalidKey::TooShort);
        let pem = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        assert_eq!(SignedTokens::new(pem).unwrap_err(), InvalidKey::NotEd25519);
    }
}
