//! Secrets: where they come from, and how they are kept out of what is shown.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use peerloom::{Topic, TopicKey};
use serde::Deserialize;

use crate::settings::{SettingsError, VARIABLE_PREFIX};

/// Text that no log shows.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(pub(crate) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(hidden)")
    }
}

/// Where the token for the signaling server comes from.
#[derive(Clone)]
pub(crate) enum TokenSource {
    Fixed(String),
    /// Read for each connection, so that another program can renew it.
    File(PathBuf),
}

impl TokenSource {
    /// Whether there is a token now.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        match self {
            Self::Fixed(_) => Ok(()),
            Self::File(path) => read_token(path).map(drop),
        }
    }
}

/// The token for the signaling server that a file holds.
pub(crate) fn read_token(path: &Path) -> Result<String, SettingsError> {
    read_secret("token_file", path)
}

/// A secret from the file that a flag or a variable names, or else from the environment, or else from the file that the settings file names.
pub(crate) fn secret(
    variable: &'static str,
    setting: &'static str,
    file: Option<&Path>,
) -> Result<Option<String>, SettingsError> {
    match file {
        Some(path) => read_secret(setting, path).map(Some),
        None => secret_variable(variable),
    }
}

/// What a file holds, without the line's end.
pub(crate) fn read_secret(name: &'static str, path: &Path) -> Result<String, SettingsError> {
    let unreadable = |source| SettingsError::SecretUnreadable { name, path: path.to_owned(), source };
    let secret = fs::read(path).map_err(unreadable)?;
    match str::from_utf8(secret.trim_ascii()) {
        Ok(secret) if !secret.is_empty() => Ok(secret.to_owned()),
        _ => Err(SettingsError::SecretMalformed(name)),
    }
}

pub(crate) fn is_set(variable: &str) -> bool {
    std::env::var_os(format!("{VARIABLE_PREFIX}{variable}")).is_some()
}

pub(crate) fn secret_variable(variable: &'static str) -> Result<Option<String>, SettingsError> {
    let Some(secret) = std::env::var_os(format!("{VARIABLE_PREFIX}{variable}")) else { return Ok(None) };
    let secret = secret.into_string().ok().filter(|secret| !secret.is_empty());
    secret.map(Some).ok_or(SettingsError::SecretMalformed(variable))
}

pub(crate) fn parse_key(text: &str) -> Result<TopicKey, SettingsError> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| SettingsError::Key)?;
    Ok(TopicKey::new(bytes.try_into().map_err(|_| SettingsError::Key)?))
}

pub(crate) fn key_of_passphrase(passphrase: &str, topic: &str) -> Result<TopicKey, SettingsError> {
    let topic = Topic::new(topic).map_err(|error| SettingsError::Topic(error.into()))?;
    TopicKey::from_passphrase(passphrase, &topic).map_err(SettingsError::Passphrase)
}
