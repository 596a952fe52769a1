//! The directory: what lies in it, whose it is, and how a store in it begins and ends.
//!
//! ```text
//! peerloom-format        the text "<magic> 1 record 1": versions of the layout and of Record::encode
//! store-<name>.lock      empty; locked while a handle to the store is open
//! store-<name>.<suffix>/ the store's database
//! store-<name>.new/      a database whose creation was cut short
//! store-<name>.old/      a database whose deletion was cut short
//! ```
//!
//! The versions stand in a file of their own rather than in the database, because to look into a database is to recover
//! it, and what is not ours must not be touched. A store appears and disappears by a rename, hence whole.
//!
//! In `<name>` a capital letter is written `+` and the small one, for file systems that do not tell them apart.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use peerloom_core::{Record, StorageError, StoreName};

use crate::failure;

const MARKER: &str = "peerloom-format";

/// Tells the directories of one adapter from those of others.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The first word in the marker.
    pub magic: &'static str,
    /// The version of the directory's and the tables' layout.
    pub format: u32,
    /// The suffix of the directories of databases.
    pub suffix: &'static str,
}

/// Whose the directory is.
enum Owner {
    /// Absent or empty.
    Nobody,
    /// There is a marker, yet to be read.
    Marked,
}

/// The directory that holds all stores.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
    layout: Layout,
}

impl Directory {
    /// A directory, which is touched when the first store in it is opened.
    pub fn at(root: PathBuf, layout: Layout) -> Self {
        Self { root, layout }
    }

    /// Makes the directory ours if it is nobody's, and returns the place of a store in it.
    pub(crate) fn place(&self, name: &StoreName) -> Result<Place, StorageError> {
        if let Owner::Nobody = self.owner()? {
            create_directory(&self.root).map_err(|error| failure::of_system(&error))?;
        }
        self.check_marker()?;
        Ok(Place::new(&self.root, name, self.layout.suffix))
    }

    /// Deletes a store, all but its lock, which somebody may be about to take. Returns when that is durable.
    ///
    /// # Errors
    ///
    /// `Locked` while the store is open; what [`OnDisk::open`](crate::OnDisk::open) gives for a directory that cannot be used.
    pub async fn delete(&self, name: &StoreName) -> Result<(), StorageError> {
        let (directory, name) = (self.clone(), name.clone());
        crate::store::on_a_thread("peerloom-delete", move || directory.delete_now(&name)).await
    }

    fn delete_now(&self, name: &StoreName) -> Result<(), StorageError> {
        if let Owner::Nobody = self.owner()? {
            return Ok(());
        }
        self.check_marker()?;
        let place = Place::new(&self.root, name, self.layout.suffix);
        let _lock = place.lock()?;
        place.remove_database().map_err(|error| failure::of_system(&error))
    }

    fn owner(&self) -> Result<Owner, StorageError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Owner::Nobody),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(self.foreign("it is not a directory".into()));
            }
            Err(error) => return Err(failure::of_system(&error)),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>();
        let names = names.map_err(|error| failure::of_system(&error))?;
        match names.first() {
            None => Ok(Owner::Nobody),
            Some(_) if names.iter().any(|name| name == MARKER) => Ok(Owner::Marked),
            Some(name) => Err(self.foreign(format!("{} is there, but no {MARKER}", name.display()))),
        }
    }

    /// Reads the marker, or writes it where there is none. Its lock keeps two openers from doing so at once.
    fn check_marker(&self) -> Result<(), StorageError> {
        let text = self.read_or_write_marker().map_err(|error| failure::of_system(&error))?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let version = |index: usize| words.get(index).and_then(|word| word.parse::<u32>().ok());
        let Layout { magic, format, .. } = self.layout;
        if words.first() != Some(&magic) {
            return Err(self.foreign(format!("{MARKER} does not begin with {magic}")));
        }
        // A later layout may have another shape from the second word on.
        for (found, supported) in [(version(1), format), (version(3), Record::FORMAT)] {
            match found {
                Some(found) if found > supported => return Err(StorageError::Newer { found, supported }),
                Some(_) => {}
                None => return Err(StorageError::Corrupt { detail: format!("{MARKER} says {text:?}") }),
            }
        }
        Ok(())
    }

    fn read_or_write_marker(&self) -> io::Result<String> {
        let path = self.root.join(MARKER);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        file.lock()?;
        let mut found = Vec::new();
        file.read_to_end(&mut found)?;
        let ours = format!("{} {} record {}\n", self.layout.magic, self.layout.format, Record::FORMAT);
        // The rest is written after a crash that left the beginning, and no store is there before it is whole.
        if found.len() < ours.len() && ours.as_bytes().starts_with(&found) {
            file.write_all(&ours.as_bytes()[found.len()..])?;
            file.sync_all()?;
            sync_directory(&self.root)?;
            return Ok(ours);
        }
        Ok(String::from_utf8_lossy(&found).into_owned())
    }

    fn foreign(&self, detail: String) -> StorageError {
        StorageError::Foreign { place: self.root.display().to_string(), detail }
    }
}

/// Where one store lies.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
    lock: PathBuf,
    database: PathBuf,
    unfinished: PathBuf,
    deleted: PathBuf,
}

impl Place {
    fn new(root: &Path, name: &StoreName, suffix: &str) -> Self {
        let mut escaped = String::new();
        for character in name.as_str().chars() {
            if character.is_ascii_uppercase() {
                escaped.push('+');
            }
            escaped.push(character.to_ascii_lowercase());
        }
        let path = |suffix| root.join(format!("store-{escaped}.{suffix}"));
        Self {
            root: root.to_owned(),
            lock: path("lock"),
            database: path(suffix),
            unfinished: path("new"),
            deleted: path("old"),
        }
    }

    /// Takes the lock, which dropping the file releases.
    pub(crate) fn lock(&self) -> Result<File, StorageError> {
        let file = File::options().write(true).create(true).truncate(false).open(&self.lock);
        let file = file.map_err(|error| failure::of_system(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(StorageError::Locked { place: self.database.display().to_string() })
            }
            Err(TryLockError::Error(error)) => Err(failure::of_system(&error)),
        }
    }

    /// The path of the database, which `create` makes at the path it is given if there is none. The lock must be held.
    pub(crate) fn database(
        &self,
        create: impl FnOnce(&Path) -> Result<(), StorageError>,
    ) -> Result<&Path, StorageError> {
        let of_system = |error: io::Error| failure::of_system(&error);
        remove_directory(&self.unfinished).map_err(of_system)?;
        remove_directory(&self.deleted).map_err(of_system)?;
        if !self.database.try_exists().map_err(of_system)? {
            create(&self.unfinished)?;
            fs::rename(&self.unfinished, &self.database).map_err(of_system)?;
            sync_directory(&self.root).map_err(of_system)?;
        }
        Ok(&self.database)
    }

    fn remove_database(&self) -> io::Result<()> {
        remove_directory(&self.unfinished)?;
        remove_directory(&self.deleted)?;
        match fs::rename(&self.database, &self.deleted) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        sync_directory(&self.root)?;
        remove_directory(&self.deleted)
    }
}

/// Creates a directory and those above it, so that they survive a power cut.
fn create_directory(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(&path)?;
    missing.into_iter().filter_map(Path::parent).try_for_each(sync_directory)
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes new and renamed entries of a directory durable.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Other systems have no such call, and order renames themselves.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
