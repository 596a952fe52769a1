//! The settings of the program: flags, then environment variables, then a TOML file, then defaults.
//!
//! Each setting has one name: `--dead-after-seconds`, `PEERLOOM_DEAD_AFTER_SECONDS`, and `dead_after_seconds` in the file.
//! Secrets are never flags, because everybody on a machine can read those: they come from a file or from the environment. So
//! `PEERLOOM_KEY` counts before `key_file` in the settings file, and after `--key-file`. No error shows what the settings file holds.
//! The room comes from an invitation, or from a topic with a key, a passphrase or neither.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use peerloom::webrtc::{IceServer, Interfaces, Mdns, Options};
use peerloom::{CollectionName, InvalidInvitation, InvalidName, Invitation, PassphraseError};
use serde::Deserialize;

use crate::rxdb::{InvalidRxdb, RxdbDirection, RxdbSettings};
use crate::secrets::{Hidden, TokenSource, is_set, key_of_passphrase, parse_key, secret, secret_variable};
use crate::settings_file::MalformedSettings;

/// What the names of all environment variables begin with.
pub(crate) const VARIABLE_PREFIX: &str = "PEERLOOM_";

/// The directory of those who name none.
const DIRECTORY: &str = "peerloom-data";

/// The settings file in the directory of a peer, which counts unless another is named.
const FILE: &str = "peer.toml";

/// The collection of those who name none.
const DEFAULT_COLLECTION: &str = "documents";

/// Why the program does not know what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SettingsError {
    #[error("settings file {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("settings file {}", path.display())]
    Malformed { path: PathBuf, source: MalformedSettings },
    #[error("settings file {}: everybody can read it, and the invitation in it: chmod o-r", path.display())]
    Exposed { path: PathBuf },
    #[error(
        "to join a room it takes a {0}: set it by a flag, a variable or in the file, or `join` an invitation"
    )]
    Missing(&'static str),
    #[error("the room comes from {0} and from {1}: leave one of them out")]
    TwoRooms(&'static str, &'static str),
    #[error(
        "the room comes from {0}, which counts before the settings file: leave it out, and say this again"
    )]
    RoomOfCommand(&'static str),
    #[error("the invitation cannot be used: copy it again, from its first letter to its last")]
    Invitation(#[source] InvalidInvitation),
    #[error("the topic")]
    Topic(#[source] InvalidInvitation),
    #[error("the signaling servers")]
    Signaling(#[source] InvalidInvitation),
    #[error("the passphrase")]
    Passphrase(#[source] PassphraseError),
    #[error("{name}: {}", path.display())]
    SecretUnreadable { name: &'static str, path: PathBuf, source: io::Error },
    #[error("{0} is not UTF-8, or empty")]
    SecretMalformed(&'static str),
    #[error("root_certificates_file: {}", path.display())]
    RootCertificates { path: PathBuf, source: io::Error },
    #[error("the key is not 64 hexadecimal digits")]
    Key,
    #[error("the collection {0} is named twice")]
    CollectionTwice(CollectionName),
    #[error("dead_after_seconds is less than {min}")]
    DeadAfter { min: u64 },
    #[error(transparent)]
    Rxdb(#[from] InvalidRxdb),
}

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
    data: Option<PathBuf>,

    /// How documents are kept in it [default: fjall]
    #[arg(long, global = true, value_enum, value_name = "KIND", help_heading = "Settings")]
    storage: Option<StorageKind>,

    /// The collections, as NAME or NAME=HANDLER, with commas between them. The handlers are last-write-wins and
    /// field-wise, which keeps concurrent edits of different fields; all peers should use the same [default: documents]
    #[arg(
        long,
        global = true,
        value_delimiter = ',',
        value_name = "NAME[=HANDLER]",
        help_heading = "Settings"
    )]
    collections: Option<Vec<CollectionSetting>>,

    /// The socket through which other commands reach a peer that is being served [default: control.sock in the directory]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Settings")]
    socket: Option<PathBuf>,

    /// Which log lines to write to standard error: off, error, warn, info, debug or trace, also by module [default: info
    /// for serve, warn for others]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Settings")]
    log: Option<String>,

    /// How to write log lines [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = "Settings")]
    log_format: Option<LogFormat>,

    /// The topic: peers with the same one meet
    #[arg(long, global = true, value_name = "TOPIC", help_heading = "The room")]
    topic: Option<String>,

    /// A file with the topic's key, which all its peers prove to each other: 64 hexadecimal digits. Or PEERLOOM_KEY
    #[arg(long, global = true, value_name = "FILE", help_heading = "The room")]
    key_file: Option<PathBuf>,

    /// A file with a passphrase that makes the topic's key, in place of a key: five random words or more. Or
    /// PEERLOOM_PASSPHRASE
    #[arg(long, global = true, value_name = "FILE", help_heading = "The room")]
    passphrase_file: Option<PathBuf>,

    /// The topic, its key and the signaling servers in one, as `join` writes it. Or PEERLOOM_INVITATION
    #[arg(skip)]
    invitation: Option<Hidden>,

    /// The URL of the signaling server, such as wss://signaling.example.org. With several, commas between them, the topic
    /// has a room at each
    #[arg(long, global = true, value_delimiter = ',', value_name = "URL", help_heading = "The room")]
    signaling: Option<Vec<String>>,

    /// A file with the token that the signaling server asks for; read again whenever it is connected to. Or PEERLOOM_TOKEN
    #[arg(long, global = true, value_name = "FILE", help_heading = "The room")]
    token_file: Option<PathBuf>,

    /// A PEM file with certificates of authorities of your own, which signaling servers may have theirs from besides those that
    /// browsers trust
    #[arg(long, global = true, value_name = "FILE", help_heading = "The room")]
    root_certificates_file: Option<PathBuf>,

    /// The most peers at a time in each room [default: 256]
    #[arg(long, global = true, value_name = "COUNT", help_heading = "The room")]
    peers_max: Option<NonZeroUsize>,

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
    stun: Option<Vec<String>>,

    /// TURN servers, such as turn:turn.example.org:3478?transport=udp, besides those that the signaling server hands out
    #[arg(long, global = true, value_delimiter = ',', value_name = "URL", help_heading = "Connections")]
    turn: Option<Vec<String>>,

    /// The user name for the TURN servers
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connections")]
    turn_username: Option<String>,

    /// A file with the password for the TURN servers. Or PEERLOOM_TURN_PASSWORD
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connections")]
    turn_password_file: Option<PathBuf>,

    /// The addresses of this machine that connections come from and go to [default: all that others could reach]
    #[arg(long, global = true, value_delimiter = ',', value_name = "IP", help_heading = "Connections")]
    bind: Option<Vec<IpAddr>>,

    /// Whether to look up addresses that browsers hide behind mDNS names [default: ignore]
    #[arg(long, global = true, value_enum, value_name = "WHAT", help_heading = "Connections")]
    mdns: Option<MdnsSetting>,

    /// After how long a silence a peer counts as gone [default: 30]
    #[arg(long, global = true, value_name = "SECONDS", help_heading = "Connections")]
    dead_after_seconds: Option<NonZeroU64>,
}

/// What is to be done where the settings file that was named is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MissingFile {
    Refuse,
    /// The command makes it.
    Make,
}

/// How documents are kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StorageKind {
    /// On disk with fjall
    #[default]
    Fjall,
    /// On disk with RocksDB
    #[cfg(feature = "rocksdb")]
    #[serde(rename = "rocksdb")]
    #[value(name = "rocksdb")]
    RocksDb,
    /// In memory, as long as the peer is served
    Memory,
}

impl fmt::Display for StorageKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fjall => "fjall",
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => "rocksdb",
            Self::Memory => "memory",
        })
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum MdnsSetting {
    /// Skip them
    Ignore,
    /// Look them up by multicast
    Resolve,
}

/// What makes one view of concurrent writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Handler {
    LastWriteWins,
    FieldWise,
}

impl fmt::Display for Handler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::LastWriteWins => "last-write-wins",
            Self::FieldWise => "field-wise",
        })
    }
}

/// A collection, written `NAME` or `NAME=HANDLER`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct CollectionSetting {
    pub(crate) name: CollectionName,
    pub(crate) handler: Handler,
}

/// Why something is not a collection.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum InvalidCollection {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error("there is no handler {0:?}: there are last-write-wins and field-wise")]
    Handler(String),
}

impl FromStr for CollectionSetting {
    type Err = InvalidCollection;

    fn from_str(text: &str) -> Result<Self, InvalidCollection> {
        let (name, handler) = match text.split_once('=') {
            None => (text, Handler::LastWriteWins),
            Some((name, "last-write-wins")) => (name, Handler::LastWriteWins),
            Some((name, "field-wise")) => (name, Handler::FieldWise),
            Some((_, other)) => return Err(InvalidCollection::Handler(other.to_owned())),
        };
        Ok(Self { name: CollectionName::new(name)?, handler })
    }
}

impl TryFrom<String> for CollectionSetting {
    type Error = InvalidCollection;

    fn try_from(text: String) -> Result<Self, InvalidCollection> {
        text.parse()
    }
}

/// The settings that are in force.
#[derive(Debug)]
pub(crate) struct Settings {
    given: Given,
    /// The settings file, which may not be there.
    pub(crate) file: PathBuf,
    /// Where the room comes from, if a flag or a variable says anything of it.
    room_of_command: Option<&'static str>,
    pub(crate) data: PathBuf,
    pub(crate) storage: StorageKind,
    pub(crate) socket: PathBuf,
    /// At least one.
    pub(crate) collections: Vec<CollectionSetting>,
    pub(crate) log: Option<String>,
    pub(crate) log_format: LogFormat,
}

/// What it takes to join the rooms of a topic.
pub(crate) struct RoomSettings {
    /// The topic, and its key if it has one.
    pub(crate) invitation: Invitation,
    /// At least one. Those of the invitation, unless others are set.
    pub(crate) signaling: Vec<String>,
    pub(crate) token: Option<TokenSource>,
    /// In PEM.
    pub(crate) root_certificates: Option<Vec<u8>>,
    pub(crate) peers_max: Option<NonZeroUsize>,
    pub(crate) connections: Options,
    pub(crate) rxdb: Option<RxdbSettings>,
}

impl Settings {
    /// Takes from the file what neither a flag nor a variable says, and puts defaults for the rest.
    pub(crate) fn of(given: Given, missing: MissingFile) -> Result<Self, SettingsError> {
        let in_directory = || given.data.clone().unwrap_or_else(|| DIRECTORY.into()).join(FILE);
        let path = given.config.clone().unwrap_or_else(in_directory);
        let may_be_missing = given.config.is_none() || missing == MissingFile::Make;
        let file = match read_file(&path) {
            Err(SettingsError::Unreadable { source, .. })
                if may_be_missing && source.kind() == io::ErrorKind::NotFound =>
            {
                Given::default()
            }
            read => read?,
        };
        let room_of_command = given.room_of_command();
        let given = given.or(file.without_what_variables_say());
        let data = given.data.clone().unwrap_or_else(|| DIRECTORY.into());
        let socket = given.socket.clone().unwrap_or_else(|| data.join("control.sock"));
        let default_collection = || CollectionSetting {
            name: CollectionName::new(DEFAULT_COLLECTION).expect("the default is a name"),
            handler: Handler::LastWriteWins,
        };
        let mut collections = given.collections.clone().unwrap_or_default();
        if collections.is_empty() {
            collections.push(default_collection());
        }
        for (index, collection) in collections.iter().enumerate() {
            if collections[..index].iter().any(|other| other.name == collection.name) {
                return Err(SettingsError::CollectionTwice(collection.name.clone()));
            }
        }
        Ok(Self {
            storage: given.storage.unwrap_or_default(),
            log: given.log.clone(),
            log_format: given.log_format.unwrap_or_default(),
            file: path,
            room_of_command,
            data,
            socket,
            collections,
            given,
        })
    }

    /// What it takes to join the rooms of the topic.
    pub(crate) fn room(&self) -> Result<RoomSettings, SettingsError> {
        let given = &self.given;
        let invitation = self.invitation()?;
        let servers = match &invitation {
            Some(invitation) => self.signaling_of(invitation).to_vec(),
            None => self.signaling().to_vec(),
        };
        if servers.is_empty() {
            return Err(SettingsError::Missing("signaling URL"));
        }
        let token = match &given.token_file {
            Some(path) => Some(TokenSource::File(path.clone())),
            None => secret_variable("TOKEN")?.map(TokenSource::Fixed),
        };
        // Told now if there is none, and not when the first connection is made.
        token.as_ref().map(TokenSource::check).transpose()?;
        let invitation = invitation.ok_or(SettingsError::Missing("topic"))?;
        Ok(RoomSettings {
            rxdb: RxdbSettings::of(given, &self.collections, &invitation)?,
            invitation,
            signaling: servers,
            token,
            root_certificates: given.root_certificates()?,
            peers_max: given.peers_max,
            connections: self.connections()?,
        })
    }

    /// The room that is set, if one is: its topic and key, and what signaling servers an invitation to it had.
    pub(crate) fn invitation(&self) -> Result<Option<Invitation>, SettingsError> {
        let given = &self.given;
        let invitation = match secret_variable("INVITATION")? {
            Some(text) => Some(text),
            None => given.invitation.as_ref().map(|Hidden(text)| text.clone()),
        };
        let key = secret("KEY", "key_file", given.key_file.as_deref())?;
        let passphrase = secret("PASSPHRASE", "passphrase_file", given.passphrase_file.as_deref())?;
        let sources = [
            (invitation.is_some(), "an invitation"),
            (given.topic.is_some(), "a topic"),
            (key.is_some(), "a key"),
            (passphrase.is_some(), "a passphrase"),
        ];
        let mut sources = sources.into_iter().filter_map(|(is_set, name)| is_set.then_some(name));
        if let Some(text) = invitation {
            if let (Some(first), Some(second)) = (sources.next(), sources.next()) {
                return Err(SettingsError::TwoRooms(first, second));
            }
            return text.parse().map(Some).map_err(SettingsError::Invitation);
        }
        if key.is_some() && passphrase.is_some() {
            return Err(SettingsError::TwoRooms("a key", "a passphrase"));
        }
        let Some(topic) = &given.topic else { return Ok(None) };
        let open = Invitation::new(topic).map_err(SettingsError::Topic)?;
        let key = match (key, passphrase) {
            (Some(key), _) => Some(parse_key(&key)?),
            (None, Some(passphrase)) => Some(key_of_passphrase(&passphrase, topic)?),
            (None, None) => None,
        };
        Ok(Some(match key {
            Some(key) => open.key(key),
            None => open,
        }))
    }

    /// The signaling servers that are set, besides those of an invitation.
    pub(crate) fn signaling(&self) -> &[String] {
        self.given.signaling.as_deref().unwrap_or_default()
    }

    /// The signaling servers of a room: those that are set, or else those of the invitation.
    pub(crate) fn signaling_of<'a>(&'a self, invitation: &'a Invitation) -> &'a [String] {
        let set = self.signaling();
        if set.is_empty() { invitation.signaling_urls() } else { set }
    }

    /// Checks that the settings file decides about the room, so that it does any good to write one into it.
    pub(crate) fn room_is_of_file(&self) -> Result<(), SettingsError> {
        self.room_of_command.map_or(Ok(()), |source| Err(SettingsError::RoomOfCommand(source)))
    }

    fn connections(&self) -> Result<Options, SettingsError> {
        let given = &self.given;
        let mut options = Options::default();
        if let Some(urls) = given.stun.clone().filter(|urls| !urls.is_empty()) {
            options.ice_servers.push(IceServer { urls, ..IceServer::default() });
        }
        if let Some(urls) = given.turn.clone().filter(|urls| !urls.is_empty()) {
            let password =
                secret("TURN_PASSWORD", "turn_password_file", given.turn_password_file.as_deref())?;
            let username = given.turn_username.clone().unwrap_or_default();
            options.ice_servers.push(IceServer { urls, username, credential: password.unwrap_or_default() });
        }
        if let Some(addresses) = given.bind.as_ref().filter(|addresses| !addresses.is_empty()) {
            let addresses = addresses.iter().map(|address| SocketAddr::new(*address, 0));
            options.interfaces = Interfaces::Addresses(addresses.collect());
        }
        if let Some(MdnsSetting::Resolve) = given.mdns {
            options.mdns = Mdns::Resolve;
        }
        if let Some(seconds) = given.dead_after_seconds {
            options.dead_after = Duration::from_secs(seconds.get());
            let min = 2 * options.keep_alive;
            if options.dead_after < min {
                return Err(SettingsError::DeadAfter { min: min.as_secs() });
            }
        }
        Ok(options)
    }
}

impl Given {
    /// What of the room flags and variables say, before the file is looked at. Signaling servers are no part of it:
    /// whatever room it is, one may want to meet somewhere else.
    fn room_of_command(&self) -> Option<&'static str> {
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
    fn without_what_variables_say(self) -> Self {
        let unless = |name: &str, path: Option<PathBuf>| path.filter(|_| !is_set(name));
        Self {
            key_file: unless("KEY", self.key_file),
            passphrase_file: unless("PASSPHRASE", self.passphrase_file),
            token_file: unless("TOKEN", self.token_file),
            turn_password_file: unless("TURN_PASSWORD", self.turn_password_file),
            ..self
        }
    }

    fn root_certificates(&self) -> Result<Option<Vec<u8>>, SettingsError> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|source| SettingsError::RootCertificates { path: path.clone(), source })
        };
        self.root_certificates_file.as_ref().map(read).transpose()
    }

    fn or(self, other: Self) -> Self {
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

fn read_file(path: &Path) -> Result<Given, SettingsError> {
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
