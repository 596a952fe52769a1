//! Encoding to and from CBOR (RFC 8949), for the wire and for disks.
//!
//! CBOR because it is a standard with a library in every language, sized by content, and because byte strings
//! stand in it verbatim: bodies are sliced out of the buffer that came in. The codec is `minicbor`; this module adds
//! the bounds: whatever a length claims, nothing is allocated beyond what the input could hold.
//!
//! Only arrays of fixed shape, integers, booleans, byte and text strings and null are used.

use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;

use bytes::Bytes;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use smallvec::SmallVec;

use crate::document::{Document, Dot, Head, Heads, MalformedDocument, Record, State};
use crate::feed::{Checkpoint, Sequence};
use crate::id::{DocumentId, Incarnation, InvalidName};
use crate::stamp::{MalformedStamp, Stamp};
use crate::version_vector::{Context, VersionVector};

/// Bytes that are not what they should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not the CBOR that was expected at this place, or cut short.
    #[error("not the expected encoding at byte {position}: {detail}")]
    Encoding {
        /// Where.
        position: usize,
        /// What was wrong.
        detail: String,
    },
    /// An array has another length than its shape asks for, or than the input can hold.
    #[error("an array of {found} items at byte {position}, where that cannot be")]
    ArrayLength {
        /// Where.
        position: usize,
        /// The length found.
        found: u64,
    },
    /// Something follows the end.
    #[error("{bytes} bytes follow the end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A number that means nothing here.
    #[error("{what} cannot be {number}")]
    Number {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        number: u64,
    },
    /// The entries of a version vector are not in ascending order.
    #[error("the entries of a version vector are not in ascending order")]
    VectorOrder,
    /// A stamp of 2^63 or above, or zero where a write must be.
    #[error(transparent)]
    Stamp(#[from] MalformedStamp),
    /// A name that breaks its rules.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A document whose heads do not belong to its context.
    #[error(transparent)]
    Document(#[from] MalformedDocument),
}

/// Appends values to a vector.
#[derive(Debug)]
pub(crate) struct Writer {
    encoder: Encoder<Buffer>,
}

/// A vector to which a few bytes are appended in place. As a vector does it by itself, each is a call, and a document has twenty.
#[derive(Debug)]
struct Buffer(Vec<u8>);

impl minicbor::encode::Write for Buffer {
    type Error = Infallible;

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Writing to a vector cannot fail; this says so once.
#[inline]
fn written(result: Result<&mut Encoder<Buffer>, minicbor::encode::Error<Infallible>>) {
    result.expect("a vector takes every byte");
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self::after(Vec::with_capacity(bytes))
    }

    /// Goes on after what is there.
    fn after(bytes: Vec<u8>) -> Self {
        Self { encoder: Encoder::new(Buffer(bytes)) }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.encoder.into_writer().0
    }

    pub(crate) fn array(&mut self, items: usize) -> &mut Self {
        written(self.encoder.array(items as u64));
        self
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        written(self.encoder.u64(number));
        self
    }

    /// A number of any size: zigzag, and as 16 bytes where that does not fit 64 bits.
    pub(crate) fn signed(&mut self, number: i128) -> &mut Self {
        let zigzag = (number << 1 ^ number >> 127).cast_unsigned();
        match u64::try_from(zigzag) {
            Ok(small) => self.number(small),
            Err(_) => self.bytes(&zigzag.to_be_bytes()),
        }
    }

    pub(crate) fn flag(&mut self, flag: bool) -> &mut Self {
        written(self.encoder.bool(flag));
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        written(self.encoder.bytes(bytes));
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        written(self.encoder.str(text));
        self
    }

    /// Null for `None`, else what `write` appends.
    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            None => written(self.encoder.null()),
            Some(value) => write(self, value),
        }
        self
    }

    /// A flat array: incarnation, stamp, incarnation, stamp, …
    pub(crate) fn vector(&mut self, vector: &VersionVector) -> &mut Self {
        self.array(2 * vector.len());
        for (incarnation, stamp) in vector.iter() {
            self.number(incarnation.number()).number(stamp.number());
        }
        self
    }

    /// Incarnation, stamp.
    pub(crate) fn dot(&mut self, dot: Dot) -> &mut Self {
        self.number(dot.incarnation.number()).number(dot.stamp.number())
    }

    pub(crate) fn checkpoint(&mut self, checkpoint: &Checkpoint) -> &mut Self {
        self.array(3).number(checkpoint.incarnation.number());
        self.number(checkpoint.end.number()).number(checkpoint.sequence.number())
    }

    /// `[context, heads]`; an incarnation is written as the number that `name` gives it.
    ///
    /// A head names its incarnation by the place in the context, and its stamp by the distance below the context's
    /// entry, which is zero for nearly all.
    pub(crate) fn document(&mut self, document: &Document, name: impl Fn(Incarnation) -> u64) -> &mut Self {
        let context = document.context();
        self.array(2).array(2 * context.len());
        for (incarnation, stamp) in context.iter() {
            self.number(name(incarnation)).number(stamp.number());
        }
        self.array(document.heads().len());
        for head in document.heads() {
            let index = context.index_of(head.dot.incarnation).expect("a head lies in its context");
            let below = context.stamp(head.dot.incarnation).number() - head.dot.stamp.number();
            self.array(5).number(index as u64).number(below);
            self.state_fields(&head.state);
        }
        self
    }

    fn state_fields(&mut self, state: &State) -> &mut Self {
        self.flag(state.deleted).bytes(&state.body).bytes(&state.annotations)
    }
}

/// Takes values out of a buffer, in order.
#[derive(Debug)]
pub(crate) struct Reader<'b> {
    buffer: &'b [u8],
    /// The same buffer, if byte strings are to be slices of it rather than copies.
    shared: Option<&'b Bytes>,
    decoder: Decoder<'b>,
}

impl<'b> Reader<'b> {
    /// Byte strings will be slices, which keep the whole buffer.
    pub(crate) fn new(buffer: &'b Bytes) -> Self {
        Self { buffer, shared: Some(buffer), decoder: Decoder::new(buffer) }
    }

    /// Byte strings will be copies.
    fn copying(buffer: &'b [u8]) -> Self {
        Self { buffer, shared: None, decoder: Decoder::new(buffer) }
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }

    /// How many bytes are left.
    pub(crate) fn rest(&self) -> usize {
        self.buffer.len() - self.decoder.position()
    }

    fn error(position: usize, error: &minicbor::decode::Error) -> DecodeError {
        use alloc::string::ToString;
        DecodeError::Encoding { position, detail: error.to_string() }
    }

    fn take<T>(
        &mut self,
        decode: impl FnOnce(&mut Decoder<'b>) -> Result<T, minicbor::decode::Error>,
    ) -> Result<T, DecodeError> {
        let position = self.decoder.position();
        decode(&mut self.decoder).map_err(|error| Self::error(position, &error))
    }

    /// The length of an array, never more than the rest of the input could hold.
    pub(crate) fn array(&mut self) -> Result<usize, DecodeError> {
        let position = self.decoder.position();
        let found = self.take(Decoder::array)?;
        match found {
            Some(found) if found <= self.rest() as u64 => Ok(found as usize),
            Some(found) => Err(DecodeError::ArrayLength { position, found }),
            None => Err(DecodeError::Encoding { position, detail: "an array of indefinite length".into() }),
        }
    }

    pub(crate) fn array_of(&mut self, items: usize) -> Result<(), DecodeError> {
        let position = self.decoder.position();
        match self.array()? {
            found if found == items => Ok(()),
            found => Err(DecodeError::ArrayLength { position, found: found as u64 }),
        }
    }

    /// An array of at least `items`. Returns how many more there are, which a later version added.
    pub(crate) fn array_of_at_least(&mut self, items: usize) -> Result<usize, DecodeError> {
        let position = self.decoder.position();
        let found = self.array()?;
        found.checked_sub(items).ok_or(DecodeError::ArrayLength { position, found: found as u64 })
    }

    /// Passes over values that a later version added.
    pub(crate) fn skip(&mut self, items: usize) -> Result<(), DecodeError> {
        (0..items).try_for_each(|_| self.take(Decoder::skip))
    }

    pub(crate) fn number(&mut self) -> Result<u64, DecodeError> {
        self.take(Decoder::u64)
    }

    pub(crate) fn signed(&mut self) -> Result<i128, DecodeError> {
        let zigzag = match self.take(|decoder| decoder.datatype())? {
            Type::Bytes => u128::from_be_bytes(self.bytes_of()?),
            _ => self.number()?.into(),
        };
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    pub(crate) fn number_u32(&mut self) -> Result<u32, DecodeError> {
        self.take(Decoder::u32)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        self.take(Decoder::bool)
    }

    /// A byte string, sliced out of the buffer or copied.
    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let slice = self.take(Decoder::bytes)?;
        Ok(match self.shared {
            Some(shared) => shared.slice_ref(slice),
            None => Bytes::copy_from_slice(slice),
        })
    }

    /// A byte string of a length fixed by its type.
    pub(crate) fn bytes_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let position = self.decoder.position();
        let slice = self.take(Decoder::bytes)?;
        slice
            .try_into()
            .map_err(|_| DecodeError::Encoding { position, detail: "a byte string of another length".into() })
    }

    pub(crate) fn text(&mut self) -> Result<&'b str, DecodeError> {
        self.take(Decoder::str)
    }

    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.take(|decoder| decoder.datatype())? == Type::Null {
            self.take(Decoder::null)?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// Whether an array comes next.
    pub(crate) fn at_array(&mut self) -> Result<bool, DecodeError> {
        Ok(matches!(self.take(|decoder| decoder.datatype())?, Type::Array))
    }

    pub(crate) fn dot(&mut self) -> Result<Dot, DecodeError> {
        Ok(Dot { incarnation: self.incarnation()?, stamp: self.stamp()? })
    }

    /// A flat array: incarnation, stamp, incarnation, stamp, …
    pub(crate) fn dots(&mut self) -> Result<Vec<Dot>, DecodeError> {
        let position = self.decoder.position();
        let items = self.array()?;
        if !items.is_multiple_of(2) {
            return Err(DecodeError::ArrayLength { position, found: items as u64 });
        }
        (0..items / 2).map(|_| self.dot()).collect()
    }

    pub(crate) fn stamp(&mut self) -> Result<Stamp, DecodeError> {
        Ok(Stamp::new(self.number()?)?)
    }

    pub(crate) fn incarnation(&mut self) -> Result<Incarnation, DecodeError> {
        self.number().map(Incarnation::new)
    }

    pub(crate) fn document_id(&mut self) -> Result<DocumentId, DecodeError> {
        Ok(DocumentId::new(self.text()?)?)
    }

    pub(crate) fn vector<V: FromIterator<(Incarnation, Stamp)>>(&mut self) -> Result<V, DecodeError> {
        self.vector_named(|number| Ok(Incarnation::new(number)))
    }

    fn vector_named<V: FromIterator<(Incarnation, Stamp)>>(
        &mut self,
        named: impl Fn(u64) -> Result<Incarnation, DecodeError>,
    ) -> Result<V, DecodeError> {
        let position = self.decoder.position();
        let items = self.array()?;
        if !items.is_multiple_of(2) {
            return Err(DecodeError::ArrayLength { position, found: items as u64 });
        }
        let mut entries: SmallVec<[(Incarnation, Stamp); 1]> = SmallVec::with_capacity(items / 2);
        for _ in 0..items / 2 {
            let incarnation = named(self.number()?)?;
            let stamp = self.stamp()?;
            if stamp == Stamp::ZERO {
                return Err(MalformedStamp(0).into());
            }
            if entries.last().is_some_and(|last| last.0 >= incarnation) {
                return Err(DecodeError::VectorOrder);
            }
            entries.push((incarnation, stamp));
        }
        Ok(entries.into_iter().collect())
    }

    pub(crate) fn checkpoint(&mut self) -> Result<Checkpoint, DecodeError> {
        self.array_of(3)?;
        let (incarnation, end, sequence) = (self.incarnation()?, self.number()?, self.number()?);
        if sequence > end {
            return Err(DecodeError::Number {
                what: "a checkpoint's sequence beyond its end",
                number: sequence,
            });
        }
        Ok(Checkpoint { incarnation, end: Sequence::new(end), sequence: Sequence::new(sequence) })
    }

    pub(crate) fn document(
        &mut self,
        named: impl Fn(u64) -> Result<Incarnation, DecodeError>,
    ) -> Result<Document, DecodeError> {
        self.array_of(2)?;
        let context: Context = self.vector_named(named)?;
        let count = self.array()?;
        let mut heads = Heads::new();
        for _ in 0..count {
            heads.push(self.head(&context)?);
        }
        Ok(Document::of(context, heads)?)
    }

    fn head(&mut self, context: &Context) -> Result<Head, DecodeError> {
        self.array_of(5)?;
        let (index, below) = (self.number()?, self.number()?);
        let (incarnation, newest) =
            usize::try_from(index)
                .ok()
                .and_then(|index| context.iter().nth(index))
                .ok_or(DecodeError::Number { what: "the place of a head in its context", number: index })?;
        let stamp = newest
            .number()
            .checked_sub(below)
            .ok_or(DecodeError::Number { what: "the distance of a head below its context", number: below })?;
        let dot = Dot { incarnation, stamp: Stamp::new(stamp)? };
        Ok(Head { dot, state: self.state_fields()? })
    }

    fn state_fields(&mut self) -> Result<State, DecodeError> {
        Ok(State { deleted: self.flag()?, body: self.bytes()?, annotations: self.bytes()? })
    }
}

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
    use super::*;

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
