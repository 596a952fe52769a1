//! A simulated disk, for adapters that keep files: what was written is there, and what was not synced a power cut may take.
//!
//! One directory of files in memory, with the promises that POSIX gives and none that a certain file system adds. Bytes become durable
//! when their file is synced, names when the directory is. Knows nothing of who uses it; when the power goes, and within which
//! operation, is told by the stage and the storage.
//!
//! After "All File Systems Are Not Created Equal" (Pillai, Chidambaram, Alagappan et al. 2014), which shows how much of what adapters hope
//! for is up to the file system. Not simulated: unsynced writes to one file in another order than theirs, noise in their place, syncs
//! that fail, and bytes that rot.

mod durable;

use std::collections::BTreeMap;
use std::hash::Hash;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::durable::{Change, File, FileNumber, Names};
use crate::plan::Draw;

/// The largest file, in bytes: far more than a simulation writes, and less than what a wild offset would take.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// One directory of files on a simulated device, as one lifetime of a peer's software sees it.
///
/// Reads see everything that was written, by whatever handle. A kill loses nothing of that. A power cut keeps what was synced, and of
/// the rest what chance wills:
///
/// - of the writes and truncations of a file since it was last synced, any number of the first, and a part of the next write;
/// - of the creations, renames and removals since the directory was last synced, any of them, each whole or not at all. A file
///   whose creation is lost is gone with its bytes, however well those were synced.
///
/// In a crash within a commit the power goes between or within the disk operations of the commit; from there on each of them fails, and
/// the software gets to do nothing else. What a dead lifetime of the software still holds of the disk, destructors included, changes nothing.
///
/// ```
/// use peerloom_sim::Disk;
///
/// fn replace(disk: &Disk, name: &str, bytes: &[u8]) -> std::io::Result<()> {
///     let file = disk.open_or_create("new")?;
///     file.truncate(0)?;
///     file.append(bytes)?;
///     file.sync()?;
///     disk.rename("new", name)?;
///     disk.sync()
/// }
///
/// let disk = Disk::default();
/// replace(&disk, "settings", b"dark")?;
/// replace(&disk, "settings", b"light")?;
/// assert_eq!(disk.list()?, ["settings"]);
/// assert_eq!(disk.open("settings")?.read()?, b"light");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Disk {
    shared: Arc<Mutex<State>>,
    life: u64,
}

/// An open file. It stays the same file when it is renamed, and when its name is removed or taken by another.
#[derive(Debug)]
pub struct DiskFile {
    disk: Disk,
    file: FileNumber,
    handle: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Which lifetime of the software may use it.
    life: u64,
    power: Power,
    files: BTreeMap<FileNumber, File>,
    names: Names,
    handles: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Power {
    #[default]
    On,
    /// It goes within the operation after so many others.
    GoesAfter(u32),
    Gone,
}

impl Disk {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none of this name.
    pub fn open(&self, name: &str) -> io::Result<DiskFile> {
        let mut state = self.reading()?;
        let file = state.names.find(name)?;
        Ok(self.handle(&mut state, file))
    }

    /// Opens a file, and creates it if there is none. One that is there stays as it is.
    ///
    /// # Errors
    ///
    /// If the power goes.
    pub fn open_or_create(&self, name: &str) -> io::Result<DiskFile> {
        if self.reading()?.names.find(name).is_err() {
            self.change(|state| {
                let file = FileNumber(state.files.last_key_value().map_or(0, |(last, _)| last.0 + 1));
                state.files.insert(file, File::default());
                state.names.change(vec![(name.to_owned(), Some(file))]);
                Ok(())
            })?;
        }
        self.open(name)
    }

    /// Gives a file another name. One that has that name already loses it. Others see either the old names or the new ones, also after a power cut.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none of this name, and if the power goes.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|state| {
            let file = state.names.find(from)?;
            state.names.change(vec![(from.to_owned(), None), (to.to_owned(), Some(file))]);
            Ok(())
        })
    }

    /// Removes the name of a file, and so the file, once nobody has it open.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none of this name, and if the power goes.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|state| {
            state.names.find(name)?;
            state.names.change(vec![(name.to_owned(), None)]);
            Ok(())
        })
    }

    /// The names of all files, in order.
    ///
    /// # Errors
    ///
    /// If the power is gone.
    pub fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.reading()?.names.written.keys().cloned().collect())
    }

    /// Makes the names durable: all that was created, renamed and removed before. Says nothing of what is in the files.
    ///
    /// # Errors
    ///
    /// If the power goes.
    pub fn sync(&self) -> io::Result<()> {
        self.make_durable(|state| state.names.sync())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, state: &mut State, file: FileNumber) -> DiskFile {
        state.handles += 1;
        DiskFile { disk: self.clone(), file, handle: state.handles }
    }

    fn reading(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        match state.power {
            _ if state.life != self.life => Err(gone()),
            Power::Gone => Err(gone()),
            Power::On | Power::GoesAfter(_) => Ok(state),
        }
    }

    /// An operation that changes something, for now in memory. One within which the power goes may take effect.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.reading()?;
        let is_done = state.spend();
        let changed = change(&mut state)?;
        is_done.then_some(changed).ok_or_else(gone)
    }

    /// An operation that makes changes durable. One within which the power goes leaves that to chance.
    fn make_durable(&self, sync: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.reading()?;
        if !state.spend() {
            return Err(gone());
        }
        sync(&mut state);
        Ok(())
    }
}

/// What the stage does to it.
impl Disk {
    /// The same disk for the software that starts now.
    pub(crate) fn in_this_life(&self) -> Self {
        Self { shared: self.shared.clone(), life: self.lock().life }
    }

    /// The software is no more; what it had written is there.
    pub(crate) fn end_life(&self) {
        let mut state = self.lock();
        state.life += 1;
        state.power = Power::On;
        state.files.values_mut().for_each(|file| file.locked_by = None);
        state.forget_unnamed();
    }

    /// Whether anybody keeps files on it.
    pub(crate) fn is_used(&self) -> bool {
        !self.lock().files.is_empty()
    }

    /// Lets the power go within the operation after so many others. [`Disk::cut_power`] must follow.
    pub(crate) fn cut_power_after(&self, operations: u32) {
        self.lock().power = Power::GoesAfter(operations);
    }

    /// Whether an operation has failed since [`Disk::cut_power_after`].
    pub(crate) fn is_without_power(&self) -> bool {
        matches!(self.lock().power, Power::Gone)
    }

    /// The power goes, if it has not yet: what was not synced is lost or not, drawn under this key.
    pub(crate) fn cut_power(&self, seed: u64, key: impl Hash + Copy) {
        let mut state = self.lock();
        for (number, file) in &mut state.files {
            file.lose(&mut Draw::new(seed, ("a file after a power cut", key, number)));
        }
        state.names.lose(|number| Draw::new(seed, ("a name after a power cut", key, number)));
        drop(state);
        self.end_life();
    }

    /// A disk that holds what this one shows, all of it durable.
    pub(crate) fn copy(&self) -> Self {
        let state = self.lock();
        let mut copy = State::default();
        for file in state.names.written.values() {
            copy.files.insert(*file, File::durable(state.files[file].written.clone()));
        }
        copy.names = Names::durable(state.names.written.clone());
        Self { shared: Arc::new(Mutex::new(copy)), life: 0 }
    }
}

impl DiskFile {
    /// How many bytes it has.
    ///
    /// # Errors
    ///
    /// If the power is gone.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.disk.reading()?.files[&self.file].written.len() as u64)
    }

    /// Whether it has no bytes.
    ///
    /// # Errors
    ///
    /// If the power is gone.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// All that is in it.
    ///
    /// # Errors
    ///
    /// If the power is gone.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        Ok(self.disk.reading()?.files[&self.file].written.clone())
    }

    /// Reads from a position on, and returns how many bytes there were: fewer than the buffer holds only at the end of the file.
    ///
    /// # Errors
    ///
    /// If the power is gone.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.reading()?;
        let written = &state.files[&self.file].written;
        let start = usize::try_from(position).map_or(written.len(), |position| position.min(written.len()));
        let count = buffer.len().min(written.len() - start);
        buffer[..count].copy_from_slice(&written[start..start + count]);
        Ok(count)
    }

    /// Writes behind the end.
    ///
    /// # Errors
    ///
    /// As [`DiskFile::write_at`].
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(None, bytes)
    }

    /// Writes at a position, over what is there. A gap behind the end is filled with zeros.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::FileTooLarge`] beyond 1 GiB, and if the power goes.
    pub fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(Some(position), bytes)
    }

    fn write(&self, position: Option<u64>, bytes: &[u8]) -> io::Result<()> {
        self.disk.change(|state| {
            let file = state.file(self.file);
            let at = position.unwrap_or(file.written.len() as u64);
            let length = at.checked_add(bytes.len() as u64).filter(|length| *length <= FILE_BYTES_MAX);
            length.ok_or(ErrorKind::FileTooLarge)?;
            file.change(Change::Write { at: at as usize, bytes: bytes.to_vec() });
            Ok(())
        })
    }

    /// Cuts off what is behind so many bytes. A shorter file stays as it is.
    ///
    /// # Errors
    ///
    /// If the power goes.
    pub fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.change(|state| {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            state.file(self.file).change(Change::Truncate { length });
            Ok(())
        })
    }

    /// Makes all durable that was written to the file before, by whatever handle. Says nothing of its name: that is [`Disk::sync`].
    ///
    /// # Errors
    ///
    /// If the power goes.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.make_durable(|state| state.file(self.file).sync())
    }

    /// Locks the file against other handles that lock it, until this one is dropped or the software dies. Locks hinder no reads or writes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] if another handle has it locked.
    pub fn try_lock(&self) -> io::Result<()> {
        let mut state = self.disk.reading()?;
        let file = state.file(self.file);
        match file.locked_by {
            Some(other) if other != self.handle => Err(ErrorKind::WouldBlock.into()),
            _ => {
                file.locked_by = Some(self.handle);
                Ok(())
            }
        }
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.life == self.disk.life {
            let file = state.file(self.file);
            file.locked_by = file.locked_by.filter(|handle| *handle != self.handle);
        }
    }
}

impl State {
    fn file(&mut self, number: FileNumber) -> &mut File {
        self.files.get_mut(&number).expect("files outlive the handles of their lifetime")
    }

    /// Whether the next operation is done before the power goes.
    fn spend(&mut self) -> bool {
        self.power = match self.power {
            Power::GoesAfter(0) | Power::Gone => Power::Gone,
            Power::GoesAfter(operations) => Power::GoesAfter(operations - 1),
            Power::On => Power::On,
        };
        !matches!(self.power, Power::Gone)
    }

    /// Frees the files that no name leads to, now or after a power cut.
    fn forget_unnamed(&mut self) {
        let named = self.names.files();
        self.files.retain(|number, _| named.contains(number));
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is gone, or the software that opened this")
}

#[cfg(test)]
mod tests;
