//! What is durable of files and of their names, beside what was written, and what a power cut makes of the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

use crate::plan::Draw;

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct FileNumber(pub(super) u64);

#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) written: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    /// The handle that holds the lock.
    pub(super) locked_by: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) written: BTreeMap<String, FileNumber>,
    synced: BTreeMap<String, FileNumber>,
    /// What each operation makes of which names.
    unsynced: Vec<Vec<(String, Option<FileNumber>)>>,
}

impl File {
    /// With all of its content durable.
    pub(super) fn durable(content: Vec<u8>) -> Self {
        Self { synced: content.clone(), written: content, ..Self::default() }
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.written);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.synced);
        }
    }

    /// Nothing, everything, or the first changes and a part of the next remain.
    pub(super) fn lose(&mut self, draw: &mut Draw) {
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
    /// All of them durable.
    pub(super) fn durable(names: BTreeMap<String, FileNumber>) -> Self {
        Self { synced: names.clone(), written: names, unsynced: Vec::new() }
    }

    pub(super) fn find(&self, name: &str) -> io::Result<FileNumber> {
        self.written.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn change(&mut self, change: Vec<(String, Option<FileNumber>)>) {
        apply_names(&mut self.written, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.synced = self.written.clone();
    }

    /// Each change remains whole or not at all, whichever the draw of its number says.
    pub(super) fn lose(&mut self, draw: impl Fn(usize) -> Draw) {
        for (number, change) in std::mem::take(&mut self.unsynced).into_iter().enumerate() {
            if draw(number).chance(0.5) {
                apply_names(&mut self.synced, &change);
            }
        }
        self.written = self.synced.clone();
    }

    /// The files that a name leads to, now or after a power cut.
    pub(super) fn files(&self) -> BTreeSet<FileNumber> {
        let unsynced = self.unsynced.iter().flatten().filter_map(|(_, file)| *file);
        unsynced.chain(self.written.values().copied()).chain(self.synced.values().copied()).collect()
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
