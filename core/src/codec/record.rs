//! Records as they lie on disks.

use alloc::vec::Vec;

use super::{DecodeError, Reader, Writer};
use crate::document::Record;
use crate::feed::Sequence;
use crate::id::{DocumentId, Incarnation};

/// The encoding of records for disks, for adapters that keep bytes. Its version is
/// [`Record::FORMAT`], which an adapter writes beside its own.
impl Record {
    /// The version of [`Record::encode`].
    pub const FORMAT: u32 = 1;

    /// Everything but the id, which is the key: `[sequence, [context, heads], resolved]`.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes() + 64);
        self.encode_to(&mut bytes);
        bytes
    }

    /// Appends what [`Record::encode`] returns, for a buffer that is used again.
    pub fn encode_to(&self, bytes: &mut Vec<u8>) {
        let mut writer = Writer::after(core::mem::take(bytes));
        writer.array(3).number(self.sequence.number()).document(&self.document, Incarnation::number);
        writer.optional(self.resolved.as_ref(), |writer, state| {
            writer.array(3).state_fields(state);
        });
        *bytes = writer.finish();
    }

    /// Reads back what [`Record::encode`] wrote. Bodies are copies, so that a record keeps no more of a cache or a page in memory
    /// than its own.
    ///
    /// # Errors
    ///
    /// Fails on anything that `encode` cannot have written, which means that the disk is damaged.
    pub fn decode(id: DocumentId, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::copying(bytes);
        reader.array_of(3)?;
        let sequence = Sequence::new(reader.number()?);
        let document = reader.document(|number| Ok(Incarnation::new(number)))?;
        let resolved = reader.optional(|reader| {
            reader.array_of(3)?;
            reader.state_fields()
        })?;
        reader.finish()?;
        Ok(Self { id, sequence, document, resolved })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::document::{Document, Dot, Head, State};
    use crate::stamp::Stamp;

    fn record() -> Record {
        let head = |incarnation, stamp, body: &'static [u8]| Head {
            dot: Dot { incarnation: Incarnation::new(incarnation), stamp: Stamp::new(stamp).expect("small") },
            state: State { deleted: false, body: Bytes::from_static(body), annotations: Bytes::new() },
        };
        let heads = alloc::vec![head(7, 3, b"one"), head(2, 9, b"two")];
        let context = [(7, 5), (2, 9), (1, 1)]
            .map(|(incarnation, stamp)| (Incarnation::new(incarnation), Stamp::new(stamp).expect("small")));
        Record {
            id: DocumentId::new("a").expect("valid"),
            sequence: Sequence::new(12),
            document: Document::new(context.into_iter().collect(), heads).expect("well-formed"),
            resolved: Some(State { deleted: true, ..State::default() }),
        }
    }

    #[test]
    fn a_record_survives_the_disk() {
        let record = record();
        assert_eq!(Record::decode(record.id.clone(), &record.encode()), Ok(record));
    }

    #[test]
    fn a_damaged_record_is_an_error_or_another_record_and_never_a_panic() {
        let record = record();
        let bytes = record.encode();
        for cut in 0..bytes.len() {
            assert!(Record::decode(record.id.clone(), &bytes[..cut]).is_err());
        }
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                if let Ok(other) = Record::decode(record.id.clone(), &damaged) {
                    assert_ne!(other, record);
                }
            }
        }
    }

    #[test]
    fn a_length_that_the_input_cannot_hold_is_refused_before_anything_is_allocated() {
        // An array that claims 2^32 items.
        let bytes = [0x83, 0x01, 0x82, 0x9b, 0, 0, 0, 1, 0, 0, 0, 0];
        let decoded = Record::decode(DocumentId::new("a").expect("valid"), &bytes);
        assert_eq!(decoded, Err(DecodeError::ArrayLength { position: 3, found: 1 << 32 }));
    }
}
