//! A simulated disk, for adapters that keep files: what was written is there, and what was not synced a power cut may take.
//!
//! One directory of files in memory, with the promises that POSIX gives and none that a certain file system adds. Bytes become durable
//! when their file is synced, names when the directory is. Knows nothing of who uses it; when the power goes, and within which
//! operation, is told by the stage and the storage.
//!
//! After "All File Systems Are Not Created Equal" (Pillai, Chidambaram, Alagappan et al. 2014), which shows how much of what adapters hope
//! for is up to the file system. Not simulated: unsynced writes to one file in another order than theirs, noise in their place, syncs
//! that fail, and bytes that rot.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct FileNumber(u64);

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

#[derive(Debug, Default)]
struct File {
    written: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    /// The handle that holds the lock.
    locked_by: Option<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

#[derive(Debug, Default)]
struct Names {
    written: BTreeMap<String, FileNumber>,
    synced: BTreeMap<String, FileNumber>,
    /// What each operation makes of which names.
    unsynced: Vec<Vec<(String, Option<FileNumber>)>>,
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
        for (number, change) in std::mem::take(&mut state.names.unsynced).into_iter().enumerate() {
            if Draw::new(seed, ("a name after a power cut", key, number)).chance(0.5) {
                apply_names(&mut state.names.synced, &change);
            }
        }
        state.names.written = state.names.synced.clone();
        drop(state);
        self.end_life();
    }

    /// A disk that holds what this one shows, all of it durable.
    pub(crate) fn copy(&self) -> Self {
        let state = self.lock();
        let mut copy = State::default();
        for (name, file) in &state.names.written {
            let bytes = state.files[file].written.clone();
            let content = File { synced: bytes.clone(), written: bytes, ..File::default() };
            copy.files.insert(*file, content);
            copy.names.written.insert(name.clone(), *file);
        }
        copy.names.synced = copy.names.written.clone();
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
        let changes = self.names.unsynced.iter().flatten();
        let mut named: BTreeSet<FileNumber> = changes.filter_map(|(_, file)| *file).collect();
        named.extend(self.names.written.values().chain(self.names.synced.values()));
        self.files.retain(|number, _| named.contains(number));
    }
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.written);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.synced);
        }
    }

    /// Nothing, everything, or the first changes and a part of the next remain.
    fn lose(&mut self, draw: &mut Draw) {
        let mut changes = std::mem::take(&mut self.unsynced).into_iter();
        let (whole, is_torn) = match draw.below(4) {
            0 => (0, false),
            1 => (changes.len(), false),
            _ => (draw.below(changes.len().max(1) as u64) as usize, true),
        };
        changes.by_ref().take(whole).for_each(|change| change.apply(&mut self.synced));
        if let Some(Change::Write { at, mut bytes }) = changes.next().filter(|_| is_torn) {
            bytes.truncate(draw.below(bytes.len() as u64 + 1) as usize);
            Change::Write { at, bytes }.apply(&mut self.synced);
        }
        self.written = self.synced.clone();
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { bytes, .. } if bytes.is_empty() => {}
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Truncate { length } => content.truncate(*length),
        }
    }
}

impl Names {
    fn find(&self, name: &str) -> io::Result<FileNumber> {
        self.written.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: Vec<(String, Option<FileNumber>)>) {
        apply_names(&mut self.written, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.synced = self.written.clone();
    }
}

fn apply_names(names: &mut BTreeMap<String, FileNumber>, change: &[(String, Option<FileNumber>)]) {
    for (name, file) in change {
        match file {
            Some(file) => drop(names.insert(name.clone(), *file)),
            None => drop(names.remove(name)),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is gone, or the software that opened this")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the disk holds after power cuts under many keys.
    fn after_cuts(disk: impl Fn() -> Disk) -> BTreeSet<Vec<(String, String)>> {
        (0..500)
            .map(|key| {
                let disk = disk();
                disk.cut_power(1, key);
                content(&disk)
            })
            .collect()
    }

    fn content(disk: &Disk) -> Vec<(String, String)> {
        let disk = disk.in_this_life();
        let names = disk.list().expect("power is back").into_iter();
        let read = |name: &str| disk.open(name).and_then(|file| file.read()).expect("it is listed");
        names.map(|name| (name.clone(), String::from_utf8(read(&name)).expect("as written"))).collect()
    }

    fn with_log(bytes: &[u8]) -> (Disk, DiskFile) {
        let disk = Disk::default();
        let log = disk.open_or_create("log").expect("power is on");
        log.append(bytes).and_then(|()| log.sync()).and_then(|()| disk.sync()).expect("power is on");
        (disk, log)
    }

    fn only(names: &[(&str, &str)]) -> Vec<(String, String)> {
        names.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
    }

    #[test]
    fn a_power_cut_leaves_any_prefix_of_what_was_not_synced_and_all_that_was() {
        let found = after_cuts(|| {
            let (disk, log) = with_log(b"one ");
            log.append(b"two ").expect("power is on");
            log.append(b"six").expect("power is on");
            disk
        });
        let prefixes = (0..=7).map(|length| only(&[("log", &"one two six"[..4 + length])]));
        assert_eq!(found, prefixes.collect());
    }

    #[test]
    fn a_power_cut_undoes_an_overwrite_and_a_truncation_or_not() {
        let found = after_cuts(|| {
            let (disk, log) = with_log(b"abc");
            log.truncate(1).expect("power is on");
            log.write_at(0, b"x").expect("power is on");
            disk
        });
        assert_eq!(found, ["abc", "a", "x"].map(|content| only(&[("log", content)])).into());
    }

    #[test]
    fn a_power_cut_undoes_any_of_the_changes_of_names_each_whole() {
        let found = after_cuts(|| {
            let (disk, _) = with_log(b"old");
            let new = disk.open_or_create("new").expect("power is on");
            new.append(b"new").and_then(|()| new.sync()).expect("power is on");
            disk.rename("new", "log").expect("power is on");
            disk
        });
        let both = only(&[("log", "old"), ("new", "new")]);
        assert_eq!(found, [only(&[("log", "old")]), both, only(&[("log", "new")])].into());
    }

    #[test]
    fn a_renamed_file_that_was_not_synced_may_be_empty_where_the_old_one_was() {
        let found = after_cuts(|| {
            let (disk, _) = with_log(b"old");
            disk.open_or_create("new").and_then(|new| new.append(b"new")).expect("power is on");
            disk.rename("new", "log").and_then(|()| disk.sync()).expect("power is on");
            disk
        });
        assert!(found.contains(&only(&[("log", "")])) && found.contains(&only(&[("log", "new")])));
        assert!(!found.contains(&only(&[("log", "old")])), "the rename was made durable: {found:?}");
    }

    #[test]
    fn a_kill_loses_nothing_and_deafens_what_was_open() {
        let (disk, log) = with_log(b"one ");
        log.append(b"two").expect("power is on");
        log.try_lock().expect("nobody else has it");
        disk.end_life();
        assert_eq!(content(&disk), only(&[("log", "one two")]));
        let again = disk.in_this_life().open("log").expect("it is there");
        again.try_lock().expect("the dead hold no locks");
        assert!(log.append(b"three").is_err() && disk.remove("log").is_err() && log.len().is_err());
        drop(log);
        let another = disk.in_this_life().open("log").expect("it is there");
        assert_eq!(another.try_lock().expect_err("locked").kind(), ErrorKind::WouldBlock);
        disk.cut_power(1, "later");
        assert!(content(&disk)[0].1.starts_with("one "), "what was not synced is still not");
    }

    #[test]
    fn power_that_goes_within_an_operation_leaves_that_one_to_chance_and_none_after_it() {
        let found = after_cuts(|| {
            let (disk, log) = with_log(b"");
            disk.cut_power_after(2);
            log.append(b"a").and_then(|()| log.sync()).expect("these come before");
            assert!(log.append(b"b").is_err() && disk.is_without_power());
            assert!(log.append(b"c").is_err() && log.sync().is_err() && log.read().is_err());
            disk
        });
        assert_eq!(found, ["a", "ab"].map(|content| only(&[("log", content)])).into());
    }

    #[test]
    fn a_copy_shows_the_same_and_has_nothing_to_lose() {
        let (disk, log) = with_log(b"one ");
        log.append(b"two").expect("power is on");
        let copy = disk.copy();
        log.truncate(0).expect("power is on");
        copy.cut_power(1, "of the copy");
        assert_eq!(content(&copy), only(&[("log", "one two")]));
    }

    #[test]
    fn reads_and_writes_meet_the_ends_of_files() {
        let (disk, log) = with_log(b"ab");
        log.write_at(4, b"ef").expect("power is on");
        let mut buffer = [9; 8];
        assert_eq!(log.read_at(1, &mut buffer).expect("power is on"), 5);
        assert_eq!(buffer[..5], *b"b\0\0ef");
        assert_eq!(log.read_at(u64::MAX, &mut buffer).expect("power is on"), 0);
        assert_eq!(log.write_at(u64::MAX, b"x").expect_err("too far").kind(), ErrorKind::FileTooLarge);
        assert_eq!(disk.open("no").expect_err("no such file").kind(), ErrorKind::NotFound);
        assert_eq!(disk.rename("no", "log").expect_err("no such file").kind(), ErrorKind::NotFound);
    }
}
