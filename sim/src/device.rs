//! What a peer keeps its documents on, and what survives its crashes: a device that can be copied, put away and wiped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use peerloom::Memory;
use peerloom::core::Batch;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::plan::PeerNumber;
use crate::world::Holdings;

/// A device: memory and a disk that outlive the peer's software, and a directory for adapters that need one.
#[derive(Debug, Default)]
pub(crate) struct Device {
    memory: Memory,
    pub(crate) disk: Disk,
    directory: Mutex<Option<TempDir>>,
    /// What the observer knows to be on it, kept with the copies of it.
    pub(crate) holdings: Holdings,
    /// A commit within which the peer had crashed: it is on the device or not.
    pub(crate) pending: Option<Batch>,
}

impl Device {
    /// A copy of everything on it. Of a directory this is right only while nobody writes there.
    pub(crate) fn copy(&self, holdings: Holdings, pending: Option<Batch>) -> io::Result<Self> {
        let directory = match &*self.directory.lock().unwrap_or_else(PoisonError::into_inner) {
            None => None,
            Some(from) => {
                let to = TempDir::new()?;
                copy_all(from.path(), to.path())?;
                Some(to)
            }
        };
        let (memory, disk) = (self.memory.fork(), self.disk.copy());
        Ok(Self { memory, disk, directory: Mutex::new(directory), holdings, pending })
    }

    /// Whether everything is in memory, which is copied at an instant.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn directory(&self) -> PathBuf {
        let mut directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let made =
            directory.get_or_insert_with(|| TempDir::new().expect("a temporary directory can be made"));
        made.path().to_owned()
    }
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_all(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Where a storage adapter of a simulated peer keeps its data. The same at each start of the peer, until its device is wiped or
/// replaced.
#[derive(Clone, Debug)]
pub struct StorageEnvironment {
    pub(crate) peer: PeerNumber,
    pub(crate) device: Arc<Device>,
}

impl StorageEnvironment {
    /// The peer.
    pub fn peer(&self) -> PeerNumber {
        self.peer
    }

    /// A directory of its own, for adapters that cannot do without a file system. Every crash leaves it as the operating system would after a
    /// kill: what was written is there, synced or not. [`StorageEnvironment::disk`] loses what was not.
    pub fn directory(&self) -> PathBuf {
        self.device.directory()
    }

    /// A disk for adapters that keep files, on which a power cut takes what was not synced.
    pub fn disk(&self) -> Disk {
        self.device.disk.in_this_life()
    }

    /// The memory adapter, the fastest storage there is: durable at each commit, whatever happens.
    pub fn memory(&self) -> Memory {
        self.device.memory.clone()
    }
}
