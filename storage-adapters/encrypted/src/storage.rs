//! The storage: creating and opening it, its stores, and the change of its password.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use peerloom_core::{Batch, IdRange, PageLimits, Storage, StorageError, Store, StoreName};
use tokio::sync::{Mutex, MutexGuard};

use crate::error::EncryptionError;
use crate::header::Contents;
use crate::keyring::{HeaderStore, Keyring, unlock};
use crate::marker::{Found, Marker, Progress};
use crate::randomness::Randomness;
use crate::seal::{Epoch, StoreKeys};
use crate::secret::{Lock, PasswordCost, Secret};
use crate::store::EncryptedStore;

/// A storage that encrypts another. See the [crate] for what it promises.
///
/// Cheap to clone; clones are the same storage. Any number of values may be opened on one place, in any number of
/// processes: what one changes of the keys, the others notice when they next need it. Must be used within a tokio
/// runtime, for it does long work where that may block.
///
/// An operation that needs the header fails with [`StorageError::Locked`] in the instant that another value or process
/// reads or changes it: opening a storage, creating or deleting a store, changing the password, beginning and ending a
/// rotation. Try again then.
pub struct Encrypted<S> {
    pub(crate) shared: Arc<Shared<S>>,
}

pub(crate) struct Shared<S> {
    pub(crate) storage: S,
    pub(crate) randomness: Randomness,
    pub(crate) rotation_page: PageLimits,
    cost: PasswordCost,
    /// How many wait to open or delete a store.
    waiting: AtomicUsize,
    /// Held across everything that opens or deletes a store or concerns the keys, so that this is done once at a time.
    turn: Mutex<Keyring>,
}

impl<S: Storage> Encrypted<S> {
    /// Creates an encrypted storage where there is nothing yet.
    ///
    /// When this returns, it opens with this secret, also after a crash. After a crash before, nothing is created.
    ///
    /// # Errors
    ///
    /// [`EncryptionError::AlreadyEncrypted`] if it was created before, [`EncryptionError::DataInTheClear`] if an
    /// application used it without encryption, [`EncryptionError::EmptyPassword`].
    ///
    /// # Cancel safety
    ///
    /// After dropping the future it may be created or not.
    pub async fn create(storage: S, secret: &Secret) -> Result<Self, EncryptionError> {
        Self::builder(storage).create(secret).await
    }

    /// Opens an encrypted storage.
    ///
    /// # Errors
    ///
    /// [`EncryptionError::WrongSecret`], [`EncryptionError::NotEncrypted`], [`EncryptionError::Cost`], and `Newer`
    /// and `Corrupt` in [`EncryptionError::Storage`] for a header that a later version wrote, or that was altered.
    /// Nothing is changed, but an empty store for the keys may be left where there was none.
    pub async fn open(storage: S, secret: &Secret) -> Result<Self, EncryptionError> {
        Self::builder(storage).open(secret).await
    }

    /// Opens an encrypted storage, and creates it if there is none.
    ///
    /// # Errors
    ///
    /// As [`Encrypted::open`] and [`Encrypted::create`].
    pub async fn open_or_create(storage: S, secret: &Secret) -> Result<Self, EncryptionError> {
        Self::builder(storage).open_or_create(secret).await
    }

    /// Creates or opens with other than the default options.
    pub fn builder(storage: S) -> Builder<S> {
        Builder {
            storage,
            cost: PasswordCost::default(),
            cost_max: PasswordCost::MAX,
            rotation_page: Builder::<S>::ROTATION_PAGE,
            randomness: Randomness::of_system(),
        }
    }

    /// Makes the storage open with another password or key, and no longer with the present one. Rewrites the header and
    /// nothing else; stores that are open stay open.
    ///
    /// When this returns, only the new secret opens it, also after a crash. Whoever knows the old secret and has an old
    /// copy of the header still has the data key: [rotate](Encrypted::rotate) it too if the old secret may be known.
    ///
    /// # Errors
    ///
    /// [`EncryptionError::SecretChanged`] if somebody else changed it since this storage was opened, which is not
    /// written over. After [`CommitError::Unknown`](peerloom_core::CommitError::Unknown), and after dropping the
    /// future, one of both secrets opens the storage.
    pub async fn change_secret(&self, secret: &Secret) -> Result<(), EncryptionError> {
        let lock = new_lock(secret, self.shared.cost, &self.shared.randomness)?;
        let mut keyring = self.shared.enter().await;
        let unlocked = unlock(lock, secret).await?;
        let store = keyring.refresh(&self.shared.storage).await?;
        store.write(&keyring.contents, &unlocked, &self.shared.randomness).await?;
        keyring.unlocked = unlocked;
        Ok(store.close().await?)
    }
}

impl<S> Clone for Encrypted<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug> fmt::Debug for Encrypted<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Encrypted").field(&self.shared.storage).finish()
    }
}

/// Creates or opens an [`Encrypted`] storage. Made by [`Encrypted::builder`].
#[derive(Debug)]
#[must_use = "nothing is opened before `open` or `create`"]
pub struct Builder<S> {
    storage: S,
    cost: PasswordCost,
    cost_max: PasswordCost,
    rotation_page: PageLimits,
    randomness: Randomness,
}

impl<S: Storage> Builder<S> {
    const ROTATION_PAGE: PageLimits = PageLimits {
        documents_max: NonZeroU32::new(256).expect("a literal above zero"),
        bytes_max: NonZeroU32::new(1 << 20).expect("a literal above zero"),
    };

    /// What trying a password costs from now on: for [`create`](Builder::create) and
    /// [`change_secret`](Encrypted::change_secret). A storage opens with the cost that its header names.
    ///
    /// # Panics
    ///
    /// If a number is outside the range that its documentation gives.
    pub fn password_cost(self, cost: PasswordCost) -> Self {
        assert!(cost.parameters().is_some(), "{cost:?} is outside the range of Argon2");
        Self { cost, ..self }
    }

    /// The most that a header may ask for. The default is [`PasswordCost::MAX`]. Choose less for a device with less than a few
    /// gigabytes of memory: whoever can write the header decides how much opening takes.
    pub fn password_cost_max(self, cost_max: PasswordCost) -> Self {
        Self { cost_max, ..self }
    }

    /// How much [`Encrypted::rotate`] seals anew in one commit, while other operations on that store wait. The default is 256
    /// documents or entries of metadata, and 1 MiB of documents.
    pub fn rotation_page(self, limits: PageLimits) -> Self {
        Self { rotation_page: limits, ..self }
    }

    /// Where keys, salts and nonces come from. The default is the system.
    ///
    /// Nobody may be able to predict what it gives, and it must never give the same twice, also not after a restart: a nonce
    /// that is used twice reveals what was sealed with it. For simulations, which keep no secrets, it may repeat itself.
    pub fn randomness(self, fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self { randomness: Randomness::new(fill), ..self }
    }

    /// As [`Encrypted::create`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn create(self, secret: &Secret) -> Result<Encrypted<S>, EncryptionError> {
        let lock = new_lock(secret, self.cost, &self.randomness)?;
        let store = HeaderStore::open(&self.storage).await?;
        if store.read().await?.is_some() {
            return Err(EncryptionError::AlreadyEncrypted);
        }
        // Its identity is the first thing that a node writes. Collections in the clear are found when they are opened.
        let node = self.storage.open(&StoreName::node()).await?;
        if !is_empty(&*node).await? {
            return Err(EncryptionError::DataInTheClear);
        }
        node.close().await?;
        let unlocked = unlock(lock, secret).await?;
        let keys = [(Epoch(1), self.randomness.key())].into();
        let contents = Contents { keys, stores: BTreeSet::new() };
        store.write(&contents, &unlocked, &self.randomness).await?;
        store.close().await?;
        Ok(self.opened(Keyring::new(unlocked, contents)))
    }

    /// As [`Encrypted::open`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn open(self, secret: &Secret) -> Result<Encrypted<S>, EncryptionError> {
        let keyring = self.unlock(secret).await?;
        Ok(self.opened(keyring))
    }

    /// As [`Encrypted::open_or_create`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn open_or_create(self, secret: &Secret) -> Result<Encrypted<S>, EncryptionError> {
        match self.unlock(secret).await {
            Ok(keyring) => Ok(self.opened(keyring)),
            Err(EncryptionError::NotEncrypted) => self.create(secret).await,
            Err(error) => Err(error),
        }
    }

    async fn unlock(&self, secret: &Secret) -> Result<Keyring, EncryptionError> {
        let store = HeaderStore::open(&self.storage).await?;
        let header = store.read().await?.ok_or(EncryptionError::NotEncrypted)?;
        // Before the key is made, which takes a while.
        store.close().await?;
        if secret.kind() != header.lock.kind() {
            return Err(EncryptionError::OtherSecret { expected: header.lock.kind() });
        }
        if let Some(found) = header.lock.cost.filter(|cost| !cost.is_within(&self.cost_max)) {
            return Err(EncryptionError::Cost { found, allowed: self.cost_max });
        }
        let unlocked = unlock(header.lock.clone(), secret).await?;
        let contents = header.open(&unlocked)?;
        Ok(Keyring::new(unlocked, contents))
    }

    fn opened(self, keyring: Keyring) -> Encrypted<S> {
        let Self { storage, cost, rotation_page, randomness, .. } = self;
        let (waiting, turn) = (AtomicUsize::new(0), Mutex::new(keyring));
        Encrypted { shared: Arc::new(Shared { storage, randomness, rotation_page, cost, waiting, turn }) }
    }
}

impl<S: Storage> Shared<S> {
    /// The turn, ahead of a rotation that is under way.
    pub(crate) async fn enter(&self) -> MutexGuard<'_, Keyring> {
        let _waiting = Waiting::new(&self.waiting);
        self.turn.lock().await
    }

    /// The turn, for a rotation.
    pub(crate) async fn enter_quietly(&self) -> MutexGuard<'_, Keyring> {
        self.turn.lock().await
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Opens a store that has a marker. One that has none is returned as it is.
    pub(crate) async fn open_marked(
        &self,
        keyring: &mut Keyring,
        name: &StoreName,
    ) -> Result<Result<Arc<EncryptedStore>, Arc<dyn Store>>, StorageError> {
        let inner = self.storage.open(name).await?;
        let Some(found) = Found::read(&*inner).await? else { return Ok(Err(inner)) };
        let epoch = found.epoch()?;
        if !keyring.contents.keys.contains_key(&epoch) {
            keyring.refresh(&self.storage).await?.close().await?;
        }
        let keys = StoreKeys::derive(&keyring.contents.keys, name);
        if !keys.has(epoch) {
            let detail = format!("{name} is sealed with a key that the header does not have");
            return Err(StorageError::OtherKeys { detail });
        }
        let marker = found.open(&keys)?;
        Ok(Ok(self.opened(keyring, name, inner, keys, marker)))
    }

    /// Marks an empty store as encrypted. It is in the header before, so that no rotation ever misses it; and the header's store is
    /// held until it is marked, so that nobody takes it out again or begins a rotation in between.
    async fn establish(
        &self,
        keyring: &mut Keyring,
        name: &StoreName,
        inner: Arc<dyn Store>,
    ) -> Result<Arc<EncryptedStore>, EncryptionError> {
        if !is_empty(&*inner).await? {
            let detail = "documents or metadata in the clear".to_owned();
            return Err(StorageError::Foreign { place: format!("the store {name}"), detail }.into());
        }
        let header = keyring.refresh(&self.storage).await?;
        if !keyring.contents.stores.contains(name) {
            let mut contents = keyring.contents.clone();
            contents.stores.insert(name.clone());
            keyring.write(&header, contents, &self.randomness).await?;
        }
        let keys = StoreKeys::derive(&keyring.contents.keys, name);
        let marker = Marker { epoch: keyring.contents.newest(), progress: Progress::Whole };
        let entry = marker.seal(&keys, &self.randomness.nonce());
        inner.commit(Batch { records: Vec::new(), metadata: vec![entry] }).await?;
        header.close().await?;
        Ok(self.opened(keyring, name, inner, keys, marker))
    }

    fn opened(
        &self,
        keyring: &mut Keyring,
        name: &StoreName,
        inner: Arc<dyn Store>,
        keys: StoreKeys,
        marker: Marker,
    ) -> Arc<EncryptedStore> {
        let store = Arc::new(EncryptedStore::new(inner, keys, marker, self.randomness.clone()));
        keyring.open.retain(|_, store| store.strong_count() > 0);
        keyring.open.insert(name.clone(), Arc::downgrade(&store));
        store
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Storage> Storage for Encrypted<S> {
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StorageError> {
        refuse_keys(name)?;
        let mut keyring = self.shared.enter().await;
        match self.shared.open_marked(&mut keyring, name).await? {
            Ok(store) => Ok(store),
            Err(inner) => Ok(self.shared.establish(&mut keyring, name, inner).await?),
        }
    }

    async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        refuse_keys(name)?;
        let mut keyring = self.shared.enter().await;
        // Held across both steps, so that nobody creates the store anew in between. After a crash in between, the header
        // names a store that is not there, which harms nobody.
        let header = keyring.refresh(&self.shared.storage).await?;
        self.shared.storage.delete(name).await?;
        if keyring.contents.stores.contains(name) {
            let mut contents = keyring.contents.clone();
            contents.stores.remove(name);
            keyring.write(&header, contents, &self.shared.randomness).await?;
        }
        header.close().await
    }
}

/// Somebody who waits for the turn, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn new_lock(secret: &Secret, cost: PasswordCost, randomness: &Randomness) -> Result<Lock, EncryptionError> {
    use secrecy::ExposeSecret;
    let cost = match secret {
        Secret::Password(password) if password.expose_secret().is_empty() => {
            return Err(EncryptionError::EmptyPassword);
        }
        Secret::Password(_) => Some(cost),
        Secret::Key(_) => None,
    };
    Ok(Lock { cost, salt: randomness.bytes() })
}

async fn is_empty(store: &dyn Store) -> Result<bool, StorageError> {
    const ONE: PageLimits = PageLimits { documents_max: NonZeroU32::MIN, bytes_max: NonZeroU32::MIN };
    Ok(store.metadata(b"", None, NonZeroU32::MIN).await?.is_empty()
        && store.list(IdRange::ALL, ONE).await?.is_empty())
}

/// The keys of this storage lie there, and the keys of another one around it cannot.
fn refuse_keys(name: &StoreName) -> Result<(), StorageError> {
    match *name == StoreName::keys() {
        false => Ok(()),
        true => Err(StorageError::Foreign {
            place: format!("the store {name}"),
            detail: "the keys of an encrypted storage, which cannot be encrypted once more".into(),
        }),
    }
}
