//! What some settings can be.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use peerloom::{CollectionName, InvalidName};
use serde::Deserialize;

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
pub(crate) enum MdnsSetting {
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
