//! Who may join beyond the topic key: the application's own decision on each peer.
//!
//! Decides nothing itself. What was decided is not remembered: a peer that comes again is asked for again.

use async_trait::async_trait;
use bytes::Bytes;
use peerloom_core::{PeerAddress, ReplicaId};

/// A peer that has proven the topic key and its identity, and waits to be admitted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Applicant {
    /// Who it is: the hash of its public key.
    pub replica: ReplicaId,
    /// The Ed25519 key that it holds the secret of.
    pub public_key: [u8; 32],
    /// Where it is, in the words of the transport. Not proven.
    pub address: PeerAddress,
    /// What it says of itself, by [`RoomBuilder::claim`](super::RoomBuilder::claim): at most 4,096 bytes, empty for
    /// nothing. It is this peer that says so; whether that is true is for the validator to find out, for example from a signature
    /// over `public_key` by somebody who is trusted.
    pub claim: Bytes,
}

/// What becomes of an applicant.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a verdict does nothing unless it is returned"]
pub enum Verdict {
    /// It is spoken with.
    Admit,
    /// It is not, and is told why.
    Refuse {
        /// What it is told, of which 512 bytes count.
        reason: String,
    },
}

impl Verdict {
    /// A refusal for this reason.
    pub fn refuse(reason: impl Into<String>) -> Self {
        Self::Refuse { reason: reason.into() }
    }
}

/// Decides who is spoken with in a room, among those who have proven the topic key.
///
/// ```
/// use std::collections::BTreeSet;
/// use peerloom::{Applicant, PeerValidator, ReplicaId, Verdict};
///
/// struct Members(BTreeSet<ReplicaId>);
///
/// #[async_trait::async_trait]
/// impl PeerValidator for Members {
///     async fn validate(&self, applicant: &Applicant) -> Verdict {
///         match self.0.contains(&applicant.replica) {
///             true => Verdict::Admit,
///             false => Verdict::refuse("not a member"),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait PeerValidator: Send + Sync + 'static {
    /// Decides on one peer. Called once for each connection, and for several at a time.
    ///
    /// Nothing is said about collections before this returns. It has
    /// [`SessionLimits::admission_timeout`](crate::SessionLimits::admission_timeout), then the peer is refused. One that panics
    /// refuses as well.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the connection ends or the time is over.
    async fn validate(&self, applicant: &Applicant) -> Verdict;
}
