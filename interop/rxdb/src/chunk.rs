//! Framing: long messages go in chunks, because not every WebRTC stack takes long ones.
//!
//! RxDB cuts at 16,384 UTF-16 units wherever that falls, even within a character beyond the Basic Multilingual Plane, whose
//! halves then come as escapes of lone surrogates. Joining heals them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

/// The most UTF-16 units of a message that goes whole, and of a chunk's data.
pub const MESSAGE_UNITS_MAX: usize = 16_384;

/// How many messages may be incomplete at a time. RxDB sends the chunks of one without anything in between.
const INCOMPLETE_MAX: usize = 16;

/// What surrounds the data of a chunk, and then some.
const CHUNK_OVERHEAD_BYTES: usize = 160;

/// Chunks that cannot be put together, or not within the bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The chunks together hold more than is accepted.
    #[error("chunks of more than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// Too many messages are incomplete.
    #[error("more than {INCOMPLETE_MAX} messages are incomplete")]
    TooMany,
    /// A chunk that contradicts itself or those before it.
    #[error("a chunk does not belong to its message")]
    Inconsistent,
}

/// The frames of a message: itself, or its chunks. `id` names the message, and no frame has more than `frame_bytes_max` bytes.
pub fn split(message: String, id: &str, frame_bytes_max: usize) -> Vec<String> {
    if message.len() <= MESSAGE_UNITS_MAX.min(frame_bytes_max)
        || (message.len() <= frame_bytes_max && message.encode_utf16().count() <= MESSAGE_UNITS_MAX)
    {
        return vec![message];
    }
    let room = frame_bytes_max - CHUNK_OVERHEAD_BYTES;
    let (mut pieces, mut start, mut units, mut bytes) = (Vec::new(), 0, 0, 0);
    for (position, character) in message.char_indices() {
        let (more_units, more_bytes) = (character.len_utf16(), escaped_bytes(character));
        if units + more_units > MESSAGE_UNITS_MAX || bytes + more_bytes > room {
            pieces.push(&message[start..position]);
            (start, units, bytes) = (position, 0, 0);
        }
        units += more_units;
        bytes += more_bytes;
    }
    pieces.push(&message[start..]);
    let total = pieces.len();
    let frame = |(index, data): (usize, &&str)| {
        let data = crate::message::quoted(data);
        format!(r#"{{"chunk":{{"id":"{id}","index":{index},"total":{total},"data":{data}}}}}"#)
    };
    pieces.iter().enumerate().map(frame).collect()
}

/// How many bytes a character takes within a JSON string, at most.
fn escaped_bytes(character: char) -> usize {
    match character {
        '"' | '\\' => 2,
        '\0'..='\x1f' => 6,
        other => other.len_utf8(),
    }
}

/// Puts chunks together, within bounds.
#[derive(Debug)]
pub struct Assembler {
    bytes_max: usize,
    bytes: usize,
    incomplete: BTreeMap<String, Incomplete>,
}

#[derive(Debug)]
struct Incomplete {
    parts: Vec<Option<Vec<u8>>>,
    missing: usize,
}

impl Assembler {
    /// Accepts messages of at most `bytes_max` bytes, and no more than that of all that are incomplete.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, incomplete: BTreeMap::new() }
    }

    /// Takes a frame. Returns the message that it is or completes, if there is one.
    pub fn take(&mut self, frame: &[u8]) -> Result<Option<String>, ChunkError> {
        if frame.len() > self.bytes_max {
            return Err(ChunkError::TooLarge { bytes_max: self.bytes_max });
        }
        match serde_json::from_slice::<Frame>(frame) {
            Ok(Frame { chunk }) => self.add(chunk),
            Err(_) => Ok(std::str::from_utf8(frame).ok().map(str::to_owned)),
        }
    }

    fn add(&mut self, chunk: Chunk) -> Result<Option<String>, ChunkError> {
        let Chunk { id, index, total, data: Data(data) } = chunk;
        let too_large = ChunkError::TooLarge { bytes_max: self.bytes_max };
        // All chunks but the last are full, except from peers with a smaller frame, which none is by a factor of 16.
        if total > 16 * (self.bytes_max / MESSAGE_UNITS_MAX + 1) {
            return Err(too_large);
        }
        if !self.incomplete.contains_key(&id) && self.incomplete.len() >= INCOMPLETE_MAX {
            return Err(ChunkError::TooMany);
        }
        let message = self
            .incomplete
            .entry(id.clone())
            .or_insert_with(|| Incomplete { parts: vec![None; total], missing: total });
        if message.parts.len() != total || message.parts.get(index).is_none_or(Option::is_some) {
            return Err(ChunkError::Inconsistent);
        }
        self.bytes += data.len();
        if self.bytes > self.bytes_max {
            return Err(too_large);
        }
        message.parts[index] = Some(data);
        message.missing -= 1;
        if message.missing > 0 {
            return Ok(None);
        }
        let whole = self.incomplete.remove(&id).expect("it was there a moment ago");
        let joined: Vec<u8> = whole.parts.into_iter().flatten().flatten().collect();
        self.bytes -= joined.len();
        Ok(String::from_utf8(healed(joined)).ok())
    }
}

/// Joins the halves of characters that were cut in two: a high surrogate and the low one after it, three bytes each, become four.
fn healed(bytes: Vec<u8>) -> Vec<u8> {
    let high = |at: usize| bytes.get(at) == Some(&0xed) && matches!(bytes.get(at + 1), Some(0xa0..=0xaf));
    let low = |at: usize| bytes.get(at) == Some(&0xed) && matches!(bytes.get(at + 1), Some(0xb0..=0xbf));
    if !(0..bytes.len()).any(high) {
        return bytes;
    }
    let unit = |at: usize| u32::from(bytes[at + 1] & 0x3f) << 6 | u32::from(bytes[at + 2] & 0x3f) | 0xd000;
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        if high(at) && low(at + 3) && at + 5 < bytes.len() {
            let pair = [unit(at), unit(at + 3)].map(|unit| u16::try_from(unit).expect("sixteen bits"));
            let character =
                char::decode_utf16(pair).next().and_then(Result::ok).expect("a pair is a character");
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            at += 6;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

#[derive(serde::Deserialize)]
struct Frame {
    chunk: Chunk,
}

#[derive(serde::Deserialize)]
struct Chunk {
    id: String,
    index: usize,
    total: usize,
    data: Data,
}

/// A string whose ends may be halves of characters: three bytes each, as in WTF-8.
struct Data(Vec<u8>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Data;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Data, E> {
                Ok(Data(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As RxDB cuts: by UTF-16 units, with `JSON.stringify` escaping the halves of characters.
    fn as_rxdb_cuts(message: &str, units_max: usize) -> Vec<String> {
        let units: Vec<u16> = message.encode_utf16().collect();
        let total = units.len().div_ceil(units_max);
        let frame = |(index, piece): (usize, &[u16])| {
            let mut data = String::new();
            for decoded in char::decode_utf16(piece.iter().copied()) {
                match decoded {
                    Ok(character) => {
                        let quoted = crate::message::quoted(&character.to_string());
                        data.push_str(&quoted[1..quoted.len() - 1]);
                    }
                    Err(lone) => data.push_str(&format!("\\u{:04x}", lone.unpaired_surrogate())),
                }
            }
            format!(r#"{{"chunk":{{"id":"abcdefghij","index":{index},"total":{total},"data":"{data}"}}}}"#)
        };
        units.chunks(units_max).enumerate().map(frame).collect()
    }

    fn joined(frames: &[String], bytes_max: usize) -> Option<String> {
        let mut assembler = Assembler::new(bytes_max);
        let mut whole = None;
        for frame in frames {
            assert_eq!(whole, None, "nothing follows the last chunk");
            whole = assembler.take(frame.as_bytes()).expect("within the bounds");
        }
        assert_eq!(assembler.bytes, 0);
        whole
    }

    proptest! {
        #[test]
        fn what_is_split_is_joined(
            piece in "[\\x00-\\x20\"\\\\a-zé€😀]{1,40}",
            times in 1usize..3000,
            frame_bytes_max in 1024usize..200_000,
        ) {
            let message = format!("{{\"text\":{}}}", crate::message::quoted(&piece.repeat(times)));
            let frames = split(message.clone(), "abcdefghij", frame_bytes_max);
            for frame in &frames {
                prop_assert!(frame.len() <= frame_bytes_max);
                prop_assert!(frame.encode_utf16().count() <= MESSAGE_UNITS_MAX || frames.len() > 1);
            }
            prop_assert_eq!(joined(&frames, 1 << 20), Some(message));
        }

        #[test]
        fn characters_that_rxdb_cut_in_two_are_healed(text in "[a😀é]{1,60}", units_max in 1usize..8) {
            let message = format!("[\"{text}\"]");
            let frames = as_rxdb_cuts(&message, units_max);
            prop_assert_eq!(joined(&frames, 1 << 20), Some(message));
        }

        #[test]
        fn arbitrary_frames_do_no_harm(frames in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut assembler = Assembler::new(4096);
            for frame in frames {
                let _ = assembler.take(&frame);
            }
        }
    }

    #[test]
    fn chunks_beyond_the_bounds_are_refused() {
        let chunk = |id: &str, index: usize, total: usize, data: &str| {
            format!(r#"{{"chunk":{{"id":"{id}","index":{index},"total":{total},"data":"{data}"}}}}"#)
        };
        let mut assembler = Assembler::new(100_000);
        let half = "x".repeat(60_000);
        assert_eq!(assembler.take(chunk("a", 0, 3, &half).as_bytes()), Ok(None));
        let too_large = Err(ChunkError::TooLarge { bytes_max: 100_000 });
        assert_eq!(assembler.take(chunk("b", 0, 2, &half).as_bytes()), too_large);
        let mut assembler = Assembler::new(100_000);
        assert_eq!(assembler.take(chunk("a", 0, usize::MAX, "x").as_bytes()), too_large);
        for id in 0..INCOMPLETE_MAX {
            assert_eq!(assembler.take(chunk(&id.to_string(), 0, 2, "x").as_bytes()), Ok(None));
        }
        assert_eq!(assembler.take(chunk("more", 0, 2, "x").as_bytes()), Err(ChunkError::TooMany));
        assert_eq!(assembler.take(chunk("1", 0, 2, "x").as_bytes()), Err(ChunkError::Inconsistent));
        assert_eq!(assembler.take(chunk("1", 2, 2, "x").as_bytes()), Err(ChunkError::Inconsistent));
        assert_eq!(assembler.take(chunk("1", 1, 3, "x").as_bytes()), Err(ChunkError::Inconsistent));
    }
}
