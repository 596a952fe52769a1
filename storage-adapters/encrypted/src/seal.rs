//! Sealing: what becomes of the content of a record, of a value of metadata, of anything.
//!
//! A sealed thing is `epoch (4 bytes), nonce (24), tag (16), ciphertext`, by XChaCha20-Poly1305 under the key of that
//! epoch and store. What is not secret and yet must be true goes into the tag with it: of a record everything but its
//! content, of a value its key. The name of the store is in the key, which is derived from it.
//!
//! All content of a record is sealed at once, and put back in pieces of the same lengths; what sealing adds comes
//! before the first body. So a sealed record is a well-formed record of the same shape, which is larger by a constant:
//! the limits of pages can be translated, and no piece can be exchanged for one of another write or version.
//!
//! Nonces are random. 192 bits are enough for that to be safe however often a device crashes, is restored or cloned,
//! which is why it is not the ChaCha20-Poly1305 of RFC 8439 with its 96 bits, nor a counter.

use std::collections::BTreeMap;

use bytes::Bytes;
use peerloom_core::{Batch, Document, Head, Put, Record, State, StorageError, StoreName};

use crate::cipher::{Cipher, NONCE_BYTES, Nonce, TAG_BYTES};
use crate::error::corrupt;
use crate::secret::{KeyBytes, derive};

/// What sealing adds to a record or a value.
pub(crate) const OVERHEAD_BYTES: usize = 4 + NONCE_BYTES + TAG_BYTES;

/// What a sealed thing is. None is taken for another.
#[derive(Clone, Copy)]
enum Kind {
    Record = 1,
    Value = 2,
    Marker = 3,
}

/// Which of the storage's data keys. Each rotation begins the next one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Epoch(pub(crate) u32);

/// The data keys of a storage that are in use: one, or two while it is being rotated.
pub(crate) type DataKeys = BTreeMap<Epoch, KeyBytes>;

/// The keys of one store.
pub(crate) struct StoreKeys(BTreeMap<Epoch, Cipher>);

impl StoreKeys {
    pub(crate) fn derive(keys: &DataKeys, store: &StoreName) -> Self {
        let cipher = |key: &KeyBytes| {
            Cipher::new(derive(key, &[b"peerloom-encrypted 1 store ", store.as_str().as_bytes()]))
        };
        Self(keys.iter().map(|(epoch, key)| (*epoch, cipher(key))).collect())
    }

    pub(crate) fn has(&self, epoch: Epoch) -> bool {
        self.0.contains_key(&epoch)
    }

    /// Seals what a store is to apply. `nonces` has one for each record and value.
    pub(crate) fn seal_batch(&self, epoch: Epoch, nonces: &[Nonce], batch: Batch) -> Batch {
        let mut nonces = nonces.iter();
        let mut nonce = || nonces.next().expect("there is a nonce for everything in the batch");
        let put =
            |Put { record, replaces }| Put { record: self.seal_record(epoch, nonce(), &record), replaces };
        let records = batch.records.into_iter().map(put).collect();
        let entry = |(key, value): (Bytes, Option<Bytes>)| {
            let value = value.map(|value| self.seal_value(epoch, nonce(), &key, &value));
            (key, value)
        };
        Batch { records, metadata: batch.metadata.into_iter().map(entry).collect() }
    }

    pub(crate) fn seal_record(&self, epoch: Epoch, nonce: &Nonce, record: &Record) -> Record {
        let first_body_bytes = first_body(record).len();
        let mut buffer = Vec::with_capacity(OVERHEAD_BYTES + content_bytes(record));
        buffer.resize(OVERHEAD_BYTES, 0);
        append_content(record, &mut buffer);
        self.seal(epoch, nonce, &bound_to_record(record, first_body_bytes), &mut buffer);
        with_content(record, buffer.into(), OVERHEAD_BYTES + first_body_bytes)
    }

    pub(crate) fn open_record(&self, sealed: &Record) -> Result<Record, StorageError> {
        let damaged = || corrupt(format!("the document {:?} was altered or cut short", sealed.id));
        let first_body_bytes = first_body(sealed).len().checked_sub(OVERHEAD_BYTES).ok_or_else(damaged)?;
        let mut buffer = Vec::with_capacity(content_bytes(sealed));
        append_content(sealed, &mut buffer);
        self.open(&bound_to_record(sealed, first_body_bytes), &mut buffer).ok_or_else(damaged)?;
        Ok(with_content(sealed, Bytes::from(buffer).slice(OVERHEAD_BYTES..), first_body_bytes))
    }

    pub(crate) fn seal_value(&self, epoch: Epoch, nonce: &Nonce, key: &[u8], value: &[u8]) -> Bytes {
        self.seal_alone(epoch, nonce, &bound_to(Kind::Value, key), value)
    }

    pub(crate) fn open_value(&self, key: &[u8], sealed: &[u8]) -> Result<Bytes, StorageError> {
        self.open_alone(&bound_to(Kind::Value, key), sealed).ok_or_else(|| {
            corrupt(format!(
                "the metadata under {:?} was altered or cut short",
                key.escape_ascii().to_string()
            ))
        })
    }

    pub(crate) fn seal_marker(&self, epoch: Epoch, nonce: &Nonce, clear: &[u8], secret: &[u8]) -> Bytes {
        self.seal_alone(epoch, nonce, &bound_to(Kind::Marker, clear), secret)
    }

    pub(crate) fn open_marker(&self, clear: &[u8], sealed: &[u8]) -> Option<Bytes> {
        self.open_alone(&bound_to(Kind::Marker, clear), sealed)
    }

    fn seal_alone(&self, epoch: Epoch, nonce: &Nonce, bound: &[u8], content: &[u8]) -> Bytes {
        let mut buffer = Vec::with_capacity(OVERHEAD_BYTES + content.len());
        buffer.resize(OVERHEAD_BYTES, 0);
        buffer.extend_from_slice(content);
        self.seal(epoch, nonce, bound, &mut buffer);
        buffer.into()
    }

    fn open_alone(&self, bound: &[u8], sealed: &[u8]) -> Option<Bytes> {
        let mut buffer = sealed.to_vec();
        self.open(bound, &mut buffer)?;
        Some(Bytes::from(buffer).slice(OVERHEAD_BYTES..))
    }

    /// Seals what lies behind the first [`OVERHEAD_BYTES`] of a buffer in place, and fills those.
    fn seal(&self, epoch: Epoch, nonce: &Nonce, bound: &[u8], buffer: &mut [u8]) {
        let cipher = self.0.get(&epoch).expect("a store seals with a key that it has");
        cipher.seal(nonce, bound, &mut buffer[4..]);
        buffer[..4].copy_from_slice(&epoch.0.to_be_bytes());
    }

    fn open(&self, bound: &[u8], buffer: &mut [u8]) -> Option<()> {
        let cipher = self.0.get(&epoch_of(buffer)?)?;
        cipher.open(bound, &mut buffer[4..])
    }
}

/// Which key something is sealed with. `None` if it is too short to be sealed.
pub(crate) fn epoch_of(sealed: &[u8]) -> Option<Epoch> {
    (sealed.len() >= OVERHEAD_BYTES).then_some(())?;
    sealed.first_chunk().map(|epoch| Epoch(u32::from_be_bytes(*epoch)))
}

/// Which key a record is sealed with.
pub(crate) fn epoch_of_record(sealed: &Record) -> Option<Epoch> {
    epoch_of(first_body(sealed))
}

fn bound_to(kind: Kind, place: &[u8]) -> Vec<u8> {
    [&[kind as u8], place].concat()
}

/// All of a record that stays in the clear, the lengths of what does not among it.
fn bound_to_record(record: &Record, first_body_bytes: usize) -> Vec<u8> {
    let (document, id) = (&record.document, record.id.as_bytes());
    let states = document.heads().len() + 1;
    let mut bound = Vec::with_capacity(32 + id.len() + 16 * document.context().len() + 33 * states);
    bound.push(Kind::Record as u8);
    let number = |number: u64, bound: &mut Vec<u8>| bound.extend_from_slice(&number.to_be_bytes());
    number(id.len() as u64, &mut bound);
    bound.extend_from_slice(id);
    number(record.sequence.number(), &mut bound);
    number(document.context().len() as u64, &mut bound);
    for (incarnation, stamp) in document.context().iter() {
        number(incarnation.number(), &mut bound);
        number(stamp.number(), &mut bound);
    }
    number(document.heads().len() as u64, &mut bound);
    for head in document.heads() {
        number(head.dot.incarnation.number(), &mut bound);
        number(head.dot.stamp.number(), &mut bound);
    }
    for (index, state) in states_of(record).enumerate() {
        bound.push(state.deleted.into());
        number(if index == 0 { first_body_bytes } else { state.body.len() } as u64, &mut bound);
        number(state.annotations.len() as u64, &mut bound);
    }
    bound
}

/// The states of a record in their order: the heads', and the view's where it is a state of its own.
fn states_of(record: &Record) -> impl Iterator<Item = &State> {
    record.document.heads().iter().map(|head| &head.state).chain(&record.resolved)
}

fn first_body(record: &Record) -> &Bytes {
    &record.document.heads()[0].state.body
}

fn content_bytes(record: &Record) -> usize {
    states_of(record).map(State::bytes).sum()
}

fn append_content(record: &Record, buffer: &mut Vec<u8>) {
    for state in states_of(record) {
        buffer.extend_from_slice(&state.body);
        buffer.extend_from_slice(&state.annotations);
    }
}

/// A record of the same shape with another content, but for the length of the first body.
fn with_content(shape: &Record, mut content: Bytes, first_body_bytes: usize) -> Record {
    let mut filled = |state: &State, body_bytes: usize| State {
        deleted: state.deleted,
        body: content.split_to(body_bytes),
        annotations: content.split_to(state.annotations.len()),
    };
    let mut heads = Vec::with_capacity(shape.document.heads().len());
    for (index, Head { dot, state }) in shape.document.heads().iter().enumerate() {
        let body_bytes = if index == 0 { first_body_bytes } else { state.body.len() };
        heads.push(Head { dot: *dot, state: filled(state, body_bytes) });
    }
    let resolved = shape.resolved.as_ref().map(|state| filled(state, state.body.len()));
    let document = Document::new(shape.document.context().clone(), heads);
    let document = document.expect("a document stays well-formed with another content");
    Record { id: shape.id.clone(), sequence: shape.sequence, document, resolved }
}
