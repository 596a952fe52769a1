//! What can go wrong with the keys of a storage.

use peerloom_core::{CommitError, StorageError};

use crate::secret::PasswordCost;

/// Why a storage could not be created or opened, or its keys not be changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptionError {
    /// The password or the key is wrong, or what belongs to it in the header was altered: salt, cost or the check value.
    /// Ask again.
    #[error("the password or key is wrong")]
    WrongSecret,
    /// The storage opens with the other kind of secret. Ask for that one.
    #[error("the storage opens with a {expected}")]
    OtherSecret {
        /// The kind it opens with.
        expected: SecretKind,
    },
    /// A password must not be empty.
    #[error("a password must not be empty")]
    EmptyPassword,
    /// There are no keys: nothing was created here, or what is here is not encrypted.
    #[error("the storage is not encrypted, or nothing was created in it yet")]
    NotEncrypted,
    /// It was created before. Open it.
    #[error("the storage is encrypted already")]
    AlreadyEncrypted,
    /// There are documents or an identity that nobody encrypted. Choose another place, and let the replica in the clear
    /// replicate to it.
    #[error("the storage holds data in the clear")]
    DataInTheClear,
    /// The header asks for more work than [`Builder::password_cost_max`](crate::Builder::password_cost_max) allows, as
    /// a header made to exhaust this device would. Nothing was computed.
    #[error("the header asks for a password cost of {found:?}, the most allowed is {allowed:?}")]
    Cost {
        /// What the header asks for.
        found: PasswordCost,
        /// What is allowed.
        allowed: PasswordCost,
    },
    /// This device has not the memory for the password's cost.
    #[error("there is no memory for the cost of the password")]
    Memory,
    /// Password or key were changed since this storage was opened, through another value or in another process. Open
    /// it again.
    #[error("the password or key was changed since the storage was opened")]
    SecretChanged,
    /// The storage beneath says no.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What was to be written could not be. After [`CommitError::Unknown`] it may have been: where a password was
    /// being changed, one of both opens the storage.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What a storage opens with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SecretKind {
    /// A password.
    Password,
    /// A key of 32 bytes.
    Key,
}

impl std::fmt::Display for SecretKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Password => "password",
            Self::Key => "key",
        })
    }
}

impl From<EncryptionError> for StorageError {
    /// In the words of the storage contract, for the operations that have no others.
    fn from(error: EncryptionError) -> Self {
        match error {
            EncryptionError::Storage(error) => error,
            EncryptionError::Commit(CommitError::NotApplied(error) | CommitError::Unknown(error)) => error,
            EncryptionError::Commit(error) => Self::Io { detail: error.to_string() },
            error => Self::OtherKeys { detail: error.to_string() },
        }
    }
}

pub(crate) fn corrupt(detail: impl Into<String>) -> StorageError {
    StorageError::Corrupt { detail: detail.into() }
}
