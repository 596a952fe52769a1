//! What the demo measures: whether replicas are equal, and how many bytes that took.

use std::fmt;

use peerloom::{Collection, Conflict, Content, IdRange};
use sha2::{Digest, Sha256};

use crate::earthquake::Earthquake;
use crate::replica::Replica;
use crate::telling::Traffic;

/// How many documents are read at a time.
const PAGE_DOCUMENTS: u32 = 500;

/// What a replica holds, in one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fingerprint {
    pub(crate) documents: usize,
    pub(crate) conflicts: usize,
    sha256: [u8; 32],
}

impl Fingerprint {
    /// Reads all of a collection: every document in the order of the ids, and every version of those in conflict.
    pub(crate) async fn of(collection: &Collection<Earthquake>) -> anyhow::Result<Self> {
        let (mut hash, mut documents) = (Sha256::new(), 0);
        let mut range = Some(IdRange::ALL);
        while let Some(within) = range {
            let page = collection.list(within, PAGE_DOCUMENTS).await?;
            for entry in page.entries {
                update(&mut hash, entry.id.as_bytes());
                update(&mut hash, &entry.value?.to_body()?);
                documents += 1;
            }
            range = page.next;
        }
        let conflicts = conflicts(collection).await?;
        for conflict in &conflicts {
            update(&mut hash, conflict.id.as_bytes());
            for version in &conflict.versions {
                let body = version.value.clone()?.map(|earthquake| earthquake.to_body()).transpose()?;
                update(&mut hash, &body.unwrap_or_default());
            }
        }
        Ok(Self { documents, conflicts: conflicts.len(), sha256: hash.finalize().into() })
    }
}

/// Shows the hash, or enough of it to tell two apart.
impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sha256[..8].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The length goes first, so that no two lists of parts hash alike.
fn update(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

/// All documents of which several versions stand beside each other.
pub(crate) async fn conflicts(
    collection: &Collection<Earthquake>,
) -> anyhow::Result<Vec<Conflict<Earthquake>>> {
    let (mut conflicts, mut after) = (Vec::new(), None);
    loop {
        let page = collection.conflicts(after.as_ref(), PAGE_DOCUMENTS).await?;
        conflicts.extend(page.conflicts);
        after = page.next;
        if after.is_none() {
            return Ok(conflicts);
        }
    }
}

impl Traffic {
    /// What these replicas received. Between all of them, that is what they sent.
    pub(crate) fn received_by<'r>(replicas: impl IntoIterator<Item = &'r Replica>) -> Self {
        let mut sum = Self::default();
        for peer in replicas.into_iter().flat_map(|replica| replica.room.peers()) {
            sum.bytes += peer.counters.bytes_received;
            sum.documents += peer.counters.documents_received;
            sum.duplicates += peer.counters.documents_duplicate;
        }
        sum
    }
}

/// The bytes of these documents, ids and bodies, without anything that a protocol adds.
pub(crate) fn bytes_of<'d>(documents: impl IntoIterator<Item = &'d Earthquake>) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for document in documents {
        bytes += (document.id.len() + document.to_body()?.len()) as u64;
    }
    Ok(bytes)
}
