//! The file: a header, then one entry for each commit, appended and never changed.
//!
//! ```text
//! header   "peerloom example log 1\n"
//! entry    length of the batch (4 bytes) · checksum of the batch (8 bytes) · batch
//! batch    number of records (4) · records · number of metadata entries (4) · metadata entries
//! record   length and id · length and Record::encode · sequence replaced (8), zero for none
//! metadata length and key · one byte, 1 for a value and 0 for a removal · length and value
//! ```
//!
//! Numbers are big-endian, lengths have 4 bytes. An entry that ends too early or does not fit its checksum is
//! what a crash left of a commit that never returned, if it is the last: opening cuts it off. In the middle
//! of the file it would be damage, but a log cannot tell the two apart, so what follows is given up as well.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::{Buf, BufMut, Bytes};
use peerloom_core::{Batch, CommitError, DocumentId, Put, Record, Sequence, StorageError};

const MAGIC: &[u8] = b"peerloom example log ";
const VERSION: u32 = 1;
/// The version and the end of the line: one digit will do for an example.
const HEADER_BYTES: usize = MAGIC.len() + 2;
const ENTRY_HEADER_BYTES: usize = 12;

/// An open log. The file is locked, against other programs as well, for as long as this lives.
pub struct Log {
    file: File,
    /// Where the next entry begins.
    end: u64,
    /// A write failed, and what the file holds behind `end` is not known.
    failed: bool,
}

impl Log {
    /// Opens a log, creates it if there is none, and hands every whole batch to `replay`.
    pub fn open(path: &Path, mut replay: impl FnMut(Batch)) -> Result<Self, StorageError> {
        let place = || path.display().to_string();
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(|error| failure(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::Locked { place: place() }),
            Err(TryLockError::Error(error)) => return Err(failure(&error)),
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|error| failure(&error))?;
        let header = [MAGIC, format!("{VERSION}\n").as_bytes()].concat();
        if content.len() < header.len() && header.starts_with(&content) {
            // New, or its creation was cut short.
            write_at(&mut file, 0, &header).map_err(|error| failure(&error))?;
            sync_directory(path).map_err(|error| failure(&error))?;
            content = header;
        }
        check_header(&content, place)?;
        let mut rest = Bytes::from(content).split_off(HEADER_BYTES);
        let mut end = HEADER_BYTES as u64;
        while let Some(batch) = take_entry(&mut rest) {
            end += (ENTRY_HEADER_BYTES + batch.len()) as u64;
            replay(decode(batch)?);
        }
        if !rest.is_empty() {
            file.set_len(end).and_then(|()| file.sync_all()).map_err(|error| failure(&error))?;
        }
        Ok(Self { file, end, failed: false })
    }

    /// Appends a batch. When this returns, it is on the disk.
    pub fn append(&mut self, batch: &Batch) -> Result<(), CommitError> {
        if self.failed {
            let detail = "an earlier commit failed; the store must be reopened".into();
            return Err(CommitError::NotApplied(StorageError::Io { detail }));
        }
        let batch = encode(batch);
        let length = u32::try_from(batch.len()).map_err(|_| CommitError::NotApplied(StorageError::Full))?;
        let mut entry = Vec::with_capacity(ENTRY_HEADER_BYTES + batch.len());
        entry.put_u32(length);
        entry.put_u64(checksum(&batch));
        entry.put_slice(&batch);
        // Once bytes were handed over, nobody knows how many of them arrive.
        if let Err(error) = write_at(&mut self.file, self.end, &entry) {
            self.failed = true;
            return Err(CommitError::Unknown(failure(&error)));
        }
        self.end += entry.len() as u64;
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Closing the file would do, but for a process that is being forked at this moment: it holds the file
        // open as well until it runs its own program. If this fails, closing still follows.
        let _ = self.file.unlock();
    }
}

/// Deletes a log that nobody has open. One that does not exist is deleted already.
pub fn delete(path: &Path) -> Result<(), StorageError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failure(&error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StorageError::Locked { place: path.display().to_string() });
        }
        Err(TryLockError::Error(error)) => return Err(failure(&error)),
    }
    fs::remove_file(path).and_then(|()| sync_directory(path)).map_err(|error| failure(&error))
}

/// An error of the file system, in the words of the contract.
pub fn failure(error: &io::Error) -> StorageError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::Io { detail: error.to_string() },
    }
}

fn check_header(content: &[u8], place: impl Fn() -> String) -> Result<(), StorageError> {
    let Some(version) = content.strip_prefix(MAGIC) else {
        return Err(StorageError::Foreign { place: place(), detail: "it begins with something else".into() });
    };
    match version.first().and_then(|digit| char::from(*digit).to_digit(10)) {
        Some(VERSION) => Ok(()),
        Some(found) => Err(StorageError::Newer { found, supported: VERSION }),
        None => Err(StorageError::Corrupt { detail: "the log has no version".into() }),
    }
}

fn write_at(file: &mut File, position: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(position))?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Makes a file's entry in its directory durable. Other systems than Unix have no such call, and do so
/// themselves.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if cfg!(unix) => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

/// FNV-1a (Fowler, Noll, Vo) in 64 bits: enough against chance, and a few lines.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The batch of the next entry, `None` at the end of what is whole.
fn take_entry(rest: &mut Bytes) -> Option<Bytes> {
    let mut entry = rest.clone();
    let (length, expected) = (entry.try_get_u32().ok()? as usize, entry.try_get_u64().ok()?);
    let batch = take(&mut entry, length)?;
    (checksum(&batch) == expected).then(|| {
        *rest = entry;
        batch
    })
}

fn encode(batch: &Batch) -> Vec<u8> {
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

/// Reads back what [`encode`] wrote. The checksum fits, so anything else was written by something else.
fn decode(mut bytes: Bytes) -> Result<Batch, StorageError> {
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
    take(from, length)
}

fn take(from: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= from.len()).then(|| from.split_to(length))
}
