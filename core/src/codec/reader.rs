//! What is taken out of a buffer.

use alloc::vec::Vec;

use bytes::Bytes;
use minicbor::Decoder;
use minicbor::data::Type;
use smallvec::SmallVec;

use super::DecodeError;
use crate::document::{Document, Dot, Head, Heads, State};
use crate::feed::{Checkpoint, Sequence};
use crate::id::{DocumentId, Incarnation};
use crate::stamp::Stamp;
use crate::version_vector::Context;

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
    pub(super) fn copying(buffer: &'b [u8]) -> Self {
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
                return Err(DecodeError::Number { what: "the stamp of an entry", number: 0 });
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

    pub(super) fn state_fields(&mut self) -> Result<State, DecodeError> {
        Ok(State { deleted: self.flag()?, body: self.bytes()?, annotations: self.bytes()? })
    }
}
