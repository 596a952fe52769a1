//! Past views: what a document looked like before, for peers that speak another dialect and may hand an old view back.
//!
//! A peer without causality cannot say whether a state is its own edit or something that it was shown. What it was shown is
//! recognized by these. A replica keeps them once it was told to, for ever: what is shown while nobody keeps them is not
//! recognized later.

use alloc::collections::VecDeque;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::State;
use crate::codec::{DecodeError, Reader, Writer};
use crate::id::DocumentId;
use crate::version_vector::Context;

/// The most past views that are kept of a document.
pub const PAST_VIEWS_MAX: usize = 16;

/// A view that a document had.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PastView {
    /// Every write that it included.
    pub context: Context,
    /// What it was, by [`view_digest`].
    pub digest: [u8; 32],
    /// What the conflict handler had noted.
    pub annotations: Bytes,
}

/// The views that a document had before its present one, as far as they are kept.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct PastViews {
    /// The views, oldest first.
    pub views: VecDeque<PastView>,
    /// The body of the last that had any: a removal leaves a document without.
    pub last_body: Bytes,
}

/// Tells views apart by what applications see of them.
pub fn view_digest(deleted: bool, body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([u8::from(deleted)]).chain_update(body).finalize().into()
}

/// Where the past views of a document are kept in the metadata.
pub fn past_views_key(id: &DocumentId) -> Bytes {
    [b"v", id.as_bytes()].concat().into()
}

impl PastViews {
    /// Reads them back.
    pub fn from_value(value: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        reader.array_of(2)?;
        let last_body = reader.bytes()?;
        let items = reader.array()?;
        let view = |reader: &mut Reader<'_>| {
            reader.array_of(3)?;
            let context = reader.vector()?;
            Ok(PastView { context, digest: reader.bytes_of()?, annotations: reader.bytes()? })
        };
        let views = (0..items).map(|_| view(&mut reader)).collect::<Result<_, DecodeError>>()?;
        reader.finish()?;
        Ok(Self { views, last_body })
    }

    pub(super) fn to_value(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64 + self.last_body.len() + 80 * self.views.len());
        writer.array(2).bytes(&self.last_body).array(self.views.len());
        for view in &self.views {
            writer.array(3).vector(&view.context).bytes(&view.digest).bytes(&view.annotations);
        }
        writer.finish().into()
    }

    /// A view is no longer the present one.
    pub(super) fn add(&mut self, context: Context, view: &State) {
        if !view.body.is_empty() {
            self.last_body = view.body.clone();
        }
        if self.views.len() >= PAST_VIEWS_MAX {
            self.views.pop_front();
        }
        let digest = view_digest(view.deleted, &view.body);
        self.views.push_back(PastView { context, digest, annotations: view.annotations.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, Stamp};

    #[test]
    fn the_last_sixteen_views_survive_the_disk_and_older_ones_are_forgotten() {
        let mut past = PastViews::default();
        for number in 1..=20u64 {
            let stamp = Stamp::new(number).expect("small");
            let context = core::iter::once((Incarnation::new(7), stamp)).collect();
            let body = alloc::format!("{number}").into();
            past.add(context, &State { deleted: false, body, annotations: Bytes::from_static(b"a") });
        }
        past.add(Context::default(), &State { deleted: true, ..State::default() });
        assert_eq!(past.views.len(), PAST_VIEWS_MAX);
        assert_eq!(past.last_body, "20");
        assert_eq!(past.views[0].digest, view_digest(false, b"6"));
        assert_eq!(PastViews::from_value(&past.to_value()), Ok(past));
    }
}
