//! Pages of metadata.

use std::num::NonZeroU32;
use std::ops::Bound;

use bytes::Bytes;
use peerloom_core::StorageError;

/// The entries that [`Store::metadata`](peerloom_core::Store::metadata) gives, from those that `entries` walks in ascending order from the
/// key that it is given.
///
/// # Errors
///
/// The first that `entries` gives within the page.
pub fn metadata_page<'a, E>(
    prefix: &'a [u8],
    after: Option<&'a [u8]>,
    entries_max: NonZeroU32,
    entries: impl FnOnce(Bound<&'a [u8]>) -> E,
) -> Result<Vec<(Bytes, Bytes)>, StorageError>
where
    E: Iterator<Item = Result<(Bytes, Bytes), StorageError>>,
{
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    // The keys with a prefix follow each other, so the first without it is the end, and no upper bound is needed.
    let has_prefix =
        |entry: &Result<(Bytes, _), _>| entry.as_ref().map_or(true, |(key, _)| key.starts_with(prefix));
    entries(start).take(entries_max.get() as usize).take_while(has_prefix).collect()
}
