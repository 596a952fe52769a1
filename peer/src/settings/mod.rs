//! The settings of the program: flags, then environment variables, then a TOML file, then defaults.
//!
//! Each setting has one name: `--dead-after-seconds`, `PEERLOOM_DEAD_AFTER_SECONDS`, and `dead_after_seconds` in the file.
//! Secrets are never flags, because everybody on a machine can read those: they come from a file or from the environment. So
//! `PEERLOOM_KEY` counts before `key_file` in the settings file, and after `--key-file`. No error shows what the settings file holds.
//! The room comes from an invitation, or from a topic with a key, a passphrase or neither.

mod given;
mod values;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use peerloom::webrtc::{IceServer, Interfaces, Mdns, Options};
use peerloom::{CollectionName, InvalidInvitation, Invitation, PassphraseError};

use crate::rxdb::{InvalidRxdb, RxdbSettings};
use crate::secrets::{Hidden, TokenSource, key_of_passphrase, parse_key, secret, secret_variable};
use crate::settings_file::MalformedSettings;
pub(crate) use given::Given;
use given::read_file;
use values::MdnsSetting;
pub(crate) use values::{CollectionSetting, Handler, LogFormat, StorageKind};

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
/// What is to be done where the settings file that was named is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MissingFile {
    Refuse,
    /// The command makes it.
    Make,
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
