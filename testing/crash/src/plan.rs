//! What is written: the operations of each side, drawn from the seed, so that whoever writes and whoever checks know the same.
//!
//! Decides nothing about kills, and touches no store.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use peerloom::{Merge, MergeTyped};
use serde::{Deserialize, Serialize};

use crate::draw::Draw;

pub(crate) const COLLECTION: &str = "numbers";

const SINGLES: u64 = 60;
const SHARED: u64 = 8;

/// How many documents each page has: the smallest that can be torn, and one whose journal entry spans many blocks.
const PAGES: [u64; 5] = [2, 7, 20, 50, 120];

/// One of the two replicas.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Left, Self::Right];
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

impl FromStr for Side {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "left" => Ok(Self::Left),
            "right" => Ok(Self::Right),
            _ => bail!("a side is left or right, not {text:?}"),
        }
    }
}

/// What a document holds: for each side, the number of its last operation that wrote it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Numbers {
    left: Option<u64>,
    right: Option<u64>,
    /// Makes it as large as a small document of an application, and differently large each time.
    ballast: String,
}

impl Numbers {
    pub(crate) fn of(&self, side: Side) -> Option<u64> {
        match side {
            Side::Left => self.left,
            Side::Right => self.right,
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, side: Side, number: u64) -> Self {
        let of_side = match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        };
        *of_side = Some(number);
        self.ballast = "x".repeat(usize::try_from(number * 37 % 400).expect("below 400"));
        self
    }
}

impl Merge for Numbers {
    fn merge(mut self, versions: &[Self]) -> Self {
        self.left = versions.iter().filter_map(|version| version.left).max();
        self.right = versions.iter().filter_map(|version| version.right).max();
        self
    }
}

/// The handler of the collection: each side's highest number.
pub(crate) fn handler() -> MergeTyped<Numbers> {
    MergeTyped::new("crash-numbers-1")
}

/// One operation of one side. Only `Shared` writes what the other side writes, too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Put {
        id: String,
    },
    Remove {
        id: String,
    },
    /// Many documents in one commit.
    Page {
        ids: Vec<String>,
    },
    /// Reads a document that both sides write, and saves it with this side's number.
    Shared {
        id: String,
    },
    /// What a storage does beside writing: an encrypted one exchanges its data key.
    Upkeep,
}

impl Operation {
    /// The operation with this number, the same in every process.
    pub(crate) fn drawn(seed: u64, side: Side, number: u64) -> Self {
        let mut draw = Draw::new(seed, &[side as u64, number]);
        let kind = draw.below(24);
        let mut single = || format!("{side}/single/{:02}", draw.below(SINGLES));
        match kind {
            0 => Self::Upkeep,
            1..3 => Self::Remove { id: single() },
            3..10 => Self::Put { id: single() },
            10..14 => Self::Shared { id: format!("shared/{}", draw.below(SHARED)) },
            _ => {
                let page = draw.below(PAGES.len() as u64);
                let documents = PAGES[usize::try_from(page).expect("an index")];
                Self::Page { ids: (0..documents).map(|of| format!("{side}/page/{page}/{of:03}")).collect() }
            }
        }
    }

    /// What its documents hold of this side afterwards: all of it, or none.
    pub(crate) fn effects(&self, number: u64) -> Vec<(String, Option<u64>)> {
        match self {
            Self::Put { id } | Self::Shared { id } => vec![(id.clone(), Some(number))],
            Self::Remove { id } => vec![(id.clone(), None)],
            Self::Page { ids } => ids.iter().map(|id| (id.clone(), Some(number))).collect(),
            Self::Upkeep => Vec::new(),
        }
    }
}
