//! What is appended to a vector.

use alloc::vec::Vec;
use core::convert::Infallible;

use minicbor::Encoder;

use crate::document::{Document, Dot, State};
use crate::feed::Checkpoint;
use crate::id::Incarnation;
use crate::version_vector::VersionVector;

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
    pub(super) fn after(bytes: Vec<u8>) -> Self {
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

    pub(super) fn state_fields(&mut self, state: &State) -> &mut Self {
        self.flag(state.deleted).bytes(&state.body).bytes(&state.annotations)
    }
}
