//! How safe a commit is, as adapters on disk let their users choose.

/// What a commit has survived when it returns.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Durability {
    /// A power cut: the database's log is on the disk, by one `fdatasync` for each commit.
    #[default]
    Synced,
    /// A crash or kill of the process, but not a power cut or a crash of the system, which may take the latest commits
    /// with it. What is left is a state that the store has been in: never a part of a commit, never a later commit
    /// without an earlier one.
    ///
    /// This is less than the storage contract promises. Choose it for data that other peers have anyway.
    Buffered,
}
