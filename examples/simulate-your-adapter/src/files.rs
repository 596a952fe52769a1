//! What the adapter asks of a file system: a trait, and real files.
//!
//! It has the operations that matter for durability one by one. A trait that had `replace_atomically` would hide what is to be tested.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// A directory of files.
pub trait Files: Clone + Send + Sync + 'static {
    /// An open file.
    type File: LogFile;

    /// Opens a file, and creates it if there is none.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, in the place of the one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file, if it is there.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes durable which files there are, and under which names.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub trait LogFile: Send {
    /// Locks it until it is dropped. Fails with [`ErrorKind::WouldBlock`] if somebody else has.
    fn lock(&self) -> io::Result<()>;

    /// All that is in it.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Writes behind the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts off what is behind so many bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Makes durable what is in it.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the operating system, created when the first file in it is.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory of this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl Files for Directory {
    type File = File;

    fn open(&self, name: &str) -> io::Result<File> {
        fs::create_dir_all(&self.path)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        // Other systems than Unix have no such call, and do so themselves.
        if cfg!(unix) { File::open(&self.path)?.sync_all() } else { Ok(()) }
    }
}

impl LogFile for File {
    fn lock(&self) -> io::Result<()> {
        match self.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.rewind()?;
        self.read_to_end(&mut content)?;
        Ok(content)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.seek(SeekFrom::End(0))?;
        self.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
