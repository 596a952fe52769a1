//! Why a command failed, and with which code the process ends.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use peerloom::core::{CollectionName, CommitError};
use peerloom::webrtc::InvalidServer;
use peerloom::{Error, OpenError, RoomError, StorageError, TransportError};

use crate::control::{Kind, Refusal};
use crate::peer::PeerError;
use crate::settings::SettingsError;
use crate::settings_file::SettingsFileError;

/// What the codes mean, for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, for a reason that standard error tells
  2  the arguments or settings are wrong
  3  there is no such document
  4  another process has the storage
  5  the peer is not being served
  6  a line of the import is malformed";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("signaling")]
    Signaling(#[from] InvalidServer),
    #[error("there is no room to invite anybody to: `invite TOPIC` makes one")]
    NoRoom,
    #[error(
        "{} has another room already, of the topic {topic:?}: --replace forgets it, or take another --data", path.display()
    )]
    OtherRoom { path: PathBuf, topic: String },
    #[error(transparent)]
    SettingsFile(#[from] SettingsFileError),
    #[error("there is no document {id:?}")]
    NotFound { id: String },
    #[error("another process has the storage {place}, and nobody answers at {}", socket.display())]
    InUse { place: String, socket: PathBuf },
    #[error("another process serves this peer already, and answers at {}", socket.display())]
    AlreadyServed { socket: PathBuf },
    #[error("this needs a peer that is being served, and nobody answers at {}", socket.display())]
    NotServed { socket: PathBuf },
    #[error(
        "line {line}: {message}; the {before} documents before it are imported (go on with --from-line {line}, or leave such lines out with --skip-invalid)"
    )]
    InvalidLine { line: u64, message: String, before: u64 },
    #[error("{0}")]
    Value(String),
    #[error("{}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the store of {collection} takes nothing more; start the peer again")]
    StorageFailed { collection: CollectionName, source: CommitError },
    #[error("the control socket")]
    Socket(#[source] io::Error),
    #[error("the control socket {} cannot be made", path.display())]
    Bind { path: PathBuf, source: io::Error },
    #[error("the peer has stopped being served")]
    Stopped,
    #[error("interrupted: {done}")]
    Interrupted { done: String },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Open(#[from] PeerError),
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error("the room of {signaling} has ended")]
    RoomEnded { signaling: String, source: Option<TransportError> },
    #[error(transparent)]
    Collection(#[from] Error),
    #[error("standard output")]
    Output(#[source] io::Error),
    #[error("the system")]
    System(#[source] io::Error),
}

impl Failure {
    /// The code that tells scripts what is the matter.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Settings(_) | Self::Signaling(_) | Self::Value(_) => 2,
            Self::NoRoom | Self::OtherRoom { .. } => 2,
            Self::Refused(Refusal { kind: Kind::Invalid | Kind::UnknownCollection, .. }) => 2,
            Self::NotFound { .. } => 3,
            Self::InUse { .. } | Self::AlreadyServed { .. } => 4,
            Self::Open(PeerError::Open(OpenError::Storage(StorageError::Locked { .. }))) => 4,
            Self::NotServed { .. } | Self::Stopped => 5,
            Self::Refused(Refusal { kind: Kind::NotServed | Kind::Stopping, .. }) => 5,
            Self::InvalidLine { .. } => 6,
            _ => 1,
        })
    }

    /// Whether it is only that nobody reads what is printed, such as `head` that has seen enough.
    pub(crate) fn is_unread_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
