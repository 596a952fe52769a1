//! What a command prints: documents for people or as JSON, and how far it is.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Standard output.
pub(crate) struct Output {
    format: Format,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, out: BufWriter::new(io::stdout().lock()) }
    }

    /// Prints one of the two.
    pub(crate) fn print(
        &mut self,
        object: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.line(object),
            Format::Text => writeln!(self.out, "{}", text()).map_err(Failure::Output),
        }
    }

    /// Prints a line of JSON.
    pub(crate) fn line(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        write_line(&mut self.out, object).map_err(Failure::Output)
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(Failure::Output)
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Shows what was printed.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Output)
    }
}

/// Writes a line of JSON.
pub(crate) fn write_line(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

/// A bar on standard error, which is not there without a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    documents: u64,
}

impl Progress {
    /// Of so many bytes, if that is known.
    pub(crate) fn new(bytes: Option<u64>) -> Self {
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{msg} documents  {bar:40} {bytes} of {total_bytes}, {elapsed}, {eta} to go",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {msg} documents, {bytes}, {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, documents: 0 }
    }

    pub(crate) fn advance(&mut self, documents: u64, bytes: u64) {
        self.documents += documents;
        self.bar.set_message(HumanCount(self.documents).to_string());
        self.bar.inc(bytes);
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    pub(crate) fn documents(&self) -> u64 {
        self.documents
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
