//! The marker of a store: that it is encrypted, in which format, with which key, and how far it has been rotated.
//!
//! It lies in the store's metadata, under a key that is moved out of the way of the application's own: those that begin
//! as it does lie behind it with a byte in between. That keeps their order and their prefixes, and every key stays
//! usable but those that begin so and have 2,048 bytes, the most that a key may have.

use std::borrow::Cow;
use std::num::NonZeroU32;

use bytes::Bytes;
use peerloom_core::{ENCRYPTION_MARKER_KEY as KEY, Sequence, StorageError, Store};

use crate::cipher::Nonce;
use crate::error::corrupt;
use crate::seal::{Epoch, StoreKeys, epoch_of};

/// The format of markers and of everything in a marked store.
const FORMAT: u32 = 1;

/// What separates the marker's key from the rest of a key that begins with it.
const ESCAPE: u8 = 1;

/// How far a store is sealed with the key of its marker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// The records up to this sequence are.
    Records(Sequence),
    /// All records are, and the metadata up to this key, as it lies in the store; from its beginning if it is empty.
    Metadata(Bytes),
    /// Everything is.
    Whole,
}

/// What a store says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Marker {
    /// The key with which it writes.
    pub(crate) epoch: Epoch,
    pub(crate) progress: Progress,
}

impl Marker {
    pub(crate) fn seal(&self, keys: &StoreKeys, nonce: &Nonce) -> (Bytes, Option<Bytes>) {
        let format = FORMAT.to_be_bytes();
        let progress = match &self.progress {
            Progress::Whole => vec![0],
            Progress::Records(after) => [&[1][..], &after.number().to_be_bytes()].concat(),
            Progress::Metadata(after) => [&[2][..], after].concat(),
        };
        let sealed = keys.seal_marker(self.epoch, nonce, &format, &progress);
        (Bytes::from_static(KEY), Some([&format[..], &sealed].concat().into()))
    }
}

/// A marker as it was found.
pub(crate) struct Found(Bytes);

impl Found {
    /// Reads the marker of a store. `None` if it has none.
    pub(crate) async fn read(store: &dyn Store) -> Result<Option<Self>, StorageError> {
        let first = store.metadata(KEY, None, NonZeroU32::MIN).await?.pop();
        let Some((_, value)) = first.filter(|(key, _)| key == KEY) else { return Ok(None) };
        let format = value.first_chunk().copied().map(u32::from_be_bytes);
        match format.ok_or_else(damaged)? {
            FORMAT => Ok(Some(Self(value.slice(4..)))),
            0 => Err(damaged()),
            found => Err(StorageError::Newer { found, supported: FORMAT }),
        }
    }

    /// The key that opens it.
    pub(crate) fn epoch(&self) -> Result<Epoch, StorageError> {
        epoch_of(&self.0).ok_or_else(damaged)
    }

    /// The store must have the key.
    pub(crate) fn open(&self, keys: &StoreKeys) -> Result<Marker, StorageError> {
        let progress = keys.open_marker(&FORMAT.to_be_bytes(), &self.0).ok_or_else(damaged)?;
        let progress = match progress.split_first() {
            Some((0, [])) => Progress::Whole,
            Some((1, after)) => {
                let after = after.try_into().map_err(|_| damaged())?;
                Progress::Records(Sequence::new(u64::from_be_bytes(after)))
            }
            Some((2, _)) => Progress::Metadata(progress.slice(1..)),
            _ => return Err(damaged()),
        };
        Ok(Marker { epoch: self.epoch()?, progress })
    }
}

fn damaged() -> StorageError {
    corrupt("the marker of the store was altered, or belongs to another store")
}

/// Where the application's key lies in the store. Goes for prefixes of keys as well.
pub(crate) fn inner_key(key: &[u8]) -> Cow<'_, [u8]> {
    match key.strip_prefix(KEY) {
        None => key.into(),
        Some(rest) => [KEY, &[ESCAPE], rest].concat().into(),
    }
}

/// The application's key that lies here in the store. `None` for the marker's.
pub(crate) fn outer_key(key: &Bytes) -> Option<Bytes> {
    match key.strip_prefix(KEY) {
        None => Some(key.clone()),
        Some([]) => None,
        Some([_, rest @ ..]) => Some([KEY, rest].concat().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_keys_keep_their_order_their_prefixes_and_their_names() {
        let mut keys: Vec<Vec<u8>> =
            vec![vec![0], vec![0, b'p'], b"\0peerloom-encryptee".to_vec(), b"a".to_vec()];
        for rest in [&b""[..], b"\0", b"\x01", b"\x01\x01", b"\x02", b"a", b"\xff"] {
            keys.push([KEY, rest].concat());
        }
        keys.sort();
        let inner: Vec<Bytes> = keys.iter().map(|key| inner_key(key).into_owned().into()).collect();
        assert!(inner.is_sorted());
        assert!(!inner.contains(&Bytes::from_static(KEY)), "none lies where the marker does");
        for (key, moved) in keys.iter().zip(&inner) {
            assert_eq!(outer_key(moved).as_deref(), Some(&key[..]));
            for (other, other_moved) in keys.iter().zip(&inner) {
                let prefix = other_moved.starts_with(&inner_key(key));
                assert_eq!(other.starts_with(key), prefix, "{other:?} and {key:?}");
            }
        }
        assert_eq!(outer_key(&Bytes::from_static(KEY)), None);
    }
}
