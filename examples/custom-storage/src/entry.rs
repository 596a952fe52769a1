//! The bytes of one commit: a batch behind its length and its checksum.
//!
//! ```text
//! entry    length of the batch (4 bytes) · checksum of the batch (8 bytes) · batch
//! batch    number of records (4) · records · number of metadata entries (4) · metadata entries
//! record   length and id · length and Record::encode · sequence replaced (8), zero for none
//! metadata length and key · one byte, 1 for a value and 0 for a removal · length and value
//! ```
//!
//! Numbers are big-endian, lengths have 4 bytes.

use bytes::{Buf, BufMut, Bytes};
use peerloom_core::{Batch, DocumentId, Put, Record, Sequence, StorageError};

const HEADER_BYTES: usize = 12;

/// The entry of a batch.
///
/// # Errors
///
/// [`StorageError::Full`] if the batch has 4 GiB or more.
pub fn encode(batch: &Batch) -> Result<Vec<u8>, StorageError> {
    let batch = encode_batch(batch);
    let length = u32::try_from(batch.len()).map_err(|_| StorageError::Full)?;
    let mut entry = Vec::with_capacity(HEADER_BYTES + batch.len());
    entry.put_u32(length);
    entry.put_u64(checksum(&batch));
    entry.put_slice(&batch);
    Ok(entry)
}

/// Takes the batch of the next entry, to be decoded. `None` at the end of what is whole.
pub fn take(rest: &mut Bytes) -> Option<Bytes> {
    let mut entry = rest.clone();
    let (length, expected) = (entry.try_get_u32().ok()? as usize, entry.try_get_u64().ok()?);
    let batch = take_slice(&mut entry, length)?;
    (checksum(&batch) == expected).then(|| {
        *rest = entry;
        batch
    })
}

fn encode_batch(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_length(&mut bytes, batch.records.len());
    for Put { record, replaces } in &batch.records {
        put_bytes(&mut bytes, record.id.as_bytes());
        put_bytes(&mut bytes, &record.encode());
        bytes.put_u64(replaces.map_or(0, Sequence::number));
    }
    put_length(&mut bytes, batch.metadata.len());
    for (key, value) in &batch.metadata {
        put_bytes(&mut bytes, key);
        bytes.put_u8(value.is_some().into());
        put_bytes(&mut bytes, value.as_deref().unwrap_or_default());
    }
    bytes
}

/// Reads a batch.
///
/// # Errors
///
/// [`StorageError::Corrupt`]. The checksum fits, so it was written by something else.
pub fn decode(mut bytes: Bytes) -> Result<Batch, StorageError> {
    let damaged = |detail: String| StorageError::Corrupt { detail };
    decode_fields(&mut bytes).unwrap_or_else(|| Err(damaged("an entry of the log is too short".into())))
}

fn decode_fields(bytes: &mut Bytes) -> Option<Result<Batch, StorageError>> {
    let mut batch = Batch::default();
    for _ in 0..bytes.try_get_u32().ok()? {
        let (id, encoded) = (take_bytes(bytes)?, take_bytes(bytes)?);
        let replaces = bytes.try_get_u64().ok()?;
        let replaces = (replaces > 0).then(|| Sequence::new(replaces));
        let id = DocumentId::from_utf8(&id).map_err(|error| error.to_string());
        let record = id.and_then(|id| Record::decode(id, &encoded).map_err(|error| error.to_string()));
        match record {
            Ok(record) => batch.records.push(Put { record, replaces }),
            Err(detail) => return Some(Err(StorageError::Corrupt { detail })),
        }
    }
    for _ in 0..bytes.try_get_u32().ok()? {
        let (key, is_value, value) = (take_bytes(bytes)?, bytes.try_get_u8().ok()?, take_bytes(bytes)?);
        batch.metadata.push((key, (is_value == 1).then_some(value)));
    }
    Some(Ok(batch))
}

fn put_length(to: &mut Vec<u8>, length: usize) {
    to.put_u32(u32::try_from(length).expect("a batch of less than 4 GiB, as its entry is checked to be"));
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_length(to, bytes.len());
    to.put_slice(bytes);
}

fn take_bytes(from: &mut Bytes) -> Option<Bytes> {
    let length = from.try_get_u32().ok()? as usize;
    take_slice(from, length)
}

fn take_slice(from: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= from.len()).then(|| from.split_to(length))
}
/// FNV-1a (Fowler, Noll, Vo) in 64 bits: enough against chance, and a few lines.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
