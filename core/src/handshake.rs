//! Who is at the other end: the identity of a replica, and the proof of it and of the topic key.
//!
//! Each side proves, over both Hellos and the transport's channel binding, that it knows the topic key (HMAC-SHA-256,
//! RFC 2104) and that it holds the identity it named (Ed25519, RFC 8032). The two Hellos stand in the proof in the order
//! of prover, verifier, so that a proof cannot be sent back to where it came from.
//!
//! What an application claims of itself is bound by the proof and said after it: neither side hears a claim before it
//! has proven the topic key, though neither of them proves it first.

use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::id::ReplicaId;
use crate::topic_key::{TopicKey, framed};

/// Separates these proofs from anything else the keys may ever sign.
const CONTEXT: &[u8] = b"peerloom 1 handshake";

/// The key pair of a replica. Its public half makes the [`ReplicaId`].
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

impl Identity {
    /// The identity that belongs to a secret of 32 random bytes.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(secret) }
    }

    /// The public half.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The id of the replica.
    pub fn replica_id(&self) -> ReplicaId {
        ReplicaId::of_public_key(&self.public_key())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({})", self.replica_id())
    }
}

/// A proof of the topic key and of the identity.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Proof {
    pub(crate) topic: [u8; 32],
    pub(crate) identity: [u8; 64],
    /// Binds the prover to a claim that it shows once the verifier has proven the topic key in turn. Nobody without the
    /// key can try claims against it.
    pub(crate) claim: Option<[u8; 32]>,
}

/// What both sides saw of one handshake, as one of them tells it.
pub(crate) struct Transcript<'a> {
    /// The Hello of the side that proves, as it was sent.
    pub(crate) prover: &'a [u8],
    /// The Hello of the side that verifies.
    pub(crate) verifier: &'a [u8],
    pub(crate) channel_binding: Option<&'a [u8]>,
}

impl Transcript<'_> {
    pub(crate) fn prove(&self, key: &TopicKey, identity: &Identity, claim: &[u8]) -> Proof {
        let claim = (!claim.is_empty()).then(|| self.bound_claim(key, claim).finalize().into_bytes().into());
        let transcript = self.bytes(claim.as_ref());
        Proof {
            topic: keyed(key, &transcript).finalize().into_bytes().into(),
            identity: identity.key.sign(&transcript).to_bytes(),
            claim,
        }
    }

    pub(crate) fn proves_topic(&self, key: &TopicKey, proof: &Proof) -> bool {
        keyed(key, &self.bytes(proof.claim.as_ref())).verify_slice(&proof.topic).is_ok()
    }

    pub(crate) fn proves_identity(&self, public_key: &[u8; 32], proof: &Proof) -> bool {
        let signature = Signature::from_bytes(&proof.identity);
        let transcript = self.bytes(proof.claim.as_ref());
        VerifyingKey::from_bytes(public_key)
            .is_ok_and(|key| key.verify_strict(&transcript, &signature).is_ok())
    }

    /// Whether a claim is the one that a proof is bound to.
    pub(crate) fn proves_claim(&self, key: &TopicKey, bound: &[u8; 32], claim: &[u8]) -> bool {
        self.bound_claim(key, claim).verify_slice(bound).is_ok()
    }

    fn bound_claim(&self, key: &TopicKey, claim: &[u8]) -> Hmac<Sha256> {
        keyed(key, &framed(&[b"peerloom 1 claim", self.prover, claim]))
    }

    /// Each part behind its length, so that no two transcripts run into the same bytes.
    fn bytes(&self, claim: Option<&[u8; 32]>) -> Vec<u8> {
        let claim = claim.map_or(b"".as_slice(), |claim| claim);
        framed(&[CONTEXT, self.prover, self.verifier, self.channel_binding.unwrap_or_default(), claim])
    }
}

fn keyed(key: &TopicKey, bytes: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.mac();
    mac.update(bytes);
    mac
}
