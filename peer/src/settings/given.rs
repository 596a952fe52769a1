//! What flags, variables and the settings file say, all under the same names, and which of them counts.

use std::fs;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::SettingsError;
use super::values::{CollectionSetting, LogFormat, MdnsSetting, StorageKind};
use crate::rxdb::RxdbDirection;
use crate::secrets::{Hidden, is_set};
use crate::settings_file::MalformedSettings;

/// The settings as they may be given, each of them or not.
#[derive(Args, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    /// A TOML file with these settings, named as the flags are, with _ for -. Flags and variables come first [default:
    /// peer.toml in the directory, if it is there]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,

    /// The directory of this peer: its documents and its control socket [default: peerloom-data]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Settings")]
    pub(super) data: Option<PathBuf>,

    /// How documents are kept in it [default: fjall]
    #[arg(long, global = true, value_enum, value_name = "KIND", help_heading = "Settings")]
    pub(super) storage: Option<StorageKind>,

    /// The collections, as NAME or NAME=HANDLER, with commas between them. The handlers are last-write-wins and
    /// field-wise, which keeps concurrent edits of different fields; all peers should use the same [default: documents]
    #[arg(
        long,
        global = true,
        value_delimiter = ',',
        value_name = "NAME[=HANDLER]",
        help_heading = "Settings"
    )]
    pub(super) collections: Option<Vec<CollectionSetting>>,

    /// The socket through which other commands reach a peer that is being served [default: control.sock in the directory]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Settings")]
    pub(super) socket: Option<PathBuf>,

    /// Which log lines to write to standard error: off, error, warn, info, debug or trace, also by module [default: info
    /// for serve, warn for others]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Settings")]
    pub(super) log: Option<String>,

    /// How to write log lines [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = "Settings")]
    pub(super) log_format: Option<LogFormat>,

    /// The topic: peers with the same one meet
    #[arg(long, global = true, value_name = "TOPIC", help_heading = "The room")]
    pub(super) topic: Option<String>,

    /// A file with the topic's key, which all its peers prove to each other: 64 hexadecimal digits. Or PEERLOOM_KEY
    #[arg(long, global = true, value_name = "FILE", help_heading = "The room")]
    pub(super) key_file: Option<PathBuf>,

    /// A file with a passphrase that makes the topic's key, in place of a key: five random words or more. Or
    /// PEERLOOM_PASSPHRASE
    #[arg(long, global = true, value_name = "FILE", help_heading = "The room")]
    pub(super) passphrase_file: Option<PathBuf>,

    /// The topic, its key and the signaling servers in one, as `join` writes it. Or PEERLOOM_INVITATION
    #[arg(skip)]
    pub(super) invitation: Option<Hidden>,

    /// The URL of the signaling server, such as wss://signaling.example.org. With several, commas between them, the topic
    /// has a room at each
    #[arg(long, global = true, value_delimiter = ',', value_name = "URL", help_heading = "The room")]
    pub(super) signaling: Option<Vec<String>>,

    /// A file with the token that the signaling server asks for; read again whenever it is connected to. Or PEERLOOM_TOKEN
    #[arg(long, global = true, value_name = "FILE", help_heading = "The room")]
    pub(super) token_file: Option<PathBuf>,

    /// A PEM file with certificates of authorities of your own, which signaling servers may have theirs from besides those that
    /// browsers trust
    #[arg(long, global = true, value_name = "FILE", help_heading = "The room")]
    pub(super) root_certificates_file: Option<PathBuf>,

    /// The most peers at a time in each room [default: 256]
    #[arg(long, global = true, value_name = "COUNT", help_heading = "The room")]
    pub(super) peers_max: Option<NonZeroUsize>,

    /// Let RxDB peers replicate with this collection, which the topic then stands for. They prove nothing: who reaches the
    /// signaling server can read and write it, and the room can have no key
    #[arg(long, global = true, value_name = "COLLECTION", help_heading = "RxDB peers")]
    pub(crate) rxdb: Option<String>,

    /// The field that is the primary key of their collection, and here the document's id [default: id]
    #[arg(long, global = true, value_name = "FIELD", help_heading = "RxDB peers")]
    pub(crate) rxdb_primary_key: Option<String>,

    /// Which way it replicates with them [default: both]
    #[arg(long, global = true, value_enum, value_name = "WAY", help_heading = "RxDB peers")]
    pub(crate) rxdb_direction: Option<RxdbDirection>,

    /// How many documents they are asked for or sent at a time [default: 200]
    #[arg(long, global = true, value_name = "COUNT", help_heading = "RxDB peers")]
    pub(crate) rxdb_batch_documents: Option<NonZeroU32>,

    /// STUN servers, such as stun:stun.example.org:3478
    #[arg(long, global = true, value_delimiter = ',', value_name = "URL", help_heading = "Connections")]
    pub(super) stun: Option<Vec<String>>,

    /// TURN servers, such as turn:turn.example.org:3478?transport=udp, besides those that the signaling server hands out
    #[arg(long, global = true, value_delimiter = ',', value_name = "URL", help_heading = "Connections")]
    pub(super) turn: Option<Vec<String>>,

    /// The user name for the TURN servers
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connections")]
    pub(super) turn_username: Option<String>,

    /// A file with the password for the TURN servers. Or PEERLOOM_TURN_PASSWORD
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connections")]
    pub(super) turn_password_file: Option<PathBuf>,

    /// The addresses of this machine that connections come from and go to [default: all that others could reach]
    #[arg(long, global = true, value_delimiter = ',', value_name = "IP", help_heading = "Connections")]
    pub(super) bind: Option<Vec<IpAddr>>,

    /// Whether to look up addresses that browsers hide behind mDNS names [default: ignore]
    #[arg(long, global = true, value_enum, value_name = "WHAT", help_heading = "Connections")]
    pub(super) mdns: Option<MdnsSetting>,

    /// After how long a silence a peer counts as gone [default: 30]
    #[arg(long, global = true, value_name = "SECONDS", help_heading = "Connections")]
    pub(super) dead_after_seconds: Option<NonZeroU64>,
}

impl Given {
    /// What of the room flags and variables say, before the file is looked at. Signaling servers are no part of it:
    /// whatever room it is, one may want to meet somewhere else.
    pub(super) fn room_of_command(&self) -> Option<&'static str> {
        let sources = [
            (self.topic.is_some(), "--topic or PEERLOOM_TOPIC"),
            (self.key_file.is_some(), "--key-file or PEERLOOM_KEY_FILE"),
            (self.passphrase_file.is_some(), "--passphrase-file or PEERLOOM_PASSPHRASE_FILE"),
            (is_set("KEY"), "PEERLOOM_KEY"),
            (is_set("PASSPHRASE"), "PEERLOOM_PASSPHRASE"),
            (is_set("INVITATION"), "PEERLOOM_INVITATION"),
        ];
        sources.into_iter().find_map(|(is_set, name)| is_set.then_some(name))
    }

    /// The settings of a file without the files of secrets that a variable holds, as variables come first.
    pub(super) fn without_what_variables_say(self) -> Self {
        let unless = |name: &str, path: Option<PathBuf>| path.filter(|_| !is_set(name));
        Self {
            key_file: unless("KEY", self.key_file),
            passphrase_file: unless("PASSPHRASE", self.passphrase_file),
            token_file: unless("TOKEN", self.token_file),
            turn_password_file: unless("TURN_PASSWORD", self.turn_password_file),
            ..self
        }
    }

    pub(super) fn root_certificates(&self) -> Result<Option<Vec<u8>>, SettingsError> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|source| SettingsError::RootCertificates { path: path.clone(), source })
        };
        self.root_certificates_file.as_ref().map(read).transpose()
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self {
            config: self.config,
            data: self.data.or(other.data),
            storage: self.storage.or(other.storage),
            collections: self.collections.or(other.collections),
            socket: self.socket.or(other.socket),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
            topic: self.topic.or(other.topic),
            key_file: self.key_file.or(other.key_file),
            passphrase_file: self.passphrase_file.or(other.passphrase_file),
            invitation: self.invitation.or(other.invitation),
            signaling: self.signaling.or(other.signaling),
            token_file: self.token_file.or(other.token_file),
            root_certificates_file: self.root_certificates_file.or(other.root_certificates_file),
            peers_max: self.peers_max.or(other.peers_max),
            rxdb: self.rxdb.or(other.rxdb),
            rxdb_primary_key: self.rxdb_primary_key.or(other.rxdb_primary_key),
            rxdb_direction: self.rxdb_direction.or(other.rxdb_direction),
            rxdb_batch_documents: self.rxdb_batch_documents.or(other.rxdb_batch_documents),
            stun: self.stun.or(other.stun),
            turn: self.turn.or(other.turn),
            turn_username: self.turn_username.or(other.turn_username),
            turn_password_file: self.turn_password_file.or(other.turn_password_file),
            bind: self.bind.or(other.bind),
            mdns: self.mdns.or(other.mdns),
            dead_after_seconds: self.dead_after_seconds.or(other.dead_after_seconds),
        }
    }
}

/// What the settings file says.
pub(super) fn read_file(path: &Path) -> Result<Given, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let given: Given = toml::from_str(&text).map_err(|error| {
        let source = MalformedSettings::new(&text, error.span(), error.message());
        SettingsError::Malformed { path: path.to_owned(), source }
    })?;
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if given.invitation.is_some() && mode & 0o004 != 0 {
        return Err(SettingsError::Exposed { path: path.to_owned() });
    }
    Ok(given)
}
