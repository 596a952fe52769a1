//! The keys of a storage in memory, and the store on which their header lies.
//!
//! The store of the header is open only while it is read or changed, so that other values and processes can be at work
//! in the same storage. Every change reads the header again first: what others did since is taken over, and where they
//! changed the password, nothing is written over it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use peerloom_core::{Batch, Storage, StorageError, Store, StoreName};

use crate::error::EncryptionError;
use crate::header::{Contents, Sealed};
use crate::randomness::Randomness;
use crate::secret::{Lock, Secret, Unlocked};
use crate::store::EncryptedStore;

const HEADER_KEY: &[u8] = b"header";

/// What is known of the keys, and which stores are open with them. Guarded by the turn of the storage.
pub(crate) struct Keyring {
    pub(crate) unlocked: Unlocked,
    pub(crate) contents: Contents,
    pub(crate) open: BTreeMap<StoreName, Weak<EncryptedStore>>,
}

impl Keyring {
    pub(crate) fn new(unlocked: Unlocked, contents: Contents) -> Self {
        Self { unlocked, contents, open: BTreeMap::new() }
    }

    /// Takes over what the header says now. Returns its store, for what is to be changed.
    pub(crate) async fn refresh(&mut self, storage: &impl Storage) -> Result<HeaderStore, EncryptionError> {
        let store = HeaderStore::open(storage).await?;
        let header = store.read().await?.ok_or(EncryptionError::NotEncrypted)?;
        self.contents = header.open(&self.unlocked).map_err(|error| match error {
            EncryptionError::WrongSecret => EncryptionError::SecretChanged,
            error => error,
        })?;
        Ok(store)
    }

    /// Writes other contents, and then goes by them.
    pub(crate) async fn write(
        &mut self,
        store: &HeaderStore,
        contents: Contents,
        randomness: &Randomness,
    ) -> Result<(), EncryptionError> {
        store.write(&contents, &self.unlocked, randomness).await?;
        self.contents = contents;
        Ok(())
    }

    /// The open store of this name, if it was opened with this keyring.
    pub(crate) fn open_store(&self, name: &StoreName) -> Option<Arc<EncryptedStore>> {
        self.open.get(name)?.upgrade().filter(|store| !store.is_closed())
    }
}

/// The store of the header, open. Dropping it lets go of it.
pub(crate) struct HeaderStore(Arc<dyn Store>);

impl HeaderStore {
    pub(crate) async fn open(storage: &impl Storage) -> Result<Self, StorageError> {
        Ok(Self(storage.open(&StoreName::keys()).await?))
    }

    pub(crate) async fn read(&self) -> Result<Option<Sealed>, StorageError> {
        let found = self.0.metadata(HEADER_KEY, None, NonZeroU32::MIN).await?;
        found.first().map(|(_, header)| Sealed::parse(header)).transpose()
    }

    pub(crate) async fn write(
        &self,
        contents: &Contents,
        with: &Unlocked,
        randomness: &Randomness,
    ) -> Result<(), EncryptionError> {
        let header = contents.seal(with, &randomness.nonce());
        let entry = (Bytes::from_static(HEADER_KEY), Some(header.into()));
        Ok(self.0.commit(Batch { records: Vec::new(), metadata: vec![entry] }).await?)
    }

    pub(crate) async fn close(self) -> Result<(), StorageError> {
        self.0.close().await
    }
}

/// Makes the key of a secret, on a thread where that may take its time.
pub(crate) async fn unlock(lock: Lock, secret: &Secret) -> Result<Unlocked, EncryptionError> {
    if let Secret::Key(_) = secret {
        return lock.turn(secret);
    }
    let secret = secret.copied();
    crate::offload::on_a_thread(move || lock.turn(&secret)).await?
}
