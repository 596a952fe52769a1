//! Rotation: a new data key, everything sealed anew with it, and the old one forgotten.
//!
//! 1. One commit puts a second key into the header. From now on both open what they sealed.
//! 2. In each store, one commit marks that the store writes with the new key; then page after page is sealed anew, each in one
//!    commit with the note how far it is; a last commit marks that the store is whole.
//! 3. When every store in the header is whole, one commit takes the old key out.
//!
//! Each step can be the last before a crash; whoever rotates next goes on from there. A store cannot be missed: it is in
//! the header before anything is in it, and whoever puts it there learns of the new key.

use std::collections::BTreeSet;
use std::sync::Arc;

use peerloom_core::{CommitError, Storage, StorageError, Store, StoreName};

use crate::error::EncryptionError;
use crate::keyring::Keyring;
use crate::seal::{Epoch, StoreKeys};
use crate::storage::Encrypted;
use crate::store::{EncryptedStore, Step};

/// What one call of [`Encrypted::rotate`] did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rotated {
    /// How many documents it sealed anew. What an earlier call did, or what was written since, is not among them.
    pub documents: u64,
    /// How many entries of metadata.
    pub entries: u64,
}

/// What came of a visit to a store.
enum Visit {
    Whole,
    /// Somebody else wanted to open a store, or this one was closed. There is more to do.
    Interrupted,
}

impl<S: Storage> Encrypted<S> {
    /// Makes a new data key and seals everything anew with it, in pages, while the storage is in use. Goes on with a
    /// rotation that was not finished, rather than begin another.
    ///
    /// When this returns, nothing in any store is sealed with the old key, and it is in no header. The secret stays the same;
    /// where it may be known to others, [change it](Encrypted::change_secret) *before*, for who has the old one and reads the header
    /// afterwards has the new key. Old bytes may be left in free space of the disk and in backups.
    ///
    /// It takes a read of everything and a write of everything. Other operations on a store wait for one page at most, and so
    /// do openings. A store that nobody has open is opened meanwhile: to others than the clones of this storage it is locked.
    ///
    /// # Errors
    ///
    /// Whatever it ends with, everything can be read, and the next call goes on where this one ended. `Locked` if a store is open
    /// through another value or process: close that first. `Corrupt` if something cannot be opened with the old key: it is
    /// not thrown away.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is as a crash: call again.
    pub async fn rotate(&self) -> Result<Rotated, EncryptionError> {
        let epoch = self.begin_rotation().await?;
        let (mut whole, mut rotated) = (BTreeSet::new(), Rotated::default());
        while let Some(stores) = self.end_rotation(epoch, &whole).await? {
            for name in stores {
                while let Visit::Interrupted = self.visit(&name, &mut rotated).await? {}
                whole.insert(name);
            }
        }
        Ok(rotated)
    }

    /// Whether a rotation was begun and not finished, as far as this storage has noticed. Nothing is wrong with it then; call
    /// [`Encrypted::rotate`] to have the old key forgotten.
    pub async fn rotation_is_unfinished(&self) -> bool {
        self.shared.enter().await.contents.keys.len() > 1
    }

    /// The key that everything is to be sealed with.
    async fn begin_rotation(&self) -> Result<Epoch, EncryptionError> {
        let shared = &self.shared;
        let mut keyring = shared.enter_quietly().await;
        let header = keyring.refresh(&shared.storage).await?;
        if keyring.contents.keys.len() == 1 {
            let mut contents = keyring.contents.clone();
            let next =
                contents.newest().0.checked_add(1).expect("nobody rotates four thousand million times");
            contents.keys.insert(Epoch(next), shared.randomness.key());
            keyring.write(&header, contents, &shared.randomness).await?;
        }
        header.close().await?;
        Ok(keyring.contents.newest())
    }

    /// Takes the old key out if every store is whole. Returns those that are not.
    async fn end_rotation(
        &self,
        epoch: Epoch,
        whole: &BTreeSet<StoreName>,
    ) -> Result<Option<BTreeSet<StoreName>>, EncryptionError> {
        let shared = &self.shared;
        let mut keyring = shared.enter_quietly().await;
        let header = keyring.refresh(&shared.storage).await?;
        let rest: BTreeSet<_> = keyring.contents.stores.difference(whole).cloned().collect();
        if rest.is_empty() {
            let mut contents = keyring.contents.clone();
            // Somebody else may have finished it, and begun the next one.
            contents.keys.retain(|key, _| *key >= epoch);
            keyring.write(&header, contents, &shared.randomness).await?;
        }
        header.close().await?;
        Ok(Some(rest).filter(|rest| !rest.is_empty()))
    }

    /// Works on one store: by its handle if it is open, else by one of its own for as long as nobody waits.
    async fn visit(&self, name: &StoreName, rotated: &mut Rotated) -> Result<Visit, EncryptionError> {
        let shared = &self.shared;
        let mut keyring = shared.enter_quietly().await;
        if let Some(store) = keyring.open_store(name) {
            return match self.reseal(&keyring, name, &store, rotated).await {
                Err(error) if is_closed(&error) => Ok(Visit::Interrupted),
                done => done,
            };
        }
        let store = match shared.open_marked(&mut keyring, name).await? {
            Ok(store) => store,
            // Named in the header, and never begun or deleted since.
            Err(fresh) => {
                fresh.close().await?;
                return Ok(Visit::Whole);
            }
        };
        loop {
            let visit = self.reseal(&keyring, name, &store, rotated).await?;
            if matches!(visit, Visit::Whole) || shared.is_awaited() {
                store.close().await?;
                return Ok(visit);
            }
        }
    }

    async fn reseal(
        &self,
        keyring: &Keyring,
        name: &StoreName,
        store: &Arc<EncryptedStore>,
        rotated: &mut Rotated,
    ) -> Result<Visit, EncryptionError> {
        let (epoch, keys) = (keyring.contents.newest(), StoreKeys::derive(&keyring.contents.keys, name));
        match store.reseal_page(epoch, keys, self.shared.rotation_page).await? {
            Step::Whole => Ok(Visit::Whole),
            Step::Resealed { documents, entries } => {
                rotated.documents += documents;
                rotated.entries += entries;
                Ok(Visit::Interrupted)
            }
        }
    }
}

/// Whether the application closed a store while a page of it was to be sealed anew.
fn is_closed(error: &EncryptionError) -> bool {
    matches!(
        error,
        EncryptionError::Storage(StorageError::Closed)
            | EncryptionError::Commit(CommitError::NotApplied(StorageError::Closed))
    )
}
