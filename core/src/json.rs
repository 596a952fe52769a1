//! Canonical JSON: the bodies that the JSON API writes, the same bytes for equal documents in any language.
//!
//! The form is RFC 8785 (JSON Canonicalization Scheme): no white space, object keys in the order of their UTF-16
//! code units, the fewest escapes, and numbers as ECMAScript prints them, with one difference: an integer that fits
//! `i64` or `u64` is written exactly, where RFC 8785 would round it to a double. So both agree up to 2^53, and on
//! every float.
//!
//! Reading is strict where `serde_json` is lenient: it refuses an integer that would be rounded and a key that stands
//! twice, and it rounds a float literal to the nearest double, without which writing what was read could change it.
//! `serde_json` offers no hook for these (a visitor never sees the literal of a number), so this module parses the
//! structure and the numbers itself and leaves only escapes in strings to it.
//!
//! Works whether or not `serde_json`'s feature `preserve_order` is on. Its feature `arbitrary_precision` is not
//! supported: a number that only this feature can hold is rounded to a double.
//!
//! Not in here: schemas, streaming, formatting for people, and Unicode normalization, which RFC 8785 rules out.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may nest. The limit of `serde_json`, so that it reads whatever this module writes.
pub const DEPTH_MAX: usize = 127;

/// The most characters of the input that an error repeats.
const EXCERPT_CHARS_MAX: usize = 40;

/// Why a text could not be read, or a value not be written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// JSON is UTF-8.
    #[error("not UTF-8 from byte {position} on")]
    NotUtf8 {
        /// The first byte that is not, counted from zero.
        position: usize,
    },
    /// Not JSON.
    #[error("expected {expected} at byte {position}")]
    Syntax {
        /// Where, counted from zero.
        position: usize,
        /// What JSON has at this place.
        expected: &'static str,
    },
    /// A string with a control character, an unknown escape or half a surrogate pair.
    #[error("the string at byte {position} is malformed: {detail}")]
    MalformedString {
        /// Where it starts, counted from zero.
        position: usize,
        /// What was wrong.
        detail: String,
    },
    /// An integer that neither `i64` nor `u64` holds, and a double only rounded.
    #[error(
        "the integer {literal} would be rounded: write it as a string to keep every digit, or with a \
         decimal point or an exponent to have the nearest double"
    )]
    IntegerOutOfRange {
        /// The integer, cut short if it is long.
        literal: String,
    },
    /// A number larger than any double.
    #[error("the number {literal} is too large for a double: write it as a string")]
    NumberTooLarge {
        /// The number, cut short if it is long.
        literal: String,
    },
    /// An object has a key twice. Which value counts would depend on the reader.
    #[error("an object has the key {key:?} twice: keep one of them")]
    DuplicateKey {
        /// The key, cut short if it is long.
        key: String,
    },
    /// Arrays and objects nest deeper than [`DEPTH_MAX`].
    #[error("arrays and objects nest deeper than {DEPTH_MAX} levels: make the document flatter")]
    TooDeep,
}

/// The canonical form of a value.
///
/// Values that differ only in the order of keys, or in `1` against `1.0` and `0` against `-0.0`, have the same form.
/// [`parse`] reads it back to a value of the same form. An integral float beyond 2^53 prints as in ECMAScript, which
/// need not show all its digits, and may be read back as the integer that is printed: it still rounds to that float.
///
/// # Errors
///
/// [`JsonError::TooDeep`] beyond [`DEPTH_MAX`] levels, before the stack is in danger.
///
/// ```
/// use peerloom_core::json;
/// use serde_json::json;
///
/// let body = json::to_canonical(&json!({ "title": "Éclair", "count": 9_007_199_254_740_993_u64, "price": 2.50 }))?;
/// assert_eq!(body, r#"{"count":9007199254740993,"price":2.5,"title":"Éclair"}"#);
/// # Ok::<(), json::JsonError>(())
/// ```
pub fn to_canonical(value: &Value) -> Result<Bytes, JsonError> {
    let mut out = Vec::new();
    write_value(&mut out, value, 0)?;
    Ok(out.into())
}

/// Reads one JSON value, in canonical form or not.
///
/// An integer literal (without point or exponent) is exact: it fits `i64` or `u64`, or is digit by digit what the
/// nearest double prints in canonical form, such as `100000000000000000000`, and then is that double. Every other
/// number is the nearest double, which may be zero.
///
/// # Errors
///
/// Anything but strict JSON (RFC 8259), a number that does not fit, a key that stands twice in an object, and nesting
/// beyond [`DEPTH_MAX`].
///
/// ```
/// use peerloom_core::json;
/// assert_eq!(json::parse(b" { \"count\": 18446744073709551615 } ")?["count"], u64::MAX);
/// assert!(json::parse(b"18446744073709551616").is_err());
/// # Ok::<(), json::JsonError>(())
/// ```
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let text =
        core::str::from_utf8(text).map_err(|error| JsonError::NotUtf8 { position: error.valid_up_to() })?;
    let mut parser = Parser { text, position: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.expected("the end of the text")),
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), JsonError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Number(number) => write_number(out, number)?,
        Value::String(string) => write_string(out, string),
        Value::Array(items) => {
            let depth = deeper(depth)?;
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                separate(out, index);
                write_value(out, item, depth)?;
            }
            out.push(b']');
        }
        Value::Object(entries) => {
            let depth = deeper(depth)?;
            // The map is sorted by UTF-8, or not at all: characters beyond U+FFFF come before U+E000 in UTF-16.
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_unstable_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            out.push(b'{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                separate(out, index);
                write_string(out, key);
                out.push(b':');
                write_value(out, value, depth)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn write_number(out: &mut Vec<u8>, number: &Number) -> Result<(), JsonError> {
    if let Some(integer) = number.as_i64() {
        out.extend_from_slice(integer.to_string().as_bytes());
    } else if let Some(integer) = number.as_u64() {
        out.extend_from_slice(integer.to_string().as_bytes());
    } else {
        let float = number.as_f64().filter(|float| float.is_finite());
        let float =
            float.ok_or_else(|| JsonError::NumberTooLarge { literal: excerpt(&number.to_string()) })?;
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(float).as_bytes());
    }
    Ok(())
}

fn write_string(out: &mut Vec<u8>, string: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = string.as_bytes();
    while let Some(plain) = rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        out.extend_from_slice(&rest[..plain]);
        let byte = rest[plain];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
            }
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Walks over a text from left to right.
struct Parser<'t> {
    text: &'t str,
    position: usize,
}

impl<'t> Parser<'t> {
    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(deeper(depth)?).map(Value::Object),
            Some(b'[') => self.array(deeper(depth)?).map(Value::Array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ if self.take("null") => Ok(Value::Null),
            _ if self.take("false") => Ok(Value::Bool(false)),
            _ if self.take("true") => Ok(Value::Bool(true)),
            _ => Err(self.expected("a value")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, JsonError> {
        let mut items = Vec::new();
        self.list("]", "a comma or a closing bracket", |parser| {
            items.push(parser.value(depth)?);
            Ok(())
        })?;
        Ok(items)
    }

    fn object(&mut self, depth: usize) -> Result<Map<String, Value>, JsonError> {
        let mut entries = Map::new();
        self.list("}", "a comma or a closing brace", |parser| {
            let key = parser.string()?;
            parser.skip_space();
            if !parser.take(":") {
                return Err(parser.expected("a colon"));
            }
            let value = parser.value(depth)?;
            if entries.contains_key(&key) {
                return Err(JsonError::DuplicateKey { key: excerpt(&key) });
            }
            entries.insert(key, value);
            Ok(())
        })?;
        Ok(entries)
    }

    /// From the opening bracket to the closing one, with commas between the items.
    fn list(
        &mut self,
        closing: &str,
        expected: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.position += 1;
        self.skip_space();
        if self.take(closing) {
            return Ok(());
        }
        loop {
            item(self)?;
            self.skip_space();
            if self.take(closing) {
                return Ok(());
            }
            if !self.take(",") {
                return Err(self.expected(expected));
            }
            self.skip_space();
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let start = self.position;
        if !self.take("\"") {
            return Err(self.expected("a string"));
        }
        let mut plain = true;
        loop {
            match self.peek() {
                Some(b'"') => break,
                // Whatever follows a backslash belongs to it, above all a quotation mark.
                Some(b'\\') => {
                    plain = false;
                    self.position += 2;
                }
                Some(byte) => {
                    plain &= byte >= 0x20;
                    self.position += 1;
                }
                None => return Err(self.expected("a quotation mark")),
            }
        }
        self.position += 1;
        if plain {
            return Ok(self.text[start + 1..self.position - 1].to_string());
        }
        serde_json::from_str(&self.text[start..self.position])
            .map_err(|error| JsonError::MalformedString { position: start, detail: error.to_string() })
    }

    fn number(&mut self) -> Result<Number, JsonError> {
        let start = self.position;
        self.take("-");
        if !self.take("0") {
            self.digits()?;
        }
        let integer_end = self.position;
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _sign = self.take("+") || self.take("-");
            self.digits()?;
        }
        let literal = &self.text[start..self.position];
        if self.position == integer_end { integer(literal) } else { float(literal) }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        if self.position == start { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.position += 1;
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.text.as_bytes()[self.position..].starts_with(token.as_bytes());
        if found {
            self.position += token.len();
        }
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax { position: self.position.min(self.text.len()), expected }
    }
}

/// The number of an integer literal, exactly.
fn integer(literal: &str) -> Result<Number, JsonError> {
    if let Ok(integer) = literal.parse::<i64>() {
        return Ok(integer.into());
    }
    if let Ok(integer) = literal.parse::<u64>() {
        return Ok(integer.into());
    }
    match nearest_double(literal) {
        Some((number, float)) if ryu_js::Buffer::new().format_finite(float) == literal => Ok(number),
        _ => Err(JsonError::IntegerOutOfRange { literal: excerpt(literal) }),
    }
}

fn float(literal: &str) -> Result<Number, JsonError> {
    match nearest_double(literal) {
        Some((number, _)) => Ok(number),
        None => Err(JsonError::NumberTooLarge { literal: excerpt(literal) }),
    }
}

/// `None` if that is infinity.
fn nearest_double(literal: &str) -> Option<(Number, f64)> {
    let float: f64 = literal.parse().expect("Rust reads every number that JSON has");
    Number::from_f64(float).map(|number| (number, float))
}

fn deeper(depth: usize) -> Result<usize, JsonError> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(JsonError::TooDeep) }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => alloc::format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
