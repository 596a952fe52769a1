//! What a user or a keychain gives, and the key that is made of it to seal the header.
//!
//! Of a password by Argon2id (RFC 9106), of a key of 32 bytes directly. From the result, two keys are derived with
//! HMAC-SHA-256 over the salt and the cost: one seals the header, the other is stored beside it as a check. A
//! Poly1305 tag alone fits more than one key, which would let whoever writes the header test many passwords with one
//! attempt to open it (Len, Grubbs, Ristenpart 2021, "Partitioning Oracle Attacks"); the check is a hash, which fits
//! one key only, and is compared first.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{EncryptionError, SecretKind, corrupt};

pub(crate) const SALT_BYTES: usize = 32;
pub(crate) const CHECK_BYTES: usize = 32;

/// 32 bytes that are overwritten when they are dropped.
pub(crate) type KeyBytes = Zeroizing<[u8; 32]>;

/// What opens a storage. Overwritten in memory when it is dropped, and never printed.
///
/// ```
/// use peerloom_encrypted::Secret;
/// let typed = Secret::password("correct horse battery staple");
/// let from_a_keychain = Secret::key([7; 32]);
/// assert!(!format!("{typed:?}").contains("horse"));
/// ```
#[derive(Debug)]
pub enum Secret {
    /// A password, byte for byte: where users type it on several devices, normalize it first (NFC, for example), as
    /// the same letters may come as other bytes.
    Password(SecretString),
    /// 32 bytes that nobody can guess, as a keychain of the operating system keeps them. Costs no time to use.
    Key(SecretBox<[u8; 32]>),
}

impl Secret {
    /// A password.
    pub fn password(password: impl Into<String>) -> Self {
        Self::Password(SecretString::from(password.into()))
    }

    /// A key of 32 random bytes.
    pub fn key(key: [u8; 32]) -> Self {
        Self::Key(SecretBox::new(Box::new(key)))
    }

    /// Another copy in memory, for another thread.
    pub(crate) fn copied(&self) -> Self {
        match self {
            Self::Password(password) => Self::Password(password.clone()),
            Self::Key(key) => Self::key(*key.expose_secret()),
        }
    }

    pub(crate) fn kind(&self) -> SecretKind {
        match self {
            Self::Password(_) => SecretKind::Password,
            Self::Key(_) => SecretKind::Key,
        }
    }
}

impl From<SecretString> for Secret {
    fn from(password: SecretString) -> Self {
        Self::Password(password)
    }
}

impl From<SecretBox<[u8; 32]>> for Secret {
    fn from(key: SecretBox<[u8; 32]>) -> Self {
        Self::Key(key)
    }
}

/// How much work it is to try one password: for the owner once at each opening, for a thief at each guess.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PasswordCost {
    /// Memory in KiB, from 8 for each lane. The default is 64 MiB.
    pub memory_kib: u32,
    /// Passes over the memory, from 1. The default is 3.
    pub passes: u32,
    /// Lanes, from 1 to 2^24 - 1. They are worked off one after the other here. The default is 4.
    pub lanes: u32,
}

impl Default for PasswordCost {
    /// The second recommended option of RFC 9106, section 4, for devices with little memory: some tenths of a second.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 4 }
    }
}

impl PasswordCost {
    /// What a header may ask for unless an application allows another: 1 GiB, 16 passes, 16 lanes.
    pub const MAX: Self = Self { memory_kib: 1 << 20, passes: 16, lanes: 16 };

    pub(crate) fn is_within(&self, most: &Self) -> bool {
        self.memory_kib <= most.memory_kib && self.passes <= most.passes && self.lanes <= most.lanes
    }

    pub(crate) fn parameters(&self) -> Option<Params> {
        // The check of the library multiplies the lanes by eight, which must not overflow.
        if self.lanes > Params::MAX_P_COST {
            return None;
        }
        Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).ok()
    }
}

/// How a header's key is made of a secret. In the clear in the header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lock {
    /// The cost for a password; `None` for a key.
    pub(crate) cost: Option<PasswordCost>,
    pub(crate) salt: [u8; SALT_BYTES],
}

impl Lock {
    pub(crate) fn kind(&self) -> SecretKind {
        match self.cost {
            Some(_) => SecretKind::Password,
            None => SecretKind::Key,
        }
    }

    /// Computes the keys. Takes the time that the password's cost says, on the thread of the caller.
    pub(crate) fn turn(&self, secret: &Secret) -> Result<Unlocked, EncryptionError> {
        let root = match (secret, self.cost) {
            (Secret::Password(password), Some(cost)) => self.stretch(password.expose_secret(), cost)?,
            (Secret::Key(key), None) => Zeroizing::new(*key.expose_secret()),
            _ => return Err(EncryptionError::OtherSecret { expected: self.kind() }),
        };
        let derived = |purpose: &[u8]| derive(&root, &[b"peerloom-encrypted 1 ", purpose, &self.bytes()]);
        Ok(Unlocked { lock: self.clone(), key: derived(b"header"), check: *derived(b"check") })
    }

    fn stretch(&self, password: &str, cost: PasswordCost) -> Result<KeyBytes, EncryptionError> {
        let parameters =
            cost.parameters().ok_or_else(|| corrupt("the header asks for an impossible cost"))?;
        let mut memory: Zeroizing<Vec<Block>> = Zeroizing::default();
        memory.try_reserve_exact(parameters.block_count()).map_err(|_| EncryptionError::Memory)?;
        memory.resize(parameters.block_count(), Block::default());
        let mut key = KeyBytes::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
            .hash_password_into_with_memory(password.as_bytes(), &self.salt, &mut *key, &mut memory[..])
            .map_err(|error| corrupt(format!("no key can be made of the password: {error}")))?;
        Ok(key)
    }

    /// What the header says of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![match self.kind() {
            SecretKind::Key => 0,
            SecretKind::Password => 1,
        }];
        let cost = self.cost.unwrap_or(PasswordCost { memory_kib: 0, passes: 0, lanes: 0 });
        for number in [cost.memory_kib, cost.passes, cost.lanes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.salt);
        bytes
    }
}

/// What came of a secret: what seals the header, and what tells that it is the right one.
pub(crate) struct Unlocked {
    pub(crate) lock: Lock,
    pub(crate) key: KeyBytes,
    pub(crate) check: [u8; CHECK_BYTES],
}

impl Unlocked {
    pub(crate) fn fits(&self, check: &[u8; CHECK_BYTES]) -> bool {
        self.check.ct_eq(check).into()
    }
}

/// A key of its own for each purpose: HMAC-SHA-256 under the key that it comes from.
pub(crate) fn derive(from: &KeyBytes, purpose: &[&[u8]]) -> KeyBytes {
    let mut mac = Hmac::<Sha256>::new_from_slice(&**from).expect("a key of any length will do");
    purpose.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}
