//! The storages that are put to the test, each in a directory.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use clap::ValueEnum;
#[cfg(feature = "rocksdb")]
use peerloom::RocksDb;
use peerloom::core::{Store, StoreName};
use peerloom::encrypted::Secret;
use peerloom::{Encrypted, Fjall, Storage, StorageError};

/// Which storage.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    Fjall,
    EncryptedFjall,
    #[cfg(feature = "rocksdb")]
    Rocksdb,
    #[cfg(feature = "rocksdb")]
    EncryptedRocksdb,
}

impl Kind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no kind is hidden").get_name().to_owned()
    }

    /// Opens the storage, and creates it if a crash or nobody has left one.
    pub(crate) async fn open(self, directory: &Path) -> anyhow::Result<Disk> {
        // A key costs no time, unlike a password: kills should meet writes, not Argon2id.
        let secret = Secret::key([7; 32]);
        Ok(match self {
            Self::Fjall => Disk::Plain(Arc::new(Fjall::at(directory))),
            Self::EncryptedFjall => {
                Disk::EncryptedFjall(Encrypted::open_or_create(Fjall::at(directory), &secret).await?)
            }
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => Disk::Plain(Arc::new(RocksDb::at(directory))),
            #[cfg(feature = "rocksdb")]
            Self::EncryptedRocksdb => {
                Disk::EncryptedRocksDb(Encrypted::open_or_create(RocksDb::at(directory), &secret).await?)
            }
        })
    }
}

/// A storage that is open.
#[derive(Clone)]
pub(crate) enum Disk {
    Plain(Arc<dyn Storage>),
    EncryptedFjall(Encrypted<Fjall>),
    #[cfg(feature = "rocksdb")]
    EncryptedRocksDb(Encrypted<RocksDb>),
}

impl Disk {
    /// Exchanges the data key of an encrypted storage, which takes many commits.
    pub(crate) async fn upkeep(&self) -> anyhow::Result<()> {
        match self {
            Self::Plain(_) => {}
            Self::EncryptedFjall(storage) => drop(storage.rotate().await?),
            #[cfg(feature = "rocksdb")]
            Self::EncryptedRocksDb(storage) => drop(storage.rotate().await?),
        }
        Ok(())
    }

    fn storage(&self) -> &dyn Storage {
        match self {
            Self::Plain(storage) => &**storage,
            Self::EncryptedFjall(storage) => storage,
            #[cfg(feature = "rocksdb")]
            Self::EncryptedRocksDb(storage) => storage,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for Disk {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        self.storage().open(name).await
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        self.storage().delete(name).await
    }
}
