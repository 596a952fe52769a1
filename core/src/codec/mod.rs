//! Encoding to and from CBOR (RFC 8949), for the wire and for disks.
//!
//! CBOR because it is a standard with a library in every language, sized by content, and because byte strings
//! stand in it verbatim: bodies are sliced out of the buffer that came in. The codec is `minicbor`; this module adds
//! the bounds: whatever a length claims, nothing is allocated beyond what the input could hold.
//!
//! Only arrays of fixed shape, integers, booleans, byte and text strings and null are used.

mod reader;
mod record;
mod writer;

use alloc::string::String;

pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

use crate::document::MalformedDocument;
use crate::id::InvalidName;
use crate::stamp::MalformedStamp;

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
    /// A stamp of 2^63 or above.
    #[error(transparent)]
    Stamp(#[from] MalformedStamp),
    /// A name that breaks its rules.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A document whose heads do not belong to its context.
    #[error(transparent)]
    Document(#[from] MalformedDocument),
}
