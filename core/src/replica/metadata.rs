//! The keys and values under which a replica keeps what it knows besides documents.
//!
//! | key | value |
//! |---|---|
//! | `format` | the version of this layout, 4 bytes |
//! | `end` | the last sequence committed, 8 bytes |
//! | `handler` | the id of the conflict handler that made the views |
//! | `i` sequence | the incarnation that began there, 8 bytes |
//! | `k` incarnation | the highest stamp known, learnt from peers, 8 bytes |
//! | `o` incarnation | the highest stamp known, written here, 8 bytes |
//! | `l` replica id, and for a filter `f` and its name | the checkpoint in that replica's feed, in CBOR |
//! | `c` document id | nothing: the document is in conflict |
//! | `past` | nothing: past views are kept |
//! | `v` document id | the views that the document had before, in CBOR |
//! | `x` … | what other dialects keep of their peers, which means nothing here |
//!
//! Numbers are big-endian, so that the order of keys is the order of numbers.

use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::codec::{Reader, Writer};
use crate::feed::{Checkpoint, Sequence};
use crate::id::{DocumentId, Incarnation, ReplicaId};
use crate::stamp::Stamp;

/// The version of the layout.
pub(super) const FORMAT: u32 = 1;

pub(super) const FORMAT_KEY: &[u8] = b"format";
pub(super) const END_KEY: &[u8] = b"end";
pub(super) const HANDLER_KEY: &[u8] = b"handler";
pub(super) const PAST_KEY: &[u8] = b"past";

/// Metadata that cannot have been written by a replica: the store is damaged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the entry {key:?} of the store's metadata is damaged")]
pub struct MalformedMetadata {
    /// The key of the entry.
    pub key: Bytes,
}

/// One entry, understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    Format(u32),
    End(Sequence),
    Handler(alloc::string::String),
    Begun(Sequence, Incarnation),
    Known(Incarnation, Stamp),
    Own(Incarnation, Stamp),
    KeepsPastViews,
    /// A checkpoint, a conflict, past views or another dialect's, which are read when they are needed.
    Other,
}

pub(super) fn parse(key: &Bytes, value: &Bytes) -> Result<Entry, MalformedMetadata> {
    let malformed = || MalformedMetadata { key: key.clone() };
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| malformed());
    match key.as_ref() {
        FORMAT_KEY => {
            value.as_ref().try_into().map(u32::from_be_bytes).map(Entry::Format).map_err(|_| malformed())
        }
        END_KEY => Ok(Entry::End(Sequence::new(number(value)?))),
        HANDLER_KEY => {
            core::str::from_utf8(value).map(|id| Entry::Handler(id.to_string())).map_err(|_| malformed())
        }
        [b'i', sequence @ ..] => {
            Ok(Entry::Begun(Sequence::new(number(sequence)?), Incarnation::new(number(value)?)))
        }
        [kind @ (b'k' | b'o'), incarnation @ ..] => {
            let stamp = Stamp::new(number(value)?).map_err(|_| malformed())?;
            let incarnation = Incarnation::new(number(incarnation)?);
            Ok(if *kind == b'o' { Entry::Own(incarnation, stamp) } else { Entry::Known(incarnation, stamp) })
        }
        PAST_KEY => Ok(Entry::KeepsPastViews),
        [b'l' | b'c' | b'v' | b'x', ..] => Ok(Entry::Other),
        _ => Err(malformed()),
    }
}

pub(super) fn begun_key(first: Sequence) -> Bytes {
    numbered(b'i', first.number())
}

pub(super) fn known_key(incarnation: Incarnation) -> Bytes {
    numbered(b'k', incarnation.number())
}

pub(super) fn own_key(incarnation: Incarnation) -> Bytes {
    numbered(b'o', incarnation.number())
}

pub(super) fn number_value(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(super) fn conflict_key(id: &DocumentId) -> Bytes {
    [b"c", id.as_bytes()].concat().into()
}

fn numbered(prefix: u8, number: u64) -> Bytes {
    let mut key = Vec::with_capacity(9);
    key.push(prefix);
    key.extend_from_slice(&number.to_be_bytes());
    key.into()
}

/// The prefix of the keys that list the documents in conflict; the document id follows it.
pub const CONFLICT_PREFIX: &[u8] = b"c";

/// Where the checkpoint in a replica's feed is kept: one per link and per filter.
pub fn checkpoint_key(remote: &ReplicaId, filter: Option<&str>) -> Bytes {
    let (mark, name) = filter.map_or((b"".as_slice(), ""), |name| (b"f", name));
    [b"l", remote.as_bytes().as_slice(), mark, name.as_bytes()].concat().into()
}

pub(super) fn checkpoint_value(checkpoint: &Checkpoint) -> Bytes {
    let mut writer = Writer::with_capacity(32);
    writer.checkpoint(checkpoint);
    writer.finish().into()
}

/// Reads a checkpoint back. What does not read as one does not fit either.
pub fn checkpoint_from_value(value: &Bytes) -> Option<Checkpoint> {
    Reader::new(value).checkpoint().ok()
}
