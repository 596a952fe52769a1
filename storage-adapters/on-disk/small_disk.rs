//! A file system of its own for a test: small, so that it can be full.
//!
//! Included by the tests that need one.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Mounted while it lives.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// None, with a word about it, if the tests may not mount one.
    pub(crate) fn mount(bytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        if mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"], directory.path()) {
            return Some(Self(directory));
        }
        eprintln!("SKIPPED: mounting a small disk needs root on Linux");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes it read-only (`ro`) or writable (`rw`).
    #[allow(dead_code, reason = "not every test needs it")]
    pub(crate) fn remount(&self, mode: &str) {
        assert!(mount(&["-o", &format!("remount,{mode}")], self.path()), "the disk is remounted {mode}");
    }
}

fn mount(arguments: &[&str], path: &Path) -> bool {
    let mount = Command::new("mount").args(arguments).arg(path).output();
    mount.is_ok_and(|mount| mount.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = Command::new("umount").arg(self.path()).status();
        assert!(
            unmount.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "the disk is unmounted"
        );
    }
}
