//! Reading lines that are bounded, from files and sockets.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The most bytes of a line. The largest document that replicates has 64 MiB, which base64 makes a third longer.
pub(crate) const LINE_BYTES_MAX: usize = 88 << 20;

/// The lines of something, counted from one.
pub(crate) struct Lines<R> {
    reader: R,
    number: u64,
    line: Vec<u8>,
}

/// A line without its end.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Line<'l> {
    Whole(&'l [u8]),
    /// It was longer than [`LINE_BYTES_MAX`], and is skipped.
    TooLong,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, number: 0, line: Vec::new() }
    }

    /// The number of the line that was read last.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The next line, `None` at the end. What follows the last line's end is a line if it is not empty.
    ///
    /// Not cancel-safe: a part of a line may be lost.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.number += 1;
        let (mut any, mut too_long) = (false, false);
        loop {
            let read = self.reader.fill_buf().await?;
            if read.is_empty() {
                break;
            }
            any = true;
            let end = read.iter().position(|byte| *byte == b'\n');
            let part = &read[..end.unwrap_or(read.len())];
            too_long |= self.line.len() + part.len() > LINE_BYTES_MAX;
            if !too_long {
                self.line.extend_from_slice(part);
            }
            let consumed = end.map_or(read.len(), |end| end + 1);
            self.reader.consume(consumed);
            if end.is_some() {
                break;
            }
        }
        Ok(match (any, too_long) {
            (false, _) => None,
            (true, true) => Some(Line::TooLong),
            (true, false) => Some(Line::Whole(self.line.strip_suffix(b"\r").unwrap_or(&self.line))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_counted_and_the_last_needs_no_end() {
        let mut lines = Lines::new(&b"one\r\n\ntwo\nthree"[..]);
        let mut found = Vec::new();
        while let Some(Line::Whole(line)) = lines.next().await.unwrap() {
            found.push(String::from_utf8(line.to_owned()).unwrap());
            assert_eq!(lines.number(), found.len() as u64);
        }
        assert_eq!(found, ["one", "", "two", "three"]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 1];
        text.extend_from_slice(b"\nshort\n");
        let mut lines = Lines::new(&text[..]);
        assert_eq!(lines.next().await.unwrap(), Some(Line::TooLong));
        assert_eq!(lines.next().await.unwrap(), Some(Line::Whole(b"short")));
        assert_eq!(lines.next().await.unwrap(), None);
    }
}
