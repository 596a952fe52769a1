//! Encryption at rest for any storage: what a document says lies on the disk only sealed.
//!
//! [`Encrypted`] wraps a storage adapter and is one. Bodies, annotations, views and the values of metadata (the node's identity is
//! one) are sealed with XChaCha20-Poly1305 under a random data key, which a password (through Argon2id) or a key from a keychain
//! unlocks.
//!
//! ```
//! use peerloom::encrypted::Secret;
//! use peerloom::{Encrypted, Fjall, Node};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Debug, Deserialize, PartialEq, Serialize)]
//! # struct Note { text: String }
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! # let typed_by_the_user = "correct horse battery staple";
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let secret = Secret::password(typed_by_the_user);
//! let storage = Encrypted::open_or_create(Fjall::at(directory), &secret).await?;
//! let node = Node::open(storage.clone()).await?;
//! let notes = node.collection::<Note>("notes").open().await?;
//! notes.put("first", &Note { text: "nobody reads this on the disk".into() }).await?;
//!
//! // Later, in the settings: the documents are not rewritten.
//! storage.change_secret(&Secret::password("Tr0ub4dor&3")).await?;
//! // And if the old password may be known to others: they are, while the application goes on.
//! storage.rotate().await?;
//! # assert_eq!(notes.get("first").await?.unwrap().text, "nobody reads this on the disk");
//! node.close().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it protects
//!
//! Whoever gets hold of the disk, a copy or a backup of it, and not of the secret, cannot read content, nor write any that is taken
//! for genuine. Each sealed thing is bound to its place: a record's content to the store, the id, the sequence, the whole
//! context, the dots of all heads, and to which of them is deleted and how long each part is; a value of metadata to the store and its
//! key. What is altered, cut short, or put in another place is told as [`StorageError::Corrupt`] and never served; other documents
//! are unharmed.
//!
//! # What stays visible
//!
//! - How many stores there are and their names, which are those of the collections.
//! - Of each document: its id, its sequence in the changefeed, its context and the dots of its heads (hence when it was written,
//!   to the millisecond, and in which opening of some replica), which heads are deleted, whether there
//!   is a view of its own, and the length in bytes of every body and of all annotations.
//! - Of metadata: the keys and the length of every value. Among the keys that a replica uses are the ids of the replicas it has been linked to,
//!   the names of filters, every incarnation it knows of, and the ids of the documents in conflict.
//! - That it is encrypted, by a password of which cost or by a key, how many data keys there are (two while one is rotated) and which part is sealed
//!   with which.
//! - To who watches the disk for longer: what changes when.
//!
//! So do not put secrets into ids of documents, names of collections or names of filters.
//!
//! # What it does not protect
//!
//! - **Going back.** Who can write to the disk can put an earlier state in the place of the present one, and neither this crate nor any other that
//!   keeps everything on that disk can tell. Of the *whole* storage that is what restoring a backup is: the replica gets its missing
//!   writes again from its peers, its own that no peer had are lost, and no identity is used twice. It also brings back an old header, hence an old
//!   password, and an old data key with what that sealed. Of *one* record or value, or one store, it is worse: the replica goes on
//!   claiming to know what that record no longer says, so that nobody sends it again. Leaving records out of a page is
//!   not told either, nor is an empty store in the place of a full one.
//! - **The memory of the process.** Keys are overwritten when they are dropped; documents, and what the allocator makes of them, are not.
//!   Hibernation and swap put both on a disk.
//! - **A guessed password.** The cost is the owner's to choose; a bad password is found at any.
//! - **Old bytes.** Databases and disks keep what was overwritten for a while. After a change of the password they may still hold the old header,
//!   and after a rotation what the old key opens.
//! - **What goes over the network**, which is the business of the transport and of topic keys.
//!
//! # Keys
//!
//! The secret unlocks a *header*, which lies in a store of its own, [`StoreName::keys`], and holds the random data key. A store seals with a key
//! derived from it (HMAC-SHA-256 with the store's name). So a change of the secret rewrites the header alone, in one commit, and a
//! rotation makes a second data key, seals everything anew page by page and then forgets the first. A lost header is a lost storage: back it up with
//! the rest, and not while a rotation is under way unless the backup is of one instant.
//!
//! Nonces are random, 192 bits from the system: no counter has to survive a crash, and no restored backup, cloned device or second process can repeat
//! one. (A virtual machine that is resumed twice from one snapshot repeats what its system's randomness repeats.) A header says what its password costs;
//! [`Builder::password_cost_max`] bounds what a hostile one may ask for. A header opens with one secret only, by a check value that commits to
//! the key.
//!
//! Nonces of 96 bits would be too short to be drawn at random for as many writes, and an adapter has nothing that a rollback does not take back to
//! count with. So the cipher is XChaCha20-Poly1305: HChaCha20 and Argon2id are RustCrypto's, and ChaCha20-Poly1305 is that of
//! `ring`, which TLS and WebRTC use as well.
//!
//! # Cost
//!
//! 44 bytes for each record and each value of metadata. Some 1.2 microseconds to seal a document of 250 bytes and 0.9 to open it, on one core of a
//! small virtual machine: less than half of that is the cipher, the rest is taking the document apart and putting it together. As a share of the plain
//! storage's throughput, by `cargo xtask bench encrypted`:
//!
//! | storage | written | read |
//! |---|---|---|
//! | in memory, which does nothing but keep maps | 0.37 | 0.17 |
//! | fjall | 0.67 | 0.62 |
//! | RocksDB | 0.63 | 0.42 |
//!
//! Up to 64 KiB are sealed and opened where they are asked for, in 30 microseconds if it is one body and in 80 if it is eighty documents; a document counts as its bytes and 512 more.
//! What is more goes to a thread of tokio's for blocking work, so that no async thread is held up; that costs 60 to 120 microseconds for each page or commit.
//!
//! [`StorageError::Corrupt`]: peerloom_core::StorageError::Corrupt
//! [`StoreName::keys`]: peerloom_core::StoreName::keys

mod cipher;
mod error;
mod header;
mod keyring;
mod marker;
mod offload;
mod randomness;
mod rotation;
mod seal;
mod secret;
mod storage;
mod store;

pub use error::{EncryptionError, SecretKind};
pub use rotation::Rotated;
pub use secrecy::{SecretBox, SecretString};
pub use secret::{PasswordCost, Secret};
pub use storage::{Builder, Encrypted};
