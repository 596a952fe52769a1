//! Frames: messages cut to what the connection carries, and put together again.
//!
//! A frame is one message of the transport. Its first byte tells what follows; none is `{`, which begins an RxDB
//! peer's first message.
//!
//! | first byte | then |
//! |---|---|
//! | 1 | a whole message |
//! | 2 | the message's length (4 bytes, big-endian) and its first part |
//! | 3 | the next part; the message is whole when its length is reached |

use bytes::{BufMut, Bytes, BytesMut};

pub(super) const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const NEXT: u8 = 3;

/// Bytes before the content of a first part.
const FIRST_HEADER_BYTES: usize = 5;

/// Frames that do not make a message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame without a byte.
    #[error("an empty frame")]
    Empty,
    /// The first byte is none that is known.
    #[error("a frame that begins with the byte {0}")]
    UnknownKind(u8),
    /// The message is longer than was agreed.
    #[error("a message of {bytes} bytes, where {bytes_max} are allowed")]
    MessageTooLarge {
        /// Its length, as declared.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A part where none was due, or a whole message between two parts, or more bytes than declared.
    #[error("parts of a message that do not fit together")]
    OutOfPlace,
}

/// Cuts one message into frames.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Fragments {
    message: Bytes,
    sent: usize,
}

impl Fragments {
    pub(crate) fn new(message: Bytes) -> Self {
        assert!(u32::try_from(message.len()).is_ok(), "messages are far below 4 GiB");
        Self { message, sent: 0 }
    }

    pub(crate) fn is_begun(&self) -> bool {
        self.sent > 0
    }

    pub(crate) fn bytes_left(&self) -> usize {
        self.message.len() - self.sent
    }

    /// The next frame, and whether it was the last.
    pub(crate) fn next(&mut self, frame_bytes_max: usize) -> (Bytes, bool) {
        assert!(frame_bytes_max > FIRST_HEADER_BYTES, "a frame has room for its header");
        let total = self.message.len();
        let (kind, header) = match self.sent {
            0 if total < frame_bytes_max => (WHOLE, 1),
            0 => (FIRST, FIRST_HEADER_BYTES),
            _ => (NEXT, 1),
        };
        let part = self.bytes_left().min(frame_bytes_max - header);
        let mut frame = BytesMut::with_capacity(header + part);
        frame.put_u8(kind);
        if kind == FIRST {
            frame.put_u32(total as u32);
        }
        frame.put_slice(&self.message[self.sent..self.sent + part]);
        self.sent += part;
        (frame.freeze(), self.sent == total)
    }
}

/// Puts messages together from frames. Holds at most one message in parts.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Assembler {
    total: usize,
    parts: BytesMut,
}

impl Assembler {
    /// Takes a frame; returns the message that it completes.
    pub(crate) fn accept(
        &mut self,
        frame: &Bytes,
        message_bytes_max: usize,
    ) -> Result<Option<Bytes>, FrameError> {
        let kind = *frame.first().ok_or(FrameError::Empty)?;
        let within = |bytes: usize| match bytes {
            0 => Err(FrameError::Empty),
            _ if bytes > message_bytes_max => {
                Err(FrameError::MessageTooLarge { bytes, bytes_max: message_bytes_max })
            }
            _ => Ok(bytes),
        };
        match kind {
            WHOLE if self.total == 0 => within(frame.len() - 1).map(|_| Some(frame.slice(1..))),
            FIRST if self.total == 0 && frame.len() > FIRST_HEADER_BYTES => {
                let declared = u32::from_be_bytes(frame[1..5].try_into().expect("four bytes"));
                self.total = within(declared as usize)?;
                // Grows with what arrives, not with what was declared.
                self.take(&frame[FIRST_HEADER_BYTES..])
            }
            NEXT if self.total > 0 && frame.len() > 1 => self.take(&frame[1..]),
            WHOLE | FIRST | NEXT => Err(FrameError::OutOfPlace),
            other => Err(FrameError::UnknownKind(other)),
        }
    }

    fn take(&mut self, part: &[u8]) -> Result<Option<Bytes>, FrameError> {
        self.parts.extend_from_slice(part);
        if self.parts.len() > self.total {
            return Err(FrameError::OutOfPlace);
        }
        if self.parts.len() < self.total {
            return Ok(None);
        }
        self.total = 0;
        Ok(Some(core::mem::take(&mut self.parts).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_messages_cut_at_any_size_come_out_as_they_went_in(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..5),
            frame_bytes_max in 6usize..200,
        ) {
            let mut assembler = Assembler::default();
            for message in messages {
                let mut fragments = Fragments::new(Bytes::from(message.clone()));
                let received = loop {
                    let (frame, last) = fragments.next(frame_bytes_max);
                    let is_json = frame[0] == b'{';
                    prop_assert!(frame.len() <= frame_bytes_max && !is_json);
                    let received = assembler.accept(&frame, 300).expect("honest frames");
                    prop_assert_eq!(received.is_some(), last);
                    if let Some(received) = received {
                        break received;
                    }
                };
                prop_assert_eq!(received, message);
            }
        }

        #[test]
        fn garbage_never_panics_and_never_holds_more_than_the_limit(
            frames in proptest::collection::vec(proptest::collection::vec(0u8..5, 0..40), 0..40),
        ) {
            let mut assembler = Assembler::default();
            for frame in frames {
                let accepted = assembler.accept(&Bytes::from(frame), 64);
                prop_assert!(assembler.parts.len() <= 64 + 40);
                if accepted.is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_at_its_first_frame() {
        let mut fragments = Fragments::new(Bytes::from(Vec::from([7; 100])));
        let (first, _) = fragments.next(20);
        let refused = Assembler::default().accept(&first, 99);
        assert_eq!(refused, Err(FrameError::MessageTooLarge { bytes: 100, bytes_max: 99 }));
    }
}
