//! Messages: requests and responses, as JSON text.

use peerloom_core::json;
use serde_json::Value;

/// The id of what a master tells without being asked.
pub(crate) const CHANGE_STREAM: &str = "masterChangeStream$";

/// What tells a fork to pull and push again.
pub(crate) const RESYNC: &str = "RESYNC";

/// A message of RxDB's WebRTC replication.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Has a `method`.
    Request {
        /// Names the request; the response has the same.
        id: String,
        /// Which.
        method: String,
        /// Its parameters.
        params: Vec<Value>,
    },
    /// Has none: the answer to a request, or what a master tells.
    Response {
        /// Which request it answers.
        id: String,
        /// The answer.
        result: Value,
        /// Why there is none.
        error: Option<Value>,
    },
}

impl Message {
    /// Reads a message. `None` for what is none, which RxDB ignores, too.
    pub fn parse(text: &str) -> Option<Self> {
        let Value::Object(mut fields) = json::parse(text.as_bytes()).ok()? else { return None };
        let Some(Value::String(id)) = fields.remove("id") else { return None };
        if let Some(Value::String(method)) = fields.remove("method") {
            let params = match fields.remove("params") {
                Some(Value::Array(params)) => params,
                _ => Vec::new(),
            };
            return Some(Self::Request { id, method, params });
        }
        let error = fields.remove("error").filter(|error| !error.is_null());
        Some(Self::Response { id, result: fields.remove("result").unwrap_or_default(), error })
    }
}

/// About how many bytes of memory a text takes at most once it is parsed: an object of one short field takes ninety times its text.
pub(crate) fn parsed_bytes(text: &str) -> usize {
    /// A node of the tree that holds an object's fields, the least that one with a field takes.
    const OBJECT_BYTES: usize = 640;
    /// A value in a list that grows by doubling, with a short string in it.
    const ITEM_BYTES: usize = 128;
    let (mut bytes, mut is_quoted, mut is_escaped) = (text.len(), false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            b'{' if !is_quoted => bytes += OBJECT_BYTES,
            b'[' | b',' if !is_quoted => bytes += ITEM_BYTES,
            _ => {}
        }
    }
    bytes
}

/// A request. `params` is JSON.
pub(crate) fn request(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"id":{},"method":"{method}","params":{params}}}"#, quoted(id))
}

/// A response. `result` is JSON.
pub(crate) fn response(id: &str, result: &str) -> String {
    format!(r#"{{"id":{},"result":{result}}}"#, quoted(id))
}

/// A response that says why there is none.
pub(crate) fn failure(id: &str, detail: &str) -> String {
    let (id, detail) = (quoted(id), quoted(detail));
    format!(r#"{{"id":{id},"result":null,"error":{{"name":"PeerloomError","message":{detail}}}}}"#)
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}
