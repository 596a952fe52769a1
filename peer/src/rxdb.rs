//! RxDB peers in the room: what the settings say of them, and the bridge that is made of it.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use clap::ValueEnum;
use peerloom::{Collection, Content, Invitation, RxdbBridge, Sharing};
use serde::Deserialize;

use crate::settings::{CollectionSetting, Given};

/// How long RxDB's topics are, in UTF-16 units. Under a longer or shorter one, RxDB peers would never be met.
const TOPIC_CHARACTERS: RangeInclusive<usize> = 6..=99;

/// The primary key of those who name none, as in [`RxdbBridge`].
const PRIMARY_KEY: &str = "id";

/// Why RxDB peers cannot be let in as the settings say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InvalidRxdb {
    #[error(
        "the room has a key, and RxDB peers cannot prove that they have it: leave out rxdb, or the key, and then whoever knows the topic can join"
    )]
    WithKey,
    #[error("rxdb names the collection {named:?}, and this peer has {}", there.join(", "))]
    Collection { named: String, there: Vec<String> },
    #[error("{0} is set, and no collection is there for RxDB peers: name it with rxdb")]
    NoCollection(&'static str),
    #[error("rxdb_primary_key is empty")]
    PrimaryKey,
    #[error("RxDB's topics have 6 to 99 characters, so no RxDB peer is ever met under {0:?}")]
    Topic(String),
}

/// Which way a collection replicates with RxDB peers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RxdbDirection {
    /// Both ways
    #[default]
    Both,
    /// What they write is taken, and they are shown nothing
    PullOnly,
    /// They are shown what is here, and nothing that they write is taken
    PushOnly,
}

impl fmt::Display for RxdbDirection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Both => "both",
            Self::PullOnly => "pull-only",
            Self::PushOnly => "push-only",
        })
    }
}

/// How RxDB peers are spoken with, and about what.
#[derive(Clone, Debug)]
pub(crate) struct RxdbSettings {
    /// One of this peer's.
    pub(crate) collection: String,
    pub(crate) primary_key: String,
    pub(crate) direction: RxdbDirection,
    batch_documents: Option<NonZeroU32>,
}

impl RxdbSettings {
    /// What is set, if anything is, for a peer with these collections in this room.
    pub(crate) fn of(
        given: &Given,
        collections: &[CollectionSetting],
        room: &Invitation,
    ) -> Result<Option<Self>, InvalidRxdb> {
        let Some(named) = &given.rxdb else {
            let details = [
                (given.rxdb_primary_key.is_some(), "rxdb_primary_key"),
                (given.rxdb_direction.is_some(), "rxdb_direction"),
                (given.rxdb_batch_documents.is_some(), "rxdb_batch_documents"),
            ];
            let in_vain = details.into_iter().find_map(|(is_set, name)| is_set.then_some(name));
            return in_vain.map_or(Ok(None), |name| Err(InvalidRxdb::NoCollection(name)));
        };
        if !collections.iter().any(|ours| ours.name.as_str() == named) {
            let there = collections.iter().map(|ours| ours.name.to_string()).collect();
            return Err(InvalidRxdb::Collection { named: named.clone(), there });
        }
        if room.topic_key().is_some() {
            return Err(InvalidRxdb::WithKey);
        }
        if !TOPIC_CHARACTERS.contains(&room.topic().encode_utf16().count()) {
            return Err(InvalidRxdb::Topic(room.topic().to_owned()));
        }
        let primary_key = given.rxdb_primary_key.as_deref().unwrap_or(PRIMARY_KEY);
        if primary_key.is_empty() {
            return Err(InvalidRxdb::PrimaryKey);
        }
        Ok(Some(Self {
            collection: named.clone(),
            primary_key: primary_key.to_owned(),
            direction: given.rxdb_direction.unwrap_or_default(),
            batch_documents: given.rxdb_batch_documents,
        }))
    }

    /// What a room needs to speak with RxDB peers about the collection.
    pub(crate) fn bridge<T: Content>(&self, collection: &Collection<T>) -> RxdbBridge {
        let sharing = match self.direction {
            RxdbDirection::Both => Sharing::new(),
            RxdbDirection::PullOnly => Sharing::new().pull_only(),
            RxdbDirection::PushOnly => Sharing::new().push_only(),
        };
        let bridge = RxdbBridge::new(collection).primary_key(&self.primary_key).sharing(sharing);
        match self.batch_documents {
            Some(documents) => bridge.batch_documents(documents.get()),
            None => bridge,
        }
    }
}
