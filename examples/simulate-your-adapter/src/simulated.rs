//! The adapter in the simulator: its files on a simulated disk, and the scenario.

use std::io::{self, ErrorKind};

use peerloom_sim::plan::{Faults, Hazard, PeerNumber, mix};
use peerloom_sim::{Disk, DiskFile, Scenario};

use crate::files::{Files, LogFile};
use crate::storage::{Flaw, LogStorage};

impl Files for Disk {
    type File = DiskFile;

    fn open(&self, name: &str) -> io::Result<DiskFile> {
        self.open_or_create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Disk::rename(self, from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match Disk::remove(self, name) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        self.sync()
    }
}

impl LogFile for DiskFile {
    fn lock(&self) -> io::Result<()> {
        self.try_lock()
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        DiskFile::read(self)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        DiskFile::append(self, bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        DiskFile::truncate(self, length)
    }

    fn sync(&mut self) -> io::Result<()> {
        DiskFile::sync(self)
    }
}

/// Two or three peers whose devices lose power and whose software is killed, again and again.
pub fn scenario(flaw: Option<Flaw>) -> Scenario {
    let crashes = [Hazard::PowerCut, Hazard::CrashInCommit, Hazard::Kill];
    // What is rare in production is made frequent here, but not everywhere: a log that is always written anew hides what that repairs.
    let compact_bytes_min = |peer: PeerNumber| [256, 4096, 1 << 20][peer.index() % 3];
    Scenario::new("simulate-your-adapter")
        .peers(2..=3)
        .operations(60)
        .rounds(2..=2, 15_000..=25_000)
        .workload(mix().insert(2).edit(4).delete(1).bulk(2..10, 1))
        .faults(crashes.into_iter().fold(Faults::only(crashes), |faults, hazard| faults.rate(hazard, 10.0)))
        .storage(move |environment| LogStorage {
            files: environment.disk(),
            compact_bytes_min: compact_bytes_min(environment.peer()),
            flaw,
        })
}
