//! The names of things: documents, stores, replicas, openings, incarnations and topics.
//!
//! Each is a newtype, so that one cannot be passed for another. Parsing happens here; whoever holds a
//! value may trust it.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;

use sha2::{Digest, Sha256};

use crate::topic_key::TopicKey;

/// The most bytes a [`DocumentId`] may have.
pub const DOCUMENT_ID_BYTES_MAX: usize = 1024;

/// The most bytes a [`StoreName`] may have. Short enough to be a file name with a suffix anywhere.
const STORE_NAME_BYTES_MAX: usize = 64;

/// The most bytes a [`Topic`] may have.
const TOPIC_BYTES_MAX: usize = 256;

/// A name that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// A document id must have 1 to 1,024 bytes of UTF-8.
    #[error("a document id has 1 to {DOCUMENT_ID_BYTES_MAX} bytes, this one has {bytes}")]
    DocumentId {
        /// How many bytes it has.
        bytes: usize,
    },
    /// A document id must be UTF-8.
    #[error("a document id must be UTF-8")]
    NotUtf8,
    /// A collection name must be 1 to 64 ASCII letters, digits, `-`, `_` or `.`, and start with a letter or digit.
    #[error(
        "a collection name has 1 to {STORE_NAME_BYTES_MAX} ASCII letters, digits, '-', '_' or '.', \
         and starts with a letter or digit, unlike {name:?}"
    )]
    Collection {
        /// The name as given.
        name: String,
    },
    /// A topic must have 1 to 256 bytes.
    #[error("a topic has 1 to {TOPIC_BYTES_MAX} bytes, this one has {bytes}")]
    Topic {
        /// How many bytes it has.
        bytes: usize,
    },
}

/// The id of a document within its collection: 1 to 1,024 bytes of UTF-8.
///
/// ```
/// use peerloom_core::DocumentId;
/// assert_eq!(DocumentId::new("todo/1")?.as_str(), "todo/1");
/// assert!(DocumentId::new("").is_err());
/// # Ok::<(), peerloom_core::InvalidName>(())
/// ```
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DocumentId(Arc<str>);

impl DocumentId {
    /// Checks the length and makes the id.
    pub fn new(id: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
        let id = id.into();
        if id.is_empty() || id.len() > DOCUMENT_ID_BYTES_MAX {
            return Err(InvalidName::DocumentId { bytes: id.len() });
        }
        Ok(Self(id))
    }

    /// The lowest of all ids.
    pub(crate) fn lowest() -> Self {
        Self("\0".into())
    }

    /// The highest of all ids that start with a prefix: filled up with the last characters of each length.
    pub(crate) fn highest(prefix: &str) -> Self {
        let mut id = String::from(prefix);
        for last in ['\u{10ffff}', '\u{ffff}', '\u{7ff}', '\u{7f}'] {
            while id.len() + last.len_utf8() <= DOCUMENT_ID_BYTES_MAX {
                id.push(last);
            }
        }
        Self::new(id).expect("the prefix of an id, filled up to the limit")
    }

    /// Reads an id from bytes, as an adapter or the wire holds them.
    pub fn from_utf8(bytes: &[u8]) -> Result<Self, InvalidName> {
        Self::new(core::str::from_utf8(bytes).map_err(|_| InvalidName::NotUtf8)?)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as bytes. Their order is the order of ids.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for DocumentId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for DocumentId {
    type Error = InvalidName;

    fn try_from(id: &str) -> Result<Self, InvalidName> {
        Self::new(id)
    }
}

impl TryFrom<String> for DocumentId {
    type Error = InvalidName;

    fn try_from(id: String) -> Result<Self, InvalidName> {
        Self::new(id)
    }
}

impl TryFrom<&String> for DocumentId {
    type Error = InvalidName;

    fn try_from(id: &String) -> Result<Self, InvalidName> {
        Self::new(id.as_str())
    }
}

impl From<&DocumentId> for DocumentId {
    fn from(id: &DocumentId) -> Self {
        id.clone()
    }
}

/// The name of a collection: 1 to 64 ASCII letters, digits, `-`, `_` or `.`, starting with a letter or digit.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CollectionName(StoreName);

impl CollectionName {
    /// Checks the characters and makes the name.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || name.len() > STORE_NAME_BYTES_MAX || !name.chars().all(allowed) {
            return Err(InvalidName::Collection { name: name.to_string() });
        }
        Ok(Self(StoreName(name.into())))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The store that holds this collection.
    pub fn store(&self) -> &StoreName {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The name of a store: a collection's, or the node's own. At most 64 bytes of ASCII letters, digits,
/// `-`, `_` and `.`, never starting with `-` or `.`, so that adapters may use it in a file name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StoreName(Arc<str>);

impl StoreName {
    /// The store for what belongs to the node rather than to a collection, such as its identity. No
    /// collection can have this name.
    pub fn node() -> Self {
        Self("_node".into())
    }

    /// The store for what a storage needs that encrypts another: the header with its keys. No collection can have this name.
    pub fn keys() -> Self {
        Self("_keys".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What peers join to meet: the name of a room as the transport sees it. 1 to 256 bytes.
///
/// A room without a key is met under its own name, one with a key under a name derived from the key, with
/// [`Topic::with_key`], so that whoever carries it learns nothing from it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks the length and makes the topic.
    pub fn new(topic: &str) -> Result<Self, InvalidName> {
        if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX {
            return Err(InvalidName::Topic { bytes: topic.len() });
        }
        Ok(Self(topic.into()))
    }

    /// Under what name those meet who know the key: 52 lower-case letters and digits, derived from the key and the
    /// topic. Without the key nobody can tell which topic it is, and with another key or topic it is another name.
    ///
    /// ```
    /// use peerloom_core::{Topic, TopicKey};
    /// let key = TopicKey::new([7; 32]);
    /// let seen = Topic::with_key("our-notes", &key)?;
    /// assert_eq!(seen.as_str().len(), 52);
    /// assert_ne!(seen, Topic::with_key("our-plans", &key)?);
    /// # Ok::<(), peerloom_core::InvalidName>(())
    /// ```
    pub fn with_key(topic: &str, key: &TopicKey) -> Result<Self, InvalidName> {
        Ok(key.room(&Self::new(topic)?))
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The writer's identity in dots: a random number drawn at each opening of a store and never used again.
///
/// It is per opening, not per device, so that a restored backup or a cloned directory cannot reuse it.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Incarnation(u64);

impl Incarnation {
    /// An incarnation from its number, which must be random for a new one.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// The stable id of a node's stores: the SHA-256 of its Ed25519 public key. For display, links and peer
/// lists; never for causality.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplicaId([u8; 32]);

impl ReplicaId {
    /// The id that belongs to a public key.
    pub fn of_public_key(key: &[u8; 32]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// The id that these bytes are, such as of a list of members.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The id as bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// All of it, as 64 digits: what [`FromStr`] reads.
impl fmt::LowerHex for ReplicaId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Reads 64 hexadecimal digits, in lower or upper case.
impl FromStr for ReplicaId {
    type Err = InvalidReplicaId;

    fn from_str(text: &str) -> Result<Self, InvalidReplicaId> {
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(InvalidReplicaId);
        if text.len() != 64 {
            return Err(InvalidReplicaId);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}

/// Text that is not the 64 hexadecimal digits of a replica id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a replica id has 64 hexadecimal digits")]
pub struct InvalidReplicaId;

impl fmt::Debug for ReplicaId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Shows the first eight bytes in hex, enough to tell replicas apart in a log. `{:x}` shows all.
impl fmt::Display for ReplicaId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Drawn each time a node is opened. Tells two live clones of one replica apart.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Opening(u64);

impl Opening {
    /// An opening from its number, which must be random for a new one.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn a_replica_id_is_read_back_from_all_of_its_digits() {
        let id = ReplicaId::of_public_key(&[7; 32]);
        let text = format!("{id:x}");
        assert!(text.starts_with(&format!("{id}")));
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert_eq!(ReplicaId::from_bytes(*id.as_bytes()), id);
        for wrong in [&text[1..], &format!("{text}0"), &text.replace(&text[..1], "g"), "\u{e9}"] {
            assert_eq!(wrong.parse::<ReplicaId>(), Err(InvalidReplicaId), "{wrong}");
        }
    }
}
