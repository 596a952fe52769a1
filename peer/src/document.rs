//! Documents as they are written in files, on the terminal and on the control socket: one JSON object each.

use std::fmt;

use bytes::Bytes;
use data_encoding::BASE64;
use peerloom::{Content, ContentError, json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bodies that nest deeper are told in base64, so that what is around them does not exceed what readers of JSON take.
const DEPTH_MAX: usize = json::DEPTH_MAX - 16;

/// A document: `{"id":"1","value":{…}}`, `{"id":"1","base64":"…"}` or `{"id":"1","deleted":true}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Document {
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) content: DocumentContent,
}

/// What a document holds, if it is not deleted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DocumentContent {
    /// JSON.
    Value(Value),
    /// Bytes that are not JSON in canonical form.
    #[serde(with = "base64")]
    Base64(Bytes),
    /// Always true.
    Deleted(Deleted),
}

/// Is written `true`, and cannot be read from anything else.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "bool", into = "bool")]
pub(crate) struct Deleted;

impl From<Deleted> for bool {
    fn from(Deleted: Deleted) -> Self {
        true
    }
}

impl TryFrom<bool> for Deleted {
    type Error = &'static str;

    fn try_from(deleted: bool) -> Result<Self, &'static str> {
        if deleted { Ok(Self) } else { Err("a document that is not deleted has a `value` or `base64`") }
    }
}

/// Shows JSON as it is stored, and bytes in base64.
impl fmt::Display for DocumentContent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(formatter),
            Self::Base64(bytes) => write!(formatter, "base64:{}", BASE64.encode(bytes)),
            Self::Deleted(Deleted) => formatter.write_str("(deleted)"),
        }
    }
}

/// The body of a document, whatever it is.
///
/// It comes out as it went in, byte by byte: JSON is told as such only if its canonical form is the body itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Json(Value),
    Binary(Bytes),
}

impl Content for Body {
    fn to_body(&self) -> Result<Bytes, ContentError> {
        match self {
            Self::Json(value) => Ok(json::to_canonical(value)?),
            Self::Binary(bytes) => Ok(bytes.clone()),
        }
    }

    fn from_body(body: &Bytes) -> Result<Self, ContentError> {
        let faithful = |value: &Value| {
            nests_within(value, DEPTH_MAX) && json::to_canonical(value).is_ok_and(|again| again == body)
        };
        Ok(match json::parse(body) {
            Ok(value) if faithful(&value) => Self::Json(value),
            _ => Self::Binary(body.clone()),
        })
    }
}

impl From<Body> for DocumentContent {
    fn from(body: Body) -> Self {
        match body {
            Body::Json(value) => Self::Value(value),
            Body::Binary(bytes) => Self::Base64(bytes),
        }
    }
}

impl From<Option<Body>> for DocumentContent {
    fn from(body: Option<Body>) -> Self {
        body.map_or(Self::Deleted(Deleted), Self::from)
    }
}

fn nests_within(value: &Value, levels: usize) -> bool {
    let Some(inner) = levels.checked_sub(1) else { return false };
    match value {
        Value::Array(items) => items.iter().all(|item| nests_within(item, inner)),
        Value::Object(fields) => fields.values().all(|field| nests_within(field, inner)),
        _ => true,
    }
}

mod base64 {
    use bytes::Bytes;
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map(Bytes::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_comes_out_as_it_went_in() {
        let deep = [b"[".repeat(120), b"]".repeat(120)].concat();
        let bodies: [&[u8]; 7] =
            [b"{\"a\":1}", b"null", b"9007199254740993", b"1.0", b"{ }", b"\xff\x00", &deep];
        for body in bodies {
            let body = Bytes::copy_from_slice(body);
            let content = DocumentContent::from(Body::from_body(&body).unwrap());
            let line = serde_json::to_string(&Document { id: "1".to_owned(), content }).unwrap();
            let read: Document = serde_json::from_value(json::parse(line.as_bytes()).unwrap()).unwrap();
            let again = match read.content {
                DocumentContent::Value(value) => Body::Json(value),
                DocumentContent::Base64(bytes) => Body::Binary(bytes),
                DocumentContent::Deleted(_) => panic!("{line}"),
            };
            assert_eq!(again.to_body().unwrap(), body, "{line}");
        }
    }

    #[test]
    fn a_document_is_one_of_three() {
        let read = |text: &str| serde_json::from_str::<Document>(text);
        assert_eq!(read(r#"{"id":"1","value":null}"#).unwrap().content, DocumentContent::Value(Value::Null));
        assert_eq!(read(r#"{"id":"1","deleted":true}"#).unwrap().content, DocumentContent::Deleted(Deleted));
        for wrong in
            [r#"{"id":"1"}"#, r#"{"id":"1","deleted":false}"#, r#"{"value":1}"#, r#"{"id":"1","base64":"?"}"#]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
