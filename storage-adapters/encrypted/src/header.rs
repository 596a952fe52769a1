//! The header: the data keys and the names of the stores, sealed with what the password or key of the storage opens.
//!
//! ```text
//! "peerloom-encrypted"       18 bytes
//! format                      4, big-endian as all numbers
//! kind of secret              1: 0 for a key, 1 for a password
//! cost                        3 × 4: memory in KiB, passes, lanes; zeros for a key
//! salt                       32
//! check                      32
//! nonce, tag, ciphertext     24, 16, the rest
//! ```
//!
//! All before the nonce is bound into the tag. It is one entry of metadata in a store of its own, so that a change of
//! it is one commit: before a crash or after it, never between.

use std::collections::BTreeSet;

use peerloom_core::{CollectionName, StorageError, StoreName};
use zeroize::Zeroizing;

use crate::cipher::{Cipher, NONCE_BYTES, Nonce, TAG_BYTES};
use crate::error::{EncryptionError, corrupt};
use crate::seal::{DataKeys, Epoch};
use crate::secret::{CHECK_BYTES, KeyBytes, Lock, PasswordCost, SALT_BYTES, Unlocked};

const MAGIC: &[u8] = b"peerloom-encrypted";
const FORMAT: u32 = 1;

/// More keys than one rotation needs are in no header.
const DATA_KEYS_MAX: u8 = 2;

/// A header as it was found, not opened yet.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) lock: Lock,
    pub(crate) check: [u8; CHECK_BYTES],
    clear: Vec<u8>,
    sealed: Vec<u8>,
}

impl Sealed {
    /// Reads what is in the clear.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, StorageError> {
        let mut rest = Reader(bytes);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(corrupt("the header does not begin as one"));
        }
        match rest.number()? {
            FORMAT => {}
            0 => return Err(corrupt("the header has the format zero")),
            found => return Err(StorageError::Newer { found, supported: FORMAT }),
        }
        let kind = rest.byte()?;
        let (memory_kib, passes, lanes) = (rest.number()?, rest.number()?, rest.number()?);
        let cost = match kind {
            0 => None,
            1 => Some(PasswordCost { memory_kib, passes, lanes }),
            _ => return Err(corrupt("the header names a kind of secret that is not known")),
        };
        let salt: [u8; SALT_BYTES] = rest.array()?;
        let check: [u8; CHECK_BYTES] = rest.array()?;
        let clear = bytes[..bytes.len() - rest.0.len()].to_vec();
        Ok(Self { lock: Lock { cost, salt }, check, clear, sealed: rest.0.to_vec() })
    }

    /// Opens it with what a secret gave.
    pub(crate) fn open(self, with: &Unlocked) -> Result<Contents, EncryptionError> {
        if with.lock != self.lock || !with.fits(&self.check) {
            return Err(EncryptionError::WrongSecret);
        }
        let mut buffer = Zeroizing::new(self.sealed);
        Cipher::new(with.key.clone())
            .open(&self.clear, &mut buffer)
            .ok_or_else(|| corrupt("the header was altered or cut short"))?;
        Ok(Contents::decode(&buffer[NONCE_BYTES + TAG_BYTES..])?)
    }
}

/// What the header keeps.
#[derive(Clone)]
pub(crate) struct Contents {
    /// At least one. The last is what new data is sealed with.
    pub(crate) keys: DataKeys,
    /// Every store that there is; some may not be there any more, or not yet.
    pub(crate) stores: BTreeSet<StoreName>,
}

impl Contents {
    pub(crate) fn newest(&self) -> Epoch {
        *self.keys.last_key_value().expect("a header has a key").0
    }

    /// The header that holds it, for this secret.
    pub(crate) fn seal(&self, with: &Unlocked, nonce: &Nonce) -> Vec<u8> {
        let clear = [MAGIC, &FORMAT.to_be_bytes(), &with.lock.bytes(), &with.check].concat();
        let contents = self.encode();
        // As large as it will be, so that no copy is left behind where it grew.
        let mut buffer = Zeroizing::new(Vec::with_capacity(NONCE_BYTES + TAG_BYTES + contents.len()));
        buffer.resize(NONCE_BYTES + TAG_BYTES, 0);
        buffer.extend_from_slice(&contents);
        Cipher::new(with.key.clone()).seal(nonce, &clear, &mut buffer);
        [&clear[..], &buffer].concat()
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let names = self.stores.iter().map(|name| 1 + name.as_str().len()).sum::<usize>();
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + 36 * self.keys.len() + names));
        bytes.push(u8::try_from(self.keys.len()).expect("a header has one key or two"));
        for (epoch, key) in &self.keys {
            bytes.extend_from_slice(&epoch.0.to_be_bytes());
            bytes.extend_from_slice(&**key);
        }
        for name in &self.stores {
            bytes.push(u8::try_from(name.as_str().len()).expect("a name has at most 64 bytes"));
            bytes.extend_from_slice(name.as_str().as_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        let mut rest = Reader(bytes);
        let count = rest.byte()?;
        if !(1..=DATA_KEYS_MAX).contains(&count) {
            return Err(corrupt("the header has no key, or too many"));
        }
        let mut keys = DataKeys::new();
        for _ in 0..count {
            keys.insert(Epoch(rest.number()?), KeyBytes::new(rest.array()?));
        }
        let mut stores = BTreeSet::new();
        while !rest.0.is_empty() {
            let bytes = rest.byte()?;
            stores.insert(store_name(rest.take(bytes.into())?)?);
        }
        Ok(Self { keys, stores })
    }
}

fn store_name(name: &[u8]) -> Result<StoreName, StorageError> {
    let unknown = || corrupt("the header names a store that cannot be");
    let name = std::str::from_utf8(name).map_err(|_| unknown())?;
    match name == StoreName::node().as_str() {
        true => Ok(StoreName::node()),
        false => CollectionName::new(name).map(|name| name.store().clone()).map_err(|_| unknown()),
    }
}

/// Takes parts off the beginning of bytes.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, bytes: usize) -> Result<&'b [u8], StorageError> {
        let (taken, rest) =
            self.0.split_at_checked(bytes).ok_or_else(|| corrupt("the header is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }

    fn byte(&mut self) -> Result<u8, StorageError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u32, StorageError> {
        self.array().map(u32::from_be_bytes)
    }
}
