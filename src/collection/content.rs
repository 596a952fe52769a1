//! What documents hold: JSON by serde, or bytes as they are.

use bytes::Bytes;
use peerloom_core::json;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a value cannot be written, or a document not be read as one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The value cannot be JSON: a map with keys that are no strings, an integer outside i64 and u64, or its own
    /// serialization failed.
    #[error("the value cannot be written as JSON: {detail}")]
    Unwritable {
        /// What serde said.
        detail: String,
    },
    /// The document's body is not JSON, or not of this type. It may come from a peer with another idea of it.
    #[error("the document cannot be read as this type: {detail}")]
    Unreadable {
        /// What serde said.
        detail: String,
    },
    /// The value is JSON that cannot be written without loss.
    #[error(transparent)]
    Json(#[from] json::JsonError),
}

/// A type that documents can hold.
///
/// Every type with serde's `Serialize` and `DeserializeOwned` is content, `serde_json::Value` among them: it is written as
/// canonical JSON (RFC 8785, but integers are never rounded), so that equal values are equal bytes. JSON has no NaN and no infinity: serde
/// writes them as `null`. [`Binary`] is content as well.
pub trait Content: Sized + Send + 'static {
    /// Writes the body of a document.
    fn to_body(&self) -> Result<Bytes, ContentError>;

    /// Reads the body of a document.
    fn from_body(body: &Bytes) -> Result<Self, ContentError>;
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Content for T {
    fn to_body(&self) -> Result<Bytes, ContentError> {
        let unwritable = |error: serde_json::Error| ContentError::Unwritable { detail: error.to_string() };
        let value = serde_json::to_value(self).map_err(unwritable)?;
        Ok(json::to_canonical(&value)?)
    }

    fn from_body(body: &Bytes) -> Result<Self, ContentError> {
        serde_json::from_slice(body).map_err(|error| ContentError::Unreadable { detail: error.to_string() })
    }
}

/// Bytes as they are: the content of collections that are not JSON.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Binary(pub Bytes);

impl Content for Binary {
    fn to_body(&self) -> Result<Bytes, ContentError> {
        Ok(self.0.clone())
    }

    fn from_body(body: &Bytes) -> Result<Self, ContentError> {
        Ok(Self(body.clone()))
    }
}
